"""Small graphs whose times tell what a machine makes of each kind of work: compute, memory, and overhead.

Each is a chain of like nodes, so that a node's share stands out from what a call costs anyway, in the sizes that
models have: convolutions from 7 to 112 pixels wide, products for one row and for hundreds, values that stay in a cache
and values that don't. Kernels take as long for any numbers.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import onnx

from costopt.projecting import patterns

CONVOLUTIONS = (
    # inputs, pixels a side, outputs, window, stride, nodes
    (1, 28, 32, 3, 1, 1),
    (3, 64, 32, 3, 2, 1),
    (3, 112, 64, 7, 2, 1),
    (16, 28, 16, 3, 1, 4),
    (32, 28, 32, 3, 1, 4),
    (32, 14, 32, 3, 1, 6),
    (24, 28, 24, 3, 1, 4),
    (64, 56, 64, 3, 1, 2),
    (64, 14, 64, 3, 1, 4),
    (64, 7, 64, 3, 1, 6),
    (128, 28, 128, 3, 1, 2),
    (128, 7, 128, 3, 1, 4),
    (256, 14, 256, 3, 1, 2),
    (512, 7, 512, 3, 1, 2),
    (64, 28, 128, 3, 2, 1),
    (32, 32, 32, 5, 1, 2),
    (64, 56, 64, 1, 1, 4),
    (40, 28, 40, 1, 1, 6),
    (256, 14, 256, 1, 1, 4),
    (512, 7, 512, 1, 1, 4),
)

DEPTHWISE = ((32, 112, 3, 2), (96, 56, 3, 3), (192, 28, 3, 4), (384, 14, 3, 6), (576, 7, 3, 6), (240, 14, 5, 4))
"""Channels, pixels a side, window, nodes."""

PRODUCTS = (
    # rows, inputs, outputs, nodes (that go back and forth between the two widths)
    (1, 32, 32, 16),
    (1, 128, 128, 8),
    (1, 784, 256, 2),
    (1, 384, 1536, 4),
    (1, 1024, 1024, 6),
    (1, 2048, 2048, 6),
    (8, 256, 256, 6),
    (16, 384, 1536, 2),
    (20, 128, 128, 8),
    (32, 64, 64, 12),
    (50, 192, 768, 4),
    (64, 384, 384, 4),
    (64, 384, 1536, 2),
    (128, 768, 768, 2),
    (256, 512, 2048, 2),
)

ACTIVATION_PRODUCTS = ((1, 2, 20, 32), (1, 4, 32, 32), (1, 12, 64, 32), (1, 12, 128, 64), (4, 8, 128, 32))
"""Batch, heads, places, width of a head: the two products of attention."""

SIZES = ((1, 4096), (1, 65536), (64, 28, 28), (64, 56, 56), (1, 1 << 21), (1, 1 << 23))
"""Shapes that are read and written by operators that do little to each element: 16 kB to 32 MB."""

IN_CACHE = ((64, 384), (128, 1536), (12, 64, 64), (96, 28, 28))
"""Shapes for operators that do much to each element."""


LIGHT = ("Add", "Relu", "Concat")
HEAVY = ("Softmax", "Gelu", "LayerNormalization", "SkipLayerNormalization", "Sigmoid", "Tanh", "Exp", "Quantize")

TRANSPOSED = ((64, 4, 32), (64, 12, 32), (196, 8, 64))
"""Places, heads, width of a head."""

RECURRENT = (("LSTM", 16, 64), ("LSTM", 32, 128), ("GRU", 4, 96), ("GRU", 16, 96))
"""Steps and width."""

TINY = (1, 8, 64)
"""Nodes that do next to nothing."""

Make = Callable[[], onnx.ModelProto]


def references() -> Iterator[tuple[str, Make]]:
    """Every reference by name, built when it is called for: their weights together would fill hundreds of MB."""
    yield from (*_convolutions(), *_products(), *_others())


def _convolutions() -> Iterator[tuple[str, Make]]:
    for sizes, narrow in product(CONVOLUTIONS, (False, True)):
        yield f"conv {_format(narrow)} {sizes}", partial(patterns.convolution, *sizes, in_8_bits=narrow)
    for few, narrow in product(DEPTHWISE, (False, True)):
        yield f"depthwise {_format(narrow)} {few}", partial(patterns.depthwise, *few, in_8_bits=narrow)


def _products() -> Iterator[tuple[str, Make]]:
    for sizes, operator in product(PRODUCTS, ("MatMul", "Gemm", "DynamicQuantizeMatMul")):
        yield f"{operator} {sizes}", partial(patterns.products, *sizes, operator=operator)
    for sizes in PRODUCTS:
        yield f"QLinearMatMul {sizes}", partial(patterns.products_in_8_bits, *sizes)
    for heads in ACTIVATION_PRODUCTS:
        yield f"attention {heads}", partial(patterns.attention, *heads)
    for operator, steps, width in RECURRENT:
        yield f"{operator} {steps, width}", partial(patterns.recurrent, operator, steps, width)


def _others() -> Iterator[tuple[str, Make]]:
    for shape, operator in product(SIZES, LIGHT):
        yield f"{operator} {shape}", partial(patterns.light, operator, shape)
    for shape, operator in product(IN_CACHE, (*HEAVY, "ReduceMean")):
        yield f"{operator} {shape}", partial(patterns.heavy, operator, shape)
    for sizes in TRANSPOSED:
        yield f"Transpose {sizes}", partial(patterns.transposes, *sizes)
    yield "MaxPool 3", partial(patterns.pool, 3, 1)
    yield "MaxPool 2", partial(patterns.pool, 2, 2)
    yield "GlobalAveragePool", patterns.global_pool
    yield "Gather", patterns.gather
    for count in TINY:
        yield f"{count} tiny", partial(patterns.tiny, count)


def _format(in_8_bits: bool) -> str:
    return "int8" if in_8_bits else "fp32"
