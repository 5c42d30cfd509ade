"""Metrics: right against formulas written another way, honest about bad labels, and alike in their manners."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from costopt import plugins
from costopt.classes import IGNORED
from costopt.errors import DataError, UsageError
from costopt.metrics import Metric
from costopt.metrics import perplexity as perplexity_module
from costopt.metrics.agreement import Agreement
from costopt.metrics.cosine import Cosine
from costopt.metrics.f1 import F1
from costopt.metrics.mae import Mae
from costopt.metrics.mse import Mse
from costopt.metrics.own import Own
from costopt.metrics.perplexity import Perplexity
from costopt.metrics.precision import Precision
from costopt.metrics.recall import Recall
from costopt.metrics.relative_error import RelativeError
from costopt.metrics.top1 import Top1
from costopt.metrics.top5 import Top5
from costopt.records import Spec

Array = NDArray[np.generic]

SAMPLES, CLASSES, TOKENS = 40, 7, 5


# ------------------------------------------------------------------ what every metric in the folder must do


@dataclass(frozen=True)
class Problem:
    """A task: outputs that are right, outputs that are not, and what they are held against."""

    perfect: dict[str, Array]
    worse: dict[str, Array]
    targets: dict[str, Array]

    def part(self, start: int, stop: int) -> "Problem":
        cut = ({name: one[start:stop] for name, one in arrays.items()} for arrays in self._all())
        return Problem(*cut)

    def _all(self) -> tuple[dict[str, Array], ...]:
        return self.perfect, self.worse, self.targets


def problems() -> dict[str, Problem]:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, SAMPLES)
    words = generator.integers(0, CLASSES, (SAMPLES, TOKENS))
    values = generator.standard_normal((SAMPLES, 3))
    classes = Problem(one_hot(labels), noisy(one_hot(labels)), {"target": labels})
    language = Problem(one_hot(words), noisy(one_hot(words)), {"target": words})
    regression = Problem({"y": values}, noisy({"y": values}), {"target": values})
    original = Problem(one_hot(labels), noisy(one_hot(labels)), one_hot(labels))
    return {"classes": classes, "language": language, "regression": regression, "original": original}


def one_hot(labels: NDArray[np.int64]) -> dict[str, Array]:
    return {"logits": (60 * np.eye(CLASSES)[labels]).astype(np.float32)}


def noisy(outputs: Mapping[str, Array]) -> dict[str, Array]:
    generator = np.random.default_rng(1)
    return {name: one.astype(np.float64) + 60 * generator.standard_normal(one.shape) for name, one in outputs.items()}


def suited(metric: Metric) -> Problem:
    """The first problem that the metric takes: a new metric in the folder is tested without being named here."""
    for problem in problems().values():
        try:
            metric.facts(problem.perfect, problem.targets)
        except DataError:
            continue
        return problem
    raise AssertionError(f"no problem suits {metric}; add one to problems()")


every_metric = pytest.mark.parametrize(
    "metric",
    [plugins.make("metrics", Spec(name), Metric) for name in plugins.names("metrics") if name != "own"],
    ids=lambda metric: type(metric).__name__,
)


@every_metric
def test_a_perfect_output_scores_better_than_a_noisy_one(metric: Metric) -> None:
    problem = suited(metric)
    perfect = metric.value(metric.facts(problem.perfect, problem.targets))
    worse = metric.value(metric.facts(problem.worse, problem.targets))
    assert metric.drop(perfect, worse) > 0


@every_metric
def test_a_perfect_output_has_the_best_possible_value(metric: Metric) -> None:
    problem = suited(metric)
    best = 1.0 if metric.higher_is_better or isinstance(metric, Perplexity) else 0.0
    assert metric.value(metric.facts(problem.perfect, problem.targets)) == pytest.approx(best, abs=1e-12)


@every_metric
@given(cut=st.integers(1, SAMPLES - 1))
def test_batches_can_be_scored_one_by_one(metric: Metric, cut: int) -> None:
    problem = suited(metric)
    first, second = problem.part(0, cut), problem.part(cut, SAMPLES)
    parts = [metric.facts(part.worse, part.targets) for part in (first, second)]
    np.testing.assert_allclose(np.concatenate(parts), metric.facts(problem.worse, problem.targets), rtol=1e-12)


@every_metric
@given(order=st.permutations(range(SAMPLES)))
def test_the_order_of_samples_does_not_matter(metric: Metric, order: list[int]) -> None:
    problem = suited(metric)
    facts = metric.facts(problem.worse, problem.targets)
    assert metric.value(facts[order]) == pytest.approx(metric.value(facts), rel=1e-9)


@every_metric
def test_the_drop_to_itself_is_zero(metric: Metric) -> None:
    problem = suited(metric)
    value = metric.value(metric.facts(problem.worse, problem.targets))
    assert metric.drop(value, value) == 0


@every_metric
def test_rows_are_finite_and_one_a_sample(metric: Metric) -> None:
    problem = suited(metric)
    facts = metric.facts(problem.worse, problem.targets)
    assert facts.dtype == np.float64
    assert facts.ndim == 2
    assert len(facts) == SAMPLES
    assert np.isfinite(facts).all()


@every_metric
def test_nan_in_an_output_is_refused_with_its_sample(metric: Metric) -> None:
    problem = suited(metric)
    broken = {name: one.copy() for name, one in problem.perfect.items()}
    for one in broken.values():
        one[7] = np.nan
    with pytest.raises(DataError, match=r"NaN.*sample 7"):
        metric.facts(broken, problem.targets)


@every_metric
def test_an_unknown_output_is_answered_with_those_there_are(metric: Metric) -> None:
    problem = suited(metric)
    named = plugins.make("metrics", Spec(plugin_name(metric), {"output": "nothing"}), Metric)
    with pytest.raises(DataError, match=f"no output 'nothing'; it has {next(iter(problem.perfect))}"):
        named.facts(problem.perfect, problem.targets)


@every_metric
def test_an_output_of_text_is_refused(metric: Metric) -> None:
    problem = suited(metric)
    with pytest.raises(DataError, match="not numbers"):
        metric.facts({"logits": np.array(["cat"] * SAMPLES, dtype=object)}, problem.targets)


@every_metric
def test_only_rows_of_zero_and_one_ask_for_the_score_interval(metric: Metric) -> None:
    problem = suited(metric)
    facts = metric.facts(problem.worse, problem.targets)
    assert (metric.interval == "score") == (facts.shape[1] == 1 and set(np.unique(facts)) <= {0.0, 1.0})


@every_metric
def test_the_file_says_what_the_metric_is(metric: Metric) -> None:
    assert len(plugins.describe("metrics", plugin_name(metric))) > 20
    assert type(metric).__doc__


def plugin_name(metric: Metric) -> str:
    return type(metric).__module__.rpartition(".")[2]


# --------------------------------------------------------------------------------- against other formulas


def scores_and_labels(classes: int = CLASSES, samples: int = 200, seed: int = 3) -> tuple[Array, NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, samples)
    return (np.eye(classes)[labels] + generator.standard_normal((samples, classes))).astype(np.float32), labels


def test_top1_counts_the_samples_that_are_right() -> None:
    scores, labels = scores_and_labels()
    rows = zip(scores.tolist(), labels.tolist(), strict=True)
    right = [float(row.index(max(row)) == label) for row, label in rows]
    facts = Top1().facts({"logits": scores}, {"target": labels})
    assert facts[:, 0].tolist() == right
    assert Top1().value(facts) == pytest.approx(sum(right) / len(right))


def test_top5_agrees_with_torch_where_no_scores_are_equal() -> None:
    scores, labels = scores_and_labels(classes=20)
    best = torch.from_numpy(scores).topk(5, dim=1).indices
    expected = (best == torch.from_numpy(labels)[:, None]).any(dim=1)
    assert Top5().facts({"logits": scores}, {"target": labels})[:, 0].tolist() == expected.float().tolist()


def test_a_model_that_scores_all_classes_alike_is_right_for_five_classes_and_not_for_all() -> None:
    facts = Top5().facts({"logits": np.zeros((20, 20), np.float32)}, {"target": np.arange(20)})
    assert facts[:, 0].tolist() == [1.0] * 5 + [0.0] * 15


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_precision_recall_and_f1_agree_with_counting_by_hand(average: str) -> None:
    predicted = [0, 0, 1, 1, 1, 2, 5, 0, 5, 1]
    true = [0, 1, 1, 1, 0, 2, 2, 0, 0, 3]  # class 4 is nowhere, 3 never predicted, 5 never true
    by_class = [by_hand(predicted, true, one) for one in (0, 1, 2, 3, 5)]
    outputs, targets = {"label": np.array(predicted)}, {"target": np.array(true)}
    for position, name in enumerate(("precision", "recall", "f1")):
        metric = plugins.make("metrics", Spec(name, {"average": average}), Metric)
        mean = sum(one[position] for one in by_class) / len(by_class)
        accuracy = sum(one == other for one, other in zip(predicted, true, strict=True)) / len(true)
        expected = mean if average == "macro" else accuracy
        assert metric.value(metric.facts(outputs, targets)) == pytest.approx(expected), name


def by_hand(predicted: list[int], true: list[int], one: int) -> tuple[float, float, float]:
    pairs = list(zip(predicted, true, strict=True))
    both = sum(pair == (one, one) for pair in pairs)
    precision = both / predicted.count(one) if one in predicted else 0.0
    recall = both / true.count(one) if one in true else 0.0
    return precision, recall, 2 * precision * recall / (precision + recall) if both else 0.0


@given(st.lists(st.tuples(st.integers(-3, 6), st.integers(-3, 6)), min_size=1, max_size=60))
def test_micro_averages_are_the_accuracy(pairs: list[tuple[int, int]]) -> None:
    facts = np.array(pairs, dtype=np.float64)
    accuracy = float((facts[:, 0] == facts[:, 1]).mean())
    for metric in (F1(average="micro"), Precision(average="micro"), Recall(average="micro")):
        assert metric.value(facts) == pytest.approx(accuracy)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_swapping_predictions_and_truth_swaps_precision_and_recall(pairs: list[tuple[int, int]]) -> None:
    facts = np.array(pairs, dtype=np.float64)
    assert Precision().value(facts) == pytest.approx(Recall().value(facts[:, ::-1]))
    assert F1().value(facts) == pytest.approx(F1().value(facts[:, ::-1]))


def test_a_large_class_number_costs_no_square_of_memory() -> None:
    facts = np.array([[1_000_000, 1_000_000], [3, 4]], dtype=np.float64)
    assert F1().value(facts) == pytest.approx(1 / 3)


def test_errors_and_cosine_agree_with_torch() -> None:
    generator = np.random.default_rng(5)
    output, target = (generator.standard_normal((30, 4, 6)).astype(np.float32) for _ in range(2))
    flat, other = (torch.from_numpy(one).double().reshape(30, -1) for one in (output, target))
    expected = {
        Mse(): torch.nn.functional.mse_loss(flat, other),
        Mae(): torch.nn.functional.l1_loss(flat, other),
        Cosine(): torch.nn.functional.cosine_similarity(flat, other).mean(),
        RelativeError(): torch.linalg.matrix_norm(flat - other) / torch.linalg.matrix_norm(other),
    }
    for metric, value in expected.items():
        facts = metric.facts({"y": output}, {"target": target})
        assert metric.value(facts) == pytest.approx(value.item(), rel=1e-12), metric


@given(st.floats(1e-30, 1e30), st.integers(0, 1000))
def test_cosine_does_not_see_the_length_of_a_vector(length: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    output, target = generator.standard_normal((2, 8)), generator.standard_normal((2, 8))
    plain = Cosine().facts({"y": output}, {"target": target})
    np.testing.assert_allclose(Cosine().facts({"y": length * output}, {"target": target}), plain, atol=1e-12)


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=20))
def test_cosine_to_itself_is_exactly_one(values: list[float]) -> None:
    vector = {"y": np.array([values], dtype=np.float32)}
    assert Cosine().facts(vector, vector).tolist() == [[1.0]]


def test_a_vector_of_zeros_has_cosine_zero_to_anything_else() -> None:
    assert Cosine().facts({"y": np.zeros((1, 3))}, {"target": np.ones((1, 3))}).tolist() == [[0.0]]


def test_the_relative_error_to_zeros_is_zero_or_infinite() -> None:
    zeros, ones = {"y": np.zeros((2, 3))}, {"y": np.ones((2, 3))}
    metric = RelativeError()
    assert metric.value(metric.facts(zeros, zeros)) == 0
    assert metric.value(metric.facts(ones, zeros)) == math.inf


def test_perplexity_agrees_with_torch_cross_entropy() -> None:
    generator = np.random.default_rng(2)
    logits = (5 * generator.standard_normal((8, 6, 50))).astype(np.float32)
    target = generator.integers(0, 50, (8, 6))
    target[:, 4:] = IGNORED
    loss = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits).double().flatten(0, 1), torch.from_numpy(target).flatten()
    )
    metric = Perplexity()
    facts = metric.facts({"logits": logits}, {"target": target})
    assert metric.value(facts) == pytest.approx(math.exp(loss), rel=1e-9)
    assert facts[:, 1].tolist() == [4.0] * 8


def test_perplexity_survives_logits_whose_exponential_overflows() -> None:
    logits = np.full((1, 1, 3), 5000.0, np.float32)
    metric = Perplexity()
    assert metric.value(metric.facts({"logits": logits}, {"target": np.array([[1]])})) == pytest.approx(3)


def test_perplexity_does_not_depend_on_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problems()["language"]
    whole = Perplexity().facts(problem.worse, problem.targets)
    monkeypatch.setattr(perplexity_module, "CHUNK_ELEMENTS", 1)
    np.testing.assert_array_equal(Perplexity().facts(problem.worse, problem.targets), whole)


def test_a_perplexity_beyond_all_numbers_is_infinite() -> None:
    assert Perplexity().value(np.array([[1e6, 1.0]])) == math.inf


def test_agreement_counts_equal_choices_and_not_equal_scores() -> None:
    original = {"logits": np.array([[1.0, 2.0], [3.0, 1.0], [0.0, 5.0]])}
    candidate = {"logits": np.array([[10.0, 20.0], [1.0, 2.0], [0.0, 0.1]])}
    assert Agreement().facts(candidate, original).tolist() == [[1.0], [0.0], [1.0]]


# ---------------------------------------------------------------------------------- the shapes models give


def test_classes_may_lie_on_axis_one_as_in_segmentation() -> None:
    target = np.array([[[0, 1], [2, 2]], [[1, 1], [0, 0]]])
    scores = np.moveaxis(np.eye(3)[target], -1, 1)
    scores[1, :, 0, 0] = [1, 0, 0]
    assert Top1().facts({"map": scores}, {"target": target}).tolist() == [[1.0], [0.75]]


def test_classes_may_lie_on_the_last_axis_as_in_tagging() -> None:
    target = np.array([[0, 1, 2, 2], [1, 1, 0, IGNORED]])
    scores = np.eye(3)[np.array([[0, 1, 2, 0], [1, 1, 0, 2]])]
    assert Top1().facts({"tags": scores}, {"target": target}).tolist() == [[0.75], [1.0]]


def test_an_ignored_position_never_counts_as_right() -> None:
    tags = np.array([[1, IGNORED, 0], [1, 1, 1]])
    assert Top1().facts({"tags": tags}, {"target": np.array([[1, IGNORED, 1], [1, 1, 1]])}).tolist() == [[0.5], [1.0]]


def test_a_shape_that_leaves_the_class_axis_open_is_refused() -> None:
    with pytest.raises(DataError, match=r"\(2, 3, 3\).*axis 1 or on the last"):
        Top1().facts({"tags": np.zeros((2, 3, 3))}, {"target": np.zeros((2, 3), np.int64)})


@pytest.mark.parametrize("shape", [(4, 10, 1, 1), (4, 1, 10), (4, 10)])
def test_axes_of_length_one_are_no_obstacle(shape: tuple[int, ...]) -> None:
    scores = np.eye(10)[[1, 2, 3, 4]].reshape(shape)
    for target in (np.array([1, 2, 3, 5]), np.array([[1], [2], [3], [5]])):
        assert Top1().facts({"scores": scores}, {"target": target}).tolist() == [[1.0], [1.0], [1.0], [0.0]]


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_probability_a_sample_is_class_one_over_a_half(shape: tuple[int, ...]) -> None:
    probabilities = np.array([0.1, 0.6, 0.5, 1.0], np.float32).reshape(shape)
    assert Top1().facts({"p": probabilities}, {"target": np.array([0, 1, 1, 1])}).tolist() == [
        [1.0],
        [1.0],
        [0.0],
        [1.0],
    ]


def test_one_logit_a_sample_asks_for_a_threshold_and_works_with_it() -> None:
    logits, target = {"logit": np.array([-3.0, 0.2, 4.0])}, {"target": np.array([0, 1, 1])}
    with pytest.raises(DataError, match="from -3 to 4, so no probability;\nwrite `threshold: 0`"):
        Top1().facts(logits, target)
    assert Top1(threshold=0).facts(logits, target).tolist() == [[1.0]] * 3
    assert F1(threshold=0).value(F1(threshold=0).facts(logits, target)) == 1


def test_the_labels_that_scikit_learn_models_give_are_classes_already() -> None:
    outputs = {"label": np.array([3, 1, 2]), "probabilities": np.zeros((3, 4), np.float32)}
    target = {"target": np.array([3, 1, 1], np.int32)}
    assert Top1().facts(outputs, target).tolist() == [[1.0], [1.0], [0.0]]
    assert F1().facts(outputs, target).tolist() == [[3.0, 3.0], [1.0, 1.0], [2.0, 1.0]]


def test_another_output_can_be_named() -> None:
    outputs = {"hidden": np.zeros((2, 9)), "logits": np.eye(2)}
    assert Top1(output="logits").facts(outputs, {"target": np.array([0, 1])}).tolist() == [[1.0], [1.0]]


# ------------------------------------------------------------------------------------- what does not fit


@pytest.mark.parametrize("label", [10, -1])
@pytest.mark.parametrize("metric", [Top1(), Top5(), F1(), Precision(), Recall()], ids=lambda one: type(one).__name__)
def test_a_label_out_of_range_is_refused_with_its_sample(metric: Metric, label: int) -> None:
    target = np.array([0, 1, label, 3])
    with pytest.raises(DataError, match=rf"target {label} \(sample 2\) is out of range: .* 10 classes.* 0 to 9"):
        metric.facts({"logits": np.zeros((4, 10))}, {"target": target})


def test_a_token_out_of_the_vocabulary_is_refused() -> None:
    with pytest.raises(DataError, match=r"target 50 \(sample 1\) is out of range"):
        Perplexity().facts({"logits": np.zeros((2, 1, 50))}, {"target": np.array([[0], [50]])})


def test_labels_of_another_shape_are_refused_with_both_shapes() -> None:
    with pytest.raises(DataError, match=r"target has shape \(4, 3\) and the output \(4, 10\)"):
        Top1().facts({"logits": np.zeros((4, 10))}, {"target": np.zeros((4, 3), np.int64)})


def test_one_hot_labels_are_answered_with_the_line_that_mends_them() -> None:
    with pytest.raises(DataError, match=r"target is float32 \(4, 10\).*target\.argmax\(1\) if it is one-hot"):
        Top1().facts({"logits": np.zeros((4, 10))}, {"target": np.zeros((4, 10), np.float32)})


def test_missing_labels_lead_to_agreement() -> None:
    with pytest.raises(DataError, match="no labels; add an array called 'target', or use the metric agreement"):
        Top1().facts({"logits": np.zeros((4, 10))}, {"logits": np.zeros((4, 10))})


def test_agreement_refuses_labels() -> None:
    with pytest.raises(DataError, match="use top1"):
        Agreement().facts({"logits": np.zeros((4, 10))}, {"target": np.zeros(4, np.int64)})


def test_f1_of_segmentation_leads_to_top1() -> None:
    with pytest.raises(DataError, match=r"4 labels.*use top1"):
        F1().facts({"map": np.zeros((2, 3, 2, 2))}, {"target": np.zeros((2, 2, 2), np.int64)})


@pytest.mark.parametrize("metric", [Top1(), F1(), Perplexity()], ids=lambda one: type(one).__name__)
def test_a_sample_with_nothing_but_ignored_labels_is_refused(metric: Metric) -> None:
    shape = (2, 1, 4) if isinstance(metric, Perplexity) else (2, 4)
    target = np.array([0, IGNORED]).reshape(shape[:-1])
    with pytest.raises(DataError, match=r"sample 1 .*-100.*leave it out"):
        metric.facts({"logits": np.zeros(shape)}, {"target": target})


def test_top5_of_five_classes_leads_to_top1() -> None:
    with pytest.raises(DataError, match="more than 5 classes; use top1"):
        Top5().facts({"logits": np.zeros((4, 5))}, {"target": np.zeros(4, np.int64)})


@pytest.mark.parametrize("metric", [Mse(), Mae(), Cosine(), RelativeError()], ids=lambda one: type(one).__name__)
def test_distances_do_not_broadcast(metric: Metric) -> None:
    with pytest.raises(DataError, match=r"\(4, 2\) and what it is held against \(4,\)"):
        metric.facts({"y": np.ones((4, 2))}, {"target": np.ones(4)})
    assert metric.facts({"y": np.ones((4, 1))}, {"target": np.ones(4)}).shape[0] == 4


@pytest.mark.parametrize("metric", [Mse(), Mae(), Cosine(), RelativeError()], ids=lambda one: type(one).__name__)
def test_an_infinite_value_has_no_distance(metric: Metric) -> None:
    with pytest.raises(DataError, match="infinite"):
        metric.facts({"y": np.full((1, 2), np.inf)}, {"target": np.ones((1, 2))})


# ---------------------------------------------------------------------------------------- the user's own


@pytest.fixture
def my_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's, in the current directory."""
    name = f"metrics_of_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(
        "import numpy as np\n"
        "def exact(outputs, target): return (outputs['y'] == target).all(axis=1)\n"
        "def gap(outputs, target): return abs(outputs['y'] - target['y']).sum(axis=1)\n"
        "def one_number(outputs, target): return 0.5\n"
        "def infinite(outputs, target): return np.full(len(target), np.inf)\n"
        "def broken(outputs, target): return 1 / 0\n"
        "CONSTANT = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path.parent))  # restores sys.path afterwards, whatever was added meanwhile
    return name


def test_a_function_in_the_current_directory_is_a_metric(my_metrics: str) -> None:
    metric = plugins.make("metrics", Spec("own", {"function": f"{my_metrics}:exact"}), Metric)
    facts = metric.facts({"y": np.array([[1, 2], [3, 4]])}, {"target": np.array([[1, 2], [3, 5]])})
    assert facts.tolist() == [[1.0], [0.0]]
    assert metric.value(facts) == 0.5
    assert metric.drop(1.0, 0.5) == 0.5


def test_without_labels_the_function_gets_the_originals_outputs(my_metrics: str) -> None:
    metric = Own(f"{my_metrics}:gap", lower_is_better=True)
    facts = metric.facts({"y": np.array([[1.0, 2.0]])}, {"y": np.array([[1.0, 5.0]])})
    assert facts.tolist() == [[3.0]]
    assert metric.drop(1.0, 3.0) == 2.0


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("one_number", r"shape \(\); there are 2 samples, so it must be \(2,\)"),
        ("infinite", "gave inf for sample 0"),
        ("broken", "raised ZeroDivisionError: division by zero"),
        ("CONSTANT", "has no function 'CONSTANT'; it has broken, exact"),
        ("exakt", "has no function 'exakt'"),
    ],
)
def test_what_is_wrong_with_a_function_is_said_in_words(my_metrics: str, function: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Own(f"{my_metrics}:{function}").facts({"y": np.ones((2, 2))}, {"target": np.ones((2, 2))})


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("", "write module:function"),
        ("my metrics:f", "write module:function"),
        ("no_such_module:f", "no module 'no_such_module'"),
    ],
)
def test_a_function_that_is_not_there_is_said_in_words(reference: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Own(reference).facts({"y": np.ones((2, 2))}, {"target": np.ones((2, 2))})
