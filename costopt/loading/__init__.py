"""The file that the user has, read with suspicion: nothing in it may run code.

load           recognised by content, read by its format's plug-in
archive, pickles   what torch.save and torch.export write, looked through before torch sees it
architecture   weights without a model, and the model that they belong to
modules        an exported graph, brought back into modules
"""
