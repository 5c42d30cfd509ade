"""The traffic file: what it says, and how what it can't mean is answered. Demand, from hours and from a log."""

from pathlib import Path

import numpy as np
import pytest

from costopt.errors import ConfigError
from costopt.planning import traffic_file
from costopt.planning.bills import Egress
from costopt.planning.demand import constant, hourly, of_log
from costopt.planning.traffic_file import Asked, Promise
from costopt.pricing import book

BOOK = book.overlaid(book.read(book.SHIPPED), ())


def read(tmp_path: Path, text: str) -> Asked:
    path = tmp_path / "traffic.yaml"
    path.write_text(text)
    return traffic_file.read(path, BOOK)


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    asked = read(
        tmp_path,
        "requests_per_second: 50\npeak_to_mean: 3\np95_ms: 20ms\nspare: 1\nmachines: [aws/c7i.*, aws/c7i.large]\n"
        "egress: {bytes_per_response: 2000, usd_per_gb: 0.09}\nwork: {hours: 8, usd_per_hour: 90}\n",
    )
    assert (asked.demand.mean_per_s, asked.demand.peak_per_s) == (50.0, 150.0)
    assert asked.promise == Promise(0.95, 20.0)
    assert asked.promise.name == "p95"
    assert asked.spare == 1
    assert asked.egress == Egress(2000.0, 0.09)
    assert asked.work_usd == 720.0
    assert asked.hours_per_month == 730.0
    assert asked.machines == ("aws/c7i.large", "aws/c7i.xlarge", "aws/c7i.2xlarge", "aws/c7i.4xlarge")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("p99_ms: 5\n", r"traffic.yaml:1: says nothing of the traffic: give requests_per_second"),
        ("\nrequests_per_second: 0\n", r"traffic.yaml:2: requests_per_second: must be more than 0, not 0"),
        ("requests_per_second: -3\n", "must be more than 0, not -3"),
        ("requests_per_second: .inf\n", "must be a finite number"),
        ("request_per_second: 3\n", "unknown key; did you mean 'requests_per_second'?"),
        ("requests_per_second: 3\npeak_to_mean: 0.5\n", "peak_to_mean: must be at least 1"),
        ("requests_per_second: 3\np99_ms: 5\np95_ms: 4\n", "is promised already; keep one"),
        ("requests_per_second: 3\nhourly: [1, 2]\n", r":2: hourly: has 2 values: give 24 \(a day\) or 168"),
        (f"hourly: {[1] * 23}\n", "hourly: has 23 values"),
        (f"hourly: {[0] * 24}\n", "is 0 in every hour"),
        (f"hourly: {[1] * 24}\npeak_to_mean: 2\n", "peak_to_mean: hourly says already"),
        ("arrivals: log.csv\nrequests_per_second: 3\n", "arrivals says already how many requests come"),
        ("arrivals: nowhere.csv\n", r":1: arrivals: .*nowhere.csv: can't be read \(No such file"),
        ("requests_per_second: 3\nspare: -1\n", "spare: must be at least 0"),
        ("requests_per_second: 3\nhours_per_month: 800\n", "hours_per_month: must be at most 744"),
        ("requests_per_second: 3\negress: {bytes_per_response: 5}\n", "egress.usd_per_gb: is missing"),
        (
            "requests_per_second: 3\nmachines: [aws/c7x.large]\n",
            r"machines\[0\]: 'aws/c7x.large' matches no .*near: aws/",
        ),
        ("requests_per_second: 3\nmachines: [zz*]\n", "`costopt prices list` shows all"),
        (
            "requests_per_second: 3\nautoscaling: {}\n",
            ":2: autoscaling: needs to know when less is asked for: give `hourly`",
        ),
        ("requests_per_second: 3\nautoscaling: {start_up_s: 2h}\n", "autoscaling.start_up_s: must be at most 3600"),
        ("requests_per_second: 3\nautoscaling: {min_instances: 0}\n", "autoscaling.min_instances: must be at least 1"),
        ("requests_per_second: 3\nscale_to_zero: {idle_s: 0}\n", "scale_to_zero.idle_s: must be more than 0"),
        ("requests_per_second: 3\nscale_to_zero: {idle_s: 300}\n", "scale_to_zero.cold_start_s: is missing"),
        ("requests_per_second: 3\nspot: {over_provision: 10}\n", "spot.over_provision: must be at most 1"),
        ("requests_per_second: 3\nspot: {fallback: pray}\n", "spot.fallback: must be 'on_demand' or 'none'"),
        ("requests_per_second: 3\nspot: {interruptions: 0.1}\n", "did you mean 'interruptions_per_month'"),
        ("requests_per_second: 3\nbatching: {max_wait_ms: soon}\n", "batching.max_wait_ms: 'soon' is not a time"),
        ("requests_per_second: 3\nbatching: {max_wait_ms: -1}\n", "batching.max_wait_ms: -1 is not a time"),
        (
            "requests_per_second: 3\nload_balancer: {usd_per_hour: 0.02, usd_per_gb: 0.01}\n",
            "load_balancer.bytes_per_request: is missing: how many bytes of a request go through it",
        ),
        ("requests_per_second: 3\nstorage: {copies: 0}\n", "storage.copies: must be at least 1"),
        ("requests_per_second: 1e308\n", ":1: requests_per_second: must be at most"),
        ("requests_per_second: 1e-300\n", ":1: requests_per_second: is less than 1e-09, one request in 30 years"),
        (f"hourly: {[1e308] * 24}\n", r"hourly\[0\]: must be at most"),
        ("requests_per_second: 3\nspare: 1000000000\n", "spare: must be at most"),
        ("requests_per_second: 3\nautoscaling: {min_instances: 10000000}\n", "min_instances: must be at most"),
        ("requests_per_second: 3\nwork: {hours: 1e308, usd_per_hour: 1}\n", "work.hours: must be at most"),
        ("requests_per_second: 3\negress: {bytes_per_response: 1e308, usd_per_gb: 1}\n", "must be at most"),
        ("requests_per_second: 3\nregistry: {}\n", "registry.usd_per_gb: is missing"),
        ("requests_per_second: 3\ncommitted: {discount: 1}\n", "committed.discount: must be less than 1"),
        ("", "the file is empty; write one, such as `requests_per_second: 50`"),
    ],
)
def test_what_a_file_cannot_mean_is_answered_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read(tmp_path, text)


def test_hours_are_relative_beside_a_rate_and_absolute_without() -> None:
    values = [1.0] * 23 + [9.0]
    relative, absolute = hourly(values, 40.0), hourly(values, None)
    assert relative.mean_per_s == pytest.approx(40.0)
    assert relative.peak_per_s == pytest.approx(270.0)
    assert absolute.mean_per_s == pytest.approx(32 / 24)
    assert absolute.peak_per_s == 9.0
    assert hourly([2.0] * 168, None).peak_per_s == 2.0


def test_a_demand_grows_as_a_whole() -> None:
    assert constant(10.0, 2.0).times(3.0).peak_per_s == 60.0


def test_a_log_is_sized_for_its_busiest_minute_wherever_that_begins(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    quiet = [float(second) for second in range(0, 600, 2)]
    burst = [130.0 + place / 10 for place in range(600)]
    path.write_text("".join(f"{one}\n" for one in [*quiet, *burst]))
    demand = of_log(path)
    assert demand.mean_per_s == pytest.approx(899 / 598)
    assert demand.peak_per_s == pytest.approx((600 + 30) / 60, rel=0.01)
    assert demand.dispersion is not None
    assert demand.dispersion > 3


def test_independent_arrivals_have_a_dispersion_of_one(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    times = np.random.default_rng(0).standard_exponential(36_000).cumsum() / 10
    path.write_text("\n".join(map(str, times)))
    demand = of_log(path)
    assert demand.dispersion == pytest.approx(1.0, abs=0.1)
    assert "the busiest minute of 36,000 arrivals in " in demand.told
    assert demand.mean_per_s == pytest.approx(10.0, rel=0.03)
    assert 1.0 < demand.peak_per_s / demand.mean_per_s < 1.3


def test_a_log_of_hours_tells_its_busiest_hour_too(tmp_path: Path) -> None:
    quiet, busy = range(0, 7200, 10), range(7200, 10_800)
    (tmp_path / "log.csv").write_text("\n".join(map(str, [*quiet, *busy])))
    told = of_log(tmp_path / "log.csv").told
    assert told == "the busiest minute of 4,320 arrivals in 2 h 59 min, of which the busiest hour has 1.00 requests/s"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1\nnoon\n", "log.csv:2: 'noon' is no timestamp: write seconds"),
        ("1\nnan\n", "log.csv:2: 'nan' is no timestamp"),
        ("", "0 arrivals within 0 s: give a minute or more"),
        ("1\n2\n3\n", "3 arrivals within 2 s"),
        ("1700000000000\n1700000060000\n", "log.csv:1: 1700000000000 can't be in seconds: is it in milliseconds"),
        ("0\n1e10\n", "days from first to last: give a year at most"),
        ("-1e308\n1e308\n", "can't be in seconds"),
    ],
)
def test_a_log_that_says_nothing_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(ConfigError, match=words):
        of_log(tmp_path / "log.csv")
