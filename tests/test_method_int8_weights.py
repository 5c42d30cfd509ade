"""Weight-only quantisation, to 8 and to 4 bits: the same blocks, the same arithmetic, other widths."""

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest

from costopt.errors import NotApplicable
from costopt.methods import OnnxMethod
from costopt.methods.int4_weights import Int4Weights
from costopt.methods.int8_weights import Int8Weights
from tests import onnx_graphs
from tests.onnx_graphs import Held, normal, relative_error, written

NO_DATA = Held({"x": np.zeros((0, 1), np.float32)})
INPUTS = {"x": normal(16, 32)}


def quantised(method: OnnxMethod, source: Path) -> Path:
    target = source.with_name("quantised.onnx")
    method(source, target, NO_DATA)
    return target


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    return onnx_graphs.save_mlp(tmp_path / "mlp.onnx")


@pytest.mark.parametrize("block_size", [32, 64, 128])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("compute", ["int8", "float32"])
@pytest.mark.parametrize(("make", "bits", "bound"), [(Int8Weights, 8, 0.02), (Int4Weights, 4, 0.2)])
def test_every_option_reaches_the_operator_and_keeps_the_outputs_near(
    make: type[Int8Weights | Int4Weights],
    bits: int,
    bound: float,
    block_size: Literal[32, 64, 128],
    symmetric: bool,
    compute: Literal["int8", "float32"],
    mlp: Path,
) -> None:
    target = quantised(make(block_size, symmetric, compute), mlp)
    nodes = [node for node in onnx.load(target).graph.node if node.op_type == "MatMulNBits"]
    assert len(nodes) == 3
    for node in nodes:
        options = {one.name: one.i for one in node.attribute}
        assert (options["bits"], options["block_size"]) == (bits, block_size)
        assert options["accuracy_level"] == (4 if compute == "int8" else 1)
        assert len(node.input) == (3 if symmetric else 4)
    assert relative_error(target, mlp, INPUTS) < bound


def test_fewer_bits_make_a_smaller_file_and_a_larger_error(mlp: Path) -> None:
    seen = []
    for method in (Int8Weights(), Int4Weights()):
        target = quantised(method, mlp)
        seen.append((target.stat().st_size, -relative_error(target, mlp, INPUTS)))
    assert seen[1] < seen[0] < (mlp.stat().st_size, 0)
    assert seen[1][1] < seen[0][1]


def test_smaller_blocks_keep_an_outlier_from_its_neighbours(tmp_path: Path) -> None:
    weights = normal(256, 16) / 16
    weights[0] = 10.0
    source = written(tmp_path / "m.onnx", "(float[N,256] x) => (float[N,16] y) { y = MatMul(x, w) }", {"w": weights})
    inputs = {"x": normal(16, 256)}
    inputs["x"][:, 0] = 0  # the outlier itself adds nothing: the error is that of its neighbours
    errors = [relative_error(quantised(Int4Weights(size), source), source, inputs) for size in (32, 64, 128)]
    assert errors == sorted(errors)
    assert errors[0] < 0.8 * errors[2]


@pytest.mark.parametrize("method", [Int8Weights(), Int4Weights()], ids=["int8", "int4"])
def test_a_product_of_two_activations_is_left_alone(method: OnnxMethod, tmp_path: Path) -> None:
    text = "(float[N,4] x, float[4,4] w) => (float[N,4] y) { y = MatMul(x, w) }"
    with pytest.raises(NotApplicable, match="no MatMul or Gemm reads constant float32 weights"):
        quantised(method, written(tmp_path / "m.onnx", text, {}))
