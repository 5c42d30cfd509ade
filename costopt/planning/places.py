"""Where could a run's candidates be served? The machine that was measured, and other sizes of its family.

What was measured is one service alone on one machine, whatever number of its cores it used. A machine of the same
family with more vCPUs runs as many of them side by side as it has times the cores; that they don't disturb one another
is assumed, not measured, so such a machine's times are `projected`, within a band. So are those of the machine that the
run names, where its processor is of another maker than the one that was timed.

Machines of other families are planned with where they are asked for: `calibrated` where a file of `costopt calibrate`
came from there, `projected` from peak rates where only their chip is known (`paces`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from costopt.errors import ConfigError
from costopt.planning.interruptions import Interrupted
from costopt.planning.paces import Elsewhere, Paced
from costopt.pricing import terms
from costopt.pricing.book import Book
from costopt.pricing.families import may_be, size_of
from costopt.pricing.offers import Offer
from costopt.records import Plan, Run, Spec
from costopt.verdict import Quote

Label = Literal["measured", "calibrated", "projected"]

BAND = 0.35
"""How far a projected time may be off, either way. Carried over from GPUs: the times of 54 fp32 transformer runs on 7
GPUs, foretold by a roofline with one derating factor, were off by 17 % on average and 44 % at most (computed from
the labels published with NeuSight, Lee et al., ASPLOS 2025). For sizes of one CPU family no such figures are known
to us: it stands for neighbours that share caches, memory and the network."""

CALIBRATED_BAND = 0.3
"""The same for calibrated times. Of 37 models held out, on the machine that was calibrated, all lay within it in one
round (median 5.8 %, worst 25 %) and 35 in another, when nearly all were slower than foretold (median 11 %, worst 38 %):
`python -m tests.bench --only projection`, one thread of an AMD EPYC, 2026-11-22. Calibrations of more threads were not
held against models, and have `BAND`."""

FORETOLD = (
    "of 37 models held out on one machine, two rounds were off by 5.8 % and 11 % at the median, 25 % and 38 % at worst "
    "(one thread of an AMD EPYC, 2026-11-22); no second machine was tried"
)
"""How far the method was off where both sides are known."""

THE_MACHINE = "the machine of the run"
"""What a machine without a name is called."""


@dataclass(frozen=True, slots=True)
class Place:
    """A machine that serves: `services` side by side on each instance, at `usd_per_hour` each; `spot` are its terms.

    `paces` are candidates' times there over those measured, by id, where they are not the same; `cannot` says why a
    candidate can't run there, `unclear` why nobody knows how fast, `open` why nothing that follows is certain.
    `accelerator` is what serves in the processor's place, "" where that serves itself. `off` is how far times may be
    off, as a share, either way.
    """

    instance: str
    usd_per_hour: float
    vcpus: int
    services: int
    label: Label
    source: str = ""
    as_of: str = ""
    spot: Interrupted | None = None
    paces: Mapping[str, float] = field(default_factory=dict)
    cannot: Mapping[str, str] = field(default_factory=dict)
    unclear: Mapping[str, str] = field(default_factory=dict)
    open: str = ""
    accelerator: str = ""
    off: float = BAND

    @property
    def name(self) -> str:
        """`aws/c7i.large`, `aws/c7i.large on spot`: no two places have the same."""
        return self.instance if self.spot is None else f"{self.instance} on spot"

    @property
    def all_in_usd_per_hour(self) -> float:
        """With what stands in while a spot machine restarts."""
        return self.usd_per_hour + (0.0 if self.spot is None else self.spot.stand_in_usd_per_hour)

    @property
    def band(self) -> float:
        """How far its times may be off, as a share."""
        return 0.0 if self.label == "measured" else self.off

    def pace(self, candidate_id: str) -> float:
        """The likely time of a candidate's call there, over that of a measured one."""
        return self.paces.get(candidate_id, 1.0)

    def slower(self, candidate_id: str) -> float:
        """By which share calls are slower there than measured at most; below 0 where they are faster for certain."""
        pace = self.pace(candidate_id)
        return self.band if pace == 1 else pace * (1 + self.band) - 1

    def faster(self, candidate_id: str) -> float:
        """By which share they are faster than measured at most; below 0 where they are slower for certain."""
        return 1 - self.pace(candidate_id) * (1 - self.band)


@dataclass(frozen=True, slots=True)
class Places:
    """Machines that can be planned with, and those that can't: why, and which."""

    found: tuple[Place, ...]
    left_out: tuple[tuple[str, tuple[str, ...]], ...] = ()


def places(
    run: Run, plan: Plan, quote: Quote, book: Book, wanted: Sequence[str] | None, others: Elsewhere | None = None
) -> Places:
    """The machines that are `wanted`; without any, the measured one, its family's other sizes, and calibrated ones.

    `quote` is the price of the run's machine, `others` what is known of other families. Raises ConfigError for wanted
    machines where that one has no name.
    """
    own = quote.instance
    if not own:
        if wanted is not None:
            raise ConfigError("machines: the run's machine has no name, so it has no family: remove `machines`")
        return Places((_the_machine(run, quote),))
    region = _region(plan.price)
    found: list[Place] = []
    reasons: dict[str, list[str]] = {}
    for instance in _considered(book, own, others) if wanted is None else wanted:
        one = _place(instance, run, plan, quote, book, region, others)
        if isinstance(one, Place):
            found.append(one)
        else:
            reasons.setdefault(one, []).append(instance)
    return Places(tuple(found), tuple((why, tuple(names)) for why, names in reasons.items()))


def _the_machine(run: Run, quote: Quote) -> Place:
    cores = run.machine.cores
    return Place(quote.instance or THE_MACHINE, quote.usd_per_hour, cores, 1, "measured", quote.source, quote.as_of)


def _family(book: Book, own: str) -> list[str]:
    """The sizes of a machine's family in the book, and the machine itself where the book doesn't have it."""
    size = size_of(own)
    known = dict.fromkeys(one for one, _ in book.offers)
    sizes = [one for one in known if size is not None and (other := size_of(one)) and other.family == size.family]
    return [own, *(one for one in sizes if one != own)]


def _considered(book: Book, own: str, others: Elsewhere | None) -> list[str]:
    calibrated = () if others is None else others.instances()
    return list(dict.fromkeys((*_family(book, own), *calibrated)))


def _place(
    instance: str, run: Run, plan: Plan, quote: Quote, book: Book, region: str | None, others: Elsewhere | None
) -> Place | str:
    """A machine to plan with, or the reason why it is left out."""
    own, cores = quote.instance, run.machine.cores
    offer = _offer(book, instance, _region_of(book, own, region))
    if instance == own:
        vcpus = offer.vcpus if offer is not None and offer.vcpus is not None else cores
        price: Quote | str = quote
    else:
        here, there = size_of(own), size_of(instance)
        strange = here is None or there is None or here.family != there.family
        if others is not None and (strange or instance in others.instances()):
            return _elsewhere(instance, run, plan, book, others)
        if strange:
            return f"another family than {own}, not measured there: run `costopt compress` there"
        if offer is None:
            return "no price in the region of the run's machine"
        if offer.accelerator:
            return "its sizes differ in accelerators: run `costopt compress` there"
        if offer.vcpus is None:
            return "its vCPUs are not known"
        vcpus, price = offer.vcpus, _priced(offer, plan.price)
    if isinstance(price, str):
        return price
    if vcpus < cores:
        return f"fewer vCPUs than the {cores} cores that were measured"
    the_same = instance == own and vcpus == cores and may_be(instance, run.machine.cpu)
    label: Label = "measured" if the_same else "projected"
    accelerator = "" if offer is None else offer.accelerator
    services = 1 if accelerator else vcpus // cores
    place = Place(
        instance, price.usd_per_hour, vcpus, services, label, price.source, price.as_of, accelerator=accelerator
    )
    return place if offer is None or may_be(instance, run.machine.cpu) else _of_another_maker(place, offer, others)


def _of_another_maker(place: Place, offer: Offer, others: Elsewhere | None) -> Place:
    """A machine of the family that the run names, but whose processor was not timed: paced where both are known."""
    paced = None if others is None else others.at(offer, place.vcpus)
    return _paced(place, paced) if isinstance(paced, Paced) else place


def _paced(place: Place, paced: Paced) -> Place:
    """The same with what is known of how fast candidates are there."""
    label: Label = "calibrated" if paced.threads else "projected"
    return replace(
        place,
        label=label,
        off=CALIBRATED_BAND if paced.threads == 1 else BAND,
        paces=paced.paces,
        cannot=paced.cannot,
        unclear=paced.unclear,
        open=paced.open,
    )


def _elsewhere(instance: str, run: Run, plan: Plan, book: Book, others: Elsewhere) -> Place | str:
    """A machine of another family, at its price in whatever region the book has it in."""
    offer = _offer(book, instance, None)
    if offer is None:
        return "no price"
    vcpus = offer.vcpus or 0
    if not (vcpus or offer.accelerator):
        return "its vCPUs are not known"
    if not offer.accelerator and vcpus < run.machine.cores:
        return f"fewer vCPUs than the {run.machine.cores} cores that were measured"
    price, paced = _priced(offer, plan.price), others.at(offer, vcpus)
    if isinstance(price, str):
        return price
    if isinstance(paced, str):
        return paced
    services = max(offer.accelerator_count, 1) if offer.accelerator else others.fitting(offer, vcpus)
    if not services:
        return f"too little memory: {offer.memory_gib:g} GiB"
    place = Place(
        instance, price.usd_per_hour, vcpus, services, "projected", price.source, price.as_of,
        accelerator=offer.accelerator,
    )  # fmt: skip
    return _paced(place, paced)


def _offer(book: Book, instance: str, region: str | None) -> Offer | None:
    found = [one for one in book.of(instance) if region is None or one.region == region]
    return found[0] if found else None


def offer_of(instance: str, plan: Plan, quote: Quote, book: Book) -> Offer | None:
    """A machine as the book has it in the region of the run's own; None where it doesn't."""
    return _offer(book, instance, _region_of(book, quote.instance, _region(plan.price)))


def _region(price: Spec | None) -> str | None:
    region = None if price is None else price.options.get("region")
    return region if isinstance(region, str) else None


def _region_of(book: Book, own: str, named: str | None) -> str | None:
    """The region of the run's machine: the one it names, else where the book has it."""
    if named is not None:
        return named
    offer = _offer(book, own, None)
    return None if offer is None else offer.region


def _priced(offer: Offer, price: Spec | None) -> Quote | str:
    """Another size at the run's own terms and discount, where it takes its price from the book too."""
    options = {} if price is None or price.name != "table" else price.options
    asked, discount = options.get("terms", "on_demand"), options.get("discount", 0.0)
    kind: terms.Terms = "spot" if asked == "spot" else "reserved" if asked == "reserved" else "on_demand"
    try:
        return terms.quote(offer, kind, discount if isinstance(discount, int | float) else 0.0)
    except ConfigError:
        return f"no {terms.IN_WORDS[kind]} price"
