"""The fleet file: what it says, and how what it can't mean is answered."""

from pathlib import Path

import pytest

from costopt.errors import ConfigError
from costopt.planning.traffic_file import Promise
from costopt.pricing import book
from costopt.scheduling import fleet_file
from costopt.scheduling.fleet_file import CallsSource, FleetAsked, RunSource

BOOK = book.overlaid(book.read(book.SHIPPED), ())

HAND = "calls_ms: 3, cores: 2, memory_mb: 800, measured_on: aws/c7i.large"
RATE = "requests_per_second: 5"


def read(tmp_path: Path, text: str) -> FleetAsked:
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    return fleet_file.read(path, BOOK)


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "calls.csv").write_text("3.0\n\n4.5\n")
    asked = read(
        tmp_path,
        "models:\n"
        f"  tags: {{ways: [{{run: runs/on-c7i}}, {{{HAND}}}], hourly: {[1] * 23 + [25]}, p95_ms: 50ms}}\n"
        "  spam: {calls: calls.csv, cores: 1, memory_mb: 1 GiB, measured_on: aws/c7i.large, requests_per_second: 5}\n"
        "machines: [aws/c7i.*, aws/c7a.large, aws/c7a.*]\nregion: us-east-1\nterms: spot\nspare: 2\ntime_limit: 1m\n"
        "budget: {usd_per_month: 300, max_instances: {aws/c7i.large: 3}}\n",
    )
    spam, tags = asked.models
    assert spam.name == "spam"
    (calls,) = spam.sources
    assert isinstance(calls, CallsSource)
    assert (calls.calls_ms, calls.cores, calls.memory_bytes) == ((3.0, 4.5), 1, 2**30)
    assert spam.promise is None
    run, hand = tags.sources
    assert isinstance(run, RunSource)
    assert run.folder == tmp_path / "runs/on-c7i"
    assert isinstance(hand, CallsSource)
    assert tags.promise == Promise(0.95, 50.0)
    assert (tags.demand.mean_per_s, tags.demand.peak_per_s) == (2.0, 25.0)
    assert len(asked.machines) == 8
    assert (asked.region, asked.terms, asked.spare, asked.time_limit_s) == ("us-east-1", "spot", 2, 60.0)
    assert (asked.usd_per_month, dict(asked.max_instances)) == (300.0, {"aws/c7i.large": 3})


def test_the_order_of_models_in_the_file_does_not_matter(tmp_path: Path) -> None:
    a, b = f"  a: {{{HAND}, {RATE}}}\n", f"  b: {{{HAND}, {RATE}}}\n"
    names = [one.name for one in read(tmp_path, f"models:\n{b}{a}").models]
    assert names == [one.name for one in read(tmp_path, f"models:\n{a}{b}").models] == ["a", "b"]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (f"{HAND}", "fleet.yaml:2: models.a: says nothing of its traffic: give requests_per_second"),
        (f"{HAND}, requests_per_second: 0", "models.a.requests_per_second: must be more than 0, not 0"),
        (f"{HAND}, requests_per_second: -1", "models.a.requests_per_second: must be more than 0"),
        (f"{HAND}, {RATE}, peak_to_mean: 1e300", "models.a.peak_to_mean: must be at most 1e+12"),
        (f"{HAND}, hourly: {[1e308] * 24}", "must be at most 1e+12"),
        (f"{HAND}, {RATE}, peak_to_mean: 0.5", "models.a.peak_to_mean: must be at least 1"),
        (f"{HAND}, hourly: [1]", "models.a.hourly: has 1 values: give 24"),
        (f"{HAND}, arrivals: log.csv, {RATE}", "arrivals says already how many requests come; keep one"),
        (f"{HAND}, arrivals: log.csv", "log.csv: can't be read (No such file"),
        (f"{HAND}, hourly: {[1] * 24}, peak_to_mean: 2", "hourly says already how far the busiest time lies"),
        (f"{HAND}, {RATE}, p95_ms: 3, p99_ms: 4", "models.a.p99_ms: p95_ms is promised already"),
        (f"{HAND}, {RATE}, p9_ms: 3", "models.a.p9_ms: unknown key; did you mean 'p99_ms'?"),
        (f"{HAND}, run: x, {RATE}", "models.a.calls_ms: run is given already; keep one of the two"),
        (f"run: x, cores: 2, {RATE}", "models.a.cores: the run says that already; remove the line"),
        (RATE, "models.a: does not say how it is served: give `run`, `calls_ms` or `calls`"),
        (f"calls_ms: 3, memory_mb: 1, measured_on: aws/c7i.large, {RATE}", "models.a: calls by hand need cores too"),
        (f"{HAND}, {RATE}".replace("cores: 2", "cores: -2"), "models.a.cores: must be at least 1, not -2"),
        (f"{HAND}, {RATE}".replace("calls_ms: 3", "calls_ms: 0"), "models.a.calls_ms: must be more than 0"),
        (f"{HAND}, {RATE}".replace("memory_mb: 800", "memory_mb: much"), "models.a.memory_mb: 'much' is not a size"),
        (f"{HAND}, {RATE}".replace("c7i.large", "c7i.lage"), "'aws/c7i.lage' is not in the price book; near: aws/c7i"),
        (f"{HAND}, {RATE}".replace("calls_ms: 3", "calls: no.csv"), "models.a.calls: "),
        (f"{HAND}, {RATE}".replace("calls_ms: 3", "calls: bad.csv"), "bad.csv:2: 'x' is no length of a call"),
        (f"{HAND}, {RATE}".replace("calls_ms: 3", "calls: empty.csv"), "empty.csv: is empty: write one call a line"),
        (f"{HAND}, ways: [{{run: x}}], {RATE}", "`ways` says already how the model is served; move it there"),
        (f"ways: [{{run: x, cores: 2}}], {RATE}", "models.a.ways[0].cores: the run says that already"),
        (f"ways: [], {RATE}", "models.a.ways: the list is empty"),
    ],
)
def test_a_fault_in_a_model_is_named_with_its_line_and_a_remedy(tmp_path: Path, model: str, words: str) -> None:
    (tmp_path / "bad.csv").write_text("1\nx\n")
    (tmp_path / "empty.csv").write_text("\n")
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"models:\n  a: {{{model}}}\n")
    assert ":2: models.a" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models: {}\n", "models: "),
        ("machines: [aws/c7i.large]\n", "models: is missing; such as `models: {search: "),
        (f"models:\n  a: {{{HAND}, {RATE}}}\n  a: {{{HAND}, {RATE}}}\n", ":3: models.a: given twice, first at"),
        (
            f"models: {{a: {{{HAND}, {RATE}}}}}\nmachines: [aws/c7x.large]\n",
            "matches no machine of the price book; near",
        ),
        (f"models: {{a: {{{HAND}, {RATE}}}}}\nspare: -1\n", ":2: spare: must be at least 0"),
        (f"models: {{a: {{{HAND}, {RATE}}}}}\nspare: 9\n", ":2: spare: must be at most 3"),
        (f"models: {{a: {{{HAND}, {RATE}}}}}\nregion: mars\n", ":2: region: no price of these machines in 'mars'"),
        (f"models: {{a: {{{HAND}, {RATE}}}}}\nbudget: {{usd_per_month: 0}}\n", "budget.usd_per_month: must be more"),
        (
            f"models: {{a: {{{HAND}, {RATE}}}}}\nbudget: {{max_instances: {{aws/c7i.lage: 3}}}}\n",
            ":2: budget.max_instances.aws/c7i.lage: no machine of the price book; did you mean 'aws/c7i.large'?",
        ),
        (f"models: {{a: {{{HAND}, {RATE}}}}}\nbudget: {{max_instances: {{aws/c7i.large: -3}}}}\n", "at least 0"),
    ],
)
def test_a_fault_in_the_fleet_is_named_with_its_line_and_a_remedy(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert words in str(caught.value)
