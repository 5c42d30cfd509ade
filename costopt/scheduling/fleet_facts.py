"""A fleet as JSON, for other programs. Fields may be added, never renamed; `schema` counts versions."""

from costopt.json_text import json_text
from costopt.scheduling.filling import BLOCK_BYTES
from costopt.scheduling.fleet_records import Packed, Served
from costopt.scheduling.layout import Group, replicas, weight

FLEET_SCHEMA = 1

Facts = dict[str, object]


def written(packed: Packed) -> str:
    """The whole fleet as one JSON object, indented, keys in a fixed order."""
    return json_text(facts(packed))


def facts(packed: Packed) -> Facts:
    """The fleet as plain values."""
    asked, found = packed.asked, bool(packed.groups)
    return {
        "schema": FLEET_SCHEMA,
        "kind": "fleet",
        "verdict": packed.verdict,
        "headline": packed.headline,
        "reasons": packed.reasons,
        "asked": {
            "models": [one.name for one in asked.models],
            "spare": asked.spare,
            "terms": asked.terms,
            "region": asked.region,
            "hours_per_month": asked.hours_per_month,
            "usd_per_month": asked.usd_per_month,
            "max_instances": dict(asked.max_instances),
        },
        "usd_per_month": packed.usd if found else None,
        "usd_per_month_at_least": packed.bound_usd if found else None,
        "usd_per_month_each_alone": packed.alone_usd if found else None,
        "solved_in_time": packed.in_time,
        "machines": [_group(group, packed) for group in packed.groups],
        "models": [_model(one, packed) for one in packed.served],
        "left_out": [{"reason": why, "machines": names} for why, names in packed.left_out],
        "notes": packed.notes,
    }


def _group(group: Group, packed: Packed) -> Facts:
    site = packed.sites[group.machine]
    return {
        "machine": site.name,
        "count": group.count,
        "replicas": {packed.asked.models[model].name: number for model, number in group.replicas},
        "vcpus": site.machine.vcpus,
        "vcpus_taken": sum(number * packed.served[model].form.cores for model, number in group.replicas),
        "memory_bytes": site.machine.blocks * BLOCK_BYTES,
        "memory_bytes_taken": BLOCK_BYTES
        * sum(number * packed.served[model].form.way.blocks for model, number in group.replicas),
        "usd_per_hour": site.machine.usd_per_hour,
        "price_as_of": site.quote.as_of,
        "price_source": site.quote.source,
    }


def _model(one: Served, packed: Packed) -> Facts:
    model, form, groups = one.asked, one.form, packed.groups
    number = replicas(groups, form.model)
    return {
        "model": model.name,
        "served_by": form.way.name,
        "from": form.way.told,
        "label": form.label,
        "band": form.band,
        "mean_per_s": model.demand.mean_per_s,
        "peak_per_s": model.demand.peak_per_s,
        "promise": None if model.promise is None else {"share": model.promise.share, "ms": model.promise.ms},
        "service_ms": 1e3 * form.way.mean_s,
        "batch": form.way.batching.size,
        "cores": form.cores,
        "memory_bytes": form.way.memory_bytes,
        "replicas_needed": form.replicas,
        "replicas": number,
        "busiest_load": model.demand.peak_per_s * form.way.busy_s / number,
        "response_ms": one.response_ms,
        "response_by_weights_ms": one.by_weights_ms,
        "usd_per_month_alone": one.alone_usd,
        "weights": [
            {
                "machine": packed.sites[group.machine].name,
                "count": group.count,
                "replicas_on_each": group.of(form.model),
                "weight_of_each": weight(group, groups, form.model),
            }
            for group in groups
            if group.of(form.model)
        ],
    }
