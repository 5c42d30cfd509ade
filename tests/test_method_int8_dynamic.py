"""Dynamic quantisation: on graphs that ONNX Runtime's own tool breaks, and of what."""

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest

from costopt.errors import NotApplicable
from costopt.methods.int8_dynamic import Int8Dynamic
from tests import models, onnx_graphs
from tests.onnx_graphs import Held, normal, relative_error, written

NO_DATA = Held({"x": np.zeros((0, 1), np.float32)})


def quantised(method: Int8Dynamic, source: Path) -> Path:
    target = source.with_name("quantised.onnx")
    method(source, target, NO_DATA)
    return target


def test_a_convolutional_graph_of_torch_s_exporter_is_quantised(tmp_path: Path) -> None:
    source = models.save_once(models.small_cnn, tmp_path / "cnn.onnx")
    target = quantised(Int8Dynamic(), source)
    assert {"Conv", "MatMulInteger"} <= onnx_graphs.operators(target)
    assert relative_error(target, source, models.cnn_arrays()) < 0.02


@pytest.mark.parametrize("weights", ["int8", "uint8"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_have_the_type_and_the_scales_asked_for(
    weights: Literal["int8", "uint8"], per_channel: bool, tmp_path: Path
) -> None:
    source = onnx_graphs.save_mlp(tmp_path / "mlp.onnx")
    target = quantised(Int8Dynamic(per_channel, weights), source)
    held = onnx_graphs.weights_of(target)
    products = [node for node in onnx.load(target).graph.node if node.op_type == "MatMulInteger"]
    assert [str(held[node.input[1]].dtype) for node in products] == [weights] * 3
    assert [held[node.input[3]].size for node in products] == ([256, 256, 4] if per_channel else [1, 1, 1])
    assert relative_error(target, source, {"x": normal(8, 32)}) < 0.03


def test_an_lstm_is_computed_in_integers(tmp_path: Path) -> None:
    target = quantised(Int8Dynamic(), onnx_graphs.save_lstm(tmp_path / "lstm.onnx"))
    assert "DynamicQuantizeLSTM" in onnx_graphs.operators(target)


def test_an_embedding_table_is_stored_in_int8(tmp_path: Path) -> None:
    text = "(int64[N] x) => (float[N,4] y) { rows = Gather(table, x) y = MatMul(rows, w) }"
    source = written(tmp_path / "m.onnx", text, {"table": normal(1000, 64), "w": normal(64, 4)})
    target = quantised(Int8Dynamic(), source)
    assert target.stat().st_size < 0.3 * source.stat().st_size
    assert relative_error(target, source, {"x": np.arange(100)}) < 0.03


def test_one_weight_of_two_layers_is_quantised_for_both(tmp_path: Path) -> None:
    text = "(float[N,64] x) => (float[N,64] y) { a = Gemm<transB=1>(x, w) y = Gemm<transB=1>(a, w) }"
    source = written(tmp_path / "m.onnx", text, {"w": normal(64, 64) / 8})
    target = quantised(Int8Dynamic(), source)
    assert relative_error(target, source, {"x": normal(8, 64)}) < 0.03
    assert target.stat().st_size < 0.5 * source.stat().st_size


@pytest.mark.parametrize("dtype", ["float", "float16"])
def test_without_constant_float32_weights_there_is_nothing_to_do(dtype: str, tmp_path: Path) -> None:
    text = f"({dtype}[N,4] x, {dtype}[4,4] w) => ({dtype}[N,4] y) {{ y = MatMul(x, w) }}"
    with pytest.raises(NotApplicable, match="no MatMul, LSTM, Attention or Gemm reads constant float32 weights"):
        quantised(Int8Dynamic(), written(tmp_path / "m.onnx", text, {}))
