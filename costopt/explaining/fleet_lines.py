"""A candidate for a traffic in lines: how many requests come, how long each takes, and how many machines that needs.

All figures are those of the plan's row (`planning.ranking`); here they only get their formulas. Erlang's formula stands
beside the simulation as a check by other means: it takes calls to be exponential, which measured ones are not.
"""

from collections.abc import Iterator

from costopt import units
from costopt.explaining.lines import Line, Section, derived, filled
from costopt.planning import theory
from costopt.planning.ranking import Row
from costopt.planning.traffic_file import Asked, Promise

THE_FILE = "the traffic file"
ERLANG = "A. K. Erlang 1917; waits of exponential calls"
SIMULATED = "simulation of the measured calls, one queue before all servers"


def demand(asked: Asked) -> Section:
    """On average, and at the busiest time."""
    found = asked.demand
    mean = Line("mean traffic", "as given", "", found.mean_per_s, "requests/s", "given", THE_FILE)
    peak = Line("busiest time", found.told, "", found.peak_per_s, "requests/s", "given", THE_FILE)
    return Section("The traffic", (mean, peak))


def calls(row: Row, asked: Asked) -> Section:
    """How long a call takes: its mean, the promised percentile, and how slow it is taken to be."""
    return Section(f"A call of {row.service.name} on {row.place.name}", tuple(_calls(row, asked.promise)))


def _calls(row: Row, promise: Promise | None) -> Iterator[Line]:
    service, label = row.service, row.place.label
    if not row.is_timed:
        yield Line("mean call", row.words, "", None, "ms", label)
        return
    source = f"{units.count(service.seen)} calls in this run"
    pace = row.place.pace(service.id)
    yield Line("mean call", _paced("mean of the calls", pace), "", 1e3 * row.mean_s, "ms", label, source)
    if promise is not None and service.seen_s is not None and service.sure_s is not None:
        seen, sure = f"{promise.name} of the calls, seen", f"{promise.name} of the calls, sure"
        yield Line(seen, _paced("by nearest rank", pace), "", 1e3 * pace * service.seen_s, "ms", label, source)
        bound = _paced("upper bound at 99 %, by order of the calls", pace)
        yield Line(sure, bound, "", 1e3 * pace * service.sure_s, "ms", label, source)
    sized_s = service.mean_s * (1 + row.band)
    if row.place.band and sized_s > row.mean_s:
        values = {"mean": 1e3 * row.mean_s, "band": row.place.band}
        yield filled(
            "mean call, sized for", "mean * (1 + band)", values, 1e3 * sized_s, "ms", label,
            f"a band of {units.percent(row.place.band)}, not measured on this machine",
        )  # fmt: skip


def _paced(words: str, pace: float) -> str:
    """With how much slower or faster the machine is than the one that was timed."""
    return words if pace == 1 else f"{words}, {units.ratio(pace)} as long there"


def fleet(row: Row, asked: Asked) -> Section:
    """How many machines keep the promise; only what is known of a row that does not meet."""
    return Section("The machines", tuple(_fleet(row, asked)))


def _fleet(row: Row, asked: Asked) -> Iterator[Line]:
    if row.instances is None or row.busiest_load is None:
        return
    peak, services = asked.demand.peak_per_s, row.place.services
    servers = row.instances * services
    yield Line(
        "machines",
        _why(asked),
        "",
        row.instances,
        "machines",
        derived(row.place.label),
        "capacity curves by simulation",
    )
    yield filled(
        "servers", "machines * services", {"machines": row.instances, "services": services}, servers, "servers",
        row.place.label, words="calls at once",
    )  # fmt: skip
    offered = row.busiest_load * servers
    yield filled(
        "offered load a",
        f"rate * seconds{_batch(row)}",
        {"rate": peak, "seconds": row.mean_s, "batch": row.service.batch},
        offered,
        "Erlang",
        derived(row.place.label),
    )
    values = {"a": offered, "servers": servers}
    yield filled("load, busiest time", "a / servers", values, row.busiest_load, "share", derived(row.place.label))
    if asked.promise is not None and row.response_ms is not None:
        yield from _waits(row, asked.promise, peak, servers)
    yield from _paid(row, asked)


def _batch(row: Row) -> str:
    """How a formula goes on for calls that serve several requests."""
    return "" if row.service.batch == 1 else " / batch"


def _why(asked: Asked) -> str:
    promise = "no latency is promised" if asked.promise is None else f"{asked.promise.name} kept at the busiest time"
    return f"the fewest with {promise}"


def _waits(row: Row, promise: Promise, rate: float, servers: int) -> Iterator[Line]:
    """The simulated response, and beside it what Erlang's formula makes of the wait alone; both at the slow end."""
    name = promise.name
    limit = f"the limit {units.given(promise.ms)} ms"
    yield Line(
        f"{name}, simulated",
        "wait and call",
        "",
        row.response_ms,
        "ms",
        derived(row.place.label),
        SIMULATED,
        words=limit,
    )
    if row.service.batch > 1:  # Erlang's servers take requests one by one
        return
    mean_s = row.service.mean_s * (1 + row.band)
    values = {"c": servers, "rate": rate, "s": mean_s, "share": promise.share}
    waiting = theory.erlang_c(servers, rate * mean_s)
    yield filled(
        "share that waits",
        "erlang_c(c, rate * s)",
        values,
        waiting,
        "share",
        derived(row.place.label),
        ERLANG,
        words="calls as sized for",
    )
    wait_ms = 1e3 * theory.mmc_wait_percentile_s(servers, rate, mean_s, promise.share)
    formula = "1000 * max(0, log(erlang_c(c, rate * s) / (1 - share)) / (c / s - rate))"
    yield filled(
        f"{name} of the wait alone",
        formula,
        values,
        wait_ms,
        "ms",
        derived(row.place.label),
        ERLANG,
        words="calls as sized for; a check of the simulation",
    )


def _paid(row: Row, asked: Asked) -> Iterator[Line]:
    values: dict[str, float] = {"machines": row.instances or 0, "spare": row.spare}
    label = derived(row.place.label)
    yield filled("machines paid", "machines + spare", values, row.paid, "machines", label, words="at the busiest time")
    if row.idle is not None and row.mean_paid is not None:
        values = {
            "mean": asked.demand.mean_per_s,
            "seconds": row.mean_s,
            "paid": row.mean_paid,
            "services": row.place.services,
            "batch": row.service.batch,
        }
        formula = f"max(0, 1 - mean * seconds{_batch(row)} / (paid * services))"
        yield filled("idle, of all paid", formula, values, row.idle, "share", label)
