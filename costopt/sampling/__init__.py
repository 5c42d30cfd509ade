"""The user's data: found on disk, matched to the model's inputs, read in batches.

arrays     in numpy's format, or written batch by batch so that they need not fit into memory
matching   by name, by column, by position; what does not fit is refused in words
samples    inputs and targets, ready to feed; made_up: inputs at random, where real ones are not at hand
"""
