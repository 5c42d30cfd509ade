"""ONNX files that methods are tried on, written by hand.

`written` takes nodes in ONNX's own text syntax (https://onnx.ai/onnx/repo-docs/Syntax.html) and weights as arrays:

    written(path, "(float[N,4] x) => (float[N,2] y) { y = MatMul(x, w) }", {"w": weights})
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from costopt.methods import Arrays

Inputs = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Held:
    """Calibration data that is held in memory."""

    arrays: Arrays

    @property
    def samples(self) -> int:
        return len(next(iter(self.arrays.values())))

    def batches(self, size: int, limit: int | None = None) -> Iterator[Arrays]:
        end = self.samples if limit is None else min(limit, self.samples)
        for start in range(0, end, size):
            yield {name: array[start : min(start + size, end)] for name, array in self.arrays.items()}


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Standard normal float32."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def written(
    path: Path,
    text: str,
    weights: Mapping[str, NDArray[np.generic]],
    opset: int = 20,
    domains: tuple[str, ...] = (),
) -> Path:
    """A graph of one's own, checked by onnx."""
    extra = "".join(f', "{domain}" : 1' for domain in domains)
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}{extra}]> graph {text}')
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def run(path: Path, inputs: Inputs) -> list[NDArray[np.float64]]:
    """What ONNX Runtime's CPU provider gives."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs: list[NDArray[np.float64]] = session.run(None, inputs)
    return outputs


def relative_error(path: Path, reference: Path, inputs: Inputs) -> float:
    """The largest |a - b| / |b| (Euclidean norms) over the outputs."""
    pairs = zip(run(path, inputs), run(reference, inputs), strict=True)
    return max(float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)) for ours, theirs in pairs)


def operators(path: Path) -> set[str]:
    """The types of the graph's nodes."""
    return {node.op_type for node in onnx.load(path).graph.node}


def weights_of(path: Path) -> dict[str, NDArray[np.generic]]:
    """The initializers by name."""
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def save_mlp(path: Path) -> Path:
    """Three layers, (batch, 32) to (batch, 4), as torch's exporter writes them."""
    text = """(float[batch,32] x) => (float[batch,4] y) {
        a = Gemm<transB=1>(x, w1, b1)   b = Relu(a)
        c = Gemm<transB=1>(b, w2, b2)   d = Relu(c)
        y = Gemm<transB=1>(d, w3, b3)
    }"""
    widths = (32, 256, 256, 4)
    weights: dict[str, NDArray[np.float32]] = {}
    for layer, (inside, outside) in enumerate(pairwise(widths), 1):
        weights[f"w{layer}"] = normal(outside, inside, seed=layer) / np.sqrt(inside, dtype=np.float32)
        weights[f"b{layer}"] = normal(outside, seed=10 + layer)
    return written(path, text, weights)


BAG_OF_WORDS = """(int64[N,S] ids, int64[N,S] attention_mask) => (float[N,32] y) {
    seen = Cast<to=1>(attention_mask)   axes = Constant<value_ints=[2]>()   column = Unsqueeze(seen, axes)
    x = Gather(table, ids)   h = MatMul(x, w)   kept = Mul(h, column)
    over = Constant<value_ints=[1]>()   y = ReduceSum<keepdims=0>(kept, over)
}"""
"""It counts what the mask lets through."""

WORDS = 9


def word_weights() -> dict[str, NDArray[np.float32]]:
    """The table and the product of a bag of words."""
    return {"table": normal(WORDS, 32), "w": normal(32, 32, seed=1)}


def save_padded(path: Path) -> Path:
    """A bag of words, (batch, places) to (batch, 32)."""
    return written(path, BAG_OF_WORDS, word_weights())


def padded(*lengths: int, places: int = 8) -> Arrays:
    """Sentences of these lengths, filled up on the right by the word 5, which a model can tell from no other."""
    mask = (np.arange(places) < np.array(lengths)[:, None]).astype(np.int64)
    words = np.random.default_rng(0).integers(1, WORDS, mask.shape)
    return {"ids": np.where(mask == 1, words, 5), "attention_mask": mask}


def sentences(batch: int) -> Arrays:
    """So many sentences of one to eight words."""
    return padded(*(1 + place % 8 for place in range(batch)))


def save_lstm(path: Path) -> Path:
    """Sequences (batch, 7, 24) to logits (batch, 5) of the last step.

    The weights pass through `Transpose` and `Concat` first, as torch's exporter lets them, in another way, pass through
    `Slice` and `Concat`.
    """
    text = """(float[batch,7,24] x) => (float[batch,5] y) {
        steps = Transpose<perm=[1,0,2]>(x)
        w = Concat<axis=1>(wi, wofc)   r_moved = Transpose<perm=[0,2,1]>(r)
        all, last, cell = LSTM<hidden_size=64>(steps, w, r_moved, b)
        hidden = Squeeze(last, first)
        y = Gemm(hidden, head, bias)
    }"""
    shapes = {"wi": (1, 64, 24), "wofc": (1, 192, 24), "r": (1, 64, 256), "b": (1, 512), "head": (64, 5), "bias": (5,)}
    weights = {name: normal(*shape, seed=seed) * np.float32(0.1) for seed, (name, shape) in enumerate(shapes.items())}
    return written(path, text, {**weights, "first": np.array([0])})


def save_two(path: Path) -> Path:
    """left + scale * right and left * right, without a product of matrices."""
    text = """(float[batch,4] left, float[batch,4] right) => (float[batch,4] sum, float[batch,4] product) {
        scaled = Mul(scale, right)   sum = Add(left, scaled)   product = Mul(left, right)
    }"""
    return written(path, text, {"scale": np.array([1, 2, 3, 4], np.float32)})


def save_trees(path: Path) -> Path:
    """Two regression trees of three leaves, as scikit-learn's converter writes them: no tensor, no arithmetic."""
    node = onnx.helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[0] * 5 + [1] * 5,
        nodes_nodeids=[0, 1, 2, 3, 4] * 2,
        nodes_featureids=[0, 0, 1, 0, 0, 2, 0, 3, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF"] * 2,
        nodes_values=[0.0, 0.0, 0.5, 0.0, 0.0, -0.2, 0.0, 0.1, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 3, 0, 0] * 2,
        nodes_falsenodeids=[2, 0, 4, 0, 0] * 2,
        target_treeids=[0, 0, 0, 1, 1, 1],
        target_nodeids=[1, 3, 4] * 2,
        target_ids=[0] * 6,
        target_weights=[0.5, -1.0, 2.0, 0.25, 1.5, -0.5],
    )
    value = onnx.helper.make_tensor_value_info
    sizes = (value("x", onnx.TensorProto.FLOAT, ["batch", 4]), value("y", onnx.TensorProto.FLOAT, ["batch", 1]))
    graph = onnx.helper.make_graph([node], "trees", [sizes[0]], [sizes[1]])
    opsets = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path
