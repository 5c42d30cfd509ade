"""Which machines are sizes of one another, as their provider's names tell.

    aws/c7i.2xlarge             family c7i             8 vCPUs
    gcp/n2-standard-8-lssd      family n2-standard-lssd    8
    azure/Standard_D8as_v5      family Das_v5          8

Only names that follow the providers' own rules are read; a size that can't be told is no size. The rules:
AWS doubles from `large` (2 vCPUs) on (https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html
names the sizes; the counts are those of the current generations), GCP and Azure write the number of vCPUs into the name
(https://cloud.google.com/compute/docs/machine-resource,
https://learn.microsoft.com/azure/virtual-machines/vm-naming-conventions). Azure's older series number their sizes
otherwise.
"""

import re
from dataclasses import dataclass

_AWS = re.compile(r"(?P<family>[a-z][\w-]*)\.(?:(?P<times>\d*)xlarge|(?P<word>medium|large))")
_GCP = re.compile(r"(?P<family>[a-z]\w*-[a-z]+)-(?P<vcpus>\d+)(?P<kind>(?:-[a-z]+)*)")
_AZURE = re.compile(
    r"Standard_(?P<series>[A-Z]+)(?P<vcpus>\d+)(?P<features>[a-z]*)(?P<rest>(?:_\w+?)?_v(?P<version>\d+))"
)

_MAKERS = {
    "aws": re.compile(r"[a-z]+\d+(?P<maker>[aig])"),
    "azure": re.compile(r"Standard_[A-Z]+\d+(?P<maker>[ap])"),
    "gcp": re.compile(r"(?:c|n|t)\d(?P<maker>[ad])-"),
}
_LETTERS = {
    "aws": {"a": "AMD", "g": "Arm", "i": "Intel"},
    "azure": {"a": "AMD", "p": "Arm"},
    "gcp": {"d": "AMD", "a": "Arm"},
}
"""The letter behind the generation, after the pages named above: an AWS c7i has an Intel processor, a GCP T2D one of
AMD. Names without one are left open."""

_AWS_WORDS = {"medium": 1, "large": 2}

_NUMBERED_OTHERWISE = {("A", "2"), ("D", "2"), ("DS", "2"), ("G", "2"), ("GS", "2")}
"""Azure's series whose sizes count 1, 2, 3 and not vCPUs."""

_ACCELERATED = {
    "aws": re.compile(r"(p|g|gr|trn|inf|dl|f|vt)\d"),
    "gcp": re.compile(r"(a|g|ct)\d+\w*-"),
    "azure": re.compile(r"Standard_N"),
}
"""Types that carry an accelerator, by the letters that each provider gives them. A GCP C4A is none: a digit stands
before its A."""

_PRICED_OTHERWISE = re.compile(r"aws/(hpc|u-|u\d|mac|t\d)")
"""Families whose price does not follow vCPUs: `hpc` sells the whole machine with fewer cores switched on, `u` is sold
by its terabytes of memory, `mac` is one machine, and `t` is paid for a share of a core."""


@dataclass(frozen=True, slots=True)
class Size:
    """A family within its provider, and how many vCPUs this size of it has."""

    family: str
    vcpus: int


def size_of(instance: str) -> Size | None:
    """What the name tells of a machine; None when it doesn't follow its provider's rules."""
    provider, _, kind = instance.partition("/")
    match provider:
        case "aws":
            found = _aws(kind)
        case "gcp":
            found = _gcp(kind)
        case "azure":
            found = _azure(kind)
        case _:
            found = None
    return None if found is None else Size(f"{provider}/{found.family}", found.vcpus)


def is_accelerated(instance: str) -> bool:
    """Whether the name says that the machine carries an accelerator."""
    provider, _, kind = instance.partition("/")
    return provider in _ACCELERATED and _ACCELERATED[provider].match(kind) is not None


def is_priced_by_vcpus(instance: str) -> bool:
    """Whether the price of a family's sizes should grow with their vCPUs."""
    return not (is_accelerated(instance) or _PRICED_OTHERWISE.match(instance))


def may_be(instance: str, cpu: str) -> bool:
    """Whether a processor that calls itself so may be in such a machine, as far as both names tell who made it."""
    told = maker_of(instance)
    seen = next((one for one in ("Intel", "AMD") if one.lower() in cpu.lower()), None)
    return told is None or seen is None or told == seen


def maker_of(instance: str) -> str | None:
    """Who made a machine's processor, by the letters that the providers give: "Intel", "AMD" or "Arm"; None where the
    name does not tell."""
    provider, _, kind = instance.partition("/")
    rule = _MAKERS.get(provider)
    found = None if rule is None else rule.match(kind)
    return None if found is None else _LETTERS[provider].get(found["maker"])


def _aws(kind: str) -> Size | None:
    found = _AWS.fullmatch(kind)
    if found is None:
        return None
    if found["word"]:
        return Size(found["family"], _AWS_WORDS[found["word"]])
    return Size(found["family"], 4 * int(found["times"] or 1))


def _gcp(kind: str) -> Size | None:
    found = _GCP.fullmatch(kind)
    return None if found is None else Size(found["family"] + found["kind"], int(found["vcpus"]))


def _azure(kind: str) -> Size | None:
    found = _AZURE.fullmatch(kind)
    if found is None or (found["series"], found["version"]) in _NUMBERED_OTHERWISE:
        return None
    return Size(found["series"] + found["features"] + found["rest"], int(found["vcpus"]))
