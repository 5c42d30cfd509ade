"""Where should a measured model run, on how many machines, and what does that cost a month?

traffic_file    what is asked: the traffic, the promise, the machines to consider; traffic_sections: its sections
demand          requests a second, on average and at the busiest time: from a rate, hours or a log
theory          queueing theory's closed forms, which the simulation is held against
simulation      one queue before several servers, request by request or in batches
lanes           many such simulations side by side
capacity        the load that a server may bear, for many candidates at once
services        a run's candidates as servers; places: the machines that they could run on
paces           how fast they would be on machines that are not here: calibrated, or projected from peak rates
interruptions   spot: how often machines go, and what stands in; spot_places: the same machines on spot
sizes           how many instances bear a rate
uptime          how many of them are up, and when: always, as the traffic goes, or none while nothing comes
bills           what a month costs, line by line, and when compressing has paid for itself; extra_lines: what else
billing         a fleet's month: uptime, spot and prices together
commitment      which machines of a fleet to commit to at a discount
ranking         every candidate on every machine, sized and billed; the cheapest that keeps the promise
kinds           which kind of hardware wins, and which machines only a measurement tells apart
flips           the traffic, the price and the limit on accuracy at which the choice would be another
following       what machines bring that come and go, sleep, are on spot or committed to
answer          the whole of `costopt plan`; plan_words in sentences, plan_sheet for people, plan_facts for programs
"""
