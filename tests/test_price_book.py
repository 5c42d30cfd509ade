"""The price book: reading and writing it, and the user's own laid over the shipped one."""

import datetime
import io
import urllib.request
from dataclasses import replace
from http.client import HTTPMessage
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt import disk
from costopt.errors import ConfigError, CostoptError, UsageError
from costopt.prices.table import Table
from costopt.pricing import book, download
from costopt.pricing.offers import UNDATED, Offer
from costopt.pricing.refresh import Asked, Refreshed, refresh
from tests import price_lists

HEAD = "instance,region,usd_per_hour,as_of,source\n"
NOW = datetime.datetime(2026, 11, 22, 19, 30, 5, tzinfo=datetime.UTC)
SHIPPED = book.read(book.SHIPPED)

names = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs")), min_size=1, max_size=8)
dates = st.one_of(st.just(UNDATED), st.dates().map(datetime.date.isoformat))
prices = st.floats(1e-6, 1e6)


@st.composite
def offers(draw: st.DrawFn) -> Offer:
    spot = draw(st.none() | prices)
    count = draw(st.integers(0, 16))
    return Offer(
        instance=f"x/{draw(names)}",
        region=draw(names),
        vcpus=draw(st.none() | st.integers(1, 900)),
        memory_gib=draw(st.none() | st.floats(0.5, 1e5)),
        accelerator=draw(names) if count else "",
        accelerator_count=count,
        usd_per_hour=draw(prices),
        spot_usd_per_hour=spot,
        reserved_usd_per_hour=draw(st.none() | prices),
        as_of=draw(dates),
        spot_as_of="" if spot is None else draw(dates),
        source=draw(names),
        spot_source="" if spot is None else draw(names),
        note=draw(names),
    )


@given(st.lists(offers(), unique_by=lambda one: one.key, max_size=5))
def test_a_book_that_is_written_is_read_as_the_same_book(given_offers: list[Offer]) -> None:
    found, faults = book.parse(book.written(given_offers))
    assert faults == ()
    assert found == tuple(sorted(given_offers, key=lambda one: one.key))


@given(st.text(max_size=300))
def test_whatever_a_file_holds_is_read_or_said_in_words(text: str) -> None:
    for whole in (text, HEAD + text):
        found, faults = book.parse(whole)
        assert found or faults or "\n" in whole


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            "aws/a,us,€0.09,2026-07-20,me",
            "line 2: aws/a: usd_per_hour: '€0.09' is not a plain number: write US dollars",
        ),
        ("aws/a,us,0.09 EUR,2026-07-20,me", "line 2: aws/a: usd_per_hour: '0.09 EUR' is not a plain number"),
        ("aws/a,us,1_000,2026-07-20,me", "'1_000' is not a plain number"),
        ("aws/a,us,nan,2026-07-20,me", "'nan' is not a plain number"),
        ("aws/a,us,,2026-07-20,me", "usd_per_hour is empty"),
        ("aws/a,us,0.09,20.07.2026,me", "as_of: '20.07.2026' is no date: write it as 2026-07-20"),
        ("aws/a,us,0.09,2026-13-20,me", "as_of: '2026-13-20' is no date"),
        ("aws/a,us,0.09", "line 2: 5 fields belong in a row"),
        ("aws/a,us,0.09,2026-07-20,me,too,many", "line 2: 5 fields belong in a row"),
    ],
)
def test_a_field_that_is_not_what_its_column_says_is_named_with_its_line(rows: str, words: str) -> None:
    found, (fault,) = book.parse(HEAD + rows + "\n")
    assert found == ()
    assert words in fault


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("", "no price book: the column instance is missing (it has none)"),
        ("instance,region,eur_per_hour,as_of,source", "the column usd_per_hour is missing"),
        (HEAD.strip() + ",currency", "unknown column 'currency'; there are instance, region,"),
        (HEAD.strip() + ",source", "the column source stands there twice"),
    ],
)
def test_a_file_with_other_columns_is_no_book(head: str, words: str) -> None:
    assert words in book.parse(head + "\n")[1][0]


def test_a_file_that_is_no_text_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "book.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not a text file"):
        book.read(tmp_path / "book.csv")
    monkeypatch.setattr(book, "MAX_BYTES", 2**20)
    (tmp_path / "book.csv").write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(UsageError, match="over 1 MiB is too much for a price list"):
        book.read(tmp_path / "book.csv")
    with pytest.raises(UsageError, match="can't be read"):
        book.read(tmp_path / "nowhere.csv")


# ---------------------------------------------------------------------------------------- one book over the other


def offer(usd: float, as_of: str, spot: float | None = None, spot_as_of: str = "", region: str = "r") -> Offer:
    return Offer("x/a", region, 2, 4.0, "", 0, usd, spot, None, as_of, spot_as_of, f"of {as_of}")


def test_the_newest_price_holds_and_the_users_own_where_both_are_equally_old() -> None:
    old, new, same = offer(1, "2026-01-01"), offer(2, "2026-02-01"), offer(3, "2026-01-01")
    assert book.overlaid([old], [new]).find("x/a") == new
    assert book.overlaid([new], [old]).find("x/a") == new
    assert book.overlaid([old], [same]).find("x/a") == same
    assert book.overlaid([offer(1, UNDATED)], [new]).find("x/a") == new
    assert book.overlaid([new], [offer(1, UNDATED)]).find("x/a") == new


def test_spot_has_a_date_of_its_own() -> None:
    """A newer on-demand price keeps the spot price that is known, unless that now lies above it."""
    old = offer(1.0, "2026-01-01", 0.5, UNDATED)
    new = offer(0.9, "2026-02-01")
    assert book.overlaid([old], [new]).find("x/a") == replace(new, spot_usd_per_hour=0.5, spot_as_of=UNDATED)
    assert book.overlaid([old], [offer(0.4, "2026-02-01")]).find("x/a").spot_usd_per_hour is None
    fresh = offer(1.0, "2026-01-01", 0.3, "2026-03-01")
    assert book.overlaid([new], [fresh]).find("x/a") == replace(new, spot_usd_per_hour=0.3, spot_as_of="2026-03-01")


def test_what_a_newer_row_does_not_say_of_the_machine_stays_known() -> None:
    bare = replace(offer(2, "2026-02-01"), vcpus=None, memory_gib=None)
    assert book.overlaid([offer(1, "2026-01-01")], [bare]).find("x/a") == offer(2, "2026-02-01")


@given(st.lists(offers(), max_size=4), st.lists(offers(), max_size=4))
def test_laying_a_book_over_itself_changes_nothing(below: list[Offer], above: list[Offer]) -> None:
    once = book.overlaid(below, above)
    assert book.overlaid(once.offers.values(), once.offers.values()) == once


def test_a_machine_of_several_regions_is_found_at_home_or_asks_where() -> None:
    here, there = offer(1, "2026-01-01", region="r"), offer(2, "2026-01-01", region="s")
    both = book.overlaid([here, there], [])
    with pytest.raises(ConfigError, match=r"priced in several regions \(r, s\); name one: `region: r`"):
        both.find("x/a")
    assert both.find("x/a", "s") == there
    aws = [replace(here, instance="aws/a", region=region) for region in ("eu-west-1", "us-east-1")]
    assert book.overlaid(aws, []).find("aws/a").region == "us-east-1"


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({"COSTOPT_PRICES": "/books/mine.csv", "XDG_DATA_HOME": "/data"}, Path("/books/mine.csv")),
        ({"XDG_DATA_HOME": "/data"}, Path("/data/costopt/prices.csv")),
        ({}, Path.home() / ".local/share/costopt/prices.csv"),
    ],
)
def test_the_users_own_book_lies_where_the_environment_says(environment: dict[str, str], path: Path) -> None:
    assert book.own_path(environment) == path


# ---------------------------------------------------------------------------------------- refreshing


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's own book is to lie; there is none yet."""
    path = tmp_path / "data" / "prices.csv"
    monkeypatch.setenv("COSTOPT_PRICES", str(path))
    return path


def refreshed(folder: Path, text: str, source: str, as_of: str | None = None, provider: str | None = None) -> Refreshed:
    (folder / "list").write_text(text, encoding="utf-8")
    return refresh(Asked(source, str(folder / "list"), as_of, provider), NOW, NOW.date())


def test_a_refreshed_price_holds_and_the_rest_of_the_shipped_book_stays(tmp_path: Path, mine: Path) -> None:
    done = refreshed(tmp_path, price_lists.KARPENTER_AWS, "karpenter-aws")
    assert (done.path, done.kept, done.outdated) == (mine, None, 0)
    assert [(new.instance, old.usd_per_hour, new.usd_per_hour) for old, new in done.changed] == [
        ("aws/c7i.large", 0.08925, 0.09175), ("aws/c7i.2xlarge", 0.357, 0.367)
    ]  # fmt: skip
    now = book.current()
    assert now.find("aws/c7i.large").usd_per_hour == 0.09175
    assert now.find("aws/c7i.large").source == "karpenter-aws: list"
    assert now.find("aws/c7i.large").spot_usd_per_hour == 0.0303  # known from the shipped book
    assert now.find("gcp/c3-standard-4") == book.overlaid(SHIPPED, []).find("gcp/c3-standard-4")
    assert len(now.offers) == len(SHIPPED) + 2


def test_the_book_before_it_is_kept_under_its_time(tmp_path: Path, mine: Path) -> None:
    refreshed(tmp_path, price_lists.KARPENTER_AWS, "karpenter-aws")
    before = mine.read_text()
    done = refreshed(tmp_path, price_lists.KARPENTER_GCP, "karpenter-gcp", "2026-11-20")
    assert done.kept == mine.with_name("prices.2026-11-22T19-30-05.000000.csv")
    assert done.kept is not None
    assert done.kept.read_text() == before
    assert book.current().find("aws/c7i.large").usd_per_hour == 0.09175


@pytest.mark.usefixtures("mine")
def test_older_prices_do_not_replace_newer_ones(tmp_path: Path) -> None:
    refreshed(tmp_path, price_lists.KARPENTER_GCP, "karpenter-gcp", "2026-11-20")
    older = price_lists.KARPENTER_GCP.replace("0.201608", "0.3").replace("0.403216", "0.6")
    assert refreshed(tmp_path, older, "karpenter-gcp", "2026-10-01").outdated == 3
    assert book.current().find("gcp/c3-standard-4").usd_per_hour == 0.201608


def test_a_list_without_a_date_asks_for_one(tmp_path: Path, mine: Path) -> None:
    with pytest.raises(UsageError, match=r"has no date inside; say when it was made .*--as-of YYYY-MM-DD"):
        refreshed(tmp_path, price_lists.KARPENTER_GCP, "karpenter-gcp")
    for wrong, words in (("yesterday", "is no date"), ("2026-11-23", "is still to come")):
        with pytest.raises(UsageError, match=f"--as-of: .*{words}"):
            refreshed(tmp_path, price_lists.KARPENTER_GCP, "karpenter-gcp", wrong)
    with pytest.raises(UsageError, match="the list says that it is of 2026-07-20, not of 2026-11-20"):
        refreshed(tmp_path, price_lists.KARPENTER_AWS, "karpenter-aws", "2026-11-20")
    assert not mine.parent.exists()


@pytest.mark.usefixtures("mine")
def test_ones_own_rate_card_has_reserved_prices_which_a_newer_list_does_not_take_away(tmp_path: Path) -> None:
    rows = "instance,region,usd_per_hour,reserved_usd_per_hour,as_of,source\n"
    rows += "aws/c7i.large,us-east-1,0.08,0.055,2026-11-01,our contract\nours/big,dc1,3,,,the cellar\n"
    rows += "aws/c7i.large,eu-west-1,0.09,,2026-11-01,our contract\n"
    refreshed(tmp_path, rows, "csv", "2026-11-02")
    found = book.current()
    assert found.find("aws/c7i.large").reserved_usd_per_hour == 0.055
    assert found.find("aws/c7i.large", "eu-west-1").usd_per_hour == 0.09
    assert (found.find("aws/c7i.large").as_of, found.find("ours/big").as_of) == ("2026-11-01", "2026-11-02")
    newer = price_lists.KARPENTER_AWS.replace("2026-07-20T", "2026-11-10T")
    refreshed(tmp_path, newer, "karpenter-aws")
    assert book.current().find("aws/c7i.large").usd_per_hour == 0.09175
    quote = Table("aws/c7i.large", terms="reserved").quote()
    assert (quote.usd_per_hour, quote.as_of) == (0.055, "2026-11-01")
    assert quote.source == "our contract (reserved, us-east-1)"


def test_rows_that_fail_the_check_stay_out_and_a_list_of_such_rows_changes_nothing(tmp_path: Path, mine: Path) -> None:
    good = "aws/c7i.large,us-east-1,0.08,2026-11-01,our contract\n"
    done = refreshed(tmp_path, f"{HEAD}{good}x/free,r,0,2026-11-01,me\nx/odd,r,1 EUR,2026-11-01,me\n", "csv")
    assert [str(one) for one in done.settled.refused] == [
        "line 4: x/odd: usd_per_hour: '1 EUR' is not a plain number: write US dollars, such as 0.0893, without a sign",
        "x/free in r: an hour costs $0: nothing is free, so the price is not known; take the row out",
    ]
    assert [one.instance for one in done.settled.taken] == ["aws/c7i.large"]
    before = mine.read_text()
    with pytest.raises(UsageError, match="no row can be taken, and nothing was written: x/free in r: an hour costs"):
        refreshed(tmp_path, f"{HEAD}x/free,r,0,2026-11-01,me\n", "csv")
    with pytest.raises(UsageError, match="all of its 2 rows are of other regions; name yours with --region"):
        refreshed(tmp_path, price_lists.SKYPILOT_AWS.replace("us-east-1", "mars-1"), "skypilot", "2026-11-01", "aws")
    assert mine.read_text() == before
    assert sorted(path.name for path in mine.parent.iterdir()) == ["prices.csv"]


def test_a_disk_that_fails_leaves_the_book_as_it_was(
    tmp_path: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refreshed(tmp_path, price_lists.KARPENTER_AWS, "karpenter-aws")
    before, write = mine.read_text(), disk.write_atomically

    def failing(path: Path, text: str) -> None:
        if path == mine:
            raise CostoptError("the disk is full")
        write(path, text)

    monkeypatch.setattr("costopt.pricing.refresh.write_atomically", failing)
    with pytest.raises(CostoptError, match="the disk is full"):
        refreshed(tmp_path, price_lists.KARPENTER_GCP, "karpenter-gcp", "2026-11-20")
    assert mine.read_text() == before
    assert sorted(path.name for path in mine.parent.iterdir()) == ["prices.csv"]


def test_a_damaged_book_of_ones_own_is_said_in_a_line_that_names_the_way_to_the_rest(mine: Path) -> None:
    mine.parent.mkdir()
    mine.write_text(HEAD + "x/a,r,one,2026-01-01,me\nx/b,r,two,2026-01-01,me\n")
    with pytest.raises(UsageError, match=r"prices.csv: line 2: x/a: .* \(and 1 more: `costopt prices check"):
        book.current()


# ---------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize("address", ["http://example.com/list", "ftp://example.com/list", "file:///etc/passwd"])
def test_only_https_addresses_are_read(address: str) -> None:
    with pytest.raises(UsageError, match="only https:// addresses and files are read"):
        download.text_of(address)


class Dripping:
    """A server that answers a little at a time, for ever."""

    def read(self, size: int, /) -> bytes:
        return b"x" * min(size, 1000)


def test_an_answer_that_is_too_long_or_too_slow_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="https://host/list: not there after 300 s"):
        download.bounded(Dripping(), "https://me:secret@host/list?key=secret", deadline=0.0)
    monkeypatch.setattr(book, "MAX_BYTES", 2**20)
    with pytest.raises(UsageError, match="https://host/list: over 1 MiB is too much"):
        download.bounded(Dripping(), "https://me:secret@host/list?key=secret", deadline=float("inf"))


def test_where_a_list_came_from_is_written_down_without_secrets() -> None:
    assert download.shown("https://me:secret@host/a/list.csv?token=secret#x") == "https://host/a/list.csv"
    assert download.shown("/home/me/lists/list.csv") == "list.csv"


def test_a_redirect_may_not_leave_https() -> None:
    request = urllib.request.Request("https://host/list")
    headers, body = HTTPMessage(), io.BytesIO()
    with pytest.raises(UsageError, match="https://host/list: leads to http://host/list, which is not https"):
        download.HttpsOnly().redirect_request(request, body, 302, "Found", headers, "http://host/list")
    onward = download.HttpsOnly().redirect_request(request, body, 302, "Found", headers, "https://other/list")
    assert onward is not None
    assert onward.full_url == "https://other/list"


def test_an_address_that_does_not_answer_is_said_in_a_line() -> None:
    with pytest.raises(UsageError, match=r"https://127.0.0.1:1/list: could not be read .*; fetch it yourself"):
        download.text_of("https://127.0.0.1:1/list")
