"""The promise that a partition lands in time: evaluated for one partition, or for whole columns.

Pure: the recorded facts and an instant go in. A partition lands when it is *first* recorded; a
later rebuild (new code, late data) neither breaks a promise that was kept nor mends a broken one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from assets_core.asset import Asset, Freshness
from assets_core.durations import parse_duration
from assets_core.graph import Graph
from assets_core.observe import svg
from assets_core.observe.format import (
    count,
    human_duration,
    human_time,
    moment,
    one_line,
    ranges,
    table,
)
from assets_core.partitions import KeySpace
from assets_core.staleness import Facts, Wiring, find_withdrawn, incomplete_among

FreshnessStatus = Literal["not due", "pass", "warn", "late"]
STATUSES: tuple[FreshnessStatus, ...] = ("not due", "pass", "warn", "late")
"""From nothing to say to bad; the position is the code in columns, the largest is the worst."""

_NOT_DUE, _PASS, _WARN, _LATE = range(4)
_SECOND = 1_000_000


@runtime_checkable
class Landings(Protocol):
    """Knows when partitions landed first; asked only about those that may have landed too late."""

    def first_landed(self, asset: str, partitions: Sequence[str]) -> Mapping[str, int]:
        """Partition → µs since 1970 UTC of its first materialization."""


@dataclass(frozen=True, slots=True)
class FreshnessState:
    """How one partition stands against its promise.

    ``margin`` is the time left at landing (or now, while it has not landed); negative: too late.
    """

    status: FreshnessStatus
    deadline: datetime
    margin: timedelta
    landed: datetime | None = None

    @property
    def overdue(self) -> bool:
        """Late, and still not there."""
        return self.status == "late" and self.landed is None


def evaluate(
    freshness: Freshness, end: datetime, landed: datetime | None, now: datetime
) -> FreshnessState:
    """How a partition whose window closes at ``end`` stands at ``now``; all times are aware.

    The deadline is ``end + lands_within``, the warning ``end + warn_within`` (the deadline without
    one); both instants themselves are still in time.

    =============================  ===================  ==================
    time of landing, or now        landed               not landed
    =============================  ===================  ==================
    up to the warning              ``pass``             ``not due``
    after it, up to the deadline   ``warn``             ``warn``
    after the deadline             ``late``             ``late``
    =============================  ===================  ==================

    What landed after ``now`` has not landed at ``now``: a report can be asked for of the past.
    """
    if landed is not None and landed > now:
        landed = None
    deadline = end + parse_duration(freshness.lands_within)
    warning = _warning(freshness)
    at = now if landed is None else landed
    status: FreshnessStatus = "pass" if landed is not None else "not due"
    if at > deadline:
        status = "late"
    elif at > end + warning:
        status = "warn"
    return FreshnessState(status, deadline, deadline - at, landed)


def _warning(freshness: Freshness) -> timedelta:
    within = freshness.lands_within if freshness.warn_within is None else freshness.warn_within
    return parse_duration(within)


def evaluate_columns(
    freshness: Freshness, ends: np.ndarray, landed: np.ndarray, now: datetime
) -> tuple[np.ndarray, np.ndarray]:
    """`evaluate` for columns: ``ends`` and ``landed`` int64 µs (0: not landed).

    Gives the statuses (uint8 positions in `STATUSES`) and the deadlines (int64 µs).
    """
    instant = _micros(now)
    there = (landed > 0) & (landed <= instant)
    at = np.where(there, landed, instant)
    deadline = ends + _length(parse_duration(freshness.lands_within))
    warning = ends + _length(_warning(freshness))
    status = np.where(there, _PASS, _NOT_DUE).astype(np.uint8)
    status[at > warning] = _WARN
    status[at > deadline] = _LATE
    return status, deadline


def _micros(at: datetime) -> int:
    return _length(at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC))


def _length(delta: timedelta) -> int:
    return (delta.days * 86_400 + delta.seconds) * _SECOND + delta.microseconds


# --------------------------------------------------------------------------------------------
# A report over assets


@dataclass(frozen=True, slots=True)
class PartitionFreshness:
    """One partition's state, with its key."""

    asset: str
    partition: str
    state: FreshnessState

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values; seconds and ISO times in UTC."""
        state = self.state
        return {
            "partition": self.partition,
            "status": state.status,
            "deadline": state.deadline.astimezone(UTC).isoformat(),
            "landed": state.landed.astimezone(UTC).isoformat() if state.landed else None,
            "margin_seconds": round(state.margin.total_seconds(), 3),
        }


@dataclass(frozen=True, slots=True, eq=False)
class AssetFreshness:
    """One asset under a promise. Columns go by ordinal; empty when it has no time windows.

    ``codes`` uint8 positions in `STATUSES`, ``deadlines`` and ``landed`` int64 µs (0: not landed).
    """

    asset: str
    promise: Freshness
    space: KeySpace
    codes: np.ndarray
    deadlines: np.ndarray
    landed: np.ndarray
    now: datetime

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of partitions by status."""
        found = np.bincount(self.codes, minlength=len(STATUSES)).tolist()
        return dict(zip(STATUSES, found, strict=True))

    @property
    def status(self) -> FreshnessStatus | None:
        """The worst status of its partitions; None without any."""
        return STATUSES[int(self.codes.max())] if len(self.codes) else None

    @property
    def overdue(self) -> int:
        """How many partitions are late and still not there."""
        return int(((self.codes == _LATE) & (self.landed == 0)).sum())

    def ordinals(self, *statuses: FreshnessStatus) -> np.ndarray:
        """The ordinals of the partitions of these statuses (of all without any)."""
        if not statuses:
            return np.arange(len(self.codes))
        wanted = [STATUSES.index(status) for status in statuses]
        return np.flatnonzero(np.isin(self.codes, wanted))

    def partitions(self, *statuses: FreshnessStatus) -> Iterator[PartitionFreshness]:
        """The partitions of these statuses (all without any), in order."""
        return self.at(self.ordinals(*statuses))

    def at(self, ordinals: np.ndarray) -> Iterator[PartitionFreshness]:
        """The partitions at these ordinals."""
        now = _micros(self.now)
        keys = self.space.keys(ordinals)
        for ordinal, key in zip(ordinals.tolist(), keys, strict=True):
            landed, deadline = int(self.landed[ordinal]), int(self.deadlines[ordinal])
            margin = timedelta(microseconds=deadline - (landed or now))
            state = FreshnessState(
                STATUSES[int(self.codes[ordinal])],
                moment(deadline),
                margin,
                moment(landed) if landed else None,
            )
            yield PartitionFreshness(self.asset, key, state)

    @property
    def promise_text(self) -> str:
        """The promise in words."""
        text = f"within {human_duration(parse_duration(self.promise.lands_within))}"
        if self.promise.warn_within is not None:
            text += f", warn after {human_duration(_warning(self.promise))}"
        return text

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values; ``partitions`` lists those that did not simply pass."""
        warning = self.promise.warn_within
        return {
            "asset": self.asset,
            "status": self.status,
            "lands_within_seconds": parse_duration(self.promise.lands_within).total_seconds(),
            "warn_within_seconds": None
            if warning is None
            else parse_duration(warning).total_seconds(),
            "counts": self.counts,
            "overdue": self.overdue,
            "partitions": [p.to_dict() for p in self.partitions("late", "warn", "not due")],
        }


@dataclass(frozen=True, slots=True, eq=False)
class FreshnessReport:
    """Every asset of a selection that is under a promise, upstream first."""

    now: datetime
    rows: tuple[AssetFreshness, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[AssetFreshness]:
        return iter(self.rows)

    def __getitem__(self, asset: str) -> AssetFreshness:
        for row in self.rows:
            if row.asset == asset:
                return row
        raise KeyError(asset)

    @property
    def status(self) -> FreshnessStatus | None:
        """The worst status of all; None when nothing is promised."""
        found = [row.status for row in self.rows if row.status is not None]
        return max(found, key=STATUSES.index, default=None)

    @property
    def overdue(self) -> int:
        """How many partitions are late and still not there."""
        return sum(row.overdue for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values."""
        return {
            "now": self.now.astimezone(UTC).isoformat(),
            "status": self.status,
            "overdue": self.overdue,
            "assets": [row.to_dict() for row in self.rows],
        }

    def __str__(self) -> str:
        if not self.rows:
            return "No asset of the selection promises freshness."
        header = ["asset", "status", *STATUSES[1:], STATUSES[0], "promise"]
        rows = [_row_text(row) for row in self.rows]
        lines = table(header, rows, right=(2, 3, 4, 5))
        for row in self.rows:
            lines += _late_lines(row)
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<FreshnessReport: {count(len(self.rows), 'asset')}, {self.status or 'nothing'}>"

    def _repr_html_(self) -> str:
        return _html(self)


_SHOWN = 5


def _row_text(row: AssetFreshness) -> list[str]:
    counts = row.counts
    numbers = [count(counts[s]) for s in (*STATUSES[1:], STATUSES[0])]
    return [row.asset, row.status or "no windows", *numbers, row.promise_text]


def _late_lines(row: AssetFreshness) -> list[str]:
    """What is late or about to be, the newest last; older ones than the last few are counted."""
    troubled = row.ordinals("late", "warn")
    if not len(troubled):
        return []
    lines = ["", f"{row.asset}:"]
    if len(troubled) > _SHOWN:
        lines.append(f"  {count(len(troubled) - _SHOWN)} earlier ones, of {_span(row, troubled)}")
    cells = [["", one_line(p.partition), p.state.status, *_times(p.state)] for p in _last(row)]
    return lines + table((), cells)


def _span(row: AssetFreshness, troubled: np.ndarray) -> str:
    return ranges(troubled[:-_SHOWN], row.space)


def _last(row: AssetFreshness) -> Iterator[PartitionFreshness]:
    return row.at(row.ordinals("late", "warn")[-_SHOWN:])


def _times(state: FreshnessState) -> tuple[str, str]:
    due = f"due {human_time(_micros(state.deadline))}"
    if state.landed is None:
        left = state.margin.total_seconds()
        return due, (
            f"not landed, {human_duration(left)} left"
            if left >= 0
            else f"not landed, overdue by {human_duration(-left)}"
        )
    late = state.margin < timedelta(0)
    by = human_duration(abs(state.margin))
    return due, f"landed {human_time(_micros(state.landed))}, {by} {'late' if late else 'before'}"


def make_report(
    graph: Graph, facts: Facts, chosen: Collection[str], now: datetime
) -> FreshnessReport:
    """How every partition of the chosen assets that are under a promise stands at ``now``.

    ``facts`` hold when each partition was recorded last. Where that alone would be too late, and
    ``facts.recall`` knows `Landings`, it is asked when the partition landed first.
    """
    wanted = set(chosen)
    withdrawn = find_withdrawn(graph, Wiring(graph, facts.spaces), facts)
    return FreshnessReport(
        now,
        tuple(
            _asset_row(asset, facts, now, withdrawn.get(graph.op_of[asset.name].name))
            for asset in (graph.assets[name] for name in graph.order if name in wanted)
            if asset.freshness is not None
        ),
    )


def _asset_row(
    asset: Asset, facts: Facts, now: datetime, withdrawn: np.ndarray | None
) -> AssetFreshness:
    assert asset.freshness is not None
    space, own = facts.spaces[asset.name], facts.assets[asset.name]
    seconds = space.ends()
    if seconds is None:
        nothing = np.zeros(0, np.int64)
        codes = np.zeros(0, np.uint8)
        return AssetFreshness(asset.name, asset.freshness, space, codes, nothing, nothing, now)
    ends = seconds.astype(np.int64) * _SECOND
    landed = np.where(own.id != 0, own.finished, 0)
    # What was built of an open window is no landing.
    early = np.flatnonzero((landed > 0) & (landed < ends))
    landed[incomplete_among(facts, asset.name, early)] = 0
    codes, deadlines = evaluate_columns(asset.freshness, ends, landed, now)
    if _correct(asset.name, facts, codes, landed):
        codes, deadlines = evaluate_columns(asset.freshness, ends, landed, now)
    landed = np.where(landed <= _micros(now), landed, 0)
    if withdrawn is not None:  # nobody expects it any more
        out = withdrawn & ~own.there
        codes[out], landed[out] = _NOT_DUE, 0
    return AssetFreshness(asset.name, asset.freshness, space, codes, deadlines, landed, now)


def _correct(asset: str, facts: Facts, codes: np.ndarray, landed: np.ndarray) -> bool:
    """Put first landings where only a rebuild's time made a partition look troubled."""
    troubled = np.flatnonzero((codes != _PASS) & (landed > 0))
    recall: object = facts.recall
    if not len(troubled) or not isinstance(recall, Landings):
        return False
    keys = facts.spaces[asset].keys(troubled)
    first = recall.first_landed(asset, keys)
    for ordinal, key in zip(troubled.tolist(), keys, strict=True):
        landed[ordinal] = min(int(landed[ordinal]), first.get(key, int(landed[ordinal])))
    return True


# --------------------------------------------------------------------------------------------
# HTML


def _html(report: FreshnessReport) -> str:
    if not report.rows:
        return svg.note("No asset of the selection promises freshness.")
    header = ("asset", "status", "partitions", "pass", "warn", "late", "not due", "promise")
    rows = [_row_html(row) for row in report.rows]
    late = [p for row in report.rows for p in _last(row)]
    parts = [svg.html_table(header, rows, right=(3, 4, 5, 6))]
    if late:
        cells = [
            [
                svg.text_of(p.asset),
                svg.text_of(one_line(p.partition)),
                svg.badge(p.state.status),
                *map(svg.text_of, _times(p.state)),
            ]
            for p in late
        ]
        parts.append(svg.html_table(("asset", "partition", "status", "due", "landed"), cells))
    return svg.block(*parts)


def _row_html(row: AssetFreshness) -> list[str]:
    counts = row.counts
    return [
        svg.text_of(row.asset),
        svg.badge(row.status or "no windows"),
        svg.strip([(STATUSES[c], n) for c, n in _runs(row.codes)], width=220, label=row.asset),
        *(count(counts[s]) for s in ("pass", "warn", "late", "not due")),
        svg.text_of(row.promise_text),
    ]


def _runs(codes: np.ndarray, cells: int = 60) -> list[tuple[int, int]]:
    """The worst code of each of at most ``cells`` stretches, as ``(code, partitions)``."""
    n = len(codes)
    if not n:
        return []
    bounds = np.arange(min(n, cells)) * n // min(n, cells)
    worst = np.maximum.reduceat(codes, bounds).tolist()
    lengths = np.diff(np.append(bounds, n)).tolist()
    return list(zip(worst, lengths, strict=True))
