"""Perplexity of a language model: e to the mean negative log likelihood of the right tokens.

Jelinek, Mercer, Bahl and Baker, "Perplexity: a measure of the difficulty of speech recognition tasks", 1977. The mean
is over tokens, not over samples. `target[i, t]` is the token that `logits[i, t]` should predict: for a causal model
shift it (`target = ids[:, 1:]`, padded with -100 at the end). Tokens labelled -100 don't count.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from costopt.classes import IGNORED, Classes, check_range
from costopt.errors import DataError
from costopt.metrics import Array, Facts, Metric, class_labels, numbers

CHUNK_ELEMENTS = 1 << 21
"""Logits that are worked on at a time: 16 MB in float64, beside an output that can be a thousand times larger."""


@dataclass(frozen=True)
class Perplexity(Metric):
    """Perplexity, from 1 upwards, infinite when it leaves what float64 holds. `output` names the output of logits."""

    output: str = ""

    higher_is_better: ClassVar[bool] = False
    interval: ClassVar[Literal["score", "mean", "bootstrap"]] = "bootstrap"

    def facts(self, outputs: Mapping[str, Array], targets: Mapping[str, Array]) -> Facts:
        """Two columns: the sample's summed negative log likelihood in nats, and its number of tokens."""
        logits, labels = numbers(outputs, self.output), class_labels(targets)
        if logits.dtype.kind != "f" or logits.ndim != 3 or logits.shape[:2] != labels.shape:
            raise DataError(
                f"perplexity: the output is {logits.dtype} {logits.shape} and target {labels.shape}; "
                "it wants logits (samples, tokens, vocabulary) and a target (samples, tokens)"
            )
        check_range(labels, logits.shape[2])
        counted = labels != IGNORED
        empty = np.flatnonzero(~counted.any(axis=1))
        if empty.size:
            raise DataError(
                f"perplexity: sample {empty[0]} has no token but {IGNORED}, which means ignore; leave it out"
            )
        nll = np.zeros(labels.shape)
        nll[counted] = _negative_log_likelihood(logits, counted, labels)
        return np.column_stack([nll.sum(axis=1), counted.sum(axis=1)])

    def value(self, facts: Facts) -> float:
        """e to the mean over tokens."""
        nll, tokens = facts.sum(axis=0)
        with np.errstate(over="ignore"):
            return float(np.exp(nll / tokens))


def _negative_log_likelihood(logits: Array, counted: NDArray[np.bool_], labels: Classes) -> Facts:
    """log(sum(exp(logits))) - logits[label] of each counted token, in float64, shape (tokens,).

    The largest logit is taken out first, so that no exponential overflows. Raises DataError for infinite results.
    """
    samples, tokens = np.nonzero(counted)
    step = max(1, CHUNK_ELEMENTS // logits.shape[2])
    parts = []
    for start in range(0, len(samples), step):
        at = samples[start : start + step], tokens[start : start + step]
        chunk = logits[at].astype(np.float64)
        chunk -= chunk.max(axis=1, keepdims=True)
        right = np.take_along_axis(chunk, labels[at][:, None], axis=1)[:, 0]
        parts.append(np.log(np.exp(chunk).sum(axis=1)) - right)
    nll = np.concatenate(parts)
    if not np.isfinite(nll).all():
        raise DataError("perplexity: a logit is infinite, so a right token has likelihood 0; mask with a finite number")
    return nll
