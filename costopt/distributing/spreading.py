"""How the chosen machine's chips share the model, what they exchange, and from how many chips on more cost more."""

from collections.abc import Iterator

from costopt import units
from costopt.distributing.deployments import Way
from costopt.distributing.networks import Link
from costopt.distributing.pace import Pace, pace
from costopt.distributing.paper import Paper, PaperRow, saturated


def sentences(paper: Paper) -> tuple[str, ...]:
    """Of the choice; or of the first row that has a fleet, where nothing is chosen."""
    row = paper.choice or next((one for one in paper.rows if one.fleet is not None), None)
    return () if row is None else (*_held(row), *_by_degree(paper, row))


def _held(row: PaperRow) -> Iterator[str]:
    """`aws/p4d.24xlarge: a copy is on 8 chips, tensor parallel over NVLink (2,400 Gbit/s); ...`."""
    if row.fleet is None:
        return
    way, one = row.fleet.way, row.fleet.pace
    spread = way.spread
    full = f"{units.bytes(way.bytes_per_chip)} of {units.bytes(way.memory_bytes)} at batch 1"
    where = "in the machine's memory" if spread.chip.kind == "cpu" else f"on {units.count_of(spread.chips, 'chip')}"
    how = [_tensor(spread.link), _stages(spread.stage_link, spread.stages)]
    told = ", ".join((f"{row.offer.instance}: a copy is {where}", *(words for words in how if words)))
    share = "" if spread.chips == 1 else f"; exchanging takes {units.percent(one.communication_share)} of the time"
    copies = row.fleet.served.copies
    apart = f"; {units.count(copies)} copies, no traffic between them" if copies > 1 else ""
    yield f"{told}, {full}{' each' if spread.chips > 1 else ''}{share}{apart}"


def _tensor(link: Link | None) -> str:
    return "" if link is None else f"tensor parallel by {_named(link)}"


def _stages(link: Link | None, stages: int) -> str:
    return "" if link is None else f"a pipeline of {stages} machines by {_named(link)}"


def _named(link: Link) -> str:
    return f"{link.kind} ({units.significant(link.gbit_per_s, 4)} Gbit/s)"


def _by_degree(paper: Paper, row: PaperRow) -> Iterator[str]:
    """What more chips a copy bring and cost, at the batch that was chosen, where there are several ways."""
    ways = [way for way in row.found.ways if row.fleet is not None and way.most >= row.fleet.pace.batch]
    if row.fleet is None or len(ways) < 2:
        return
    paces = [(way, pace(paper.asked.workload, way, row.fleet.pace.batch)) for way in ways]
    costs = [saturated(row.offer, way, one).requests_usd for way, one in paces]
    cheapest = ways[costs.index(min(costs))].spread.chips
    told = ", ".join(_degree(way, one, usd) for (way, one), usd in zip(paces, costs, strict=True))
    batch = f" at batch {row.fleet.pace.batch}" if row.fleet.pace.answer_tokens else ""
    beyond = "more than that cost more" if cheapest < ways[-1].spread.chips else "fewer cost more"
    yield f"chips a copy{batch}: {told} per million requests; {units.count(cheapest)} cost least, {beyond}"


def _degree(way: Way, one: Pace, usd: float) -> str:
    ms = units.ms(1e3 * (one.step_s if one.answer_tokens else one.prefill_s))
    return f"{way.spread.chips}: {ms} ms a {'token' if one.answer_tokens else 'request'} and {units.usd(usd)}"
