"""NNCF as a guest: silent, refused in words where it is missing, and never a file that ONNX Runtime can't run."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from costopt.errors import CandidateError, NotApplicable
from costopt.methods import nncf_int8
from costopt.methods.nncf_int8 import NncfInt8
from costopt.records import Graph
from tests.onnx_graphs import Held, normal, relative_error, written

DEPTHWISE = "(float[N,4,8,8] x) => (float[N,4,6,6] y) { a = Conv<group=4>(x, w)   b = Relu(a)   y = Conv(b, p) }"
WEIGHTS = {"w": normal(4, 1, 3, 3), "p": normal(4, 4, 1, 1)}


def test_a_missing_package_is_refused_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nncf_int8, "find_spec", lambda _: None)
    graph = Graph((), (), {"Conv": 1}, {"Conv": 9}, opset=20, size_bytes=36)
    assert "pip install nncf" in str(NncfInt8().unsuitable(graph))
    with pytest.raises(NotApplicable, match="the package nncf is not installed: pip install nncf"):
        NncfInt8()(tmp_path / "not read.onnx", tmp_path / "out.onnx", Held({}))


@pytest.mark.skipif(find_spec("nncf") is None, reason="nncf is not installed")
def test_depthwise_convolutions_run_and_the_environment_is_left_as_it_was(tmp_path: Path) -> None:
    source, target = written(tmp_path / "m.onnx", DEPTHWISE, WEIGHTS), tmp_path / "out.onnx"
    data, before = {"x": normal(16, 4, 8, 8)}, dict(os.environ)
    NncfInt8()(source, target, Held(dict(data)))
    assert relative_error(target, source, data) < 0.1
    assert dict(os.environ) == before


@pytest.mark.skipif(find_spec("nncf") is None, reason="nncf is not installed")
def test_no_samples_are_refused_in_our_words(tmp_path: Path) -> None:
    source = written(tmp_path / "m.onnx", DEPTHWISE, WEIGHTS)
    with pytest.raises(CandidateError, match="0 of 16 calibration samples"):
        NncfInt8(samples=0)(source, tmp_path / "out.onnx", Held({"x": normal(16, 4, 8, 8)}))
