"""Report formats, one a file: from a report to text. Nothing here computes; nothing here prints.

Formats for people show a `Sheet`, whatever it was made from; formats for programs take the figures themselves.
"""

from abc import ABC, abstractmethod

from costopt import layer_sheet, report_sheet
from costopt.benching import bench_sheet
from costopt.benching.measurements import BenchReport, SensitivityReport
from costopt.sheets import Sheet
from costopt.verdict import Report

AnyReport = Report | BenchReport | SensitivityReport
"""What `compress`, `bench` and `sensitivity` have to tell."""


class Render(ABC):
    """One format."""

    @abstractmethod
    def __call__(self, report: AnyReport, width: int = 100, colour: bool = False) -> str:
        """The whole report as text, ending in a newline. `width` is in columns; a format may ignore both options."""


def sheet(report: AnyReport) -> Sheet:
    """What a report tells a person."""
    match report:
        case BenchReport():
            return bench_sheet.sheet(report)
        case SensitivityReport():
            return layer_sheet.sheet(report)
        case Report():
            return report_sheet.sheet(report)
