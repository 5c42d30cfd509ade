"""The budget file: what it may say becomes a `Plan`; what it may not is answered with line, path and remedy."""

import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from costopt import located, plan
from costopt.errors import ConfigError
from costopt.records import Budget, Data, InputSpec, Plan, Spec, Traffic

OWNED = "purchase_usd: 4000, years: 4, watts: 300, usd_per_kwh: 0.15"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with data in it, so that errors name `budget.yaml` alone."""
    monkeypatch.chdir(tmp_path)
    for name in ("evaluation.npz", "calibration.npz"):
        (tmp_path / name).touch()
    return tmp_path


def read(text: str, *overrides: str) -> Plan:
    """The plan in a budget file that says `text` below its `data` on line 1."""
    Path("budget.yaml").write_text(f"data: {{evaluation: evaluation.npz}}\n{text}", encoding="utf-8")
    return plan.read(Path("budget.yaml"), overrides)


def refusal(text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text, *overrides)
    return str(caught.value)


# ---------------------------------------------------------------------------------------- what it says


def test_only_the_evaluation_data_is_required_and_every_default_is_the_plans_own(folder: Path) -> None:
    assert read("") == Plan(Data(str(folder / "evaluation.npz")))


def test_a_whole_file_becomes_a_plan(folder: Path) -> None:
    (folder / "budget.yaml").write_text(
        """
data:
  calibration: calibration.npz
  evaluation: evaluation.npz
metric: {f1: {average: micro}}
budget: {accuracy_drop: 0.01, p95_ms: 5, usd_per_million: 0.05, size_mb: 1, memory_mb: 200}
confidence: 0.9
objective: latency
traffic: {requests_per_second: 50, peak_to_mean: 3}
machine: {usd_per_hour: 0.09, instance: mine}
providers: [cpu]
batch: [1, 8]
threads: [2]
recipes: [[slim], [{int8_static: {per_channel: true}}]]
time_limit: 10m
seed: 7
inputs:
  x: {shape: [batch, 3, 3], dtype: float32}
  ids: {shape: [batch, sequence], dtype: int64}
opset: 21
""",
        encoding="utf-8",
    )
    assert plan.read(folder / "budget.yaml") == Plan(
        data=Data(str(folder / "evaluation.npz"), str(folder / "calibration.npz")),
        metric=Spec("f1", {"average": "micro"}),
        budget=Budget(0.01, 5.0, 0.05, 1.0, 200.0),
        confidence=0.9,
        objective="latency",
        traffic=Traffic(50.0, 3.0),
        price=Spec("fixed", {"usd_per_hour": 0.09, "instance": "mine"}),
        providers=(Spec("cpu"),),
        batch=(1, 8),
        threads=(2,),
        recipes=((Spec("slim"),), (Spec("int8_static", {"per_channel": True}),)),
        time_limit_s=600.0,
        seed=7,
        inputs=(InputSpec("x", ("batch", 3, 3), "float32"), InputSpec("ids", ("batch", "sequence"), "int64")),
        opset=21,
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("p95_ms: 5ms", Budget(p95_ms=5)),
        ("p95_ms: 0.005 s", Budget(p95_ms=5)),
        ("p95_ms: 5e-1", Budget(p95_ms=0.5)),
        ("accuracy_drop: 1%", Budget(accuracy_drop=0.01)),
        ("accuracy_drop: 0", Budget(accuracy_drop=0)),
        ("size_mb: 900 kB", Budget(size_mb=0.9)),
        ("memory_mb: 1 MiB", Budget(memory_mb=2**20 / 1e6)),
    ],
)
@pytest.mark.usefixtures("folder")
def test_units_in_a_limit_are_understood(written: str, meant: Budget) -> None:
    assert read(f"budget: {{{written}}}").budget == meant


@pytest.mark.usefixtures("folder")
def test_a_time_limit_may_be_in_minutes_and_hours() -> None:
    assert read("time_limit: 1h30m").time_limit_s == 5400
    assert read("time_limit: 90").time_limit_s == 90


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("auto", None),
        ("[]", ()),
        ("[[]]", ((),)),
        ("[slim]", ((Spec("slim"),),)),
        ("[slim, [slim, int8_static]]", ((Spec("slim"),), (Spec("slim"), Spec("int8_static")))),
        ("[{int8_static: {per_channel: false}}]", ((Spec("int8_static", {"per_channel": False}),),)),
        ("[{slim: }]", ((Spec("slim"),),)),
    ],
)
@pytest.mark.usefixtures("folder")
def test_recipes_may_be_written_in_short(written: str, meant: object) -> None:
    assert read(f"recipes: {written}").recipes == meant


@pytest.mark.usefixtures("folder")
def test_a_metric_of_the_users_own_is_module_and_function() -> None:
    assert read("metric: my_package.metrics:psnr").metric == Spec("own", {"function": "my_package.metrics:psnr"})


@pytest.mark.usefixtures("folder")
def test_an_instance_is_priced_by_the_table() -> None:
    assert read("machine: {instance: aws/c7i.large}").price == Spec("table", {"instance": "aws/c7i.large"})


@pytest.mark.parametrize(
    ("machine", "price"),
    [
        ("{instance: aws/c7i.large, terms: spot}", Spec("table", {"instance": "aws/c7i.large", "terms": "spot"})),
        (
            "{instance: aws/c7i.large, region: us-east-1, discount: 20%}",
            Spec("table", {"instance": "aws/c7i.large", "region": "us-east-1", "discount": 0.2}),
        ),
        (
            "{instance: aws/c7i.large, terms: reserved, usd_per_hour: $0.05, discount: 0.1}",
            Spec(
                "fixed", {"instance": "aws/c7i.large", "terms": "reserved", "usd_per_hour": 0.05, "discount": 0.1}
            ),
        ),
        (
            "{owned: {purchase_usd: 4000, years: 4, watts: 300, usd_per_kwh: 0.15, utilisation: 60%}}",
            Spec(
                "owned",
                {
                    "purchase_usd": 4000.0, "years": 4.0, "watts": 300.0, "usd_per_kwh": 0.15, "pue": 1.56,
                    "staff_share_usd_per_year": 0.0, "utilisation": 0.6,
                },
            ),
        ),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("folder")
def test_a_machine_may_have_terms_a_discount_or_an_owner(machine: str, price: Spec) -> None:
    assert read(f"machine: {machine}").price == price


@pytest.mark.usefixtures("folder")
def test_a_section_with_every_line_commented_out_is_a_section_left_out() -> None:
    assert read("budget:\n  # p95_ms: 5\ntraffic:\nmachine:\ninputs:\n") == read("")


def test_data_paths_are_relative_to_the_budget_file_and_not_to_the_current_folder(folder: Path) -> None:
    inner = folder / "project"
    inner.mkdir()
    (inner / "mine.npz").touch()
    (inner / "budget.yaml").write_text("data: {evaluation: mine.npz, calibration: ../calibration.npz}")
    found = plan.read(Path("project/budget.yaml")).data
    assert found == Data(str(inner / "mine.npz"), str(inner / "../calibration.npz"))


def test_a_function_that_gives_data_is_kept_as_it_is(folder: Path) -> None:
    (folder / "budget.yaml").write_text("data: {evaluation: 'my_data.feed:batches'}")
    assert plan.read(Path("budget.yaml")).data.evaluation == "my_data.feed:batches"


def test_judging_a_stored_run_again_does_not_need_its_data(folder: Path) -> None:
    (folder / "budget.yaml").write_text("data: {evaluation: gone.npz}")
    assert plan.read(Path("budget.yaml"), data_must_exist=False).data.evaluation == str(folder / "gone.npz")


# ---------------------------------------------------------------------------------------- what it may not say


@pytest.mark.parametrize(
    ("text", "line", "path", "words"),
    [
        ("budget:\n  p95ms: 5", 3, "budget.p95ms", "unknown key; did you mean 'p95_ms'?"),
        ("p95_ms: 5", 2, "p95_ms", "unknown key; it belongs under `budget:`"),
        ("budget:\n  batch: [1]", 3, "budget.batch", "it belongs at the top level"),
        ("usd_per_hour: 5", 2, "usd_per_hour", "it belongs under `machine:`"),
        ("budget: {joules_per_inference: 0}", 2, "budget.joules_per_inference", "must be more than 0, not 0"),
        ("budget: {co2_grams_per_million: 5}", 2, "budget.co2_grams_per_million", "add `energy: {grid: FRA}`"),
        ("energy: {grid: FRAA}", 2, "energy.grid", "no carbon intensity is known for 'FRAA'; near: FRA"),
        ("energy: {grid: [1]}", 2, "energy.grid", "must be a country (FRA), a region (us-east-1) or g CO2e per kWh"),
        ("energy: {pue: 0.9}", 2, "energy.pue", "must be at least 1, not 0.9"),
        ("objective: speed", 2, "objective", "must be 'cost', 'latency', 'size' or 'energy', not 'speed'"),
        ("seed: 1\n\nseed: 2", 4, "seed", "given twice, first at budget.yaml:2; keep one"),
        ("budget:\n  p95_ms: 5\n  p95_ms: 6", 4, "budget.p95_ms", "given twice, first at budget.yaml:3"),
        ("budget: {p95_ms: 5 parsec}", 2, "budget.p95_ms", "'5 parsec' is not a time: write 5 (milliseconds)"),
        ("budget: {p95_ms: '5'}", 2, "budget.p95_ms", "'5' is not a time: write 5 (milliseconds), '5ms'"),
        ("budget: {p95_ms: -5}", 2, "budget.p95_ms", "must be finite and not negative"),
        ("budget: {p95_ms: 0}", 2, "budget.p95_ms", "must be more than 0"),
        ("budget: {p95_ms: .nan}", 2, "budget.p95_ms", "must be finite"),
        ("budget: {p95_ms: .inf}", 2, "budget.p95_ms", "must be finite"),
        ("budget: {p95_ms: true}", 2, "budget.p95_ms", "is not a time"),
        ("budget: {p95_ms: [5]}", 2, "budget.p95_ms", "is not a time"),
        ("budget:\n  p95_ms:", 3, "budget.p95_ms", "is empty: give a value, or remove the line"),
        ("budget: {size_mb: -1}", 2, "budget.size_mb", "must be finite and not negative"),
        ("budget: {memory_mb: much}", 2, "budget.memory_mb", "'much' is not a size"),
        ("budget: {accuracy_drop: -0.1}", 2, "budget.accuracy_drop", "must be finite and not negative"),
        ("budget: {accuracy_drop: 1}", 2, "budget.accuracy_drop", "any drop of top1; one point is 0.01 or 1%"),
        ("metric: cosine\nbudget: {accuracy_drop: 2}", 3, "budget.accuracy_drop", "any drop of cosine"),
        ("metric: mse\nbudget: {accuracy_drop: 1%}", 3, "budget.accuracy_drop", "mse is not a share, so % has no"),
        ("student: mine:small\nrecipes: [[slim]]", 2, "student", "write {distill: {student: mine:small}}"),
        ("student: mine", 2, "student", "must be module:factory, such as my_models:small, not 'mine'"),
        ("budget: {usd_per_million: 1}", 2, "budget.usd_per_million", "needs the machine's price; add `machine:"),
        ("budget: 5", 2, "budget", "must be a section of `key: value` lines, not 5"),
        ("confidence: 0.5", 2, "confidence", "must be more than 0.5, not 0.5"),
        ("confidence: 1", 2, "confidence", "must be less than 1, not 1"),
        ("confidence: .nan", 2, "confidence", "must be a finite number"),
        ("confidence: high", 2, "confidence", "must be a number, not 'high'"),
        ("batch: [0]", 2, "batch[0]", "must be at least 1, not 0"),
        ("batch: [1, 2.5]", 2, "batch[1]", "must be a whole number, not 2.5"),
        ("batch: [true]", 2, "batch[0]", "must be a whole number, not True"),
        ("batch: []", 2, "batch", "the list is empty"),
        ("batch: 8", 2, "batch", "must be a list: [8]"),
        ("batch: [1, 1]", 2, "batch", "1 is listed twice"),
        ("threads: []", 2, "threads", "the list is empty"),
        ("providers: []", 2, "providers", "the list is empty"),
        ("providers:\n  - cpu\n  - opnvino", 4, "providers[1]", "no 'opnvino'; did you mean 'openvino'?"),
        ("recipes: slim", 2, "recipes", "must be auto, or a list of recipes such as [[slim], [int8_static]]"),
        ("recipes:\n  - [slim]\n  - [int8_sttic]", 4, "recipes[1][0]", "did you mean 'int8_static'?"),
        ("recipes: [[{int8_static: {per_chanel: true}}]]", 2, "recipes[0][0]", "did you mean 'per_channel'?"),
        ("recipes: [[{int8_static: {per_channel: 3}}]]", 2, "recipes[0][0]", "per_channel must be true or false"),
        ("recipes: [[{int8_static: {per_channel: [1]}}]]", 2, "recipes[0][0]", "must be a single value"),
        ("recipes: [[{int8_static: 3}]]", 2, "recipes[0][0]", "must be `option: value` lines, not 3"),
        ("recipes: [[slim], [slim]]", 2, "recipes", "['slim'] is listed twice"),
        ("recipes: [3]", 2, "recipes[0][0]", "must be a name or {name: {option: value}}, not 3"),
        ("metric: top7", 2, "metric", "no 'top7'; did you mean"),
        ("metric: {f1: {average: mean}}", 2, "metric", "average must be one of macro, micro, not 'mean'"),
        ("machine: {}", 2, "machine", "give `instance: aws/c7i.large`"),
        ("machine:\n  instance: aws/c7i.lage", 3, "machine.instance", "'aws/c7i.lage' is not in the price book"),
        ("machine: {usd_per_hour: 0}", 2, "machine.usd_per_hour", "must be more than 0"),
        ("machine:\n  instance: aws/c7i.large\n  region: mars", 4, "machine.region", "has no price in 'mars'"),
        ("machine:\n  instance: aws/c7i.large\n  terms: reserved", 4, "machine.terms", "has no reserved price"),
        ("machine: {instance: aws/c7i.large, terms: forever}", 2, "machine.terms", "must be 'on_demand', 'spot' or"),
        ("machine: {instance: aws/c7i.large, discount: 1}", 2, "machine.discount", "must be less than 1"),
        ("machine: {instance: aws/c7i.large, discount: 20}", 2, "machine.discount", "must be less than 1"),
        ("machine: {instanse: aws/c7i.large}", 2, "machine.instanse", "unknown key; did you mean 'instance'?"),
        ("currency: {code: Euro, usd: 1, as_of: 2026-11-01}", 2, "currency.code", "'Euro' is no code of a currency"),
        ("currency: {code: EUR, usd: 1, as_of: today}", 2, "currency.as_of", "'today' is no date: write it as 2026-"),
        ("currency: {code: EUR, usd: 0, as_of: 2026-11-01}", 2, "currency.usd", "must be more than 0"),
        ("currency: {code: EUR, usd: 1}", 2, "currency.as_of", "is missing"),
        ("machine: {owned: {years: 4, watts: 300, usd_per_kwh: 0.15}}", 2, "machine.owned.purchase_usd", "is missing"),
        ("machine: {watts: 4}", 2, "machine.watts", "unknown key; it belongs under `machine.owned:`"),
        (f"machine: {{owned: {{{OWNED}}}, discount: 0.1}}", 2, "machine.discount", "has a price of its own"),
        (f"machine:\n  owned:\n    {{{OWNED}, pue: 0.5}}", 4, "machine.owned.pue", "must be at least 1"),
        (f"machine: {{owned: {{{OWNED}, utilisation: 0}}}}", 2, "machine.owned.utilisation", "must be more than 0"),
        ("traffic: {requests_per_second: 0}", 2, "traffic.requests_per_second", "must be more than 0"),
        ("traffic: {requests_per_second: .inf}", 2, "traffic.requests_per_second", "must be a finite number"),
        ("traffic: {requests_per_second: 1, peak_to_mean: 0.5}", 2, "traffic.peak_to_mean", "must be at least 1"),
        ("traffic: {peak_to_mean: 2}", 2, "traffic.requests_per_second", "is missing"),
        ("time_limit: 10:00", 2, "time_limit", "'10:00' is not a length of time"),
        ("time_limit: 0", 2, "time_limit", "must be more than 0"),
        ("seed: -1", 2, "seed", "must be at least 0"),
        ("opset: 12", 2, "opset", "must be at least 18"),
        ("inputs: {x: {shape: [0]}}", 2, "inputs.x.shape[0]", "a dimension is a number from 1, or a name"),
        ("inputs: {x: {shape: [batch, no name]}}", 2, "inputs.x.shape[1]", "not 'no name'"),
        ("inputs: {x: {shape: [batch], dtype: flaot32}}", 2, "inputs.x.dtype", "did you mean 'float32'?"),
        ("inputs:\n  x:\n    dtype: int64", 3, "inputs.x.shape", "is missing"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_fault_is_named_with_its_line_its_path_and_a_remedy(text: str, line: int, path: str, words: str) -> None:
    said = refusal(text)
    assert said.startswith(f"budget.yaml:{line}: {path}: ")
    assert words in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "budget.yaml: the file is empty; `costopt init` writes one to start from"),
        ("# nothing but words\n", "budget.yaml: the file is empty"),
        ("- data\n", "budget.yaml:1: must be `key: value` lines at the top, not a list"),
        ("data", "budget.yaml:1: must be `key: value` lines at the top, not the text 'data'"),
        ("metric: top1", "budget.yaml:1: data: is missing"),
        ("data: {calibration: calibration.npz}", "budget.yaml:1: data.evaluation: is missing"),
        ("data:", "budget.yaml:1: data: is empty"),
        ("data:\n\tevaluation: x", "budget.yaml:2: has a tab; YAML indents with spaces"),
        ("data: {evaluation: x\n", "budget.yaml:2: not YAML: expected ',' or '}'"),
        ("a: 1\n---\nb: 2\n", "budget.yaml:2: not YAML: but found another document"),
        ("? [1]\n: 2\n", "budget.yaml:1: a key must be a plain word"),
        ("a: &x [1]\nb: *x\n", "budget.yaml:2: not YAML: '*x' is an alias; write the value out"),
        ("a: !!python/object/apply:os.system [id]\n", "is a tag; a budget file has none: remove it"),
        ("[" * 1000, "budget.yaml:1: not YAML: nested deeper than 20 levels"),
        ("x" * 300_000, "budget.yaml: 300000 bytes is too much for a budget file"),
        ("PK\x03\x04", "budget.yaml: not a text file"),
    ],
)
def test_a_file_that_is_no_budget_is_refused_in_a_line(folder: Path, text: str, words: str) -> None:
    (folder / "budget.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        plan.read(Path("budget.yaml"))
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_bytes_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / "budget.yaml").write_bytes(b"data: \xff\xfe")
    with pytest.raises(ConfigError, match="byte 6 is not UTF-8"):
        plan.read(Path("budget.yaml"))


@pytest.mark.usefixtures("folder")
def test_a_missing_file_and_a_folder_are_told_apart() -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: no such file; `costopt init`"):
        plan.read(Path("gone.yaml"))
    with pytest.raises(ConfigError, match=r"can't be read \(Is a directory\)"):
        plan.read(Path())


def test_missing_data_is_named_by_the_path_that_was_looked_for(folder: Path) -> None:
    (folder / "budget.yaml").write_text("data:\n  evaluation: gone.npz\n")
    with pytest.raises(ConfigError) as caught:
        plan.read(Path("budget.yaml"))
    wanted = (
        f"budget.yaml:2: data.evaluation: no such file: {folder / 'gone.npz'} (paths are relative to the budget file)"
    )
    assert str(caught.value) == wanted


@pytest.mark.parametrize("name", ["x" * 5000, "~nobody-of-this-name/data.npz", "a/b/c.npz", "with\tcontrol.npz"])
def test_a_strange_path_is_only_a_file_that_is_not_there(folder: Path, name: str) -> None:
    (folder / "budget.yaml").write_text(yaml.safe_dump({"data": {"evaluation": name}}, width=10**6))
    with pytest.raises(ConfigError, match=r"budget\.yaml:\d: data\.evaluation: no such file") as caught:
        plan.read(Path("budget.yaml"))
    assert len(str(caught.value)) < 700


@pytest.mark.usefixtures("folder")
def test_of_many_faults_two_are_shown_and_the_rest_counted() -> None:
    said = refusal("seed: -1\nopset: 1\nbatch: [0]\nconfidence: 2").splitlines()
    assert len(said) == 3
    assert said[2] == "(and 2 more)"


@pytest.mark.usefixtures("folder")
def test_an_alias_bomb_is_refused_at_once() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))
    assert "is an alias" in refusal(bomb)


# ---------------------------------------------------------------------------------------- --set


@pytest.mark.usefixtures("folder")
def test_an_override_wins_over_the_file_and_the_last_one_over_the_others() -> None:
    found = read("budget: {p95_ms: 5, size_mb: 1}", "budget.p95_ms=3ms", "budget.p95_ms=2", "batch=[1, 8]")
    assert found.budget == Budget(p95_ms=2, size_mb=1)
    assert found.batch == (1, 8)


@pytest.mark.usefixtures("folder")
def test_an_override_makes_the_section_that_it_needs() -> None:
    assert read("", "budget.p95_ms=3").budget == Budget(p95_ms=3)
    assert read("budget:", "budget.p95_ms=3").budget == Budget(p95_ms=3)
    assert read("", "recipes=[[{int8_static: {per_channel: false}}]]").recipes == (
        (Spec("int8_static", {"per_channel": False}),),
    )


@pytest.mark.usefixtures("folder")
def test_null_takes_a_key_out() -> None:
    assert read("budget: {p95_ms: 5, size_mb: 1}", "budget.p95_ms=null").budget == Budget(size_mb=1)
    assert read("metric: f1", "metric=null").metric == Spec("top1")


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("budget.p95_ms=soon", "budget.p95_ms: 'soon' is not a time"),
        ("budget.p95=3", "budget.p95: unknown key; did you mean 'p95_ms'?"),
        ("budget.p95_ms", "write --set section.key=value, such as --set budget.p95_ms=3"),
        ("=3", "write --set section.key=value"),
        ("budget..p95_ms=3", "write --set section.key=value"),
        ("batch=[1", "not YAML"),
        ("batch=*x", "is an alias"),
        ("data.evaluation.x=1", "'evaluation' is not a section: it is 'evaluation.npz'"),
        ("data.evaluation=gone.npz", "data.evaluation: no such file"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_fault_in_an_override_names_the_flag(assignment: str, words: str) -> None:
    said = refusal("", assignment)
    assert said.startswith(f"--set {assignment}: ")
    assert words in said


@pytest.mark.usefixtures("folder")
def test_a_fault_in_the_file_still_names_its_line_when_another_key_is_overridden() -> None:
    assert refusal("budget:\n  size_mb: 1\n  p95_ms: -1", "budget.size_mb=2").startswith("budget.yaml:4: budget.p95_ms")


# ---------------------------------------------------------------------------------------- YAML as it is read


EMPTY = located.Located("empty", {}, {(): "empty"})


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_python_writes_is_read_as_that_number(number: float) -> None:
    assert scalar(repr(number)) == number


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=40))
def test_a_quoted_text_stays_a_text(text: str) -> None:
    assert scalar(yaml.dump(text, default_style='"', allow_unicode=True)) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("yes", "yes"), ("on", "on"), ("010", 10), ("10:30", "10:30"), ("1e-2", 0.01), ("true", True), ("~", None)],
)
def test_plain_words_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    assert scalar(text) == value


def scalar(text: str) -> object:
    return EMPTY.override(f"key={text}").value.get("key")


@given(st.text(max_size=200))
def test_whatever_is_written_is_read_or_refused_in_words(text: str) -> None:
    with contextlib.suppress(ConfigError):
        EMPTY.override(f"key={text}")
