"""costopt: what does it cost to run this model, and how do we make it cost less without breaking it?

    import costopt

    plan = costopt.read_plan("budget.yaml")
    report = costopt.compress("model.pt2", plan)
    print(report.headline)

Importing costopt imports nothing heavy; torch is loaded by the child process that touches the model.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

# No network unless asked: ONNX Runtime sends telemetry from version 1.29 on, on Linux and macOS too, unless this is set
# before it is imported (microsoft/onnxruntime pull requests 27379 and 29843). Children inherit it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from costopt.benching.measurements import BenchPlan, BenchReport
    from costopt.records import ModelSource, Plan
    from costopt.verdict import Report


def read_plan(path: "str | Path", overrides: tuple[str, ...] = ()) -> "Plan":
    """The plan in a budget file; `overrides` are texts like "budget.p95_ms=3". Raises errors.ConfigError."""
    from costopt import plan

    return plan.read(Path(path), overrides)


def measure(plan: "BenchPlan", out: "str | Path" = "runs") -> "BenchReport":
    """Measure models against each other in one scenario; all are held against the first.

    Raises errors.UsageError for what the caller must mend, errors.CostoptError when nothing can be measured.
    """
    from costopt.benchmark import bench as run

    report, _ = run(plan, Path(out))
    return report


def compress(model: "str | Path | ModelSource", plan: "Plan", out: "str | Path" = "runs") -> "Report":
    """Compress a model, measure every candidate, and choose the cheapest that provably meets the plan's budget.

    The run's folder under `out` holds the chosen file; a run that was interrupted goes on where it stopped.
    Raises errors.UsageError for what the caller must mend, errors.CostoptError when the original can't be measured.
    """
    from costopt.records import ModelSource
    from costopt.search import compress as run

    source = model if isinstance(model, ModelSource) else ModelSource(str(model))
    report, _ = run(source, plan, Path(out))
    return report
