"""Slimming: what is folded, merged and dropped, and when there is nothing left to do."""

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest

from costopt.errors import NotApplicable
from costopt.methods.slim import Slim
from tests import onnx_graphs
from tests.onnx_graphs import Held, normal, relative_error, written

NO_DATA = Held({"x": np.zeros((0, 1), np.float32)})
SIGNATURE = "(float[N,4] x) => (float[N,4] y)"


def slimmed(source: Path, level: Literal["basic", "extended"] = "basic") -> Path:
    target = source.with_name("slim.onnx")
    Slim(level)(source, target, NO_DATA)
    return target


def types(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize(
    ("nodes", "left"),
    [
        ("wt = Transpose<perm=[1,0]>(w) ww = Mul(wt, wt) y = MatMul(x, ww)", ["MatMul"]),
        ("dead = Relu(x) deader = Add(dead, dead) y = MatMul(x, w)", ["MatMul"]),
        ("a = Relu(x) b = Relu(x) y = Add(a, b)", ["Relu", "Add"]),
        ("a = Identity(x) b = Relu(a) y = Identity(b)", ["Relu"]),
        ("a = Dropout(x) y = Relu(a)", ["Relu"]),
        ("shape = Shape(x) r = Reshape(x, shape) y = Relu(r)", ["Relu"]),
    ],
    ids=["constants", "dead nodes", "equal nodes", "identities", "dropout", "shapes that are known"],
)
def test_what_adds_nothing_goes(nodes: str, left: list[str], tmp_path: Path) -> None:
    source = written(tmp_path / "m.onnx", f"{SIGNATURE} {{ {nodes} }}", {"w": normal(4, 4)})
    target = slimmed(source)
    assert types(target) == left
    assert relative_error(target, source, {"x": normal(3, 4)}) < 1e-6


def test_batchnorm_is_folded_into_the_convolution(tmp_path: Path) -> None:
    text = """(float[N,2,4,4] x) => (float[N,3,4,4] y) {
        a = Conv<pads=[1,1,1,1]>(x, w)   y = BatchNormalization(a, scale, shift, mean, variance)
    }"""
    weights = {name: normal(3, seed=seed) for seed, name in enumerate(("scale", "shift", "mean"))}
    weights |= {"w": normal(3, 2, 3, 3), "variance": np.array([0.5, 1.0, 2.0], np.float32)}
    source = written(tmp_path / "m.onnx", text, weights)
    target = slimmed(source)
    assert types(target) == ["Conv"]
    assert relative_error(target, source, {"x": normal(2, 2, 4, 4)}) < 1e-5


def test_equal_weights_are_stored_once(tmp_path: Path) -> None:
    weights = {"w1": normal(4, 4), "w2": normal(4, 4)}
    source = written(tmp_path / "m.onnx", f"{SIGNATURE} {{ a = MatMul(x, w1) b = Relu(a) y = MatMul(b, w2) }}", weights)
    assert len(onnx_graphs.weights_of(slimmed(source))) == 1


@pytest.mark.parametrize(
    "nodes",
    ["y = MatMul(x, w)", "c = Constant<value_float=2.0>() y = Mul(x, c)", "a = MatMul(x, w) b = Relu(a) y = Add(b, x)"],
)
def test_a_graph_that_is_slim_already_is_left_alone(nodes: str, tmp_path: Path) -> None:
    source = written(tmp_path / "m.onnx", f"{SIGNATURE} {{ {nodes} }}", {"w": normal(4, 4)} if "w)" in nodes else {})
    with pytest.raises(NotApplicable, match="as slim as it gets"):
        slimmed(source)


def test_slimming_twice_changes_nothing_the_second_time(tmp_path: Path) -> None:
    source = written(
        tmp_path / "m.onnx", f"{SIGNATURE} {{ a = Identity(x) b = Relu(a) y = MatMul(b, w) }}", {"w": normal(4, 4)}
    )
    again = slimmed(source).rename(tmp_path / "again.onnx")
    with pytest.raises(NotApplicable):
        slimmed(again)


def test_basic_keeps_to_standard_operators_and_extended_does_not(tmp_path: Path) -> None:
    text = """(float[N,4,4] x) => (float[N,4,4] y) {
        a = MatMul(x, w)   b = Gelu(a)   moved = Transpose<perm=[0,2,1]>(b)   c = MatMul(moved, x)   d = Identity(c)
        half = Constant<value_float=0.5>()   y = Mul(d, half)
    }"""
    source = written(tmp_path / "m.onnx", text, {"w": normal(4, 4)})
    inputs = {"x": normal(2, 4, 4)}
    expected: dict[Literal["basic", "extended"], set[str]] = {"basic": {""}, "extended": {"", "com.microsoft"}}
    for level, domains in expected.items():
        target = slimmed(source, level)
        assert {node.domain for node in onnx.load(target).graph.node} == domains
        assert {one.domain for one in onnx.load(target).opset_import} == domains
        assert relative_error(target, source, inputs) < 1e-5


def test_a_model_in_half_precision_is_not_widened(tmp_path: Path) -> None:
    text = "(float16[N,4] x) => (float16[N,4] y) { a = Identity(x) y = MatMul(a, w) }"
    source = written(tmp_path / "m.onnx", text, {"w": normal(4, 4).astype(np.float16)})
    assert types(slimmed(source)) == ["MatMul"]
