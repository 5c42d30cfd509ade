"""Report formats, one a file: from a report to text. Nothing here computes; nothing here prints.

Formats for people show a `Sheet`, whatever it was made from; formats for programs take the figures themselves.
"""

from abc import ABC, abstractmethod

from costopt import bench_sheet, report_sheet
from costopt.measurements import BenchReport
from costopt.records import Report
from costopt.sheets import Sheet


class Render(ABC):
    """One format."""

    @abstractmethod
    def __call__(self, report: Report | BenchReport, width: int = 100, colour: bool = False) -> str:
        """The whole report as text, ending in a newline. `width` is in columns; a format may ignore both options."""


def sheet(report: Report | BenchReport) -> Sheet:
    """What either kind of report tells a person."""
    return bench_sheet.sheet(report) if isinstance(report, BenchReport) else report_sheet.sheet(report)
