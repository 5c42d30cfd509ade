"""The bill, line by line: each figure with its formula, the same filled in, where it comes from and how sure it is.

cost_models     four simple cost models by name: compression, distribution, total cost, total efficiency
lines           what a line is, and how a formula is filled in
chosen          which candidate is explained: the one that was chosen, or one that is named
price_lines     what an hour of the machine costs
run_lines       a finished run: price, time, cost of a million, accuracy, what finding out cost
fleet_lines     a candidate for a traffic: demand, calls, queue, machines
bill_lines      what that costs a month, and what it saves
model_lines     the cost models, filled in with all that
explanation     the whole of `costopt explain`; explain_sheet for people, explain_facts for programs
"""
