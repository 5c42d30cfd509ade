"""The house's own rules, read from the code with `ast`: who may import whom, what loads when, and no smells."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from costopt import plugins
from tests import smells

PACKAGE = Path(__file__).parent.parent / "costopt"
HEAVY = {"torch", "onnx", "onnxruntime", "onnxscript", "onnx_ir", "ray", "scipy", "pyarrow", "safetensors"}
KINDS = ("formats", "feeds", "methods", "metrics", "providers", "prices", "runners", "reports")
# Folders that only keep together what belongs together: each file in them has a layer of its own.
PARTS = (
    "loading", "sampling", "cutting", "learning", "rounding", "packing", "measuring", "benching", "judging",
    "searching", "pricing", "planning", "projecting", "explaining", "powering", "scheduling", "distributing",
)  # fmt: skip

# Each layer may import the ones before it and its own; plug-ins have a rule of their own.
LAYERS = (
    {"errors", "units", "timings", "json_text"},
    {"records"},
    {"verdict"},
    {"measurements"},
    {
        "stats",
        "stretches",
        "plugins",
        "user_code",
        "located",
        "disk",
        "noise_rules",
        "rans",
        "offers",
        "families",
        "ownership",
        "theory",
        "simulation",
        "demand",
        "grids",
        "carbon",
        "filling",
    },
    {
        "codings",
        "factorised",
        "folding",
        "four_bits",
        "arrays",
        "archive",
        "architecture",
        "classes",
        "graph",
        "pickles",
        "rewriting",
        "layers",
        "activations",
        "ranges",
        "qdq",
        "smoothing",
        "equalization",
        "bias_correction",
        "rounding_errors",
        "layer_times",
        "stopping",
        "warmup",
        "queueing",
        "forecast",
        "rules",
        "book",
        "terms",
        "hardware",
        "buildings",
        "power_caps",
        "lanes",
        "operators",
        "fused",
        "work",
        "counting",
        "chains",
        "patterns",
        "references",
        "caches",
        "fitting",
        "roofline",
    },
    {
        "capacity",
        "uptime",
        "interruptions",
        "cost",
        "cost_models",
        "lines",
        "chosen",
        "bills",
        "limits",
        "machine",
        "journal",
        "provenance",
        "objectives",
        "rates",
        "throughput",
        "devices",
        "sheets",
        "spans",
        "costz",
        "causes",
        "incoming",
    },
    {"extra_lines", "commitment"},
    {"karpenter", "spotinfo", "skypilot", "gpuhunt", "gpuhunt_library", "download"},
    {"sources"},
    {"refresh", "price_sheet"},
    {
        "noise",
        "energy",
        "matching",
        "samples",
        "explain",
        "bought",
        "choose",
        "session_options",
        "report_sheet",
        "bench_columns",
        "draws",
        "routes",
    },
    {"footprints"},
    {
        "budget_file",
        "plan",
        "progress",
        "tuning",
        "settle",
        "bench_sheet",
        "bench_facts",
        "layer_sheet",
        "layer_costs",
        "made_up",
        "asked",
    },
    {"energy_file"},
    {"traffic_sections"},
    {"calibration"},
    {"calibration_words"},
    {"traffic_file", "services"},
    {"paces"},
    {"places"},
    {"plan_power"},
    {"spot_places", "sizes"},
    {"billing"},
    {"ranking"},
    {"flips", "following", "kinds", "capping"},
    {"plan_words", "energy_words", "energy_facts"},
    {"answer"},
    {"plan_sheet", "plan_facts"},
    {"price_lines"},
    {"run_lines", "fleet_lines"},
    {"bill_lines", "model_lines"},
    {"explanation"},
    {"explain_sheet", "explain_facts"},
    {"columns", "fleet_file"},
    {"program"},
    {"ways", "layout"},
    {"sites"},
    {"forms"},
    {"routing"},
    {"fleet_records"},
    {"fleet_words"},
    {"fleet_answer", "fleet_sheet", "fleet_facts"},
    {"published", "decoders", "networks", "collectives"},
    {"forward", "parallel", "training_steps"},
    {"deployments"},
    {"pace"},
    {"replicas"},
    {"training_plan"},
    {"paper_options"},
    {"training_sheet", "paper_models"},
    {"paper_asked"},
    {"paper"},
    {"wins", "big_or_small", "spreading", "paper_words"},
    {"paper_sheet", "paper_facts"},
    {"on_paper"},
    {"load", "modules", "transposed", "export", "parity", "worker", "placement", "precision", "ties", "observed"},
    {"surgery", "fake_quantization", "students", "any_width", "residual", "sequences"},
    {"importance", "shortening"},
    {"allotment", "width_times", "reconstruction"},
    {"resuming", "shuffling", "augmentation", "acceleration", "imitation", "hidden", "attention"},
    {"training", "pairing", "labels"},
    {"padding"},
    {"teaching"},
    {"build", "session", "deliver"},
    {"sensitivity"},
    {"torch_session", "serving"},
    {"bench"},
    {"proof", "crew", "trials"},
    {"calibrating"},
    {"scenarios", "race", "contenders"},
    {"pipeline"},
    {"knobs", "space"},
    {"tried"},
    {"explore"},
    {"tries"},
    {"heats"},
    {"search", "benchmark"},
    {"alone"},
    {"commands"},
    {"cli"},
    {"__init__", "__main__"},
)
MAY_LOAD_HEAVY = {
    "export", "parity", "modules", "graph", "rewriting", "session", "bench", "worker", "placement", "precision",
    "torch_session", "serving", "resuming", "augmentation", "acceleration", "imitation", "hidden", "attention",
    "pairing", "padding", "training", "teaching", "fake_quantization", "labels", "students", "transposed",
    "layers", "activations", "ranges", "qdq", "smoothing", "equalization", "bias_correction",
    "ties", "observed", "surgery", "importance", "allotment", "reconstruction", "layer_times", "rounding_errors",
    "any_width", "width_times", "residual", "sequences", "shortening", "sensitivity", "factorised",
    "folding", "four_bits", "columns", "program",
    "fused", "counting", "chains", "patterns", "references", "calibrating",
}  # fmt: skip
FOUNDATION = {"errors", "units", "timings", "records", "verdict", "measurements", "stats"}
# Ideas that several plug-ins of a kind need, and that know nothing of any of them.
SHARED_BY_PLUGINS = {
    "json_text",
    "book",
    "terms",
    "ownership",
    "arrays",
    "disk",
    "archive",
    "architecture",
    "classes",
    "graph",
    "pickles",
    "rewriting",
    "layers",
    "activations",
    "ranges",
    "qdq",
    "smoothing",
    "equalization",
    "bias_correction",
    "rounding_errors",
    "layer_times",
    "any_width",
    "width_times",
    "user_code",
    "sheets",
    "report_sheet",
    "bench_columns",
    "bench_sheet",
    "bench_facts",
    "layer_sheet",
    "bought",
    "training",
    "teaching",
    "fake_quantization",
    "students",
    "folding",
    "factorised",
    "four_bits",
    "ties",
    "observed",
    "surgery",
    "importance",
    "allotment",
    "reconstruction",
    "residual",
    "sequences",
    "shortening",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def top_level_imports(path: Path) -> Iterator[str]:
    """What a module imports when it is loaded: not inside functions, not for type checkers alone."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        yield from _imported(node)


def every_import(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        yield from _imported(node)


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module in {"costopt", *(f"costopt.{part}" for part in PARTS)}:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module


def place(path: Path) -> str:
    """`methods/int8_static.py` is at `methods`, `plan.py` at `plan`, `judging/cost.py` at `cost`."""
    return _home(path.relative_to(PACKAGE).with_suffix("").parts)[0]


def _home(parts: tuple[str, ...]) -> tuple[str, ...]:
    """The path of a module without the folder that only keeps it together with others."""
    return parts[1:] if parts[0] in PARTS and len(parts) > 1 else parts


def home_of(name: str) -> tuple[str, ...]:
    """`costopt.judging.cost` is at `cost`; nothing for what is not ours."""
    parts = tuple(name.split("."))
    return _home(parts[1:]) if parts[0] == "costopt" and len(parts) > 1 else ()


def layer(name: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if name in names)


@pytest.mark.parametrize(
    "path", [one for one in modules() if place(one) not in KINDS], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_a_module_imports_only_what_lies_below_it(path: Path) -> None:
    for name in every_import(path):
        home = home_of(name)
        if home and home[0] not in KINDS:
            assert layer(home[0]) <= layer(place(path)), f"{path.name} imports {name}, which lies above it"


@pytest.mark.parametrize("path", [one for one in modules() if place(one) in KINDS], ids=lambda path: path.stem)
def test_a_plug_in_imports_the_foundation_and_its_own_folder_only(path: Path) -> None:
    for name in every_import(path):
        home = home_of(name)
        if home:
            assert home[0] in FOUNDATION | SHARED_BY_PLUGINS | {place(path)}, f"{path} imports {name}"
            assert len(home) == 1, f"{path} imports another plug-in, or the inside of what it may use: {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_libraries_are_loaded_at_module_top_only_where_they_are_used(path: Path) -> None:
    if place(path) in MAY_LOAD_HEAVY or (place(path) in KINDS and path.stem != "__init__"):
        return
    heavy = {name.split(".")[0] for name in top_level_imports(path)} & HEAVY
    assert not heavy, f"{path} loads {heavy} when it is imported"


@pytest.mark.parametrize("arguments", [["--help"], ["compress", "--help"], ["list", "methods"], ["schema"]])
def test_nothing_heavy_is_loaded_for_small_commands(arguments: list[str]) -> None:
    script = (
        "import sys; from costopt.cli import main; sys.argv[1:] = sys.argv[1:]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print('HEAVY', sorted({HEAVY!r} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert "HEAVY []" in ended.stdout, ended.stdout[-500:]


@pytest.mark.parametrize("kind", KINDS)
def test_every_plug_in_opens_with_one_line_that_says_what_it_is(kind: plugins.Kind) -> None:
    for name in plugins.names(kind):
        assert plugins.describe(kind, name), f"{kind}/{name}.py has no docstring"


@pytest.mark.parametrize("part", PARTS)
def test_a_folder_of_parts_says_what_each_of_its_files_is_for(part: str) -> None:
    words = (PACKAGE / part / "__init__.py").read_text(encoding="utf-8")
    inside = {path.stem for path in (PACKAGE / part).iterdir() if path.stem != "__init__" and path.suffix != ".csv"}
    assert {name for name in inside - {"__pycache__"} if name not in words} == set()


def test_the_house_has_no_smells() -> None:
    assert {smell: places for smell, places in smells.found(PACKAGE).items() if places} == {}


def test_the_count_of_smells_sees_each_kind(tmp_path: Path) -> None:
    (tmp_path / "my_utils.py").write_text(
        "def f(**kwargs):\n    try:\n        return getattr(kwargs, 'x')\n    except Exception:\n        return None\n"
    )
    assert all(smells.found(tmp_path).values())
