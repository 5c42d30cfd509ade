"""Is a figure what it says it is? Who did the work, and in which precision, asked of the child that served the model.

A provider that was asked for may leave nodes, or all of them, to another without an error; and it may compute in a
narrower format than the file's. Neither is believed: the first is read from ONNX Runtime's records, the second from
what the provider makes of numbers that only a wide format can hold.
"""

from dataclasses import dataclass

from costopt import plugins
from costopt.errors import Untrue
from costopt.journal import from_json, to_json
from costopt.measuring import placement, precision, session
from costopt.measuring.bench import Service
from costopt.providers import Provider
from costopt.records import Setting, Spec
from costopt.timings import Placement
from costopt.worker import Answer, Request

PROVE_LIMIT_S = 600.0
"""Opening the model once more, with profiling, may mean building an engine once more."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a service was seen to do: who took which share, and the format of its products ("" where unknown)."""

    placement: Placement
    precision: str


def wanted(provider: Spec) -> str:
    """The runtime name of the provider that was asked for."""
    return plugins.make("providers", provider, Provider).runtime_name


def refuse_absent(service: Service) -> None:
    """Raise Untrue when the provider that was asked for took no node: its figures would be somebody else's.

    Where ONNX Runtime kept no record of its nodes, `proved` decides later, by time.
    """
    if service.subject.engine != "onnxruntime" or not service.nodes:
        return
    _refuse_unproven(service, Placement(service.nodes))


def proved(service: Service) -> Shown:
    """Who did the work, by nodes and by time, and in which precision. Raises Untrue when it was somebody else."""
    if service.subject.engine != "onnxruntime":
        return Shown(Placement({}), "")
    request = {"path": service.subject.path, "setting": to_json(service.subject.setting)}
    answer = service.child.ask(prove, request, PROVE_LIMIT_S)
    service.child.pause()
    shown = Shown(from_json(Placement, answer["placement"]), answer["precision"])
    _refuse_unproven(service, shown.placement)
    return shown


def _refuse_unproven(service: Service, seen: Placement) -> None:
    unproven = placement.unproven(seen, wanted(service.subject.setting.provider))
    if unproven is not None:
        raise Untrue(*unproven)


def prove(request: Request) -> Answer:
    """The child's side. Request: path, setting (JSON). Answers placement (JSON) and precision."""
    setting = from_json(Setting, request["setting"])
    one = session.served()
    seen = placement.profile(request["path"], setting, one.feeds)
    return {"placement": to_json(seen), "precision": precision.probe(setting.provider, setting.threads)}
