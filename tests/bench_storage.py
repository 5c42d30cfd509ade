"""How small two networks can be stored: `python -m tests.bench --only storage`, about ten minutes.

LeNet-300-100 and LeNet-5 (Caffe's, as in Deep Compression, Han et al., arXiv:1510.00149) are trained on Fashion-MNIST
with labels. From then on there are none: the 60,000 training images alone are what the methods learn by. After each
method of the recipe: the bytes of its `.costz`, and the top-1 on the 10,000 test images, as ONNX Runtime computes it on
the ONNX file, beside the original's on the same images.
"""

import gzip
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import fx, nn

from costopt import export, plugins, stats, units
from costopt.formats import Modules
from costopt.methods import TorchMethod
from costopt.packing import costz
from costopt.records import Spec
from costopt.verdict import Interval
from tests.torch_patients import context_of, graph_of, specs_of

FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts the images (Xiao et al., arXiv:1708.07747)."""

IMAGES_HEADER_BYTES, LABELS_HEADER_BYTES = 16, 8
BATCH = 128
CONFIDENCE = 0.95
SEED = 0

Images = NDArray[np.float32]


def lenet_300_100() -> nn.Module:
    """A perceptron: 266,610 parameters."""
    layers = (nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
    return nn.Sequential(nn.Flatten(), *layers)


def lenet_5() -> nn.Module:
    """Caffe's: 431,080 parameters."""
    convolutions = (nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2))
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10))


@dataclass(frozen=True)
class Case:
    """A network, how it is trained, and what is done to it."""

    make: Callable[[], nn.Module]
    epochs: int
    peak_rate: float
    recipe: tuple[Spec, ...]


def recipe(shares: tuple[float, ...], steps: int, bits: int) -> tuple[Spec, ...]:
    """Prune and learn in turns, then share the values that are left; on the images as they are, for there are many."""
    learn = Spec("distill", {"steps": steps, "augment": "none"})
    pruned = (spec for share in shares for spec in (Spec("prune_weights", {"share": share}), learn))
    return (*pruned, Spec("cluster_weights", {"bits": bits, "steps": steps, "augment": "none"}))


CASES: Mapping[str, Case] = {
    "LeNet-300-100": Case(lenet_300_100, 15, 0.1, recipe((0.8, 0.9, 0.94), 2000, 4)),
    "LeNet-5": Case(lenet_5, 5, 0.05, recipe((0.85, 0.94), 1000, 4)),
}

# ---------------------------------------------------------------------------------------- data and originals


def images(split: str) -> Images:
    """(samples, 1, 28, 28), from 0 to 1; `split` is train or t10k."""
    pixels = _idx(f"{split}-images-idx3-ubyte.gz", IMAGES_HEADER_BYTES).reshape(-1, 1, 28, 28)
    return pixels.astype(np.float32) / np.float32(255)


def labels(split: str) -> NDArray[np.int64]:
    """(samples,)."""
    return _idx(f"{split}-labels-idx1-ubyte.gz", LABELS_HEADER_BYTES).astype(np.int64)


def _idx(name: str, header_bytes: int) -> NDArray[np.uint8]:
    return np.frombuffer(gzip.decompress((FOLDER / name).read_bytes()), np.uint8, offset=header_bytes)


def trained(case: Case) -> nn.Module:
    """The original, by stochastic gradient descent on the labels; the test images take no part."""
    torch.manual_seed(SEED)
    model, data, wanted = case.make(), torch.from_numpy(images("train")), torch.from_numpy(labels("train"))
    turns = len(data) // BATCH
    optimiser = torch.optim.SGD(model.parameters(), case.peak_rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, case.peak_rate, total_steps=case.epochs * turns)
    for _ in range(case.epochs):
        for chosen in torch.randperm(len(data))[: turns * BATCH].view(turns, BATCH):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(data[chosen]), wanted[chosen]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rate.step()
    return model.eval()


# ---------------------------------------------------------------------------------------- what each step leaves


@dataclass(frozen=True)
class Stored:
    """A model on disk, and which test images it gets right."""

    onnx_bytes: int
    packed_bytes: int
    right: NDArray[np.bool_]


def stored(module: fx.GraphModule, folder: Path) -> Stored:
    """Export, pack, and try the ONNX file on the test images."""
    arrays = {"input": images("t10k")}
    file, packed = folder / "model.onnx", folder / "model.costz"
    export.export_original(Modules(module, ("input",)), specs_of(arrays), {"input": arrays["input"][:2]}, file, 20)
    packed_bytes = costz.pack(file, packed)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    scores = [session.run(None, {"input": batch})[0] for batch in np.split(arrays["input"], 10)]
    return Stored(file.stat().st_size, packed_bytes, np.concatenate(scores).argmax(1) == labels("t10k"))


def drop(original: Stored, now: Stored) -> Interval:
    """How much top-1 lies below the original's, with the interval over pairs."""
    lost, gained = int(np.sum(original.right & ~now.right)), int(np.sum(now.right & ~original.right))
    return stats.score_drop(lost, gained, len(now.right), CONFIDENCE)


def line(what: str, original: Stored, now: Stored) -> str:
    """One step in words."""
    apart = drop(original, now)
    return (
        f"{what}: {now.packed_bytes:,} bytes, {original.onnx_bytes / now.packed_bytes:.1f}x smaller than the float32 "
        f"ONNX file; top-1 {100 * now.right.mean():.2f} %, drop {100 * apart.value:.2f} points "
        f"({100 * apart.low:.2f} to {100 * apart.high:.2f})"
    )


def steps(name: str, case: Case, folder: Path) -> Iterator[str]:
    """The original, then each step of the recipe."""
    module = graph_of(trained(case), {"input": images("train")[:2]})
    context = context_of(module, {"input": images("train")}, SEED)
    original = stored(module, folder)
    yield line(f"{name}, {units.bytes(original.onnx_bytes)} of ONNX", original, original)
    for spec in case.recipe:
        module = plugins.make("methods", spec, TorchMethod)(module, context)
        yield line(f"{name}, {spec}", original, stored(module, folder))


def main() -> None:
    """Print the table."""
    if not FOLDER.is_dir():
        print(f"storage: no images in {FOLDER}: install Debian's package dataset-fashion-mnist")
        return
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            for step in steps(name, case, Path(folder)):
                print(step, flush=True)


if __name__ == "__main__":
    main()
