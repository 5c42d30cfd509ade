"""The whole of `costopt plan --arch`: a model that is not here, served or trained on every machine of the book."""

from pathlib import Path

from costopt.distributing import paper, paper_asked, training_plan
from costopt.distributing.paper import Paper
from costopt.distributing.paper_options import Options
from costopt.distributing.training_plan import TrainingAsked, TrainingRow
from costopt.pricing.book import Book


def on_paper(options: Options, config: Path | None, overrides: tuple[str, ...], book: Book) -> Paper:
    """The plan; `machines` in the traffic file narrows it. Raises UsageError and ConfigError in words."""
    asked = paper_asked.read(options, config, overrides, book)
    wanted = asked.traffic.machines
    offers = [one for one in book.offers.values() if wanted is None or one.instance in wanted]
    return paper.on_all(asked, offers)


def training_on_paper(asked: TrainingAsked, book: Book) -> tuple[TrainingRow, ...]:
    """Every machine of the book as one of several that share the training."""
    return training_plan.rows(asked, tuple(book.offers.values()))
