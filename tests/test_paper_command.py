"""`costopt plan --arch` as it is called: what bad input is told, exit codes, and forms of output."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from costopt.distributing import paper_facts, paper_sheet
from costopt.distributing.on_paper import on_paper
from costopt.distributing.paper_options import Options
from costopt.errors import ConfigError, UsageError
from costopt.pricing.book import Book
from costopt.pricing.offers import Offer
from tests.test_paper_plan import FEW, LLAMA, MINILM, MIXTRAL, SMALL_LLAMA, TODAY, at, planned, some

# ---------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options("lama", params=7e9, rate=1), r"--arch lama: unknown; did you mean llama\? There are llama, gpt"),
        (replace(LLAMA, params=0), "--params is 0: it must be more than 0"),
        (replace(LLAMA, params=float("nan")), "--params is nan: it must be more than 0"),
        (replace(LLAMA, params=math.inf), r"--params is over 1e\+18: it must be more than 0 and at most 1e\+18"),
        (replace(LLAMA, context=10**400), r"--context is over 1e\+18: it must be more than 0 and at most 1e\+18"),
        (replace(LLAMA, rate=math.inf), "--rate is inf: it must be more than 0, and finite"),
        (Options("ünïcødé", rate=1), r"--arch ünïcødé: unknown\. There are llama, gpt"),
        (replace(MIXTRAL, params=460e9), "no published mixtral has about 460B .* no option says what its experts are"),
        (replace(MINILM, kv_bits=8), "--kv-bits: --arch encoder has none"),
        (replace(LLAMA, rate=-3), "--rate is -3: it must be more than 0"),
        (replace(LLAMA, context=0), "--context is 0: it must be more than 0"),
        (replace(LLAMA, ttft_ms=0), "--ttft-ms is 0: it must be more than 0"),
        (replace(LLAMA, bits=5), "--bits is 5: write 32, 16, 8 or 4"),
        (replace(LLAMA, kv_bits=32), "--kv-bits is 32: write 16, 8 or 4"),
        (replace(LLAMA, context=600), r"--context is 600: prompt and answer have 550 \+ 150 tokens \(some of them by"),
        (replace(LLAMA, params=None), "--arch llama needs --params, such as --params 70e9"),
        (replace(LLAMA, rate=None), "--arch needs the traffic: --rate 3"),
        (replace(LLAMA, tokens=5), "--tokens: --arch llama has none; it belongs to encoder"),
        (replace(LLAMA, flops=5), "--flops: --arch llama has none; it belongs to cnn"),
        (replace(LLAMA, hidden=1000), "--hidden is 1000: it must be a multiple of the 64 heads"),
        (replace(LLAMA, kv_heads=7), "--kv-heads is 7: the 64 heads .* must be a multiple of it"),
        (replace(LLAMA, params=3e12), r"no published llama has about 3,000B parameters .* give --layers, --hidden"),
        (Options("decoder", params=7e9, rate=1), "--arch decoder needs its shape: give --layers, --hidden, --heads"),
        (Options("cnn", rate=1), "--arch cnn needs --flops, such as --flops 1.1e9"),
        (Options("encoder", params=22e6, rate=1, ttft_ms=5), "--ttft-ms: --arch encoder has none"),
    ],
)
def test_bad_input_is_told_with_its_value_and_a_remedy(options: Options, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        planned(options)


def test_a_shape_of_ones_own_needs_no_published_model() -> None:
    own = Options(
        "decoder", params=3e12, layers=160, hidden=24576, heads=192, kv_heads=8, bits=4, rate=1, prompt_tokens=100,
        answer_tokens=10,
    )  # fmt: skip
    assert planned(own, some("aws/p5.48xlarge", "aws/p5en.48xlarge")).choice is not None


@pytest.mark.parametrize("rate", [1e9, 1e300])
def test_a_rate_beyond_any_region_is_impossible_and_says_so(rate: float) -> None:
    found = planned(replace(LLAMA, rate=rate))
    assert found.choice is None
    assert at(found, "aws/p5.48xlarge").words == "over 1,000,000 copies would be needed"
    assert "over 1,000,000 copies would be needed" in paper_sheet.sheet(found, TODAY).headline


def test_a_context_that_no_machine_holds_is_said_plainly() -> None:
    found = planned(replace(LLAMA, context=10**9))
    assert {row.verdict for row in found.rows} == {"can't run"}
    told = paper_sheet.sheet(found, TODAY).headline
    assert told.startswith("Nothing here can hold this model: the nearest, aws/p5.48xlarge: needs ")


def test_traffic_is_said_once(tmp_path: Path) -> None:
    traffic = tmp_path / "traffic.yaml"
    traffic.write_text("requests_per_second: 3\np99_ms: 8000\n")
    with pytest.raises(UsageError, match="says already how many requests come; keep one of the two"):
        on_paper(LLAMA, traffic, (), FEW)
    with pytest.raises(UsageError, match="--p99-ms: the traffic file promises a percentile already"):
        on_paper(replace(LLAMA, rate=None, p99_ms=5), traffic, (), FEW)
    with pytest.raises(UsageError, match=r"add --config traffic\.yaml"):
        on_paper(LLAMA, None, ("spare=1",), FEW)
    traffic.write_text("requests_per_second: 3\nmachines: [aws/p6]\n")
    with pytest.raises(ConfigError, match="'aws/p6' matches no machine of the price book"):
        on_paper(replace(LLAMA, rate=None), traffic, (), FEW)


def test_an_unusual_offer_breaks_nothing() -> None:
    bare = Offer(
        "aws/g6.xlarge", "us-east-1", None, None, "NVIDIA L4", 0, 0.8, None, None, "2026-07-20", "", "a test"
    )  # fmt: skip
    found = planned(SMALL_LLAMA, Book({bare.key: bare}))
    assert at(found, "aws/g6.xlarge").verdict in ("meets", "undecided", "impossible")
    paper_facts.written(found, TODAY)


# ---------------------------------------------------------------------------------------- the command


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    whole = [sys.executable, "-m", "costopt", "plan", *arguments]
    return subprocess.run(whole, capture_output=True, text=True, check=False)


def test_the_command_prints_a_table_and_ends_with_3_where_nothing_meets() -> None:
    ended = command("--arch", "llama", "--params", "70e9", "--context", "8192", "--rate", "3")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("On paper: llama of 70.0B parameters")
    late = command("--arch", "llama", "--params", "70e9", "--rate", "3", "--ttft-ms", "1", "--format", "json")
    assert (late.returncode, late.stderr) == (3, "")
    assert json.loads(late.stdout)["choice"] is None


@pytest.mark.parametrize("form", ["table", "json", "markdown"])
def test_the_command_plans_a_training(form: str) -> None:
    ended = command("--arch", "llama", "--params", "8e9", "--training", "--batch-tokens", "4e6", "--format", form)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "On paper: training llama of 8.00B parameters costs least on 1 " in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--arch", "lama", "--rate", "3"), "costopt: --arch lama: unknown; did you mean llama?"),
        (("--params", "7e9"), "costopt: --params, --rate and the like describe a model on paper: add --arch"),
        (("run", "--arch", "llama", "--params", "7e9", "--rate", "1"), "costopt: both a run ('run') and --arch"),
        (("--batch-tokens", "4e6"), "costopt: --training, --batch-tokens and --waiting-usd-per-hour go together"),
        (
            ("--arch", "llama", "--params", "8e9", "--rate", "1", "--batch-tokens", "4e6"),
            "costopt: --training, --batch-",
        ),
        (
            ("--arch", "llama", "--params", "8e9", "--training", "--batch-tokens", "4e6", "--config", "t.yaml"),
            "costopt: --training serves no traffic: leave --config, --set and --machine out",
        ),
        ((), "costopt: nothing to plan with: give a run, --model model.onnx --measure, or --arch"),
    ],
)
def test_the_command_ends_with_2_and_one_line_for_bad_input(arguments: tuple[str, ...], words: str) -> None:
    ended = command(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(words)
    assert ended.stderr.count("\n") == 1
