"""Graphs of one input that grow node by node: what reference graphs are made with."""

import math
from collections.abc import Mapping
from typing import Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
IR_VERSION = 10

Attributes = Mapping[str, int | float | list[int]]

NONE: Attributes = {}

SCALE = 0.05
"""Of all values that are rounded to 8 bits: kernels take as long for any."""


class Chain:
    """A graph whose nodes read one another in a row; `last` is the name of what the newest one gives.

    Weights are drawn at random and scaled so that long chains of products don't overflow.
    """

    def __init__(self, *shape: int, kind: int = TensorProto.FLOAT) -> None:
        self._inputs = {"x": helper.make_tensor_value_info("x", kind, shape)}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._chance = np.random.default_rng(0)
        self.last = "x"

    def weight(self, *shape: int) -> str:
        """A constant of float32 numbers, the sum of so many of which (all axes but the first) is about 1."""
        values = self._chance.standard_normal(shape, dtype=np.float32)
        return self.constant((values / math.sqrt(math.prod(shape[1:]))).astype(np.float32))

    def constant(self, values: NDArray[np.generic]) -> str:
        """Any constant."""
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def scalar(self, value: float) -> str:
        """A float32 constant without axes."""
        return self.constant(np.array(value, dtype=np.float32))

    def add(self, operator: str, *others: str, domain: str = "", attributes: Attributes = NONE) -> Self:
        """A node that reads the last value, then `others`."""
        return self.join(operator, [self.last, *others], domain, attributes)

    def join(self, operator: str, inputs: list[str], domain: str = "", attributes: Attributes = NONE) -> Self:
        """A node that reads any values."""
        name = f"v{len(self._nodes)}"
        node = helper.make_node(operator, inputs, [name], f"n{len(self._nodes)}", domain=domain)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self._nodes.append(node)
        self.last = name
        return self

    def rounded(self) -> Self:
        """The last value in 8 bits and back: a pair that kernels on both sides take in."""
        scale, zero = self.scalar(SCALE), self.constant(np.array(128, dtype=np.uint8))
        return self.add("QuantizeLinear", scale, zero).add("DequantizeLinear", scale, zero)

    def weight_in_8_bits(self, *shape: int, axis: int) -> str:
        """A constant of int8 numbers with a scale for each channel of an axis, widened."""
        values = self.constant(self._chance.integers(-100, 100, shape).astype(np.int8))
        scale = self.constant(np.full(shape[axis], SCALE / 100, dtype=np.float32))
        kept, zero = self.last, self.constant(np.zeros(shape[axis], dtype=np.int8))
        self.join("DequantizeLinear", [values, scale, zero], attributes={"axis": axis})
        name, self.last = self.last, kept
        return name

    def model(self) -> onnx.ModelProto:
        """The graph so far, its last value its output."""
        output = helper.make_tensor_value_info(self.last, TensorProto.FLOAT, None)
        graph = helper.make_graph(self._nodes, "reference", list(self._inputs.values()), [output], self._constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
