"""Everything that costopt says no with.

    CostoptError                exit 1   costopt could not do what it was asked
    ├── UsageError              exit 2   what the user gave is wrong: a flag, a file, a value
    │   ├── ConfigError                  the budget file, with line and path
    │   ├── ModelFileError               the model file
    │   └── DataError                    calibration or evaluation data
    ├── CandidateError          caught   this recipe does not suit this model: becomes a `Failed`
    │   ├── NotApplicable       caught   the method has nothing to do on this model: becomes a `Skipped`
    │   └── Untrue              caught   measured, but the figures would lie: becomes an `Invalid`
    └── Interrupted             exit 130 or 143

A message names the thing, the value it had, and what to do next. `cli.main` is the one place that turns
an error into an exit code; nothing else catches `CostoptError` except the pipeline, which turns a
`CandidateError` into a record.
"""


class CostoptError(Exception):
    """costopt could not do what it was asked."""

    exit_code = 1


class UsageError(CostoptError):
    """Something that the user gave is wrong: a flag, a file, a value."""

    exit_code = 2


class ConfigError(UsageError):
    """The budget file is wrong; the message carries line, path in the file, and remedy."""


class ModelFileError(UsageError):
    """The model file can't be used as it is; the message carries the next command to run."""


class DataError(UsageError):
    """Calibration or evaluation data can't be used as it is."""


class CandidateError(CostoptError):
    """One recipe does not suit this model; the run goes on without it.

    `stage` is where it ended: load, compress, export, check, bench or score.
    """

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(reason)
        self.stage = stage
        self.reason = reason


class NotApplicable(CandidateError):
    """A method has nothing to do on this model: no fault, and nothing to measure."""

    def __init__(self, reason: str) -> None:
        super().__init__("compress", reason)


class Untrue(CandidateError):
    """Measured, but the figures would lie; `fix` says what to do about it.

    `again` is True when the machine was to blame, so that the same measurement may come out well another time.
    """

    def __init__(self, reason: str, fix: str, again: bool = False) -> None:
        super().__init__("bench", reason)
        self.fix = fix
        self.again = again


class Interrupted(CostoptError):
    """A signal ended the run; what was measured is kept. `exit_code` is 128 plus the signal's number."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
