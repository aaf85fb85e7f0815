"""Every error the project raises, in one tree. Imports nothing.

    AssetsError                      exit code
    ├── UsageError                   2   a command or call asked for something that makes no sense
    │   ├── UnknownAssetError        2
    │   ├── PartitionError           2   a key that is not one, or lies outside its key space
    │   └── ConfigError              2
    ├── DefinitionError              2   the definitions do not fit together; holds every problem
    ├── StateError                   3   the state store can't be used as it is
    │   ├── StoreTooNewError         3
    │   ├── StoreBusyError           3
    │   └── StateBehindError         3   the data moved on without this state store
    ├── LeaseLostError               3   another run holds the partition; nothing was published
    ├── PlanMovedError               3   what a stored plan was made for has moved
    ├── StepError                    1   one asset partition failed
    │   ├── UserCodeError            1
    │   ├── CheckFailedError         1
    │   ├── TooManyRejectsError      1
    │   ├── OutsidePartitionError    1
    │   ├── SchemaChangedError       1
    │   ├── OutputError              1   a return value that can't be stored
    │   └── WorkerDiedError          1
    ├── StorageError                 1   reading or writing data failed
    │   ├── CorruptDataError         1
    │   ├── MissingDataError         1
    │   ├── VersionReplacedError     1   a store without history no longer has the version asked for
    │   └── DiskFullError            1
    ├── BlockedError                 4   waits for upstream partitions that are missing
    └── InterruptedRunError        130   Ctrl-C

An error says what happened, names the facts, and says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

LONGEST_TEXT = 65_536
"""Characters of a message, or of a traceback, that are kept."""


def bounded(text: str) -> str:
    """The text; of one that is too long its beginning and end, and how much was left out."""
    if len(text) <= LONGEST_TEXT:
        return text
    half = LONGEST_TEXT // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"


class AssetsError(Exception):
    """What happened, the named facts, what to do.

    ``facts`` are printed as aligned ``name: value`` lines, and further lines of a value below its
    first; ``hint`` is the closing advice.
    """

    exit_code = 1

    def __init__(
        self, message: str, *, facts: Mapping[str, object] | None = None, hint: str = ""
    ) -> None:
        self.message = message
        self.facts = {name: str(value) for name, value in (facts or {}).items()}
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        lines = [self.message]
        width = max((len(name) for name in self.facts), default=0) + 1
        below = "\n" + " " * (width + 3)
        for name, value in self.facts.items():
            lines.append(f"  {name + ':':<{width}} {value.replace(chr(10), below)}")
        if self.hint:
            lines.append(self.hint)
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # The default would lose the keyword arguments on the way back from a worker process.
        return (_rebuild, (type(self), self.__dict__))


def _rebuild(kind: type[AssetsError], state: dict[str, object]) -> AssetsError:
    error = kind.__new__(kind)
    error.__dict__.update(state)
    error.args = (state.get("message", ""),)
    return error


class UsageError(AssetsError):
    """A command or call asked for something that makes no sense."""

    exit_code = 2


class UnknownAssetError(UsageError):
    """No asset has this name."""


class PartitionError(UsageError):
    """A partition key that can't be one, or that lies outside its key space."""


class ConfigError(UsageError):
    """A setting or an asset's config is missing, misspelt or of the wrong type."""


class DefinitionError(AssetsError):
    """The definitions do not fit together. Holds every problem found, not the first."""

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        facts: Mapping[str, object] | None = None,
        hint: str = "",
        problems: Iterable[DefinitionError] = (),
    ) -> None:
        super().__init__(message, facts=facts, hint=hint)
        self.problems = tuple(problems) or (self,)

    @classmethod
    def report(cls, problems: Iterable[DefinitionError]) -> DefinitionError:
        """One error for all ``problems``; a single one is returned as it is."""
        found = tuple(problems)
        if len(found) == 1:
            return found[0]
        return cls(f"{len(found)} problems in the definitions.", problems=found)

    def __str__(self) -> str:
        own = super().__str__()
        if self.problems == (self,):
            return own
        return "\n\n".join([own, *(str(problem) for problem in self.problems)])


class StateError(AssetsError):
    """The state store can't be used as it is."""

    exit_code = 3


class StoreTooNewError(StateError):
    """A newer release wrote this state store."""


class StoreBusyError(StateError):
    """Another process kept the store locked for longer than we wait."""


class StateBehindError(StateError):
    """The data holds what this state store should know and does not: it was lost or put back."""


class LeaseLostError(AssetsError):
    """Another run took the asset partition over; this one published nothing."""

    exit_code = 3


class PlanMovedError(AssetsError):
    """Code, partitions or versions that a stored plan was made for are others now."""

    exit_code = 3


class StepError(AssetsError):
    """One asset partition failed. What the user's code said of it is kept to a bounded length."""

    def __init__(
        self, message: str, *, facts: Mapping[str, object] | None = None, hint: str = ""
    ) -> None:
        super().__init__(bounded(message), facts=facts, hint=hint)


class UserCodeError(StepError):
    """The user's function raised; ``__cause__`` is its own exception."""


class CheckFailedError(StepError):
    """A check of severity ``error`` failed on the staged data."""


class TooManyRejectsError(StepError):
    """More rows were set aside than ``max_rejected`` allows."""


class OutsidePartitionError(StepError):
    """Rows whose partition column lies outside the partition that was built."""


class SchemaChangedError(StepError):
    """The output's schema differs from the published one and the policy is ``strict``."""


class OutputError(StepError):
    """A function returned something that can't be stored."""


class WorkerDiedError(StepError):
    """The worker process that ran the step was killed or crashed."""


class StorageError(AssetsError):
    """Reading or writing data failed."""


class CorruptDataError(StorageError):
    """Stored bytes are not what was written."""


class MissingDataError(StorageError):
    """The store does not have this version (any more)."""


class VersionReplacedError(StorageError):
    """A store that keeps only the newest version no longer has the one asked for."""


class DiskFullError(StorageError):
    """There is no room for the new version; the old one still serves."""


class BlockedError(AssetsError):
    """Upstream partitions outside the selection are missing."""

    exit_code = 4


class InterruptedRunError(AssetsError):
    """The run was stopped by Ctrl-C; nothing is half-published."""

    exit_code = 130
