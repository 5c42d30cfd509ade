"""The parts of `costopt bench` (`benchmark.py` tells the story): who is measured, what was found, how it is shown.

asked, contenders      what the command line says, and who is measured
measurements, settle   the facts, and what follows from them
bench_columns, bench_facts, bench_sheet   what is shown: to people, to programs, on a page
"""
