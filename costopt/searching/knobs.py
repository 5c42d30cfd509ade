"""How hard to cut with several methods at once: the strengths are continuous knobs, and what they do is dear to learn.

Optuna's tree-structured Parzen estimator (Bergstra et al. 2011, Algorithms for Hyper-Parameter Optimization) proposes
where good candidates lie densely and bad ones do not; candidates that miss the accuracy limit count as worse the
further they miss it (its constrained form, Watanabe and Hutter, arXiv:2211.14411). Seeded, and told everything anew
each time, so that the same history gives the same proposal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from costopt.methods import Knob

GUESSES = 4
"""Trials before the estimator is asked: before that its densities are of nothing, and it draws at random."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What strengths (0 where a method was left out) led to: the cost over the original's, and by how much the drop's
    upper end lies over the limit (negative inside)."""

    strengths: Mapping[str, float]
    relative_cost: float
    excess: float


def proposal(cuts: Mapping[str, Knob], trials: Sequence[Trial], seed: int) -> dict[str, float]:
    """The strengths to try next, of those methods that are worth trying: below a knob's `low` it is left out."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = {name: optuna.distributions.FloatDistribution(0.0, knob.high) for name, knob in sorted(cuts.items())}
    sampler = optuna.samplers.TPESampler(seed=seed + len(trials), n_startup_trials=GUESSES, multivariate=True)
    study = optuna.create_study(sampler=sampler)
    for one in trials:
        study.enqueue_trial({name: min(one.strengths.get(name, 0.0), cuts[name].high) for name in space})
        told = study.ask(dict(space))
        told.set_constraint("accuracy_drop", one.excess)
        study.tell(told, one.relative_cost)
    found = study.ask(dict(space)).params
    return {name: round(value, 2) for name, value in found.items() if round(value, 2) >= cuts[name].low}
