"""Who did the work: read from profiles that were recorded, and from real sessions."""

import itertools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as some

from costopt.errors import CandidateError
from costopt.measuring import placement
from costopt.measuring.placement import Arrays, read, unproven
from costopt.providers import CPU
from costopt.records import Setting, Spec
from costopt.timings import Placement
from tests import onnx_graphs

pytestmark = pytest.mark.alone

OPENVINO = "OpenVINOExecutionProvider"
WEBGPU = "WebGpuExecutionProvider"
TENSORRT, CUDA = "TensorrtExecutionProvider", "CUDAExecutionProvider"

Row = tuple[str, str, int, int, int, str, str]
"""Category, name, thread, start and duration in microseconds, operator, provider."""

# Both recorded 2026-11-22 on an AMD EPYC with ONNX Runtime's own profiler: a matrix product, an operator that the
# provider does not know, a matrix product; two calls to warm up and one or two more. Some fields were left out.

# onnxruntime 1.31.1 with the plug-in onnxruntime-ep-openvino 1.8.1 (its check for Intel's CPUs lifted). The events of
# category Kernel are the plug-in's own, inside its nodes.
OPENVINO_TRACE: tuple[Row, ...] = (
    ("Session", "session_initialization", 1715, 780, 70848, "", ""),
    ("Node", "OpenVINO_0_kernel_time", 1715, 71888, 1754, "OpenVINO_0", OPENVINO),
    ("Node", "odd_kernel_time", 1715, 73659, 570, "Inverse", CPU),
    ("Node", "OpenVINO_1_kernel_time", 1715, 74250, 290, "OpenVINO_1", OPENVINO),
    ("Session", "SequentialExecutor::Execute", 1715, 71885, 2668, "", ""),
    ("Session", "model_run", 1715, 71868, 2696, "", ""),
    ("Node", "OpenVINO_0_kernel_time", 1715, 79475, 529, "OpenVINO_0", OPENVINO),
    ("Node", "odd_kernel_time", 1715, 80022, 365, "Inverse", CPU),
    ("Node", "OpenVINO_1_kernel_time", 1715, 80397, 213, "OpenVINO_1", OPENVINO),
    ("Session", "SequentialExecutor::Execute", 1715, 79465, 1152, "", ""),
    ("Session", "model_run", 1715, 79350, 1283, "", ""),
    ("Node", "OpenVINO_0_kernel_time", 1715, 80768, 81, "OpenVINO_0", OPENVINO),
    ("Node", "odd_kernel_time", 1715, 80854, 313, "Inverse", CPU),
    ("Node", "OpenVINO_1_kernel_time", 1715, 81172, 66, "OpenVINO_1", OPENVINO),
    ("Session", "SequentialExecutor::Execute", 1715, 80766, 478, "", ""),
    ("Session", "model_run", 1715, 80748, 500, "", ""),
    ("Kernel", "OV::x_f32_bf16_a", 48, 80768, 30, "", ""),
    ("Kernel", "OV::a", 49, 80777, 118, "", ""),
    ("Kernel", "OV::b_f32_bf16_y", 48, 81172, 12, "", ""),
    ("Kernel", "OV::y", 49, 81177, 58, "", ""),
)

# onnxruntime-webgpu 1.27.0 on SwiftShader, a software GPU. Its nodes only queue work: the first product of the third
# call took 148,734 microseconds (category Api), of which its node shows 112, and the copy to the CPU waits for it.
WEBGPU_TRACE: tuple[Row, ...] = (
    ("Node", "first_kernel_time", 1727, 30711, 1052693, "MatMul", WEBGPU),
    ("Node", "Memcpy_token_0_kernel_time", 1727, 1083418, 136265, "MemcpyToHost", WEBGPU),
    ("Node", "odd_kernel_time", 1727, 1219698, 128, "Hardmax", CPU),
    ("Node", "Memcpy_kernel_time", 1727, 1219831, 67, "MemcpyFromHost", WEBGPU),
    ("Node", "last_kernel_time", 1727, 1219902, 77, "MatMul", WEBGPU),
    ("Session", "SequentialExecutor::Execute", 1727, 30707, 1189277, "", ""),
    ("Session", "model_run", 1727, 22432, 1344168, "", ""),
    ("Node", "odd_kernel_time", 1727, 1517584, 71, "Hardmax", CPU),
    ("Session", "SequentialExecutor::Execute", 1727, 1367322, 150560, "", ""),
    ("Session", "model_run", 1727, 1367129, 315171, "", ""),
    ("Node", "first_kernel_time", 1727, 1682604, 112, "MatMul", WEBGPU),
    ("Node", "Memcpy_token_0_kernel_time", 1727, 1682723, 149011, "MemcpyToHost", WEBGPU),
    ("Node", "odd_kernel_time", 1727, 1831751, 73, "Hardmax", CPU),
    ("Node", "Memcpy_kernel_time", 1727, 1831830, 94, "MemcpyFromHost", WEBGPU),
    ("Node", "last_kernel_time", 1727, 1831930, 93, "MatMul", WEBGPU),
    ("Session", "SequentialExecutor::Execute", 1727, 1682599, 149428, "", ""),
    ("Session", "model_run", 1727, 1682457, 304264, "", ""),
    ("Api", "first&MatMul&MatMul", -1, 599115, 148734, "", ""),
    ("Api", "last&MatMul&MatMul", -1, 748401, 154425, "", ""),
)


def events(rows: tuple[Row, ...]) -> list[Mapping[str, Any]]:
    return [
        {
            "cat": category,
            "name": name,
            "tid": thread,
            "ts": start,
            "dur": duration,
            "args": {"op_name": operator, "provider": provider} if category == "Node" else {},
        }
        for category, name, thread, start, duration, operator, provider in rows
    ]


def one_call(*rows: Row) -> list[Mapping[str, Any]]:
    """A profile of one call, which lasts from 0 to 1000 microseconds."""
    return events((*rows, ("Session", "model_run", 1, 0, 1000, "", "")))


def test_time_is_summed_over_the_calls_after_the_warm_up_and_fused_nodes_count_one_by_one() -> None:
    seen = read(events(OPENVINO_TRACE), {OPENVINO: 20, CPU: 1}, OPENVINO, asynchronous=False)
    assert seen.nodes == {OPENVINO: 20, CPU: 1}
    assert seen.seconds == pytest.approx({OPENVINO: 147e-6, CPU: 313e-6})
    assert seen.fallen_back == ("Inverse odd (CPUExecutionProvider, 68 % of the time)",)


def test_one_slow_node_on_the_cpu_disproves_a_provider_that_took_nearly_all_nodes() -> None:
    seen = read(events(OPENVINO_TRACE), {OPENVINO: 20, CPU: 1}, OPENVINO, asynchronous=False)
    refusal = unproven(seen, OPENVINO)
    assert refusal is not None
    reason, fix = refusal
    assert reason == (
        "OpenVINOExecutionProvider did only 32 % of the work, by time; "
        "others did: Inverse odd (CPUExecutionProvider, 68 % of the time)"
    )
    assert "leave this provider out" in fix


def test_what_a_queueing_provider_is_waited_for_is_its_time() -> None:
    record_of_that_release = {CPU: 1}
    seen = read(events(WEBGPU_TRACE), record_of_that_release, WEBGPU, asynchronous=True)
    assert seen.nodes == {WEBGPU: 4, CPU: 1}
    in_nodes, waited = 112 + 149011 + 94 + 93, 304264 - 149428
    assert seen.seconds == pytest.approx({WEBGPU: 1e-6 * (in_nodes + waited), CPU: 73e-6})
    assert unproven(seen, WEBGPU) is None, "an operator on the CPU that takes no time is no fall-back worth the name"


def test_two_queueing_providers_are_judged_by_nodes() -> None:
    trace = one_call(
        ("Node", "engine_kernel_time", 1, 10, 5, "TRT_0", TENSORRT),
        ("Node", "resize_kernel_time", 1, 20, 700, "Resize", CUDA),
    )
    seen = read(trace, {TENSORRT: 95, CUDA: 5}, TENSORRT, asynchronous=True)
    assert seen.seconds == {}
    assert seen.fallen_back == ("Resize resize (CUDAExecutionProvider)",)
    assert unproven(seen, TENSORRT) is None
    assert unproven(read(trace, {TENSORRT: 85, CUDA: 15}, TENSORRT, asynchronous=True), TENSORRT) is not None


def test_the_nodes_of_a_loop_are_not_counted_again_for_the_loop() -> None:
    trace = one_call(
        ("Node", "loop_kernel_time", 1, 100, 800, "Loop", CPU),
        ("Node", "inner_kernel_time", 1, 150, 300, "MatMul", OPENVINO),
        ("Node", "inner_kernel_time", 1, 500, 300, "MatMul", OPENVINO),
        ("Node", "beside_kernel_time", 2, 500, 50, "MatMul", OPENVINO),
        ("Session", "SequentialExecutor::Execute", 1, 5, 990, "", ""),
        ("Session", "SequentialExecutor::Execute", 1, 140, 700, "", ""),
    )
    assert read(trace, {}, OPENVINO, False).seconds == pytest.approx({CPU: 200e-6, OPENVINO: 650e-6})
    assert read(trace, {}, OPENVINO, True).seconds == pytest.approx({CPU: 200e-6, OPENVINO: 660e-6})


def test_a_handful_of_nodes_is_named_the_slowest_first_and_the_rest_is_counted() -> None:
    rows: list[Row] = [("Node", f"n{i}_kernel_time", 1, 10 * i, i, "Relu", CPU) for i in range(1, 10)]
    named = read(one_call(*rows), {}, OPENVINO, False).fallen_back
    assert named[0] == "Relu n9 (CPUExecutionProvider, 20 % of the time)"
    assert named[placement.NAMED_NODES :] == ("and 4 more",)


@given(asked=some.floats(0, 1e3), others=some.lists(some.floats(0, 1e3), max_size=3))
def test_the_verdict_is_the_share_of_the_time(asked: float, others: list[float]) -> None:
    seconds = {OPENVINO: asked, **{f"other {i}": value for i, value in enumerate(others)}}
    refused = unproven(Placement({OPENVINO: 1}, seconds), OPENVINO) is not None
    total = sum(seconds.values())
    assert refused == (total > 0 and asked / total < placement.PROVEN_SHARE)


def test_without_a_profile_nodes_decide_and_without_a_record_nothing_is_said() -> None:
    refusal = unproven(Placement({CPU: 23}), OPENVINO)
    assert refusal is not None
    assert refusal[0] == f"{OPENVINO} did none of the work, by nodes; others did: {CPU}"
    assert unproven(Placement({OPENVINO: 9, CPU: 1}), OPENVINO) is None
    assert unproven(Placement({}), OPENVINO) is None


# ---------------------------------------------------------------------------------------- real sessions


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    weights = {"w": onnx_graphs.normal(256, 256)}
    text = "(float[N,256] x) => (float[N,256] y) { a = MatMul(x, w) b = Hardmax(a) y = MatMul(b, w) }"
    return onnx_graphs.written(tmp_path_factory.mktemp("placement") / "model.onnx", text, weights)


def test_a_real_profile_gives_all_time_to_the_cpu_and_leaves_no_file(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    feed: Arrays = {"x": onnx_graphs.normal(64, 256)}
    seen = placement.profile(str(model), Setting(Spec("cpu")), itertools.cycle([feed]))
    assert seen.nodes == {CPU: 3}
    assert list(seen.seconds) == [CPU]
    assert 0 < seen.seconds[CPU] < placement.PROFILE_LIMIT_S
    assert seen.fallen_back == ()
    assert list(tmp_path.iterdir()) == []


def test_feeds_that_do_not_fit_are_told_in_words_and_leave_no_file(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(CandidateError, match=r"model\.onnx can't be profiled"):
        placement.profile(str(model), Setting(Spec("cpu")), iter([{"x": np.zeros((1, 3), np.float32)}]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("release", "told"), [("1.27.0", {}), ("1.31.1", {CPU: 3}), ("1.40", {CPU: 3})])
def test_the_record_of_old_releases_is_not_believed(
    model: Path, release: str, told: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = onnxruntime.InferenceSession(str(model), options, providers=[CPU])
    monkeypatch.setattr(onnxruntime, "__version__", release)
    assert placement.assigned(session) == told
