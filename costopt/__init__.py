"""costopt: what does it cost to run this model, and how do we make it cost less without breaking it?

    import costopt

    plan = costopt.read_plan("budget.yaml")
    report = costopt.compress("model.pt2", plan)
    print(report.headline)

Importing costopt imports nothing heavy; torch is loaded by the child process that touches the model.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costopt.records import ModelSource, Plan, Report


def read_plan(path: "str | Path", overrides: tuple[str, ...] = ()) -> "Plan":
    """The plan in a budget file; `overrides` are texts like "budget.p95_ms=3". Raises errors.ConfigError."""
    from costopt import plan

    return plan.read(Path(path), overrides)


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
