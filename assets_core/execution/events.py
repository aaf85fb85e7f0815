"""What came of a run's steps: events while it goes on, counts and failures at its end."""

from __future__ import annotations

import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from assets_core.errors import AssetsError, UserCodeError, bounded
from assets_core.ours import is_our_file

Result = Literal["done", "unchanged", "released", "failed", "blocked"]
RESULTS: tuple[Result, ...] = ("done", "unchanged", "released", "failed", "blocked")


@dataclass(frozen=True, slots=True)
class StepEvent:
    """Something happened to an asset partition; for progress displays.

    ``kind`` is a `Result`, or ``started`` or ``retrying``. ``seconds`` is the attempt's length.
    """

    kind: str
    asset: str
    partition: str
    seconds: float = 0.0
    rows: int = 0
    rejected: int = 0
    message: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that failed, with the error of its last attempt."""

    asset: str
    partition: str
    error: str
    details: str
    attempts: int
    exit_code: int = 1


@dataclass(slots=True)
class RunTotals:
    """What came of a run's asset partitions."""

    counts: Counter[str] = field(default_factory=Counter)
    by_asset: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    blocked: list[tuple[str, str, str]] = field(default_factory=list)
    rows: int = 0
    rejected: int = 0
    warnings: int = 0

    def add(self, asset: str, result: Result) -> None:
        """Count one asset partition."""
        self.counts[result] += 1
        self.by_asset.setdefault(asset, Counter())[result] += 1


def first_line(error: BaseException) -> str:
    """An error in one line."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def user_traceback(error: BaseException) -> str:
    """The traceback of the user's own exception, cut to the user's frames."""
    cause = error.__cause__ if isinstance(error, UserCodeError) else None
    if cause is None:
        return "" if isinstance(error, AssetsError) else bounded(_trace(error))
    # A worker process can't send frames; it sends the text of its traceback.
    return str(getattr(cause, "remote_traceback", "")) or bounded(_trace(cause))


def _trace(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    kept = [frame for frame in frames if not is_our_file(frame.filename)]
    if "duckdb" in type(error).__module__ and all("/duckdb/" in f.filename for f in kept):
        # The error of a query: there is no frame of the user's, and its message shows the place.
        return "".join(traceback.format_exception_only(error))
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(kept or frames)]
    return "".join([*lines, *traceback.format_exception_only(error)])
