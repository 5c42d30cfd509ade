"""What every provider must do, by listing the folder: say why it is not here, or compute what the CPU provider does."""

from pathlib import Path

import numpy as np
import pytest

from costopt import bench, plugins, session
from costopt.feeds import ArrayFile
from costopt.matching import Input
from costopt.providers import Provider
from costopt.records import Candidate, Spec
from costopt.samples import Samples
from costopt.worker import Child
from tests import models

# OpenVINO computes float32 models in bfloat16 (unit roundoff 3.9e-3) where the CPU has instructions for it.
TOLERANCE = 0.05


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
    models.save_onnx(models.small_cnn(), folder / "model.onnx")
    np.save(folder / "image.npy", models.cnn_arrays(8)["image"])
    return folder


def samples(folder: Path) -> Samples:
    shape, offset = (8, 1, models.CNN_SIDE, models.CNN_SIDE), 128
    array = ArrayFile("image", str(folder / "image.npy"), offset, shape, "float32")
    return Samples((Input("image", "float32", shape[1:], (array,)),))


def test_the_cpu_provider_is_never_missing() -> None:
    assert provider("cpu").missing() is None


@pytest.mark.parametrize("name", plugins.names("providers"))
def test_a_provider_that_is_missing_says_what_to_do(name: str) -> None:
    reason = provider(name).missing()
    assert reason is None or len(reason) > 20


@pytest.mark.parametrize("name", plugins.names("providers"))
def test_a_provider_takes_nodes_and_serves_real_inputs(name: str, folder: Path) -> None:
    here(name)
    with Child("bench", folder / f"{name}.log") as child:
        service = bench.serve(child, str(folder / "model.onnx"), Candidate((), name, 2, 2), samples(folder))
        assert service.nodes[provider(name).runtime_name] > 0
        assert service.call_s > 0
        memory = child.ask(session.peak_memory, {}, 30)["bytes"]
    assert 0 < memory < 2 << 30


@pytest.mark.parametrize("name", plugins.names("providers"))
def test_a_provider_computes_what_the_model_does(name: str, folder: Path) -> None:
    here(name)
    reference = models.small_cnn()(*models.tensors(models.cnn_arrays(8))).detach().numpy()
    np.save(folder / "logits.npy", reference)
    logits = ArrayFile("logits", str(folder / "logits.npy"), 128, reference.shape, "float32")
    original = Samples((Input("logits", "float32", reference.shape[1:], (logits,)),))
    with Child("bench", folder / f"{name}.log") as child:
        bench.serve(child, str(folder / "model.onnx"), Candidate((), name, 3, 1), samples(folder))
        request = {"metric": "mae", "options": {}, "reference": original.to_json()}
        facts = np.array(child.ask(session.score, request, 60)["facts"])
    assert facts.shape[0] == 8
    assert facts[:, 0].max() <= TOLERANCE * np.abs(reference).max()
