"""Rows of a plan as tests look at them: the choice of a ranking, and what it costs."""

from costopt.planning.ranking import Ranking, Row


def best_of(ranking: Ranking) -> Row:
    """The choice; there is one."""
    row = ranking.best(ranking.rows())
    assert row is not None
    return row


def usd(row: Row) -> float:
    """Its bill of a month; there is one."""
    assert row.bill is not None
    return row.bill.usd
