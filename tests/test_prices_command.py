"""`costopt prices` as a program: what it prints, where, how it ends; and that a finished run keeps its prices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from costopt.commands.choose import choose
from costopt.commands.prices import SOURCES
from costopt.commands.show import show
from costopt.journal import Journal
from costopt.judging.choose import quote_for
from costopt.plan import read
from costopt.pricing import sources
from costopt.records import Outcome
from tests import factories, price_lists


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's own book is to lie; there is none yet."""
    path = tmp_path / "data" / "prices.csv"
    monkeypatch.setenv("COSTOPT_PRICES", str(path))
    return path


def costopt(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "costopt", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))


# ---------------------------------------------------------------------------------------- list and show


@pytest.mark.usefixtures("mine")
def test_list_prints_the_cheapest_first_with_spot_and_age() -> None:
    ended = costopt("prices", "list", "--match", "aws/c7i")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("4 offers, 4 of them old or undated")
    rows = [line.split() for line in lines if line.lstrip().startswith("aws/")]
    assert [row[0] for row in rows] == [f"aws/c7i.{size}" for size in ("large", "xlarge", "2xlarge", "4xlarge")]
    assert rows[0][1:8] == ["us-east-1", "2", "4", "$0.08925", "$0.0303", "(-66", "%)"]
    assert rows[0][-1] == "old"


@pytest.mark.usefixtures("mine")
def test_list_chooses_by_accelerator_region_and_spot() -> None:
    listed = json.loads(costopt("prices", "list", "--accelerator", "h100", "--spot", "-f", "json").stdout)
    assert {one["instance"] for one in listed} == {
        "aws/p5.4xlarge", "aws/p5.48xlarge", "gcp/a3-highgpu-1g", "gcp/a3-highgpu-8g"
    }  # fmt: skip
    assert [one["spot_usd_per_hour"] for one in listed] == sorted(one["spot_usd_per_hour"] for one in listed)
    assert {"as_of", "age_days", "old", "source", "spot_discount", "vcpus"} <= set(listed[0])
    west = json.loads(costopt("prices", "list", "--region", "westus", "-f", "json").stdout)
    assert [one["instance"] for one in west] == ["azure/Standard_D48as_v5"]


@pytest.mark.usefixtures("mine")
def test_a_list_as_csv_is_a_book_that_passes_the_check(tmp_path: Path) -> None:
    (tmp_path / "book.csv").write_text(costopt("prices", "list", "-f", "csv").stdout)
    ended = costopt("prices", "check", tmp_path / "book.csv")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "131 rows" in ended.stdout


@pytest.mark.usefixtures("mine")
def test_show_tells_everything_of_one_machine() -> None:
    shown = costopt("prices", "show", "aws/c7i.large").stdout
    assert shown.startswith("aws/c7i.large in us-east-1: 2 vCPUs, 4 GiB\n")
    assert "$0.08925 an hour, of 2026-07-20, " in shown
    assert "days old: look it up" in shown
    assert "$0.0303 an hour, 66 % less, undated: look it up" in shown
    assert "https://github.com/aws/karpenter-provider-aws/blob/6fc13b52/" in shown
    (facts,) = json.loads(costopt("prices", "show", "aws/c7i.large", "--format", "json").stdout)
    assert (facts["usd_per_hour"], facts["as_of"], facts["spot_as_of"]) == (0.08925, "2026-07-20", "undated")


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "c7i.lrge"], "'c7i.lrge' is not in the price book; near: aws/c7i.large"),
        (["list", "--match", "c7x.large"], "the price book has no such offer; near: aws/c7"),
        (["list", "--region", "mars"], "the price book has no such offer; `costopt prices list` shows all"),
        (["check", "no-such-file.csv"], "no-such-file.csv: can't be read (No such file or directory)"),
        (["refresh", "karpentr-aws", "--from", "x"], "there is no price source 'karpentr-aws'; did you mean"),
        (["refresh", "karpenter-aws", "--from", "nowhere.go"], "nowhere.go: can't be read"),
        (
            ["refresh", "karpenter-aws", "--from", "http://example.com/x.go"],
            "only https:// addresses and files are read",
        ),
        (["refresh", "karpenter-aws"], "Missing option '--from'"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line_with_exit_code_2(arguments: list[str], words: str) -> None:
    ended = costopt("prices", *arguments)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == ""


def test_the_help_names_every_format() -> None:
    assert all(name in SOURCES for name in sources.FORMATS)


# ---------------------------------------------------------------------------------------- check


def test_check_names_every_bad_row_and_exits_with_2(tmp_path: Path) -> None:
    rows = "instance,region,usd_per_hour,spot_usd_per_hour,as_of,spot_as_of,source\n"
    rows += "x/free,r,0,,2026-01-01,,me\nx/odd,r,$1,,2026-01-01,,me\nx/fine,r,1,,2019-04-01,,me\n"
    rows += "x/dear,r,1,2,2026-01-01,2026-01-01,me\nx/undated,r,1,,,,me\n"
    (tmp_path / "bad.csv").write_text(rows)
    ended = costopt("prices", "check", tmp_path / "bad.csv")
    assert ended.returncode == 2
    found = ended.stdout.splitlines()
    assert found[0].startswith("line 3: x/odd: usd_per_hour: '$1' is not a plain number")
    assert found[1].startswith("x/free in r: an hour costs $0: nothing is free")
    assert found[2].startswith("x/dear in r: spot, $2.00, is above on demand, $1.00")
    assert found[3].startswith("x/undated in r: the price has no date")
    assert len(found) == 5
    assert ended.stderr.startswith(f"costopt: {tmp_path / 'bad.csv'}: 4 things are wrong")


@pytest.mark.usefixtures("mine")
def test_old_prices_are_shown_as_old_and_are_no_fault() -> None:
    ended = costopt("prices", "check")
    assert ended.returncode == 0
    assert "131 rows; 115 old (over 90 days), 16 undated" in ended.stdout


# ---------------------------------------------------------------------------------------- refresh, and old runs


def test_refresh_tells_what_it_took_refused_and_left_out(tmp_path: Path, mine: Path) -> None:
    (tmp_path / "prices.go").write_text(price_lists.KARPENTER_AZURE)
    ended = costopt("prices", "refresh", "karpenter-azure", "--from", tmp_path / "prices.go")
    assert (ended.returncode, ended.stderr) == (0, "")
    told = ended.stdout.splitlines()
    assert told[0] == f"2 prices taken into {mine}"
    assert told[1] == "2 rows of other regions left out (--region all takes them)"
    assert told[2] == "4 rows refused:"
    assert "  azure/Dasv5_Type1: a dedicated host and not a machine" in told
    assert any(line.startswith("  azure/Standard_D4as_v5 in eastus: sizes of azure/Das_v5") for line in told)
    assert costopt("prices", "check").returncode == 0


def run_folder(tmp_path: Path, budget: Path) -> Journal:
    """A finished run, as `costopt compress` leaves it."""
    journal = Journal(tmp_path / "runs" / "finished")
    journal.artifacts.mkdir(parents=True)
    outcomes: tuple[Outcome, ...] = (factories.measured(), factories.measured(factories.recipe("slim"), ms=0.5))
    journal.write_run(factories.run(outcomes))
    plan = read(budget, data_must_exist=False)
    journal.write_plan(plan)
    journal.write_quote(plan, quote_for(plan))
    for outcome in outcomes:
        journal.append(outcome)
    return journal


def test_a_finished_run_keeps_its_price_until_it_is_judged_again(
    tmp_path: Path, mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    budget = tmp_path / "budget.yaml"
    budget.write_text("data: {evaluation: evaluation.npz}\nmachine: {instance: aws/c7i.large}\n")
    journal = run_folder(tmp_path, budget)
    from costopt.commands import Format

    def price(out: str) -> float:
        found: float = json.loads(out)["price"]["usd_per_hour"]
        return found

    show(str(journal.folder), Format.json)
    assert price(capsys.readouterr().out) == 0.08925
    (tmp_path / "prices.go").write_text(price_lists.KARPENTER_AWS)
    assert costopt("prices", "refresh", "karpenter-aws", "--from", tmp_path / "prices.go").returncode == 0
    assert mine.is_file()

    show(str(journal.folder), Format.json)
    assert price(capsys.readouterr().out) == 0.08925
    choose(str(journal.folder), budget, Format.json)
    judged = json.loads(capsys.readouterr().out)
    assert judged["price"]["usd_per_hour"] == 0.09175
    words = "the price of aws/c7i.large has changed since this run was last judged: $0.0892 (2026-07-20), now $0.0917"
    assert any(note.startswith(words) for note in judged["notes"])
    show(str(journal.folder), Format.json)
    assert price(capsys.readouterr().out) == 0.09175


def test_the_terms_of_a_price_stand_in_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    budget = tmp_path / "budget.yaml"
    machine = "{instance: gcp/c3-standard-4, terms: spot, discount: 10%}"
    budget.write_text(f"data: {{evaluation: evaluation.npz}}\nmachine: {machine}\n")
    show(str(run_folder(tmp_path, budget).folder))
    told = " ".join(capsys.readouterr().out.split())
    assert "$0.0445 an hour (gcp/c3-standard-4, github.com/cloudpilot-ai/karpenter-provider-gcp " in told
    assert "(spot, us-central1, $0.0494 less 10 %), 2026-08-03)" in told
    assert "spot machines are taken away at short notice" in told


def test_a_run_of_an_earlier_version_has_no_price_of_its_own_and_is_shown_at_todays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    budget = tmp_path / "budget.yaml"
    budget.write_text("data: {evaluation: evaluation.npz}\nmachine: {usd_per_hour: 0.5}\n")
    journal = run_folder(tmp_path, budget)
    (journal.folder / "price.json").unlink()
    show(str(journal.folder))
    assert "$0.500 an hour" in capsys.readouterr().out


def test_listing_prices_loads_nothing_heavy() -> None:
    script = (
        "import sys; from costopt.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('HEAVY', sorted({'torch', 'scipy', 'onnx', 'onnxruntime', 'numpy'} & set(sys.modules)))"
    )
    for arguments in (["list"], ["show", "aws/c7i.large"], ["check"]):
        command = [sys.executable, "-c", script, "prices", *arguments]
        assert "HEAVY []" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
