"""The rules that keep the price book honest, and the shipped book under them."""

import datetime
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt.pricing import book, families, rules
from costopt.pricing.offers import UNDATED, Offer

TODAY = datetime.date(2026, 11, 22)
SHIPPED = book.read(book.SHIPPED)


def offer(
    instance: str = "aws/c7i.large",
    usd: float = 0.1,
    spot: float | None = None,
    vcpus: int | None = 2,
    gib: float | None = 4,
    accelerator: str = "",
    as_of: str = "2026-07-20",
) -> Offer:
    spot_as_of = "" if spot is None else "2026-07-20"
    count = 1 if accelerator else 0
    return Offer(instance, "us-east-1", vcpus, gib, accelerator, count, usd, spot, None, as_of, spot_as_of, "a test")


def said(*offers: Offer) -> list[str]:
    return [one.words for one in rules.check(offers, TODAY)]


# ---------------------------------------------------------------------------------------- the shipped book


def test_the_shipped_book_passes_its_own_check() -> None:
    assert rules.check(SHIPPED, TODAY) == ()


def test_the_shipped_book_is_broad_enough() -> None:
    assert len(SHIPPED) >= 131
    assert {one.provider for one in SHIPPED} == {"aws", "gcp", "azure", "lambda", "runpod", "vast"}
    accelerators = " ".join(one.accelerator for one in SHIPPED)
    for kind in ("H100", "TPU", "FPGA", "Inferentia2", "Trainium1", "MI300X"):
        assert kind in accelerators
    assert {one.provider for one in SHIPPED if not one.accelerator} >= {"aws", "gcp", "azure"}
    assert sum(one.spot_usd_per_hour is not None for one in SHIPPED) > 70


@pytest.mark.parametrize("one", SHIPPED, ids=lambda one: one.instance)
def test_every_shipped_row_names_the_file_that_it_is_from(one: Offer) -> None:
    assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/blob/\S+", one.source)
    assert bool(one.spot_source) is (one.spot_usd_per_hour is not None)
    assert one.as_of == UNDATED or one.as_of >= "2024-01-01"


def test_what_the_sources_had_wrong_is_not_in_the_book() -> None:
    """TPU v4's spot lay above on demand, RunPod's repeated it, Azure's D2as_v5 cost more than the D4as_v5."""
    prices = book.overlaid(SHIPPED, ())
    assert prices.find("gcp/tpu-v4").spot_usd_per_hour is None
    assert prices.find("runpod/1x_A100-80GB_SECURE").spot_usd_per_hour is None
    assert not prices.of("azure/Standard_D2as_v5")


# ---------------------------------------------------------------------------------------- one row


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (offer(usd=0.0), "an hour costs $0: nothing is free"),
        (offer(usd=-0.1), "an hour costs -$0.100: nothing is free"),
        (offer("gcp/tpu-v6e-8", usd=700.0), "an hour costs exactly $700, which stands for an unknown price"),
        (offer(spot=0.0), "spot costs $0 an hour, which stands for an unknown price"),
        (offer(usd=800.0, spot=700.0), "spot costs exactly $700"),
        (offer(usd=3.22, spot=3.686), "spot, $3.69, is above on demand, $3.22"),
        (offer(as_of=""), "the price has no date: write as_of"),
        (offer(as_of="2026-11-23"), "as_of is 2026-11-23, which is still to come (today is 2026-11-22)"),
        (replace(offer(spot=0.05), spot_as_of=""), "the spot price has no date"),
        (replace(offer(spot=0.05), spot_as_of="2027-01-01"), "spot_as_of is 2027-01-01, which is still to come"),
        (replace(offer(), spot_as_of="2026-07-20"), "spot is dated 2026-07-20 and has no price"),
        (replace(offer(), reserved_usd_per_hour=0.2), "reserved, $0.200, is above on demand, $0.100"),
        (replace(offer(), reserved_usd_per_hour=0.0), "reserved costs $0 an hour"),
        (replace(offer(), reserved_usd_per_hour=0.05, reserved_as_of="2027-01-01"), "reserved_as_of is 2027-01-01"),
        (replace(offer(), source=""), "it has no source"),
        (replace(offer(), region=""), "it has no region"),
        (offer("c7i.large"), "the name 'c7i.large' is not provider/type"),
        (offer(vcpus=0), "vcpus is 0"),
        (offer(gib=-4), "memory_gib is -4"),
        (replace(offer(), accelerator="NVIDIA T4"), "it has 0 of accelerator 'NVIDIA T4'"),
        (replace(offer(), accelerator_count=1), "it has 1 of accelerator ''"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_in_a_sentence_with_the_values(wrong: Offer, words: str) -> None:
    (found,) = said(wrong)
    assert words in found


def test_nothing_is_wrong_with_a_row_that_is_right_old_or_undated() -> None:
    assert said(offer(spot=0.05)) == []
    assert said(offer(as_of="2019-04-01")) == []
    assert said(offer(as_of=UNDATED)) == []
    assert said(replace(offer(spot=0.05), spot_as_of=UNDATED)) == []
    assert said(offer(as_of=TODAY.isoformat())) == []


@given(st.floats(1e-4, 600), st.floats(0, 2))
def test_a_spot_price_is_believed_from_above_zero_up_to_the_on_demand_price(usd: float, share: float) -> None:
    spot = usd * share
    assert (said(offer(usd=usd, spot=spot)) == []) is (0 < spot <= usd)


# ---------------------------------------------------------------------------------------- between rows


def test_a_machine_that_is_listed_twice_is_named_with_both_prices() -> None:
    (words,) = said(offer(usd=0.1), offer(usd=0.12))
    assert "listed twice, at $0.100 and at $0.120" in words
    assert said(offer(), replace(offer(), region="eu-west-1")) == []


def test_azures_wrong_rows_are_caught() -> None:
    """Prices of eastus as they stood in a public list of 2026-06-18."""
    small = offer("azure/Standard_D2as_v5", 0.178, gib=8)
    large = offer("azure/Standard_D4as_v5", 0.172, vcpus=4, gib=16)
    for found in (said(small, large), said(*(replace(one, vcpus=None, memory_gib=None) for one in (small, large)))):
        assert len(found) == 2  # which of the two is wrong can't be told
        assert "sizes of azure/Das_v5 in us-east-1 should cost about the same per vCPU" in found[0]
        assert "Standard_D2as_v5 costs $0.178 for 2 vCPUs and Standard_D4as_v5 costs $0.172 for 4 vCPUs" in found[0]


@given(
    st.floats(0.01, 1), st.lists(st.integers(0, 6), min_size=2, unique=True), st.floats(1.0, 1.49) | st.floats(1.51, 3)
)
def test_a_familys_sizes_may_differ_by_half_per_vcpu_and_no_more(usd: float, sizes: list[int], dearer: float) -> None:
    """`usd` is what a vCPU costs; the first size is `dearer` times what it should be."""
    prices = [usd * 4 * 2**size for size in sizes]
    family = [f"aws/c7i.{2**size}xlarge" for size in sizes]
    assert said(*(offer(name, price, vcpus=None, gib=None) for name, price in zip(family, prices, strict=True))) == []
    prices[0] *= dearer
    found = said(*(offer(name, price, vcpus=None, gib=None) for name, price in zip(family, prices, strict=True)))
    assert len(found) == (len(sizes) if dearer > 1.5 else 0)


def test_spot_is_not_judged_by_size() -> None:
    """us-east-1 in 2026: a g4dn.xlarge costs more on spot than a g4dn.2xlarge."""
    small = offer("aws/g4dn.xlarge", 0.526, 0.3196, vcpus=4, gib=16, accelerator="NVIDIA T4")
    large = offer("aws/g4dn.2xlarge", 0.752, 0.3179, vcpus=8, gib=32, accelerator="NVIDIA T4")
    assert said(small, large) == []


def test_more_vcpus_round_the_same_accelerator_must_cost_more() -> None:
    small = offer("aws/g5.xlarge", 1.006, vcpus=4, gib=16, accelerator="NVIDIA A10G")
    large = offer("aws/g5.2xlarge", 1.006, vcpus=8, gib=32, accelerator="NVIDIA A10G")
    (words,) = said(small, large)
    assert "g5.2xlarge costs $1.01 for 8 vCPUs, no more than g5.xlarge costs $1.01 for 4 vCPUs" in words


def test_what_is_not_sold_by_the_vcpu_is_not_judged_by_it() -> None:
    """hpc7g costs the same with 16, 32 and 64 cores switched on; g5.16xlarge has one GPU and g5.12xlarge four."""
    hpc = [offer(f"aws/hpc7g.{size}xlarge", 1.6832, vcpus=None, gib=None) for size in (4, 8, 16)]
    gpus = [
        offer("aws/g5.12xlarge", 5.672, vcpus=None, gib=None),
        offer("aws/g5.16xlarge", 4.096, vcpus=None, gib=None),
    ]
    shared = [offer("aws/t3.micro", 0.0104, gib=1), offer("aws/t3.large", 0.0832, gib=8)]
    assert said(*hpc, *gpus, *shared) == []


def test_sizes_with_other_memory_per_vcpu_are_other_machines() -> None:
    lean, rich = offer("x/a", gib=4), offer("x/b", gib=16)
    assert said(lean, rich) == []
    assert (
        said(offer("azure/Standard_M48s_1_v3", 5, None, 48, 974), offer("azure/Standard_M96s_1_v3", 20, None, 96, 974))
        == []
    )


# ---------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "family", "vcpus"),
    [
        ("aws/c7i.large", "aws/c7i", 2),
        ("aws/c7i.xlarge", "aws/c7i", 4),
        ("aws/c7i-flex.16xlarge", "aws/c7i-flex", 64),
        ("aws/m6g.medium", "aws/m6g", 1),
        ("gcp/c3-standard-4", "gcp/c3-standard", 4),
        ("gcp/c4-standard-16-lssd", "gcp/c4-standard-lssd", 16),
        ("azure/Standard_D4s_v5", "azure/Ds_v5", 4),
        ("azure/Standard_D48as_v5", "azure/Das_v5", 48),
        ("azure/Standard_F16s_v2", "azure/Fs_v2", 16),
        ("azure/Standard_M96s_2_v3", "azure/Ms_2_v3", 96),
    ],
)
def test_a_size_is_read_from_the_name(name: str, family: str, vcpus: int) -> None:
    assert families.size_of(name) == families.Size(family, vcpus)


@pytest.mark.parametrize(
    "name",
    [
        "aws/c7i.metal-24xl", "aws/t3.micro", "gcp/e2-medium", "azure/Standard_D3_v2", "azure/Standard_DS5_v2",
        "azure/Standard_E4-2as_v5", "azure/Basic_A0", "lambda/gpu_1x_gh200", "laptop", "",
    ],
)  # fmt: skip
def test_a_name_that_tells_no_size_has_none(name: str) -> None:
    assert families.size_of(name) is None


@pytest.mark.parametrize(
    ("name", "cpu", "may_be"),
    [
        ("aws/c7i.large", "AMD EPYC", False),
        ("aws/c7i.large", "Intel(R) Xeon(R) Platinum 8488C", True),
        ("aws/c7a.large", "AMD EPYC 9R14", True),
        ("aws/c7g.large", "Intel(R) Xeon(R) CPU", False),
        ("aws/c5.large", "AMD EPYC", True),
        ("azure/Standard_D2as_v5", "Intel(R) Xeon(R) CPU", False),
        ("azure/Standard_D2ps_v5", "Neoverse-N1", True),
        ("gcp/t2d-standard-4", "AMD EPYC 7B13", True),
        ("gcp/c4a-standard-4", "AMD EPYC", False),
        ("lambda/gpu_1x_gh200", "AMD EPYC", True),
    ],
)
def test_a_processor_of_another_maker_is_told_by_the_name(name: str, cpu: str, may_be: bool) -> None:
    assert families.may_be(name, cpu) is may_be


def test_names_tell_which_machines_carry_an_accelerator() -> None:
    """Azure's D2ps and GCP's C4A carry none, whatever their letters."""
    for one in SHIPPED:
        if one.provider in ("aws", "gcp", "azure") and "tpu" not in one.instance:
            assert families.is_accelerated(one.instance) is bool(one.accelerator), one.instance
