"""Four simple cost models, as articles on the cost of serving models write them down: pure arithmetic, nothing rounded.

They are no match for a measurement. They give the parts of a bill names, so that `costopt explain` can fill them in
with what was measured, and a reader can see which part a change touches.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parts:
    """The two parts of a compressed model's cost, each in its own unit: keeping parameters, and computing with them."""

    param: float
    compute: float


def compressed(c_param: float, c_compute: float, r: float, s: float) -> Parts:
    """C_c = C_param * r + C_compute * s, part by part: what a compressed model costs.

    `c_param` is what the original's parameters take (bytes, or money for them), `c_compute` what computing with it
    costs (US dollars); `r` is the share of the size that is left, `s` the share of the time, without unit: 0.5 is half.
    Above 1 they tell of a model that grew, or became slower. 1 TB and 1,000 USD at r = s = 0.5 come to 0.5 TB and 500
    USD. The two may be added only where both are money. Raises ValueError for a negative share.
    """
    _refuse_negative(r, s)
    return Parts(c_param * r, c_compute * s)


def saved_by_compression(c_param: float, c_compute: float, r: float, s: float) -> Parts:
    """C_param * (1 - r) + C_compute * (1 - s), part by part: what compressing saves; units as in `compressed`.

    1 TB and 1,000 USD at r = s = 0.5 save 0.5 TB and 500 USD. Raises ValueError for a negative share.
    """
    _refuse_negative(r, s)
    return Parts(c_param * (1 - r), c_compute * (1 - s))


def distributed(c_resource: float, n: float, c_communication: float, m: float) -> float:
    """C_d = C_resource * n + C_communication * m: what work costs that is spread over machines, in US dollars.

    `c_resource` is what one of `n` machines costs, `c_communication` what one of `m` messages costs, in US dollars.
    Two machines at 65 USD a month that send a million answers of 2 kB at 0.09 USD a GB, 0.00000018 USD each:
    65 * 2 + 0.00000018 * 1,000,000 = 130.18 USD.
    """
    return c_resource * n + c_communication * m


def total(compute: float, algorithm: float, efficiency: float, vertical: float) -> float:
    """C = C_compute + C_algorithm + C_efficiency + C_vertical, all in US dollars.

    Machines; making the model cheaper; making the machines work better (power, cooling, placement); owning the whole
    stack (hardware or software of one's own). 10,000 + 5,000 + 2,000 + 3,000 = 20,000 USD.
    """
    return compute + algorithm + efficiency + vertical


def total_efficiency(*shares: float) -> float:
    """The product of the shares that each stage keeps, without unit: what is lost in one is lost to all that follow.

    0.8 * 0.9 * 0.85 * 0.95 = 0.5814. (The example is found printed with 0.5792, which is a slip of the pen.)
    Raises ValueError for a negative share.
    """
    _refuse_negative(*shares)
    return math.prod(shares)


def _refuse_negative(*shares: float) -> None:
    for share in shares:
        if not share >= 0:
            raise ValueError(f"a share of {share:g} is left of nothing: give 0 or more, such as 0.5 for half")
