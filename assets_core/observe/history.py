"""What happened to an asset or a partition: builds, failed attempts, invalidations, newest first.

Pure: the recorded facts are handed in. Each entry says what changed against the one before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from assets_core.observe import svg
from assets_core.observe.format import (
    count,
    first_line,
    human_bytes,
    human_duration,
    human_time,
    iso_time,
    one_line,
    range_text,
    reference,
    short,
    table,
)
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
from assets_core.staleness import is_incomplete

_PARTS = ("code", "inputs", "data")


@dataclass(frozen=True, slots=True)
class Entry:
    """One materialization, one attempt that did not publish, or one invalidation.

    ``what`` is the materialization's kind, the attempt's status, or ``invalidated``; ``partition``
    of an invalidation is what it covers, and its ``message`` says by whom and why. ``changed``
    names what differs from the partition's entry before (``code``, ``inputs``, ``data``), None
    where that one is not known. ``margin`` is the seconds by which it landed before its deadline
    (negative: late), None without a deadline. ``landing`` is the first that is known of its
    partition and was not built of an open window.
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
class History:
    """The recorded facts and attempts of an asset (``partition`` None: of all its partitions)."""

    asset: str
    partition: str | None
    facts: tuple[Materialization, ...]
    attempts: tuple[Attempt, ...]
    invalidations: tuple[Invalidation, ...] = ()

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """All of them merged, newest first."""
        marks = (_mark_entry(one, self.partition) for one in self.invalidations)
        made = [*_fact_entries(self.facts), *map(_attempt_entry, self.attempts), *marks]
        return tuple(sorted(made, key=lambda entry: (entry.at, entry.id), reverse=True))

    def __len__(self) -> int:
        return len(self.facts) + len(self.attempts) + len(self.invalidations)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values."""
        return {
            "asset": self.asset,
            "partition": self.partition,
            "entries": [entry.to_dict() for entry in self.entries],
        }

    @property
    def _title(self) -> str:
        return self.asset if self.partition is None else reference(self.asset, self.partition)

    def __repr__(self) -> str:
        return f"<History of {self._title}: {count(len(self), 'entry', 'entries')}>"

    def __str__(self) -> str:
        if not self.entries:
            return f"Nothing is recorded of {self._title}."
        rows = [_cells(self, entry) for entry in self.entries]
        return "\n".join(table(_header(self), rows, right=_right(self)))

    def _repr_html_(self) -> str:
        if not self.entries:
            return svg.note(f"Nothing is recorded of {self._title}.")
        rows = [_html_cells(self, entry) for entry in self.entries[:_ROWS]]
        more = len(self.entries) - _ROWS
        return svg.block(
            svg.heading(f"History of {self._title}"),
            timeline(self.entries),
            svg.html_table(_header(self), rows, right=_right(self)),
            svg.note(f"and {count(more, 'older entry', 'older entries')}") if more > 0 else "",
        )


_ROWS = 50


def _fact_entries(facts: Sequence[Materialization]) -> Iterator[Entry]:
    """Entries of materializations, each compared with its partition's one before."""
    before: dict[str, Materialization] = {}
    landed: set[str] = set()
    for fact in sorted(facts, key=lambda fact: fact.id):
        lands = not (fact.partition in landed or is_incomplete(fact) or is_withdrawn(fact))
        yield _fact_entry(fact, before.get(fact.partition), lands=lands)
        before[fact.partition] = fact
        if lands:
            landed.add(fact.partition)


def _fact_entry(fact: Materialization, before: Materialization | None, *, lands: bool) -> Entry:
    receipt, opened = fact.receipt, _open(fact)
    return Entry(
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


def _attempt_entry(attempt: Attempt) -> Entry:
    return Entry(
        at=attempt.finished,
        partition=attempt.partition,
        what=attempt.status,
        run=attempt.run,
        attempt=attempt.attempt,
        seconds=max(attempt.finished - attempt.started, 0) / 1e6,
        message=attempt.error,
        checks=attempt.checks,
    )


def _mark_entry(one: Invalidation, partition: str | None) -> Entry:
    covered = [range_text(first, last) for first, last in one.ranges[:_RANGES]]
    covered += ["…"] if len(one.ranges) > _RANGES else []
    return Entry(
        at=one.at,
        partition=partition if partition is not None else ", ".join(covered) or "all partitions",
        what="invalidated",
        run="",
        attempt=1,
        seconds=0.0,
        message=str(one),
    )


_RANGES = 3

# --------------------------------------------------------------------------------------------
# Text and HTML


def _header(history: History) -> list[str]:
    where = ["partition"] if history.partition is None else []
    return ["when", *where, "what", "changed", "rows", "size", "took", "data", "code", "run", ""]


def _right(history: History) -> tuple[int, ...]:
    first = 4 if history.partition is None else 3
    return first, first + 1, first + 2


def _cells(history: History, entry: Entry) -> list[str]:
    where = [one_line(entry.partition)] if history.partition is None else []
    what = entry.what if entry.attempt <= 1 else f"{entry.what} (try {entry.attempt})"
    return [
        human_time(entry.at),
        *where,
        what,
        _changed_text(entry),
        count(entry.rows) if entry.published else "",
        human_bytes(entry.bytes) if entry.bytes else "",
        human_duration(entry.seconds) if entry.what not in _NOT_BUILT else "",
        short(entry.data_version),
        short(entry.code_version) if entry.what not in _NOT_BUILT else "",
        entry.run,
        _remarks(entry),
    ]


_NOT_BUILT = ("observed", "invalidated", "withdrawn")


def _changed_text(entry: Entry) -> str:
    if entry.changed is None:
        return ""
    return ", ".join(entry.changed) or "nothing"


def _remarks(entry: Entry) -> str:
    parts = [first_line(entry.message, 100)]
    if entry.rejected:
        parts.append(f"{count(entry.rejected, 'row')} rejected")
    # A promise is kept or broken by the first landing; a rebuild changes nothing about it.
    if entry.margin is not None and entry.margin < 0 and entry.landing:
        parts.append(f"{human_duration(-entry.margin)} late")
    return "; ".join(part for part in parts if part)


def _html_cells(history: History, entry: Entry) -> list[str]:
    cells = [svg.text_of(cell) for cell in _cells(history, entry)]
    at = 2 if history.partition is None else 1
    cells[at] = svg.badge(entry.what) + cells[at][len(svg.text_of(entry.what)) :]
    return cells


_WIDTH, _LANE, _MOST_LANES = 620.0, 18.0, 12


def timeline(entries: Sequence[Entry]) -> str:
    """Marks along time, one lane per partition (one for all when there are many).

    Invalidations are left out: they are of ranges.
    """
    entries = [entry for entry in entries if entry.what != "invalidated"]
    if not entries:
        return ""
    partitions = sorted({entry.partition for entry in entries})
    lanes = partitions if len(partitions) <= _MOST_LANES else [""]
    left = 7.2 * min(max(len(one_line(lane)) for lane in lanes), 24) + 10
    if len(lanes) < 2:
        left = 4.0
    first, last = min(e.at for e in entries), max(e.at for e in entries)
    shapes = []
    for i, lane in enumerate(lanes):
        y = _LANE * i + 10
        shapes.append(svg.line(left, y, left + _WIDTH, y, stroke_opacity=0.2))
        if len(lanes) > 1:
            shapes.append(svg.text(0, y + 4, one_line(lane, 24), font_size=11))
    for entry in reversed(entries):
        lane_at = lanes.index(entry.partition) if len(lanes) > 1 else 0
        share = (entry.at - first) / (last - first) if last > first else 0.5
        shapes.append(_mark(entry, left + 6 + share * (_WIDTH - 12), _LANE * lane_at + 10))
    bottom = _LANE * len(lanes) + 8
    style = {"font_size": 10.5, "opacity": 0.7}
    shapes.append(svg.text(left, bottom + 8, human_time(first), **style))
    if last > first:
        end = svg.text(left + _WIDTH, bottom + 8, human_time(last), text_anchor="end", **style)
        shapes.append(end)
    return svg.drawing(left + _WIDTH + 4, bottom + 14, *shapes, label="timeline")


def _mark(entry: Entry, x: float, y: float) -> str:
    tip = f"{one_line(entry.partition)} {entry.what} {human_time(entry.at)}"
    shade = svg.colour(entry.what)
    if entry.published:
        hollow = entry.changed is not None and "data" not in entry.changed
        fill = {"fill": "none", "stroke": shade, "stroke_width": 2} if hollow else {"fill": shade}
        return svg.element(
            "circle", svg.title(tip), cx=x, cy=y, r=4.5 if not hollow else 3.5, **fill
        )
    d = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
    return svg.element("path", svg.title(tip), d=d, stroke=shade, stroke_width=2.4, fill="none")
