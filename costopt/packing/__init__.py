"""`.costz`: a model in a small file that gives back exactly the bytes that were measured.

costz    the file; spans: where in an ONNX file its tensors lie
codings  one tensor in fewer bytes, and the choice among the ways; rans: the entropy coder
"""
