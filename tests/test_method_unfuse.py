"""ONNX Runtime leaves residual sums apart from LayerNormalization, and nothing else changes."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from costopt.errors import NotApplicable
from costopt.methods.unfuse import Unfuse
from tests.onnx_graphs import Held, normal, operators, run, written

TEXT = """(float[N,5,8] x) => (float[N,5,8] y) {
    p = MatMul(x, w)   b = Add(p, bias)   s = Add(b, x)   y = LayerNormalization(s, gamma, beta)
}"""
WEIGHTS = {"w": normal(8, 8), "bias": normal(8), "gamma": normal(8), "beta": normal(8)}
X = {"x": normal(2, 5, 8)}


def optimised(path: Path) -> set[str]:
    """The operators that ONNX Runtime really runs."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path.with_name("optimised.onnx"))
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return operators(path.with_name("optimised.onnx"))


def test_the_fused_kernel_is_no_longer_used_and_outputs_stay_the_same(tmp_path: Path) -> None:
    source, target = written(tmp_path / "m.onnx", TEXT, WEIGHTS), tmp_path / "out.onnx"
    Unfuse()(source, target, Held({}))
    assert "SkipLayerNormalization" in optimised(source)
    assert "SkipLayerNormalization" not in optimised(target)
    np.testing.assert_allclose(run(target, X)[0], run(source, X)[0], rtol=1e-5, atol=1e-6)
    assert [node.op_type for node in onnx.load(target).graph.node] == ["MatMul", "Add", "Sum", "LayerNormalization"]


def test_a_bias_alone_is_no_residual(tmp_path: Path) -> None:
    text = "(float[N,8] x) => (float[N,8] y) { b = Add(x, bias)   y = LayerNormalization(b, gamma, beta) }"
    source = written(tmp_path / "m.onnx", text, {name: WEIGHTS[name] for name in ("bias", "gamma", "beta")})
    with pytest.raises(NotApplicable, match="no sum of two activations"):
        Unfuse()(source, tmp_path / "out.onnx", Held({}))
