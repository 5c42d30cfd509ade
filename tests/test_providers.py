"""What every provider must do, by listing the folder: say why it is not here, or compute what the CPU provider does."""

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from costopt import plugins, providers
from costopt.errors import CandidateError
from costopt.feeds import ArrayFile
from costopt.measuring import bench, session
from costopt.measuring.bench import Subject
from costopt.providers import Build, Plugin, Provider, opened
from costopt.providers.cuda import Cuda
from costopt.providers.openvino import Openvino
from costopt.records import Setting, Spec
from costopt.sampling.matching import Input
from costopt.sampling.samples import Samples
from costopt.worker import Child
from tests import models

pytestmark = pytest.mark.alone

# OpenVINO computes float32 models in bfloat16 (unit roundoff 3.9e-3) where the CPU has instructions for it.
TOLERANCE = 0.05

ALL = plugins.names("providers")


def provider(name: str) -> Provider:
    return plugins.make("providers", Spec(name), Provider)


def here(name: str) -> None:
    """Skip the test, with the reason, where a provider can't work."""
    reason = provider(name).missing()
    if reason is not None:
        pytest.skip(f"{name}: {reason}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("providers")
    models.save_once(models.small_cnn, folder / "model.onnx")
    np.save(folder / "image.npy", models.cnn_arrays(8)["image"])
    return folder


def subject(folder: Path, name: str, batch: int, threads: int) -> Subject:
    shape, offset = (8, 1, models.CNN_SIDE, models.CNN_SIDE), 128
    array = ArrayFile("image", str(folder / "image.npy"), offset, shape, "float32")
    samples = Samples((Input("image", "float32", shape[1:], (array,)),))
    return Subject(str(folder / "model.onnx"), Setting(Spec(name), batch, threads), samples)


# ---------------------------------------------------------------------------------------- every provider


@pytest.mark.parametrize("name", ALL)
def test_a_provider_that_is_missing_says_what_to_do(name: str) -> None:
    reason = provider(name).missing()
    if reason is not None:
        assert any(remedy in reason for remedy in ("pip install", "runs on", "it needs", "build ONNX Runtime"))
        assert len(reason) < 400


@pytest.mark.parametrize("name", ALL)
def test_a_provider_takes_nodes_serves_real_inputs_and_computes_what_the_model_does(name: str, folder: Path) -> None:
    here(name)
    reference = models.small_cnn()(*models.tensors(models.cnn_arrays(8))).detach().numpy()
    np.save(folder / "logits.npy", reference)
    logits = ArrayFile("logits", str(folder / "logits.npy"), 128, reference.shape, "float32")
    original = Samples((Input("logits", "float32", reference.shape[1:], (logits,)),))
    with Child("bench", folder / f"{name}.log") as child:
        service = bench.serve(child, subject(folder, name, batch=3, threads=2))
        request = {"metric": "mae", "options": {}, "reference": original.to_json(), "places": None}
        facts = np.array(child.ask(session.score, request, 60)["facts"])
    assert service.nodes.get(provider(name).runtime_name, 0) > 0 or not service.nodes
    assert service.call_s > 0
    assert facts.shape[0] == 8
    assert facts[:, 0].max() <= TOLERANCE * np.abs(reference).max()


@pytest.mark.parametrize("name", ALL)
def test_its_options_are_words_and_numbers_that_onnx_runtime_reads(name: str) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    wish = provider(name).configure(options)
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in wish.options.items())


def test_a_session_is_opened_in_the_threads_and_precision_asked_for() -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    wish = Openvino(inference_precision="f32").configure(options)
    assert wish.options == {"load_config": '{"CPU": {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "2"}}'}
    assert wish.device == "CPU"
    assert Openvino().configure(onnxruntime.SessionOptions()).options == {}


def test_listing_and_looking_at_all_providers_imports_none_of_their_packages() -> None:
    script = (
        "import sys; from costopt import plugins; from costopt.providers import Provider\n"
        f"for name in {ALL!r}: plugins.find('providers', name, Provider)\n"
        "print(sorted(name for name in sys.modules if name.startswith(('onnx', 'torch'))))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


# ---------------------------------------------------------------------------------------- why it is missing


def test_the_cpu_provider_is_never_missing() -> None:
    assert provider("cpu").missing() is None


def test_another_operating_system_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    assert provider("directml").missing() == "it runs on Windows only; this is Linux"
    assert provider("coreml").missing() == "it runs on macOS only; this is Linux"


def test_an_emulator_of_the_device_does_not_count_as_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    reason = provider("qnn").missing()
    assert reason is not None
    assert reason.startswith("it needs a Qualcomm Snapdragon")
    assert reason.endswith("this is x86_64")


def test_a_build_that_is_not_installed_says_that_the_builds_overwrite_one_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(providers, "_built_in", lambda: ("CPUExecutionProvider",))
    monkeypatch.setattr(providers, "installed_builds", lambda: ("onnxruntime", "onnxruntime-directml"))
    assert provider("cuda").missing() == (
        "not installed: pip uninstall onnxruntime onnxruntime-directml, then pip install onnxruntime-gpu (packages "
        "with an ONNX Runtime of their own overwrite one another); it also needs an NVIDIA GPU, CUDA and cuDNN: "
        "pip install 'onnxruntime-gpu[cuda,cudnn]' brings the latter two"
    )


def test_the_plug_in_is_named_before_the_build_because_it_disturbs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Build, "has", lambda *_: False)
    monkeypatch.setattr(Plugin, "has", lambda *_: False)
    reason = provider("openvino").missing()
    assert reason is not None
    assert reason.startswith("not installed: pip install onnxruntime-ep-openvino, or pip uninstall onnxruntime")


# Written by onnxruntime-gpu 1.31.1, onnxruntime-webgpu 1.27.0 and onnxruntime-qnn 2.7.0 on a machine without their
# devices, 2026-11-22; shortened.
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "[1;31m2026-11-22 06:00:51 [E:onnxruntime:Default, provider_bridge_ort.cc:2458 operator()] "
            "/onnxruntime_src/provider_bridge_ort.cc:2043 onnxruntime::Provider& onnxruntime::ProviderLibrary::Get() "
            "[ONNXRuntimeError] : 1 : FAIL : Failed to load library /x/libonnxruntime_providers_cuda.so with error: "
            "libcublasLt.so.13: cannot open shared object file: No such file or directory\n[m\n"
            "costopt.errors.CandidateError: ONNX Runtime could not create CUDAExecutionProvider: its log says why\n",
            "libcublasLt.so.13: cannot open shared object file: No such file or directory",
        ),
        (
            "Traceback (most recent call last):\n  sess.initialize_session(providers, provider_options)\n"
            "RuntimeError: /onnxruntime_src/webgpu_context.cc:65 onnxruntime::webgpu::WebGpuContext::Initialize(const "
            "onnxruntime::webgpu::WebGpuContextConfig&)::<lambda()> status == wgpu::RequestAdapterStatus::Success was "
            "false. Failed to get a WebGPU adapter: No supported adapters\n\n",
            "Failed to get a WebGPU adapter: No supported adapters",
        ),
        (
            "RuntimeError: /onnxruntime_src/ep_plugin_provider_interfaces.cc:71 CreateProvider(const OrtLogger&) Error "
            "creating execution provider: [ONNXRuntimeError] : 1 : FAIL : Could not determine default backend path for "
            "device\n\n",
            "Could not determine default backend path for device",
        ),
        ("", "its process ended with code -11"),
    ],
)
def test_the_cause_is_found_in_what_onnx_runtime_says(said: str, reason: str) -> None:
    assert providers._reason(said, -11) == reason


# ---------------------------------------------------------------------------------------- opening


class Absent(Cuda):
    """CUDA as in a build that lists it on a machine where it can't be created: the session comes without it."""

    def attach(self, options: onnxruntime.SessionOptions) -> providers.Named:  # noqa: ARG002 - what ORT makes of it
        return ["CPUExecutionProvider"]


def test_a_session_that_came_without_its_provider_is_refused(folder: Path) -> None:
    with pytest.raises(CandidateError, match="could not create CUDAExecutionProvider"):
        opened(str(folder / "model.onnx"), onnxruntime.SessionOptions(), Absent())


def test_attaching_a_provider_that_is_not_installed_says_how_to_get_it() -> None:
    with pytest.raises(CandidateError, match="XnnpackExecutionProvider is not installed: no package has it"):
        provider("xnnpack").attach(onnxruntime.SessionOptions())


def test_the_trial_passes_for_a_provider_that_takes_a_product_and_names_the_cause_for_one_that_does_not() -> None:
    providers.try_out(provider("cpu"))
    reason = providers._trial(provider("xnnpack"))
    assert reason is not None
    assert reason.startswith("XnnpackExecutionProvider is not installed")


def test_two_sessions_of_one_process_get_the_same_provider() -> None:
    here("openvino")
    for _ in range(3):
        providers.try_out(provider("openvino"))
