"""Fewer bits: what flows through an ONNX graph, in which range, and what rounding does to it.

layers             nodes with constant weights, which is what quantisers look for
activations        what flows between them on calibration data; ranges: what is kept of it
qdq                static quantisation; four_bits: weights in blocks of 4 bits
smoothing, equalization   before rounding: the same function, easier to round
bias_correction    after it; rounding_errors, layer_times: which layers are worth it
"""
