"""How fast would the run's candidates be on a machine that is not here? Time there over time here, one by one.

    calibrated   there is a file of `costopt calibrate` from there: what its rates foretell, over what this machine's
                 own calibration foretells or, without one, over what was measured here
    projected    only the chip is known: the proportion of two rooflines (other cores), or a roofline with what such
                 chips reach of it (GPUs, TPUs, Inferentia)

What a call of one candidate takes longer than its mean, it takes longer there in the same proportion.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from costopt import units
from costopt.errors import CandidateError
from costopt.journal import stored
from costopt.measuring.devices import device_of
from costopt.planning.services import Service
from costopt.pricing.families import Size, maker_of, size_of
from costopt.pricing.offers import Offer
from costopt.projecting import hardware, roofline
from costopt.projecting.calibration import Calibration
from costopt.projecting.fitting import demand
from costopt.projecting.hardware import Carried, Chip
from costopt.projecting.work import Work, unknown
from costopt.records import Machine, Measured, Outcome, Run
from costopt.sampling.samples import Samples

GIB = 2**30

_CORES = {
    "Intel Xeon Platinum 8480+": "Sapphire Rapids core",
    "Sapphire Rapids Xeon class": "Sapphire Rapids core",
    "Intel Xeon Platinum 8375C": "Ice Lake core",
    "Ice Lake Xeon class": "Ice Lake core",
    "AMD EPYC 9654": "EPYC Genoa core",
    "EPYC 4th generation class": "EPYC Genoa core",
}
"""Which core of the hardware table a processor of the table of devices has."""


@dataclass(frozen=True, slots=True)
class Known:
    """A candidate as it was measured here: seconds of a call, what it has to do, and what it holds in memory."""

    service: Service
    works: tuple[Work, ...]
    size_bytes: float
    peak_bytes: float

    @property
    def id(self) -> str:
        """The candidate's id."""
        return self.service.candidate.id

    @property
    def needed_bytes(self) -> float:
        """What it holds on an accelerator at least: its file, and twice the most that one node reads and writes."""
        return self.size_bytes + 2 * max(one.read_bytes + one.written_bytes for one in self.works)


@dataclass(frozen=True, slots=True)
class Paced:
    """What is known of a machine elsewhere: each candidate's time there over its time here, by id.

    `threads` are the most that a calibration used is for, 0 where there is none. `cannot` says why a candidate can't
    run there, `unclear` why nobody knows how fast it would be; `open` why nothing is certain there at all. Every
    candidate stands in one of `paces`, `cannot` and `unclear`.
    """

    threads: int
    paces: Mapping[str, float]
    unclear: Mapping[str, str] = field(default_factory=dict)
    cannot: Mapping[str, str] = field(default_factory=dict)
    open: str = ""


@dataclass(frozen=True)
class Elsewhere:
    """The candidates of a run, seen from other machines.

    `onnxruntime` is the version that they were measured with. `unclear` says why some have no pace anywhere, by id.
    """

    machine: Machine
    here: Carried | None
    known: tuple[Known, ...]
    unclear: Mapping[str, str]
    calibrations: tuple[Calibration, ...] = ()
    onnxruntime: str = ""

    def instances(self) -> tuple[str, ...]:
        """Machines that a calibration was made on."""
        return tuple(dict.fromkeys(one.instance for one in self.calibrations if one.instance))

    def at(self, offer: Offer, vcpus: int) -> "Paced | str":
        """The paces on a machine with so many vCPUs, or why there are none."""
        for same in (True, False):
            found = self._calibrated(offer.instance, same)
            if found is not None:
                threads = max(one.service.candidate.threads for one in self.known if one.id in found)
                why = "no calibration of its provider and threads there"
                return Paced(threads if same else 0, found, self._without(found, why))
        carried = hardware.carried_by(offer)
        if carried is None:
            return "its processor is not in the hardware table: run `costopt calibrate` there"
        if carried.chip.kind == "cpu":
            return self._on_cores(offer, carried, vcpus)
        if carried.chip.kind == "fpga":
            return f"an FPGA {roofline.EXECUTED['fpga']}"
        return self._accelerated(carried.chip)

    def notes(self) -> Iterator[str]:
        """What a reader must know of the calibrations."""
        for one in self.calibrations:
            name = f"the calibration of {one.instance or one.machine.cpu}"
            if one.onnxruntime != self.onnxruntime:
                yield (
                    f"{name} was made with ONNX Runtime {one.onnxruntime}, the run with {self.onnxruntime}: what has "
                    "become faster or slower in between is not in it"
                )
            if not any(_holds_for(one, known) for known in self.known):
                threads = units.count_of(one.threads, "thread")
                yield f"{name} holds for {threads} of {one.provider}, and no candidate ran so: it tells nothing here"
            if not one.instance and not one.same_machine(self.machine):
                yield f"{name} names no machine of the price book: give --machine when calibrating there"

    def fitting(self, offer: Offer, vcpus: int) -> int:
        """How many services run side by side on a machine without an accelerator: by its vCPUs and its memory."""
        by_cores = vcpus // self.machine.cores
        if offer.memory_gib is None:
            return by_cores
        most_bytes = max((one.peak_bytes for one in self.known), default=0.0)
        return (
            min(by_cores, int(roofline.MODEL_SHARE * offer.memory_gib * GIB / most_bytes)) if most_bytes else by_cores
        )

    def _calibrated(self, instance: str, same: bool) -> Mapping[str, float] | None:
        """By the calibrations of this very machine, or of another size of its family."""
        size = size_of(instance)
        there = [
            one for one in self.calibrations if (one.instance == instance if same else _same_family(one.instance, size))
        ]
        found = {known.id: pace for known in self.known if (pace := self._by_rates(known, there)) is not None}
        return found or None

    def _by_rates(self, known: Known, there: Sequence[Calibration]) -> float | None:
        fitting = [one for one in there if _holds_for(one, known)]
        if not fitting:
            return None
        there_s = fitting[0].seconds(demand(known.works, fitting[0].cache_bytes))
        own = [one for one in self.calibrations if one.same_machine(self.machine) and _holds_for(one, known)]
        here_s = own[0].seconds(demand(known.works, own[0].cache_bytes)) if own else known.service.mean_s
        return there_s / here_s

    def _without(self, found: Mapping[str, float], why: str) -> Mapping[str, str]:
        missing = {known.id: why for known in self.known if known.id not in found}
        return {**self.unclear, **missing}

    def _on_cores(self, offer: Offer, carried: Carried, vcpus: int) -> "Paced | str":
        if self.here is None:
            return f"the processor here, {self.machine.cpu}, is not in the hardware table: `costopt calibrate` there"
        cores = carried.count * self.machine.cores / vcpus / self.here.count
        strange = maker_of(offer.instance) == "Arm"
        found = {
            one.id: roofline.other_core_s(one.works, one.service.mean_s, self.here.chip, carried.chip, cores)
            / one.service.mean_s
            for one in self.known
            if not (strange and one.service.candidate.provider != "cpu")
        }
        return Paced(0, found, self._without(found, "its provider was not tried on Arm"))

    def _accelerated(self, chip: Chip) -> "Paced | str":
        paces: dict[str, float] = {}
        cannot: dict[str, str] = {}
        for one in self.known:
            why = _cannot(one, chip)
            if why:
                cannot[one.id] = why
            else:
                paces[one.id] = roofline.accelerated_s(one.works, chip) / one.service.mean_s
        if not paces:
            return next(iter({**cannot, **self.unclear}.values()), "no candidate can be projected")
        words = roofline.EXECUTED[chip.kind]
        return Paced(0, paces, self.unclear, cannot, f"{chip.name} {words}" if words else "")


def _same_family(instance: str, other: Size | None) -> bool:
    size = size_of(instance)
    return size is not None and other is not None and size.family == other.family


def _holds_for(calibration: Calibration, known: Known) -> bool:
    candidate = known.service.candidate
    return (calibration.provider, calibration.threads) == (candidate.provider, candidate.threads)


def _cannot(one: Known, chip: Chip) -> str:
    """Why a candidate doesn't run on an accelerator; "" where it may."""
    if one.service.candidate.provider != "cpu":
        return "the same file is projected from the CPU provider"
    if any(work.precision == "int8" and work.kind in ("conv", "matmul") for work in one.works):
        return f"its 8-bit operators have no CUDA kernels in ONNX Runtime; {chip.name} would need TensorRT or its like"
    room = (chip.memory_gb or 0.0) * 1e9 * roofline.MODEL_SHARE
    return "" if one.needed_bytes <= room else f"it needs more memory than {chip.name} has"


def elsewhere(
    run: Run,
    outcomes: Sequence[Outcome],
    services: Sequence[Service],
    folder: Path,
    calibrations: tuple[Calibration, ...],
) -> Elsewhere:
    """What projections of a run start from; `folder` is the run's. Reads each candidate's file."""
    from costopt.projecting.counting import of_file  # loads onnx and ONNX Runtime

    measured = {one.candidate.id: one for one in outcomes if isinstance(one, Measured)}
    rows = _rows(folder)
    known: list[Known] = []
    unclear: dict[str, str] = {}
    counted: dict[tuple[str, int], tuple[Work, ...]] = {}
    for service in services:
        found = measured[service.candidate.id]
        path, batch = found.artifact.path, service.batch
        try:
            if (path, batch) not in counted:
                counted[path, batch] = of_file(folder / path, _sizes(run, rows, batch))
        except (CandidateError, OSError) as problem:
            unclear[service.candidate.id] = f"its file can't be counted: {problem}"
            continue
        works = counted[path, batch]
        if missing := unknown(works):
            named = ", ".join(f"{count} {kind}" for kind, count in missing.items())
            unclear[service.candidate.id] = f"what these nodes do is not known: {named}"
            continue
        known.append(Known(service, works, found.artifact.size_bytes, found.peak_memory_bytes))
    version = run.versions.get("onnxruntime", "")
    return Elsewhere(run.machine, core_of(run.machine), tuple(known), unclear, calibrations, version)


def core_of(machine: Machine) -> Carried | None:
    """The core that a processor has, and how many of them its vCPUs are; None where it isn't in the tables."""
    device = device_of(machine)
    name = None if device is None else _CORES.get(device.name)
    if name is None:
        return None
    chip = hardware.chips()[name]
    return Carried(chip, max(machine.cores // hardware.vcpus_per_core(chip), 1))


@dataclass(frozen=True)
class _Prepared:
    """The part of what a run prepared that tells how large its inputs are."""

    evaluation: Samples


def _rows(folder: Path) -> Mapping[str, tuple[int, ...]]:
    """The shape of one sample of each input, as the run's own data have it; empty where that was not kept."""
    path = folder / "prepared.json"
    return {one.name: one.row for one in stored(_Prepared, path).evaluation.inputs} if path.is_file() else {}


def _sizes(run: Run, rows: Mapping[str, tuple[int, ...]], batch: int) -> Mapping[str, int]:
    """Sizes of the inputs' open axes in one call: its batch, the others as in the run's own data."""
    sizes = {spec.shape[0]: batch for spec in run.graph.inputs if spec.shape and isinstance(spec.shape[0], str)}
    for spec in run.graph.inputs:
        for axis, size in zip(spec.shape[1:], rows.get(spec.name, ()), strict=False):
            sizes[str(axis)] = size
    return sizes
