"""The cost models by name, filled in with what a run and a plan know (`cost_models` has the formulas)."""

from collections.abc import Iterator
from dataclasses import replace

from costopt.explaining import cost_models
from costopt.explaining.lines import Label, Line, Section, Unit, derived, filled
from costopt.explaining.run_lines import IN_TURNS, Explained
from costopt.judging.objectives import known
from costopt.planning.bills import Bill, Egress
from costopt.planning.ranking import Row
from costopt.planning.traffic_file import Asked

NOT_TOLD = "neither the run nor a file tells it"
LEFT_ALONE = "nothing: it is the original"


def compression(about: Explained) -> Section:
    """Parameters in MB of the file, compute in US dollars per million inferences that never idle."""
    return Section("The compression model: C_param * r + C_compute * s", tuple(_compression(about)))


def _compression(about: Explained) -> Iterator[Line]:
    before, after = about.original, about.row
    if before.size_bytes is None or after.size_bytes is None:
        return
    relative = known(after.usd).relative
    r, s = after.size_bytes / before.size_bytes, relative.value
    param, compute = before.size_bytes / 1e6, known(known(before.usd).saturated)
    left = cost_models.compressed(param, compute, r, s)
    saved = cost_models.saved_by_compression(param, compute, r, s)
    sizes = {"candidate": after.size_bytes, "original": before.size_bytes}
    yield filled("r, size left", "candidate / original", sizes, r, "share", "measured", "bytes of the two files")
    times = {"speedup": known(after.speedup).value}
    time_left = filled("s, time left", "1 / speedup", times, s, "share", "measured", IN_TURNS)
    yield replace(time_left, low=relative.low, high=relative.high)
    values = {"C_param": param, "r": r, "C_compute": compute, "s": s}
    yield filled("parameters", "C_param * r", values, left.param, "MB", "measured")
    yield filled("parameters saved", "C_param * (1 - r)", values, saved.param, "MB", "measured")
    yield filled("compute", "C_compute * s", values, left.compute, "USD/million", about.label)
    yield filled("compute saved", "C_compute * (1 - s)", values, saved.compute, "USD/million", about.label)


def total(compute_usd: float, algorithm_usd: float, label: Label, title: str, words: str) -> Section:
    """The parts that are known, and their sum; `label` is that of the compute, `words` say what the algorithm is."""
    parts = {"compute": compute_usd, "algorithm": algorithm_usd, "efficiency": 0.0, "vertical": 0.0}
    value = cost_models.total(**parts)
    formula = "compute + algorithm + efficiency + vertical"
    return Section(
        f"The total cost model: {title}",
        (
            Line("compute", "as above", "", compute_usd, "USD", label),
            Line("algorithm", words, "", algorithm_usd, "USD", "modelled"),
            Line("efficiency", NOT_TOLD, "", None, "USD", "given"),
            Line("vertical", NOT_TOLD, "", None, "USD", "given"),
            filled("total", formula, parts, value, "USD", derived(label), words="of the parts that are known"),
        ),
    )


def distribution(row: Row, bill: Bill, egress: Egress, asked: Asked) -> Section:
    """Machines as resources, answers that leave the cloud as communication."""
    machine_usd = row.place.usd_per_hour * asked.hours_per_month
    values = {
        "C_resource": machine_usd,
        "n": row.mean_paid or row.paid,
        "C_communication": egress.usd_per_request,
        "m": bill.requests,
    }
    value = cost_models.distributed(machine_usd, row.mean_paid or row.paid, egress.usd_per_request, bill.requests)
    formula = "C_resource * n + C_communication * m"
    line = filled("machines and answers", formula, values, value, "USD", derived(row.place.label), words="a month")
    return Section("The distribution model: C_resource * n + C_communication * m", (line,))


def efficiency(row: Row, asked: Asked) -> Section:
    """The share of all paid time in which a request is served, as a product of what each stage keeps."""
    title = "The efficiency model: a product of shares"
    if row.busiest_load is None or row.instances is None or row.mean_paid is None:
        return Section(title, ())
    demand = asked.demand
    shares = row.busiest_load, demand.mean_per_s / demand.peak_per_s, row.instances / row.mean_paid
    rates = {"mean": demand.mean_per_s, "peak": demand.peak_per_s}
    machines = {"machines": row.instances, "paid": row.mean_paid}
    values = dict(zip(("load", "of_peak", "serving"), shares, strict=True))
    value = cost_models.total_efficiency(*shares)
    return Section(
        title,
        (
            Line("load, busiest time", "as above", "", shares[0], "share", derived(row.place.label)),
            filled("mean of the peak", "mean / peak", rates, shares[1], "share", "given"),
            filled("machines that serve", "machines / paid", machines, shares[2], *_serving(shares[2], row)),
            filled(
                "paid time that serves", "load * of_peak * serving", values, value, "share", derived(row.place.label)
            ),
        ),
    )


def _serving(value: float, row: Row) -> tuple[Unit, Label, str, str]:
    """Unit, label, source and words: no share where those of the busiest time are more than are paid for on average."""
    label = derived(row.place.label)
    if value <= 1:
        return "share", label, "", ""
    return "times", label, "", "those of the busiest time, over those paid for on average: more, since they come and go"
