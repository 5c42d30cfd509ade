"""Foreign price lists: what each format's reader makes of it, and what becomes of the rows."""

import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt.errors import UsageError
from costopt.pricing import book, gpuhunt, karpenter, skypilot, sources, spotinfo
from costopt.pricing.incoming import Incoming, Listing, Origin, Settled, settle
from tests import price_lists

TODAY = datetime.date(2026, 11, 22)
BOOK = book.overlaid(book.read(book.SHIPPED), ())


def settled(incoming: Incoming, *regions: str) -> Settled:
    return settle(incoming, BOOK, Origin(incoming.as_of or "2026-11-20", "a test"), regions, TODAY)


def listed(incoming: Incoming) -> dict[tuple[str, str], Listing]:
    return {(one.instance, one.region): one for one in incoming.listings}


def refusals(settled: Settled) -> dict[str, str]:
    return {one.name: one.words for one in settled.refused}


# ---------------------------------------------------------------------------------------- karpenter


def test_karpenters_go_map_of_aws_is_read_as_text_with_its_date() -> None:
    found = karpenter.aws(price_lists.KARPENTER_AWS)
    assert found.as_of == "2026-07-20"
    assert listed(found)["aws/c7i.large", "us-east-1"].usd_per_hour == 0.09175
    assert listed(found)["aws/c7i.large", "eu-west-1"].usd_per_hour == 0.1019
    assert len(found.listings) == 5


def test_what_a_list_does_not_say_of_a_machine_comes_from_the_book_or_stays_empty() -> None:
    taken = {one.instance: one for one in settled(karpenter.aws(price_lists.KARPENTER_AWS)).taken}
    assert (taken["aws/c7i.large"].vcpus, taken["aws/c7i.large"].memory_gib) == (2, 4)
    assert (taken["aws/c7i-flex.large"].vcpus, taken["aws/c7i-flex.large"].memory_gib) == (None, None)
    assert settled(karpenter.aws(price_lists.KARPENTER_AWS)).incomplete == 2


def test_a_machine_with_an_accelerator_does_not_pass_for_one_without() -> None:
    text = price_lists.KARPENTER_AWS.replace("c7i-flex.large", "g5.16xlarge").replace("c7i.48xlarge", "g5.xlarge")
    taken = {one.instance: one for one in settled(karpenter.aws(text)).taken}
    assert taken["aws/g5.16xlarge"].note == "it carries an accelerator that neither the list nor the book names"
    assert (taken["aws/g5.xlarge"].accelerator, taken["aws/g5.xlarge"].note) == ("NVIDIA A10G", "")


def test_only_the_home_region_is_meant_unless_others_are_named() -> None:
    found = karpenter.aws(price_lists.KARPENTER_AWS)
    assert {one.region for one in settled(found).taken} == {"us-east-1"}
    assert settled(found).elsewhere == 1
    assert {one.region for one in settled(found, "eu-west-1").taken} == {"eu-west-1"}
    assert {one.region for one in settled(found, "all").taken} == {"us-east-1", "eu-west-1"}


def test_prices_in_renminbi_are_refused() -> None:
    found = karpenter.aws(price_lists.KARPENTER_AWS.replace("eu-west-1", "cn-north-1"))
    assert [str(one) for one in found.refused] == [
        "aws in cn-north-1: prices in China are in renminbi, and a book holds US dollars"
    ]
    assert {one.region for one in found.listings} == {"us-east-1"}


def test_karpenters_go_map_of_azure_loses_the_families_that_contradict_themselves_and_dedicated_hosts() -> None:
    found = karpenter.azure(price_lists.KARPENTER_AZURE)
    assert found.as_of == "2026-06-18"
    result = settled(found, "all")
    assert {one.key for one in result.taken} == {
        ("azure/Standard_D2s_v5", "eastus"), ("azure/Standard_D4s_v5", "eastus"),
        ("azure/Standard_D2as_v5", "eastus2"), ("azure/Standard_D4as_v5", "eastus2"),
    }  # fmt: skip
    assert refusals(result)["azure/Dasv5_Type1"] == "a dedicated host and not a machine"
    assert "should cost about the same per vCPU" in refusals(result)["azure/Standard_D4as_v5 in eastus"]


def test_karpenters_json_of_gcp_has_spot() -> None:
    found = karpenter.gcp(price_lists.KARPENTER_GCP)
    assert found.as_of is None
    (one,) = (one for one in settled(found).taken if one.instance == "gcp/c3-standard-4")
    assert (one.usd_per_hour, one.spot_usd_per_hour, one.as_of, one.spot_as_of) == (
        0.201608, 0.0494, "2026-11-20", "2026-11-20"
    )  # fmt: skip
    assert (one.vcpus, one.memory_gib) == (4, 16)


# ---------------------------------------------------------------------------------------- spotinfo


def test_spot_prices_alone_go_to_the_on_demand_prices_of_the_book() -> None:
    result = settled(spotinfo.read(price_lists.SPOTINFO))
    (one,) = result.taken
    assert one.key == ("aws/c7i.large", "us-east-1")
    assert (one.usd_per_hour, one.as_of) == (0.08925, "2026-07-20")
    assert (one.spot_usd_per_hour, one.spot_as_of, one.spot_source) == (0.0311, "2026-11-20", "a test")
    assert "github.com/aws" in one.source


def test_spot_above_on_demand_or_without_one_is_refused() -> None:
    words = refusals(settled(spotinfo.read(price_lists.SPOTINFO)))
    assert "spot, $0.200, is above on demand, $0.178" in words["aws/c7i.xlarge in us-east-1"]
    assert "no on-demand price to hold it against" in words["aws/c9z.large in us-east-1"]
    assert not any("m5.metal" in name for name in words)  # N/A*: not offered, and nothing to refuse


def test_a_machine_that_is_listed_twice_at_prices_that_differ_is_refused_whole() -> None:
    twice = price_lists.SPOTINFO.replace('"0.0311"', '"0.0322"', 1)
    result = settled(spotinfo.read(twice))
    assert result.taken == ()
    assert "it is listed twice" in refusals(result)["aws/c7i.large in us-east-1"]


def test_spot_prices_in_another_currency_are_refused() -> None:
    with pytest.raises(UsageError, match=r"its prices are in .*EUR.*; a book holds US dollars"):
        spotinfo.read(price_lists.SPOTINFO.replace('"currencies": ["USD"]', '"currencies": ["EUR"]'))


# ---------------------------------------------------------------------------------------- skypilot, gpuhunt


def test_skypilots_columns_are_read_by_name_and_every_place_of_a_cloud_without_a_home_is_taken() -> None:
    result = settled(skypilot.read(price_lists.SKYPILOT_LAMBDA, "lambda"))
    assert {(one.region, one.usd_per_hour) for one in result.taken if one.accelerator} == {
        ("us-east-1", 1.09), ("us-west-1", 1.19)
    }  # fmt: skip
    (one,) = (one for one in result.taken if not one.accelerator)
    assert (one.vcpus, one.memory_gib, one.accelerator_count, one.spot_usd_per_hour) == (4, 16, 0, None)


def test_of_several_zones_the_cheapest_counts() -> None:
    found = listed(skypilot.read(price_lists.SKYPILOT_AWS, "aws"))
    assert found["aws/c7i.large", "us-east-1"].spot_usd_per_hour == 0.031
    assert len(found) == 2


def test_what_skypilots_gcp_rows_leave_out_is_refused_and_tpus_are_taken_by_their_slices() -> None:
    result = settled(skypilot.read(price_lists.SKYPILOT_GCP, "gcp"))
    prices = {one.instance: (one.usd_per_hour, one.spot_usd_per_hour) for one in result.taken}
    assert prices == {
        "gcp/c3-standard-4": (0.201608, 0.0494), "gcp/tpu-v6e-8": (21.6, 4.35366), "gcp/tpu-v6e-1": (2.7, None)
    }  # fmt: skip
    words = refusals(result)
    assert words["gcp/a2-highgpu-1g in us-central1"] == "the price of the machine without its accelerators"
    assert words["gcp, A100"] == "an accelerator without its machine"
    assert "exactly $700, which stands for an unknown price" in words["gcp/tpu-v6e-4 in us-central1"]


def test_a_spot_price_that_stands_for_an_unknown_one_is_left_out() -> None:
    assert [one.spot_usd_per_hour for one in skypilot.read(price_lists.SKYPILOT_VAST, "vast").listings] == [None]
    assert [one.spot_usd_per_hour for one in skypilot.read(price_lists.SKYPILOT_RUNPOD, "runpod").listings] == [None]


def test_gpuhunts_on_demand_and_spot_rows_become_one_offer() -> None:
    taken = {one.instance: one for one in settled(gpuhunt.read(price_lists.GPUHUNT, "nebius")).taken}
    gpu, cpu = taken["nebius/gpu-h100-sxm_1gpu"], taken["nebius/cpu-e2_2vcpu"]
    assert (gpu.usd_per_hour, gpu.spot_usd_per_hour, gpu.accelerator, gpu.vcpus) == (2.95, 1.25, "H100", 16)
    assert (cpu.usd_per_hour, cpu.accelerator, cpu.accelerator_count) == (0.05, "", 0)


@pytest.mark.parametrize("name", ["skypilot", "gpuhunt"])
def test_a_list_that_does_not_say_whose_it_is_asks(name: str) -> None:
    with pytest.raises(UsageError, match="name the provider: --provider"):
        sources.reader_of(name)(price_lists.SKYPILOT_LAMBDA, None)


# ---------------------------------------------------------------------------------------- all of them

SAMPLES = {
    "csv": "instance,region,usd_per_hour,as_of,source\naws/c7i.large,us-east-1,0.09,2026-11-01,mine\n",
    "karpenter-aws": price_lists.KARPENTER_AWS,
    "karpenter-azure": price_lists.KARPENTER_AZURE,
    "karpenter-gcp": price_lists.KARPENTER_GCP,
    "spotinfo": price_lists.SPOTINFO,
    "skypilot": price_lists.SKYPILOT_AWS,
    "gpuhunt": price_lists.GPUHUNT,
}


def test_every_format_has_a_sample_and_takes_prices_from_it() -> None:
    assert set(SAMPLES) == set(sources.FORMATS)
    for name, sample in SAMPLES.items():
        assert settled(sources.reader_of(name)(sample, "aws"), "all").taken, name


@pytest.mark.parametrize("name", sources.FORMATS)
@pytest.mark.parametrize("other", ["", "nothing", "{}", "[1]", "null", "a,b\n1,2\n", '{"prices": 3}', '{"config": 1}'])
def test_a_text_that_is_no_such_list_is_refused_in_words(name: str, other: str) -> None:
    with pytest.raises(UsageError, match=r"\w+ \w+"):
        sources.reader_of(name)(other, "aws")


@pytest.mark.parametrize("name", sources.FORMATS)
@given(cut=st.floats(0, 1), junk=st.text(max_size=8))
def test_a_damaged_list_is_read_or_refused_and_never_crashes(name: str, cut: float, junk: str) -> None:
    sample = SAMPLES[name]
    place = int(cut * len(sample))
    for damaged in (sample[:place] + junk + sample[place:], sample[:place], sample[:place] + sample[place + 9 :]):
        try:
            result = settled(sources.reader_of(name)(damaged, "aws"), "all")
        except UsageError:
            continue
        assert all(0 < one.usd_per_hour < float("inf") for one in result.taken)


def test_no_control_characters_of_a_list_reach_a_terminal() -> None:
    rows = "instance,region,usd_per_hour,as_of,source\nx/\x1b[31mred,r,0,2026-01-01,me\nx/\x1b[5m,r,one,2026-01-01,me\n"
    told = "\n".join(map(str, settled(sources.own_format(rows)).refused))
    assert "red" in told
    assert "\x1b" not in told


def test_an_unknown_format_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="there is no price source 'spotinf'; did you mean 'spotinfo'"):
        sources.reader_of("spotinf")


def test_a_json_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(UsageError):
        karpenter.gcp('{"prices":' + "[" * 100_000)
    with pytest.raises(UsageError):
        karpenter.gcp(json.dumps({"prices": {"us-central1": {"on_demand": {"c3-standard-4": "free"}}}}))
