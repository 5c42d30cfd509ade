"""A plan on paper as JSON, for other programs. Fields may be added, never renamed; `schema` counts versions."""

import datetime

from costopt.distributing import big_or_small, paper_words, spreading, wins
from costopt.distributing.networks import Link
from costopt.distributing.paper import Fleet, Million, Paper, PaperRow, at_traffic, saturated
from costopt.distributing.paper_asked import PaperAsked
from costopt.json_text import json_text
from costopt.planning.places import BAND

PAPER_SCHEMA = 1

Facts = dict[str, object]


def written(paper: Paper, today: datetime.date) -> str:
    """The whole plan as one JSON object, indented, keys in a fixed order; what is not known or not finite is null."""
    return json_text(facts(paper, today))


def facts(paper: Paper, today: datetime.date) -> Facts:
    """The plan as plain values."""
    return {
        "schema": PAPER_SCHEMA,
        "kind": "plan_on_paper",
        "label": "projected",
        "band": BAND,
        "verdict": "not_met" if paper.choice is None else "met",
        "headline": paper_words.headline(paper),
        "asked": _asked(paper.asked),
        "choice": None if paper.choice is None else paper.choice.offer.instance,
        "indistinguishable": [one.offer.instance for one in paper.alike],
        "rows": [_row(paper, row) for row in paper.rows],
        "hardware": wins.sentences(paper),
        "spread": spreading.sentences(paper),
        "sizes": big_or_small.sentences(paper),
        "notes": tuple(paper_words.notes(paper, today)),
    }


def _asked(asked: PaperAsked) -> Facts:
    work, limits, traffic = asked.workload, asked.limits, asked.traffic
    return {
        "model": work.name,
        "weight_bytes": work.weight_bytes,
        "prompt_tokens": work.prompt_tokens,
        "answer_tokens": work.answer_tokens,
        "mean_per_s": traffic.demand.mean_per_s,
        "peak_per_s": traffic.demand.peak_per_s,
        "from": traffic.demand.told,
        "limits": {
            "share": limits.share,
            "ttft_ms": _ms(limits.ttft_s),
            "tpot_ms": _ms(limits.tpot_s),
            "whole_ms": _ms(limits.whole_s),
        },
        "spare": traffic.spare,
        "hours_per_month": traffic.hours_per_month,
    }


def _row(paper: Paper, row: PaperRow) -> Facts:
    carried, offer = row.found.carried, row.offer
    return {
        "machine": offer.instance,
        "region": offer.region,
        "label": "projected",
        "verdict": row.verdict,
        "reason": row.words,
        "chip": None if carried is None else carried.chip.name,
        "kind": None if carried is None else carried.chip.kind,
        "chips": None if carried is None else carried.count,
        "confidence": None if carried is None else carried.chip.confidence,
        "toolchain": row.found.toolchain or None,
        "usd_per_hour": offer.usd_per_hour,
        "price_as_of": offer.as_of,
        "fleet": None if row.fleet is None else _fleet(row.fleet),
        "usd_per_month": None if row.fleet is None else {"total": row.fleet.month_usd, "at_the_fast_end": row.low_usd},
        "usd_per_million": None
        if row.fleet is None
        else {
            "saturated": _million(saturated(offer, row.fleet.way, row.fleet.pace)),
            "at_traffic": _million(at_traffic(paper.asked, row)),
        },
    }


def _fleet(fleet: Fleet) -> Facts:
    way, one = fleet.way, fleet.pace
    return {
        "instances": fleet.instances,
        "spare": fleet.spare,
        "copies": fleet.served.copies,
        "sized_at": fleet.factor,
        "tensor_parallel": way.spread.tensor,
        "pipeline_stages": way.spread.stages,
        "machines_per_copy": way.spread.machines,
        "links": [_link(link) for link in (way.spread.link, way.spread.stage_link) if link is not None],
        "batch": one.batch,
        "batch_for_which_there_is_memory": way.most,
        "bytes_per_chip": way.bytes_per_chip,
        "memory_bytes_per_chip": way.memory_bytes,
        "prefill_ms": 1e3 * one.prefill_s,
        "step_ms": 1e3 * one.step_s,
        "tpot_ms": 1e3 * one.tpot_s,
        "ttft_ms_at_size": 1e3 * fleet.served.ttft_s,
        "whole_ms_at_size": 1e3 * fleet.served.whole_s,
        "busiest_load": fleet.served.load,
        "communication_share": one.communication_share,
        "requests_per_s_of_a_copy": one.requests_per_s,
        "answer_tokens_per_s_of_a_copy": one.requests_per_s * one.answer_tokens,
    }


def _link(link: Link) -> Facts:
    return {
        "scope": link.scope,
        "kind": link.kind,
        "gbit_per_s": link.gbit_per_s,
        "latency_us": link.latency_us,
        "confidence": link.confidence,
        "as_of": link.as_of,
        "source": link.source,
    }


def _million(found: Million | None) -> Facts | None:
    if found is None:
        return None
    return {
        "requests": found.requests_usd,
        "prompt_tokens": found.prompt_usd,
        "answer_tokens": found.answer_usd,
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds
