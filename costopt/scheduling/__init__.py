"""Which machines should several models share, and at what monthly cost? Packing, as an integer program.

fleet_file      what is asked: models with their traffic and promises, machines, limits
ways            how a model may be served: a finished run's candidates, or calls given by hand
sites           machines of the price book, and which way may run on which
forms           how many replicas of a way keep the promise, and on which machines
filling         what fits side by side on one machine, and what is worth most there
columns         the integer program over fillings, as matrices
program         its solution: the least cost, and a bound below which no fleet lies
layout          from its answer to machines, replicas and weights
routing         what becomes of a promise when a balancer deals requests out by weight
fleet_records   the answer's records
fleet_answer    the whole of `costopt fleet`; fleet_words in sentences, fleet_sheet for people, fleet_facts for programs
"""
