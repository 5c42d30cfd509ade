import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt import units

positive = st.floats(min_value=1e-6, max_value=1e12)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (units.ms(0.5881), "0.588"),
        (units.ms(29.04), "29.0"),
        (units.ms(1234.5), "1,234"),
        (units.ms(999.6), "1,000"),
        (units.ms(9.996), "10.0"),
        (units.ms(0), "0"),
        (units.ms(math.inf), "∞"),
        (units.usd(0.0213), "$0.0213"),
        (units.usd(21.34), "$21.3"),
        (units.usd(0.0000213), "$0.0000213"),
        (units.usd(2.13e-9), "$2.13e-09"),
        (units.usd(-0.5), "-$0.500"),
        (units.usd(12345), "$12,345"),
        (units.megabytes(1_260_000), "1.26"),
        (units.bytes(512), "512 B"),
        (units.bytes(1_260_000), "1.26 MB"),
        (units.bytes(24e9), "24.0 GB"),
        (units.ratio(1.674), "1.67x"),
        (units.ratio(12.34), "12.3x"),
        (units.ratio(0.83), "0.83x"),
        (units.ratio(0.0123), "0.012x"),
        (units.ratio(0), "0.00x"),
        (units.ratio(math.inf), "∞x"),
        (units.percent(0.221), "22 %"),
        (units.points(0.0012), "+0.12"),
        (units.points(-0.021), "-2.10"),
        (units.points(-0.00001), "0.00"),
        (units.signed(0.01234), "+0.0123"),
        (units.signed(-0.01234), "-0.0123"),
        (units.score("top1", 0.9243), "92.43 %"),
        (units.score("cosine", 0.99312), "0.9931"),
        (units.changes("top1", -0.0002), "-0.02 points"),
        (units.changes("mse", 0.0002), "+0.000200"),
        (units.span(1.604, 1.751, units.ratio), "[1.60x, 1.75x]"),
        (units.count(9400), "9,400"),
        (units.about(9437), "9,400"),
        (units.given(5.0), "5"),
        (units.given(0.05), "0.05"),
        (units.operand(730.0), "730"),
        (units.operand(7 / 3), "2.33333"),
        (units.operand(1234567.8), "1234567.8"),
        (units.duration(0.42), "0.42 s"),
        (units.duration(45), "45 s"),
        (units.duration(125), "2 min 5 s"),
        (units.duration(600), "10 min"),
        (units.duration(5400), "1 h 30 min"),
    ],
)
def test_figures_read_as_people_write_them(written: str, expected: str) -> None:
    assert written == expected


@given(positive)
def test_three_significant_digits_are_at_most_half_a_percent_off(value: float) -> None:
    text = units.significant(value)
    assert "e" not in text
    assert float(text.replace(",", "")) == pytest.approx(value, rel=0.00501)


@given(st.floats(min_value=-1, max_value=1))
def test_points_carry_a_sign_unless_they_round_to_nothing(share: float) -> None:
    assert re.fullmatch(r"[+-]\d+\.\d\d|0\.00", units.points(share))


@pytest.mark.parametrize(
    ("parsed", "expected"),
    [
        (units.parse_ms(5), 5),
        (units.parse_ms("5ms"), 5),
        (units.parse_ms(" 5 ms "), 5),
        (units.parse_ms("0.005s"), 5),
        (units.parse_ms("800us"), 0.8),
        (units.parse_megabytes(1), 1),
        (units.parse_megabytes("1MB"), 1),
        (units.parse_megabytes("900 kB"), 0.9),
        (units.parse_megabytes("1 MiB"), 1.048576),
        (units.parse_megabytes("2gb"), 2000),
        (units.parse_share(0.01), 0.01),
        (units.parse_share("1%"), 0.01),
        (units.parse_share("0.5 %"), 0.005),
        (units.parse_usd("$0.05"), 0.05),
        (units.parse_usd(" $ .05"), 0.05),
        (units.parse_usd("0.05 USD"), 0.05),
        (units.parse_seconds(600), 600),
        (units.parse_seconds("10m"), 600),
        (units.parse_seconds("10 min"), 600),
        (units.parse_seconds("1h30m"), 5400),
        (units.parse_seconds("1 h 30 min"), 5400),
        (units.parse_seconds("90s"), 90),
    ],
)
def test_units_in_a_budget_file_are_understood(parsed: float, expected: float) -> None:
    assert parsed == pytest.approx(expected, rel=1e-12)


def test_what_is_no_time_is_refused_in_words() -> None:
    with pytest.raises(
        ValueError, match=re.escape("'5 parsec' is not a time: write 5 (milliseconds), '5ms' or '0.005s'")
    ):
        units.parse_ms("5 parsec")


def test_what_is_no_money_is_refused_as_it_was_written() -> None:
    with pytest.raises(ValueError, match=re.escape("'$five' is not an amount of money: write 0.05 (US dollars)")):
        units.parse_usd("$five")


@pytest.mark.parametrize("value", ["5", "", "-5ms", "5m", "5ms 3", "nan ms", None, True, [5], -1, math.nan, math.inf])
def test_a_time_needs_a_unit_and_a_sign_and_an_end(value: object) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        units.parse_ms(value)


@pytest.mark.parametrize("value", ["10", "m", "10 m!", "1h 30", -1, None, False])
def test_a_length_of_time_needs_a_unit(value: object) -> None:
    with pytest.raises(ValueError, match="is not a length of time"):
        units.parse_seconds(value)


@pytest.mark.parametrize("value", ["1 MW", "1", "MB", -1])
def test_a_size_needs_a_unit_of_bytes(value: object) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        units.parse_megabytes(value)


@given(positive)
def test_milliseconds_with_their_unit_are_the_plain_number(value: float) -> None:
    assert units.parse_ms(f"{value:.9f}ms") == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize(
    ("dollars", "text"), [(65.1525, "$65.15"), (1234567.0, "$1,234,567.00"), (0.0, "$0.00"), (-3.5, "-$3.50")]
)
def test_a_bill_is_told_to_the_cent(dollars: float, text: str) -> None:
    assert units.cents(dollars) == text
