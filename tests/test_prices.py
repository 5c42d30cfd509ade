"""Price sources: the book, a price of one's own, a machine of one's own; and what a quote says of itself."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt import plugins
from costopt.errors import ConfigError, UsageError
from costopt.prices import Prices
from costopt.prices.fixed import Fixed
from costopt.prices.owned import Owned
from costopt.prices.table import Table
from costopt.pricing.ownership import PUE_ON_PREMISES, hour
from costopt.records import Spec


def test_a_machine_of_the_book_has_a_dated_price_with_its_source() -> None:
    quote = Table("aws/c7i.large").quote()
    assert quote.usd_per_hour == 0.08925
    assert quote.as_of == "2026-07-20"
    assert "github.com/aws/karpenter-provider-aws" in quote.source
    assert quote.source.endswith("(on demand, us-east-1)")
    assert quote.note == ""


@pytest.mark.parametrize("name", ["c7i.large", "aws/C7I.LARGE", "aws/c7i.larg"])
def test_an_unknown_machine_is_answered_with_the_nearest(name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"'{name}' is not in the price book; near: aws/c7i.large,")):
        Table(name).quote()


def test_a_machine_like_no_other_is_answered_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"give its price: machine: \{usd_per_hour: 0.09\}"):
        Table("my-laptop").quote()


def test_an_unknown_region_is_answered_with_those_that_there_are() -> None:
    words = "machine.region: aws/c7i.large has no price in 'eu-west-1'; the book has it in us-east-1"
    with pytest.raises(ConfigError, match=re.escape(words)):
        Table("aws/c7i.large", region="eu-west-1").quote()
    assert Table("aws/c7i.large", region="us-east-1").quote() == Table("aws/c7i.large").quote()


def test_spot_has_a_price_and_a_date_of_its_own_and_a_warning() -> None:
    quote = Table("gcp/c3-standard-4", terms="spot").quote()
    assert (quote.usd_per_hour, quote.as_of) == (0.0494, "2026-08-03")
    assert quote.source.endswith("(spot, us-central1)")
    assert "taken away at short notice" in quote.note


def test_an_undated_price_gets_no_date_and_says_so() -> None:
    quote = Table("aws/c7i.large", terms="spot").quote()
    assert (quote.usd_per_hour, quote.as_of) == (0.0303, "")
    assert "of an undated price list" in quote.source
    assert "the spot price of aws/c7i.large is of an undated list: check it" in quote.note


def test_terms_that_the_book_has_no_price_for_are_answered_with_the_way_out() -> None:
    words = "machine.terms: the book has no reserved price of aws/c7i.large in us-east-1; give yours"
    with pytest.raises(ConfigError, match=re.escape(words)):
        Table("aws/c7i.large", terms="reserved").quote()
    with pytest.raises(ConfigError, match="has no spot price of aws"):
        Table("aws/f2.6xlarge", terms="spot").quote()


def test_a_discount_is_taken_off_and_told() -> None:
    quote = Table("aws/c7i.large", discount=0.2).quote()
    assert quote.usd_per_hour == pytest.approx(0.0714)
    assert quote.source.endswith("(on demand, us-east-1, $0.0892 less 20 %)")
    assert Fixed(0.1, "mine", "reserved", 0.5).quote().usd_per_hour == pytest.approx(0.05)
    assert Fixed(0.1, "mine", "reserved", 0.5).quote().source == "the budget file (reserved, $0.100 less 50 %)"


@pytest.mark.parametrize("discount", [-0.1, 1.0, 20.0, math.nan])
def test_a_discount_that_is_no_share_is_refused(discount: float) -> None:
    for source in (Table("aws/c7i.large", discount=discount), Fixed(0.1, discount=discount)):
        with pytest.raises(ConfigError, match=r"machine.discount is .*: write the share"):
            source.quote()


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


# ---------------------------------------------------------------------------------------- a machine of one's own


def test_a_machine_of_ones_own_costs_purchase_staff_and_power_over_the_hours_of_work() -> None:
    """4000 USD / 21,024 h + 500 USD / 5,256 h + 0.3 kW * 1.56 * 0.15 USD/kWh."""
    worked = hour(4000, 4, 300, 0.15, PUE_ON_PREMISES, 500, 0.6)
    assert (worked.purchase_usd, worked.staff_usd, worked.power_usd) == pytest.approx((0.1902588, 0.0951294, 0.0702))
    quote = Owned(4000, 4, 300, 0.15, staff_share_usd_per_year=500, utilisation=0.6).quote()
    assert quote.usd_per_hour == pytest.approx(0.3555881)
    assert quote.source == "the budget file (owned: $0.190 purchase, $0.0951 staff, $0.0702 power)"
    assert (quote.instance, quote.as_of) == ("", "")


def test_an_hour_at_work_is_not_to_be_counted_idle_once_more() -> None:
    assert (
        "costs at your traffic count idle hours themselves" in Owned(4000, 4, 300, 0.15, utilisation=0.6).quote().note
    )
    assert Owned(4000, 4, 300, 0.15).quote().note == ""


@pytest.mark.parametrize(
    ("owned", "words"),
    [
        (Owned(-1, 4, 300, 0.15), "purchase_usd is -1"),
        (Owned(4000, 0, 300, 0.15), "years is 0"),
        (Owned(4000, 4, math.nan, 0.15), "watts is nan"),
        (Owned(4000, 4, 300, 0.15, pue=0.9), "pue is 0.9: a site draws at least"),
        (Owned(4000, 4, 300, 0.15, utilisation=0), "utilisation is 0: write the share of hours"),
        (Owned(4000, 4, 300, 0.15, utilisation=60), "utilisation is 60"),
        (Owned(0, 4, 0, 0.15), "an hour comes out at 0 USD"),
        (Owned(math.inf, 4, 300, 0.15), "an hour comes out at inf USD"),
    ],
)
def test_figures_that_no_machine_has_are_refused(owned: Owned, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"machine.owned{'' if 'comes' in words else '.'}")) as caught:
        owned.quote()
    assert words in str(caught.value)


money = st.floats(0, 1e6)
shares = st.floats(0.01, 1)


@given(money, money, st.floats(0.1, 20), st.floats(0, 1e4), st.floats(0, 1), money, shares)
def test_a_cheaper_purchase_never_raises_the_price(
    one: float, other: float, years: float, watts: float, kwh: float, staff: float, busy: float
) -> None:
    cheap, dear = (hour(price, years, watts, kwh, 1.5, staff, busy).usd for price in sorted((one, other)))
    assert cheap <= dear


@given(money, st.floats(0.1, 20), st.floats(0, 1e4), st.floats(0, 1), money, shares)
def test_doubling_every_price_doubles_the_hour_and_working_more_never_makes_it_dearer(
    purchase: float, years: float, watts: float, kwh: float, staff: float, busy: float
) -> None:
    price = hour(purchase, years, watts, kwh, 1.5, staff, busy).usd
    assert hour(2 * purchase, years, watts, 2 * kwh, 1.5, 2 * staff, busy).usd == pytest.approx(2 * price)
    assert hour(purchase, years, watts, kwh, 1.5, staff, 1.0).usd <= price * (1 + 1e-12)
