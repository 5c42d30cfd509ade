"""What to try next, and when to stop: `recipes: auto`.

tries      what there is to try; space: how recipes are put together from it
explore    the next step, and why; knobs: how hard to cut; tried: what became of earlier steps
heats      the candidates on their way through the runner, each one's outcome on disk before the next
"""
