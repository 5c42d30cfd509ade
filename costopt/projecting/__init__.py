"""How fast would it be on hardware that is not here? What a model asks, and what chips and machines make of it.

hardware      chips and processor cores with their peak rates and memory (hardware.csv), and who carries them
operators     which operator does what kind of work; fused: the graph that ONNX Runtime would run, with all shapes
work          operations, bytes and intensity of a node; counting: those of each node of a file
chains        graphs that grow node by node, in patterns; references: those that a machine is timed on
trials        how long each takes here; caches: how much the last cache holds
fitting       a machine's speed in two dozen figures, fitted to those times
roofline      how long a chip should take by its peak rates, and what such chips reach
calibrating   all that in a row; calibration: the file that it leaves, calibration_words: the same for people
"""
