"""A model that is not here, planned on paper: how big is it, how is it spread over chips, and what does that cost?

published       layers, widths and heads of published models (published.csv); the nearest to a number of parameters
decoders        operations, bytes and memory of a decoder, prompt and answer apart
forward         the same for a model that answers with one forward pass: encoders and CNNs
networks        links between machines and between the chips of one (networks.csv)
collectives     how long machines take to exchange what they know: all-reduce, all-gather, send
parallel        one pass of a model that is spread over chips: tensor and pipeline parallel
training_steps  data-parallel training: efficiency, share of communication, when more machines cost more
training_plan   the same over the price book (`--training`); training_sheet for people and programs
deployments     the ways in which a machine can hold the model, or what keeps it from it
pace            time to first token, time per token and rate of one way, at a batch
replicas        how many copies a rate needs within its limits
paper_options   what is asked on the command line, checked; paper_models makes a model of it
paper_asked     the same with its traffic and limits
paper           every machine of the book, sized and billed; the cheapest that meets
wins            when CPU, GPU, TPU and FPGA win here; big_or_small: one big machine against several small ones
spreading       how the chosen chips share the model, and from how many on more cost more
paper_words     the plan in sentences; paper_sheet for people, paper_facts for programs
on_paper        the whole of `costopt plan --arch`
"""
