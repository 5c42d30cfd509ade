"""Where should a measured model run, on how many machines, and what does that cost a month?

traffic_file    what is asked: the traffic, the promise, the machines to consider
demand          requests a second, on average and at the busiest time: from a rate, hours or a log
theory          queueing theory's closed forms, which the simulation is held against
simulation      one queue before several servers, request by request
capacity        the load that a server may bear, for many candidates at once
services        a run's candidates as servers; places: the machines that they could run on
paces           how fast they would be on machines that are not here: calibrated, or projected from peak rates
bills           what a fleet costs a month, and when compressing has paid for itself
ranking         every candidate on every machine, sized and billed; the cheapest that keeps the promise
flips           the traffic and the price at which the choice would be another
answer          the whole of `costopt plan`; plan_words in sentences, plan_sheet for people, plan_facts for programs
"""
