"""Train the Fashion-MNIST example model and save it with the data its budget needs.

The idea: a small residual CNN, trained on two idle CPU cores in about a quarter of an
hour, is a realistic subject for compression. It is accurate enough for a loss of one
percentage point to matter, and it has convolutions, BatchNorm and skip connections to
work on.

Three files land in the output folder:

* ``model.pt2``: the trained network, exported in eval mode with a dynamic batch.
  Its input ``image`` holds pixels in [0, 1]; the normalisation is part of the model.
* ``calibration.npz``: 512 training images without labels, to calibrate quantisation.
* ``evaluation.npz``: the first 4,000 test images with labels, to measure accuracy.

The test images take no part in training, and no checkpoint is chosen by them: the
model saved is the one after the last epoch.
"""

import argparse
import gzip
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
CLASSES = 10
SIDE = 28
PIXEL_MEAN, PIXEL_STD = 0.2860, 0.3530

BATCH = 128
PEAK_LEARNING_RATE = 0.2
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
LABEL_SMOOTHING = 0.1
MAX_SHIFT = 2

CALIBRATION_IMAGES = 512
EVALUATION_IMAGES = 4000


@dataclass(frozen=True)
class LabelledImages:
    """Images as float32 [n, 1, 28, 28] in [0, 1] and their classes as int64 [n]."""

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)


# --- Data ---------------------------------------------------------------------------


def read_idx(path: Path, header_bytes: int) -> Tensor:
    """Read the bytes that follow the header of a gzipped IDX file."""
    content = gzip.decompress(path.read_bytes())
    values = np.frombuffer(content, dtype=np.uint8, offset=header_bytes)
    return torch.from_numpy(values.copy())


def load_split(folder: Path, prefix: str) -> LabelledImages:
    """Load the split named ``train`` or ``t10k``."""
    pixels = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz", header_bytes=16)
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", header_bytes=8)
    return LabelledImages(
        images=pixels.reshape(-1, 1, SIDE, SIDE).float() / 255,
        targets=labels.long(),
    )


def flip_some(images: Tensor) -> Tensor:
    """Mirror each image left to right with probability one half."""
    mirrored = torch.randint(2, (len(images), 1, 1, 1)).bool()
    return torch.where(mirrored, images.flip(-1), images)


def shift_each(images: Tensor) -> Tensor:
    """Move each image by up to MAX_SHIFT pixels on each axis, filling with black."""
    count = len(images)
    padded = functional.pad(images, [MAX_SHIFT] * 4)
    starts = torch.randint(2 * MAX_SHIFT + 1, (2, count, 1))
    rows, columns = starts + torch.arange(SIDE)
    which = torch.arange(count)[:, None, None]
    return padded[which, 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


def augmented_batches(data: LabelledImages) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one epoch of shuffled, augmented batches, all of the same size."""
    order = torch.randperm(len(data))
    for start in range(0, len(data) - BATCH + 1, BATCH):
        chosen = order[start : start + BATCH]
        yield shift_each(flip_some(data.images[chosen])), data.targets[chosen]


# --- Model --------------------------------------------------------------------------


def convolution(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Build a convolution that keeps the size at stride 1, followed by BatchNorm."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions added to their input, which is projected if it must be."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.first = convolution(channels_in, channels_out, kernel=3, stride=stride)
        self.second = convolution(channels_out, channels_out, kernel=3)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = convolution(channels_in, channels_out, kernel=1, stride=stride)

    def forward(self, features: Tensor) -> Tensor:
        changed = self.second(functional.relu(self.first(features)))
        return functional.relu(changed + self.shortcut(features))


class FashionClassifier(nn.Module):
    """A residual CNN from pixels in [0, 1] to one logit for each class."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = convolution(1, 32, kernel=3)
        self.blocks = nn.Sequential(
            ResidualBlock(32, 32, stride=1),
            ResidualBlock(32, 64, stride=2),
            ResidualBlock(64, 128, stride=2),
        )
        self.head = nn.Linear(128, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        normalised = (image - PIXEL_MEAN) / PIXEL_STD
        features = self.blocks(functional.relu(self.stem(normalised)))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


# --- Training -----------------------------------------------------------------------


def batch_loss(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Compute the loss; bfloat16 and channels-last make a recent CPU twice as fast."""
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(images)
    return functional.cross_entropy(logits.float(), targets, label_smoothing=LABEL_SMOOTHING)


def train(model: nn.Module, data: LabelledImages, epochs: int) -> None:
    """Fit the model by SGD with a one-cycle learning rate."""
    model.train()
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=PEAK_LEARNING_RATE,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
        nesterov=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=epochs * (len(data) // BATCH)
    )
    for epoch in range(1, epochs + 1):
        started = time.monotonic()
        loss = train_one_epoch(model, data, optimizer, schedule)
        seconds = time.monotonic() - started
        print(f"epoch {epoch}/{epochs}: loss {loss:.4f}, {seconds:.0f} s", flush=True)


def train_one_epoch(
    model: nn.Module,
    data: LabelledImages,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> float:
    """Pass over the training data once and return the mean loss."""
    losses = []
    for images, targets in augmented_batches(data):
        loss = batch_loss(model, images, targets)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


@torch.inference_mode()
def count_correct(model: nn.Module, data: LabelledImages) -> int:
    """Count the images whose highest logit is the right class."""
    predicted = torch.cat([model(part).argmax(1) for part in data.images.chunk(20)])
    return int((predicted == data.targets).sum())


# --- Saving -------------------------------------------------------------------------


def rename_output(program: ExportedProgram, name: str) -> None:
    """Give the only output a name that says what it is."""
    (output,) = program.graph.output_node().all_input_nodes
    program.graph_signature.replace_all_uses(output.name, name)
    output.name = name


def forget_stack_traces(program: ExportedProgram) -> None:
    """Drop the lines of code behind each node: they hold file paths of this machine."""
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)


def export_model(model: nn.Module, image: Tensor) -> ExportedProgram:
    """Export in eval mode for any batch size.

    The file keeps the whole storage behind its example input, so a slice of the data
    set would drag the data set along: the clone has a storage of its own.
    """
    model.eval()
    batch = Dim("batch", min=1)
    program = torch.export.export(model, (image[:2].clone(),), dynamic_shapes={"image": {0: batch}})
    rename_output(program, "logits")
    forget_stack_traces(program)
    return program


def save_calibration(path: Path, training: LabelledImages) -> None:
    """Save a random sample of the training images, unlabelled."""
    chosen = torch.randperm(len(training))[:CALIBRATION_IMAGES]
    np.savez_compressed(path, image=training.images[chosen].numpy())


def save_evaluation(path: Path, test: LabelledImages) -> None:
    """Save the first test images and their labels."""
    np.savez_compressed(
        path,
        image=test.images[:EVALUATION_IMAGES].numpy(),
        target=test.targets[:EVALUATION_IMAGES].numpy(),
    )


def save_example(folder: Path, model: nn.Module, training: LabelledImages, test: LabelledImages) -> None:
    """Write the three files of the example."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.export.save(export_model(model, training.images), folder / "model.pt2")
    save_calibration(folder / "calibration.npz", training)
    save_evaluation(folder / "evaluation.npz", test)


# --- Command line -------------------------------------------------------------------


def report_accuracy(model: nn.Module, test: LabelledImages) -> None:
    """Print top-1 on all test images and on those that are saved."""
    saved = LabelledImages(test.images[:EVALUATION_IMAGES], test.targets[:EVALUATION_IMAGES])
    for title, part in (("all test images", test), ("evaluation.npz", saved)):
        correct = count_correct(model, part)
        print(f"top-1 on {title}: {correct}/{len(part)} = {correct / len(part):.4f}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the Fashion-MNIST example and save its three files.")
    parser.add_argument(
        "--data",
        type=Path,
        default=DEBIAN_FOLDER,
        help="folder of the four gzipped IDX files (default: %(default)s, "
        "where Debian's package dataset-fashion-mnist puts them)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parent,
        help="folder to write to (default: the folder of this script)",
    )
    parser.add_argument("--epochs", type=int, default=12, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.manual_seed(arguments.seed)
    training = load_split(arguments.data, "train")
    test = load_split(arguments.data, "t10k")
    model = FashionClassifier()
    print(f"parameters: {sum(each.numel() for each in model.parameters())}")
    train(model, training, arguments.epochs)
    save_example(arguments.out, model, training, test)
    report_accuracy(model, test)


if __name__ == "__main__":
    main()
