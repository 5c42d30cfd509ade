import datetime
import math
import re
from collections import defaultdict

import pytest

from costopt import plugins
from costopt.errors import ConfigError, UsageError
from costopt.prices import Prices
from costopt.prices.fixed import Fixed
from costopt.prices.table import Table, read
from costopt.records import Spec


def test_a_machine_of_the_table_has_a_dated_price_with_its_source() -> None:
    quote = Table("aws/c7i.large").quote()
    assert quote.usd_per_hour == 0.08925
    assert quote.as_of == "2026-07-20"
    assert "github.com/aws/karpenter-provider-aws" in quote.source
    assert "us-east-1" in quote.source


@pytest.mark.parametrize("name", ["c7i.large", "aws/C7I.LARGE", "aws/c7i.larg"])
def test_an_unknown_machine_is_answered_with_the_nearest(name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"'{name}' is not in the price table; near: aws/c7i.large,")):
        Table(name).quote()


def test_a_machine_like_no_other_is_answered_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"give its price: machine: \{usd_per_hour: 0.09\}"):
        Table("my-laptop").quote()


def test_a_price_of_ones_own_is_taken_as_given_and_undated() -> None:
    quote = Fixed(0.09, "our-cluster").quote()
    assert (quote.usd_per_hour, quote.instance, quote.as_of) == (0.09, "our-cluster", "")
    assert quote.source == "the budget file"


@pytest.mark.parametrize("price", [0.0, -0.09, math.nan, math.inf])
def test_a_price_that_is_none_is_refused(price: float) -> None:
    with pytest.raises(ConfigError, match=r"machine\.usd_per_hour is .*: write what an hour costs"):
        Fixed(price).quote()


def test_prices_are_made_by_name_like_every_plug_in() -> None:
    assert plugins.make("prices", Spec("fixed", {"usd_per_hour": 1}), Prices).quote().usd_per_hour == 1
    with pytest.raises(UsageError, match="did you mean 'instance'"):
        plugins.make("prices", Spec("table", {"instanse": "aws/c7i.large"}), Prices)


# ---------------------------------------------------------------------------------------- the data themselves


@pytest.mark.parametrize("row", read(), ids=lambda row: row["instance"])
def test_every_row_is_priced_dated_and_sourced(row: dict[str, str]) -> None:
    assert re.fullmatch(r"(aws|gcp|azure)/[\w.-]+", row["instance"])
    assert float(row["usd_per_hour"]) > 0
    assert int(row["vcpus"]) > 0
    assert float(row["memory_gib"]) > 0
    assert row["region"]
    assert datetime.date(2024, 1, 1) <= datetime.date.fromisoformat(row["as_of"])
    assert re.fullmatch(r"https://github\.com/\S+", row["source"])


def test_no_machine_is_listed_twice() -> None:
    names = [row["instance"] for row in read()]
    assert len(names) == len(set(names))


def test_the_table_has_machines_without_and_with_an_accelerator_from_three_providers() -> None:
    rows = read()
    assert {row["instance"].partition("/")[0] for row in rows if not row["accelerator"]} == {"aws", "gcp", "azure"}
    assert {row["instance"].partition("/")[0] for row in rows if row["accelerator"]} == {"aws", "gcp", "azure"}


def test_within_a_family_more_cpus_cost_more() -> None:
    families = defaultdict(list)
    for row in read():
        families[_family(row["instance"])].append((int(row["vcpus"]), float(row["usd_per_hour"])))
    several = {family: sorted(sizes) for family, sizes in families.items() if len(sizes) > 1}
    assert {"aws/c7i", "gcp/c3-standard", "azure/Standard_Ds_v5"} <= set(several)
    for family, sizes in several.items():
        prices = [price for _, price in sizes]
        assert prices == sorted(set(prices)), family


def _family(instance: str) -> str:
    """aws/c7i.large is of aws/c7i, gcp/c3-standard-4 of gcp/c3-standard, azure/Standard_D4s_v5 of Standard_Ds_v5."""
    if instance.startswith("aws/"):
        return instance.partition(".")[0]
    if instance.startswith("gcp/"):
        return instance.rpartition("-")[0]
    return re.sub(r"(?<=Standard_)([A-Z]+)\d+", r"\1", instance)
