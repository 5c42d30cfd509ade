"""What must hold for every budget and every field of candidates, whatever the figures."""

import math
import re
from dataclasses import dataclass, replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from costopt.judging.choose import judge
from costopt.records import Measured, Plan, Spec
from costopt.verdict import Report, Row
from tests.factories import TODAY, measured, plan, recipe, run

SAMPLES = 400


def judged(found: tuple[Measured, ...], by: Plan) -> Report:
    return judge(run(found), found, by, TODAY)


@dataclass(frozen=True)
class Contender:
    """A candidate in few words, so that a counterexample can be read."""

    methods: str
    provider: str = "cpu"
    batch: int = 1
    ms: float = 1.0
    wobble: float = 0.0
    correct: int = 370
    size_bytes: int = 1_000_000

    def measured(self) -> Measured:
        return measured(
            recipe(*self.methods),
            provider=self.provider,
            batch=self.batch,
            ms=self.ms,
            wobble=self.wobble,
            correct=self.correct,
            size_bytes=self.size_bytes,
            samples=SAMPLES,
            rounds=3,
            calls=50,
        )


others = st.builds(
    Contender,
    methods=st.sampled_from(["a", "b", "c", "d", "ab", "cd", "abc"]),
    provider=st.sampled_from(["cpu", "openvino"]),
    batch=st.sampled_from([1, 8]),
    ms=st.floats(0.1, 4),
    wobble=st.floats(0, 0.05),
    correct=st.integers(330, 390),
    size_bytes=st.integers(100_000, 2_000_000),
)
contenders = st.lists(others, max_size=6, unique_by=lambda one: (one.methods, one.provider, one.batch))


def field(drawn: list[Contender]) -> tuple[Measured, ...]:
    """The original and the others."""
    return tuple(one.measured() for one in (Contender(""), *drawn))


plans = st.builds(
    plan,
    accuracy_drop=st.none() | st.floats(0.001, 0.2),
    p95_ms=st.none() | st.floats(0.1, 4),
    usd_per_million=st.none() | st.floats(0.001, 0.1),
    size_mb=st.none() | st.floats(0.1, 2),
    usd_per_hour=st.floats(0.01, 1),
    requests_per_second=st.none() | st.floats(1, 10_000),
    objective=st.sampled_from(["cost", "latency", "size"]),
)

thorough = settings(max_examples=40, deadline=None)


@given(contenders, plans)
@thorough
def test_the_winner_meets_every_limit(drawn: list[Contender], by: Plan) -> None:
    report = judged(field(drawn), by)
    if report.winner is None:
        assert report.verdict == "not_met"
        assert all(row.refusals for row in report.rows)
        assert report.nearest
        return
    row, budget = report.row(report.winner), by.budget
    assert row.drop is not None
    assert row.usd is not None
    assert row.latency is not None
    cost = row.usd.saturated if by.traffic is None else row.usd.at_traffic
    assert budget.accuracy_drop is None or row.drop.drop.high <= budget.accuracy_drop
    assert budget.p95_ms is None or (row.latency.p95.upper_ms or math.inf) <= budget.p95_ms
    assert budget.usd_per_million is None or (cost or math.inf) <= budget.usd_per_million
    assert budget.size_mb is None or (row.size_bytes or math.inf) / 1e6 <= budget.size_mb
    assert report.nearest == ()


@given(contenders, plans, st.randoms(use_true_random=False))
@thorough
def test_the_order_in_which_outcomes_arrived_changes_nothing(drawn: list[Contender], by: Plan, dice: Random) -> None:
    found = field(drawn)
    shuffled = dice.sample(found, len(found))
    assert judge(run(found), shuffled, by, TODAY) == judge(run(found), found, by, TODAY)


@given(contenders, plans)
@thorough
def test_a_dominated_candidate_changes_nothing(drawn: list[Contender], by: Plan) -> None:
    """Slower, larger, less accurate and more complicated than the winner (or the original, where none wins)."""
    report = judged(field(drawn), by)
    everyone = [Contender(""), *drawn]
    leader = next((one for one in everyone if one.measured().candidate.id == report.winner), everyone[0])
    dominated = replace(
        leader, methods=leader.methods + "xy", ms=2 * leader.ms, correct=320, size_bytes=2 * leader.size_bytes
    )
    assert judged(field([*drawn, dominated]), by).winner == report.winner


NOISE = 1.25
"""More than candidates here can differ by and still be indistinguishable: three rounds of +-5 % have a standard error
of 3.3 %, two of them of 4.7 %, and Student's t with 4 degrees of freedom reaches 2.8 of those: 14 %; and the simplest
is within that of the best."""


def figure(row: Row, by: Plan) -> float:
    """What the objective makes small. Whole machines are left out: any noise may tip one more."""
    assert row.usd is not None
    assert row.latency is not None
    figures = {
        "cost": row.usd.relative.value,
        "latency": row.latency.p95.upper_ms or math.inf,
        "size": float(row.size_bytes or 0),
    }
    return figures[by.objective]


@given(contenders, plans, st.sampled_from(["accuracy_drop", "p95_ms", "usd_per_million", "size_mb"]))
@thorough
def test_loosening_a_limit_never_makes_the_winner_worse_but_by_noise(
    drawn: list[Contender], by: Plan, limit: str
) -> None:
    found = field(drawn)
    by = replace(by, traffic=None)
    tight = judged(found, by)
    loose = judged(found, replace(by, budget=replace(by.budget, **{limit: None})))
    if tight.winner is not None:
        assert loose.winner is not None
        assert figure(loose.row(loose.winner), by) <= figure(tight.row(tight.winner), by) * NOISE


@given(contenders, plans)
@thorough
def test_no_one_who_meets_the_budget_is_better_than_the_winner_but_by_noise(drawn: list[Contender], by: Plan) -> None:
    by = replace(by, traffic=None)
    report = judged(field(drawn), by)
    if report.winner is not None:
        limit = NOISE * min(figure(row, by) for row in report.rows if row.meets)
        assert figure(report.row(report.winner), by) <= limit


@given(contenders, plans, st.floats(0.01, 100))
@thorough
def test_scaling_the_price_and_the_limit_on_cost_together_keeps_the_winner(
    drawn: list[Contender], by: Plan, factor: float
) -> None:
    assert by.price is not None
    hour = by.price.options["usd_per_hour"]
    assert isinstance(hour, float)
    limit = by.budget.usd_per_million
    scaled = replace(
        by,
        price=Spec("fixed", {"usd_per_hour": hour * factor}),
        budget=replace(by.budget, usd_per_million=None if limit is None else limit * factor),
    )
    assert judged(field(drawn), scaled).winner == judged(field(drawn), by).winner


@given(contenders, plans)
@thorough
def test_every_row_but_the_winners_says_why_it_lost_and_to_something_better(drawn: list[Contender], by: Plan) -> None:
    report = judged(field(drawn), by)
    for row in report.rows:
        assert (row.lost is None) == (row.candidate.id == report.winner)
        ratio = re.search(r"([\d.,]+)x the (winner|best|size|time)", row.lost or "")
        assert ratio is None or float(ratio[1].replace(",", "")) >= 1
