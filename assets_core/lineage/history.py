"""What happened to an asset or a partition: builds, failed attempts, invalidations, newest first.

Pure: the recorded facts are handed in. Each entry says what changed against the one before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from assets_core.planning.digests import is_incomplete
from assets_core.records import (
    UNDONE_BY,
    Attempt,
    CheckOutcome,
    Invalidation,
    Materialization,
    is_withdrawn,
    version_hex,
    withdrawn_for,
)
from assets_core.shown import Shown
from assets_core.wording import (
    count,
    iso_time,
    range_text,
    reference,
)

_PARTS = ("code", "inputs", "data")


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One materialization, one attempt that did not publish, or one invalidation.

    ``what`` is the materialization's kind, the attempt's status, or ``invalidated``; ``partition``
    of an invalidation is what it covers, and its ``message`` says by whom and why. ``changed``
    names what differs from the partition's entry before (``code``, ``inputs``, ``data``), None
    where that one is not known. ``margin`` is the seconds by which it landed before its deadline
    (negative: late), None without a deadline. ``landing`` is the first that is known of its
    partition and was not built of an open window, ``backfilled`` says that it was due before it was
    promised.
    """

    at: int
    partition: str
    what: str
    run: str
    attempt: int
    seconds: float
    rows: int = 0
    bytes: int = 0
    rejected: int = 0
    data_version: str = ""
    code_version: str = ""
    changed: tuple[str, ...] | None = None
    margin: float | None = None
    message: str = ""
    checks: tuple[CheckOutcome, ...] = ()
    id: int = 0
    landing: bool = False
    backfilled: bool = False

    @property
    def published(self) -> bool:
        """Whether this entry is a materialization."""
        return bool(self.id)

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values; seconds, bytes and ISO times in UTC."""
        return {
            "at": iso_time(self.at),
            "partition": self.partition,
            "what": self.what,
            "run": self.run,
            "attempt": self.attempt,
            "seconds": round(self.seconds, 6),
            "rows": self.rows,
            "bytes": self.bytes,
            "rejected": self.rejected,
            "data_version": self.data_version,
            "code_version": self.code_version,
            "changed": None if self.changed is None else list(self.changed),
            "margin_seconds": self.margin,
            "message": self.message,
            "checks": [
                {
                    "name": check.name,
                    "passed": check.passed,
                    "severity": check.severity,
                    "message": check.message,
                    "failed_rows": check.failed_rows,
                }
                for check in self.checks
            ],
        }


@dataclass(frozen=True)
class History(Shown):
    """The recorded facts and attempts of an asset (``partition`` None: of all its partitions).

    What was due before ``promised_since`` (µs) was not late, only filled in later.
    """

    asset: str
    partition: str | None
    facts: tuple[Materialization, ...]
    attempts: tuple[Attempt, ...]
    invalidations: tuple[Invalidation, ...] = ()
    promised_since: int = 0

    @cached_property
    def entries(self) -> tuple[HistoryEntry, ...]:
        """All of them merged, newest first."""
        marks = (_mark_entry(one, self.partition) for one in self.invalidations)
        made = [
            *_fact_entries(self.facts, self.promised_since),
            *map(_attempt_entry, self.attempts),
            *marks,
        ]
        return tuple(sorted(made, key=lambda entry: (entry.at, entry.id), reverse=True))

    def __len__(self) -> int:
        return len(self.facts) + len(self.attempts) + len(self.invalidations)

    def __iter__(self) -> Iterator[HistoryEntry]:
        return iter(self.entries)

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values."""
        return {
            "asset": self.asset,
            "partition": self.partition,
            "entries": [entry.to_dict() for entry in self.entries],
        }

    @property
    def title(self) -> str:
        """The asset, or the partition with it."""
        return self.asset if self.partition is None else reference(self.asset, self.partition)

    def __repr__(self) -> str:
        return f"<History of {self.title}: {count(len(self), 'entry', 'entries')}>"


def _fact_entries(facts: Sequence[Materialization], promised_since: int) -> Iterator[HistoryEntry]:
    """Entries of materializations, each compared with its partition's one before."""
    before: dict[str, Materialization] = {}
    landed: set[str] = set()
    for fact in sorted(facts, key=lambda fact: fact.id):
        lands = not (fact.partition in landed or is_incomplete(fact) or is_withdrawn(fact))
        entry = _fact_entry(fact, before.get(fact.partition), lands=lands)
        yield replace(entry, backfilled=0 < fact.deadline < promised_since)
        before[fact.partition] = fact
        if lands:
            landed.add(fact.partition)


def _fact_entry(
    fact: Materialization, before: Materialization | None, *, lands: bool
) -> HistoryEntry:
    receipt, opened = fact.receipt, _open(fact)
    return HistoryEntry(
        at=fact.finished,
        partition=fact.partition,
        what=fact.kind,
        run=fact.run,
        attempt=fact.attempt,
        seconds=max(fact.finished - fact.started, 0) / 1e6,
        rows=receipt.rows,
        bytes=receipt.bytes,
        rejected=receipt.rejected,
        data_version="" if is_withdrawn(fact) else version_hex(fact.data_version),
        code_version=fact.code.hex,
        changed=None if before is None else _changed(before, fact),
        margin=(fact.deadline - fact.finished) / 1e6 if fact.deadline and not opened else None,
        message="; ".join(filter(None, (opened, _withdrawal(fact), _warnings(fact.checks)))),
        checks=fact.checks,
        id=fact.id,
        landing=lands,
    )


def _open(fact: Materialization) -> str:
    return "incomplete: its window was open" if is_incomplete(fact) else ""


def _withdrawal(fact: Materialization) -> str:
    """Why a partition was withdrawn, or who took that back."""
    undone = fact.metadata.get(UNDONE_BY)
    if undone and fact.kind == "observed":
        told = f"withdrawal undone by {undone.get('by', '')}"
        return f"{told}: {undone['reason']}" if undone.get("reason") else told
    return withdrawn_for(fact)


def _changed(before: Materialization, fact: Materialization) -> tuple[str, ...]:
    moved = (
        before.code.hex != fact.code.hex,
        before.input_digest != fact.input_digest,
        before.data_version != fact.data_version,
    )
    return tuple(part for part, has in zip(_PARTS, moved, strict=True) if has)


def _warnings(checks: Sequence[CheckOutcome]) -> str:
    return "; ".join(f"{check.name}: {check.message}" for check in checks if not check.passed)


def _attempt_entry(attempt: Attempt) -> HistoryEntry:
    return HistoryEntry(
        at=attempt.finished,
        partition=attempt.partition,
        what=attempt.status,
        run=attempt.run,
        attempt=attempt.attempt,
        seconds=max(attempt.finished - attempt.started, 0) / 1e6,
        message=attempt.error,
        checks=attempt.checks,
    )


def _mark_entry(one: Invalidation, partition: str | None) -> HistoryEntry:
    covered = [range_text(first, last) for first, last in one.ranges[:_RANGES]]
    covered += ["…"] if len(one.ranges) > _RANGES else []
    return HistoryEntry(
        at=one.at,
        partition=partition if partition is not None else ", ".join(covered) or "all partitions",
        what="invalidated",
        run="",
        attempt=1,
        seconds=0.0,
        message=str(one),
    )


_RANGES = 3
