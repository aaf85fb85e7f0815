"""How a step is tried again, when its partition must land, and what is built together."""

from __future__ import annotations

import random
import typing
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from assets_core.durations import parse_duration
from assets_core.errors import (
    CheckFailedError,
    DefinitionError,
    LeaseLostError,
    OutputError,
    OutsidePartitionError,
    PlanMovedError,
    SchemaChangedError,
    TooManyRejectsError,
)
from assets_core.partitions.times import as_stretch
from assets_core.problems import deferred

Backoff = Literal["exponential", "linear", "constant"]
OnFailure = Literal["halve", "fail"]

BUGS: tuple[type[BaseException], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    OutputError,
    SyntaxError,
    TypeError,
)
"""Exceptions that a second try does not mend; a `Retry` leaves them alone unless told otherwise."""


VERDICTS: tuple[type[BaseException], ...] = (
    CheckFailedError,
    LeaseLostError,
    OutsidePartitionError,
    PlanMovedError,
    SchemaChangedError,
    TooManyRejectsError,
)
"""What was found of rows that are there, or of the run itself: nothing that passes by itself."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, and how soon, a failed attempt is tried again.

    ``max`` counts retries, not attempts. ``delay`` and ``max_delay`` are durations (``"1s"``,
    ``"5m"``, seconds, `timedelta`). ``on`` names exception classes that are worth another try,
    ``never_on`` those that are not; the more specific of the two wins. What the function and the
    store raise can be tried again; what the audit finds, such as a failed check, never is.
    ``jitter`` is the fraction by which a delay is shortened at random, so that many failures do not
    come back together.
    """

    max: int = 3
    delay: str | float | timedelta = "1s"
    backoff: Backoff = "exponential"
    max_delay: str | float | timedelta = "5m"
    jitter: float = 0.25
    on: type[BaseException] | tuple[type[BaseException], ...] = Exception
    never_on: type[BaseException] | tuple[type[BaseException], ...] = BUGS

    @deferred(lambda: None)
    def __post_init__(self) -> None:
        if self.max < 0:
            raise DefinitionError(
                f"Retry(max={self.max}): the number of retries can't be negative."
            )
        if not 0 <= self.jitter <= 1:
            raise DefinitionError(f"Retry(jitter={self.jitter}): a fraction between 0 and 1.")
        if self.backoff not in typing.get_args(Backoff):
            raise DefinitionError(
                f"Retry(backoff={self.backoff!r}) is not known.",
                hint=f"One of {', '.join(typing.get_args(Backoff))}.",
            )
        given = self.on if isinstance(self.on, tuple) else (self.on,)
        for one in given:
            if issubclass(one, VERDICTS):
                raise DefinitionError(
                    f"Retry(on={one.__name__}): that does not pass by trying again.",
                    hint="Raise an exception of your own in the function, and name that.",
                )
        parse_duration(self.delay)
        parse_duration(self.max_delay)

    def applies(self, error: BaseException) -> bool:
        """Whether another try is worth it after ``error``."""
        if isinstance(error, VERDICTS):
            return False
        wanted = _closest(type(error), self.on)
        unwanted = _closest(type(error), self.never_on)
        return wanted is not None and (unwanted is None or wanted < unwanted)

    def wait(self, attempt: int, rng: random.Random | None = None) -> float:
        """Seconds to wait after the failed ``attempt`` (1 for the first)."""
        base = parse_duration(self.delay).total_seconds()
        factor = {"exponential": 2.0 ** (attempt - 1), "linear": float(attempt), "constant": 1.0}
        seconds = min(base * factor[self.backoff], parse_duration(self.max_delay).total_seconds())
        return seconds * (1 - self.jitter * (rng or random).random())


def _closest(
    kind: type[BaseException], classes: type[BaseException] | tuple[type[BaseException], ...]
) -> int | None:
    """How far up the ancestry of ``kind`` the first of ``classes`` stands; None when none does."""
    wanted = classes if isinstance(classes, tuple) else (classes,)
    return next((i for i, base in enumerate(kind.__mro__) if base in wanted), None)


@dataclass(frozen=True, slots=True)
class Freshness:
    """The promise that a partition lands within a time after its window has closed.

    ``lands_within`` counts from the end of the partition's window; from ``warn_within`` on the
    partition is reported as ``warn`` before it is ``late``. Durations as for `Retry`. What is due
    before ``since`` (by the clock of the partitions' zone) is not promised; without it, what was
    due before a partition was first built under the promise.
    """

    lands_within: str | float | timedelta
    warn_within: str | float | timedelta | None = None
    since: str | date | None = None

    @deferred(lambda: None)
    def __post_init__(self) -> None:
        lands = parse_duration(self.lands_within)
        if self.warn_within is not None and parse_duration(self.warn_within) > lands:
            raise DefinitionError(
                f"Freshness: warn_within={self.warn_within} lies after "
                f"lands_within={self.lands_within}.",
                hint="A warning comes before the deadline.",
            )
        if self.since is not None:
            as_stretch(self.since, "Freshness: since", "UTC")


@dataclass(frozen=True, slots=True)
class Batch:
    """Neighbouring partitions that are ready are built by one call, and published one by one.

    A call gets at most ``max_partitions``. When it fails, ``halve`` tries each half of them until
    the bad partition is found alone and fails alone; ``fail`` fails them all.
    """

    max_partitions: int = 366
    on_failure: OnFailure = "halve"

    @deferred(lambda: None)
    def __post_init__(self) -> None:
        if isinstance(self.max_partitions, bool) or self.max_partitions < 1:
            raise DefinitionError(
                f"Batch(max_partitions={self.max_partitions!r}): a call needs at least one.",
                hint="Write Batch(max_partitions=366), or batch=True for just that.",
            )
        if self.on_failure not in typing.get_args(OnFailure):
            raise DefinitionError(
                f"Batch(on_failure={self.on_failure!r}) is not known.",
                hint=f"One of {', '.join(typing.get_args(OnFailure))}.",
            )
