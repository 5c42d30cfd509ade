"""From facts to a choice: pure functions of what was measured, so a new budget costs no new measurement.

limits, objectives   what the budget allows, and what is best within it; cost: money from time
choose               the choice
explain              in words; causes: why the original is best; bought: what each step of the winner bought
"""
