"""The promise that a partition lands in time: evaluated for one partition, or for whole columns.

Pure: the recorded facts and an instant go in. A partition lands when it is *first* recorded; a
later rebuild (new code, late data) neither breaks a promise that was kept nor mends a broken one.
Nor does a promise count before it began: history that is filled in today is not late.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from assets_core.declare.asset import Asset
from assets_core.declare.policies import Freshness
from assets_core.durations import parse_duration
from assets_core.graph import Graph
from assets_core.partitions import KeySpace
from assets_core.partitions.times import as_stretch, instant_of
from assets_core.planning.digests import incomplete_among
from assets_core.planning.facts import Facts
from assets_core.planning.resolved_graph import ResolvedGraph
from assets_core.planning.staleness import find_withdrawn
from assets_core.shown import Shown
from assets_core.wording import count, human_duration, micros_of, moment

FreshnessStatus = Literal["not due", "backfilled", "pass", "warn", "late"]
STATUSES: tuple[FreshnessStatus, ...] = ("not due", "backfilled", "pass", "warn", "late")
"""From nothing to say to bad; the position is the code in columns, the largest is the worst."""

_NOT_DUE, _BACKFILLED, _PASS, _WARN, _LATE = range(5)
_SECOND = 1_000_000


@runtime_checkable
class Landings(Protocol):
    """Knows when partitions landed first, and since when they were promised; asked only about
    assets of which something seems to have landed too late."""

    def first_landed(self, asset: str, partitions: Sequence[str]) -> Mapping[str, int]:
        """Partition → µs since 1970 UTC of its first materialization."""

    def promised_since(self, asset: str) -> int:
        """µs since 1970 UTC of when a partition was first built, or tried, under the promise; 0:
        never."""


@dataclass(frozen=True, slots=True)
class FreshnessState:
    """How one partition stands against its promise.

    ``margin`` is the time left at landing (or now, while it has not landed); negative: too late.
    """

    status: FreshnessStatus
    deadline: datetime
    margin: timedelta
    landed: datetime | None = None


def _warning(freshness: Freshness) -> timedelta:
    within = freshness.lands_within if freshness.warn_within is None else freshness.warn_within
    return parse_duration(within)


def evaluate_columns(
    freshness: Freshness, ends: np.ndarray, landed: np.ndarray, now: datetime, since: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """How partitions whose windows close at ``ends`` stand at ``now``.

    ``ends`` and ``landed`` are int64 µs (0: not landed), ``since`` is µs. Gives the statuses (uint8
    positions in `STATUSES`) and the deadlines (int64 µs). A deadline is the end and
    ``lands_within``, the warning the end and ``warn_within`` (the deadline without one); both
    instants themselves are still in time.

    =============================  ===================  ==================
    time of landing, or now        landed               not landed
    =============================  ===================  ==================
    up to the warning              ``pass``             ``not due``
    after it, up to the deadline   ``warn``             ``warn``
    after the deadline             ``late``             ``late``
    =============================  ===================  ==================

    What landed after ``now`` has not landed at ``now``: a report can be asked for of the past.
    What was due before ``since`` was not promised: it is ``backfilled`` where it would have landed
    with a warning or late, and ``not due`` where it has not landed.
    """
    instant = micros_of(now)
    there = (landed > 0) & (landed <= instant)
    at = np.where(there, landed, instant)
    deadline = ends + _length(parse_duration(freshness.lands_within))
    warning = ends + _length(_warning(freshness))
    status = np.where(there, _PASS, _NOT_DUE).astype(np.uint8)
    status[at > warning] = _WARN
    status[at > deadline] = _LATE
    unpromised = (status >= _WARN) & (deadline < since)
    status[unpromised] = np.where(there, _BACKFILLED, _NOT_DUE)[unpromised]
    return status, deadline


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
        now = micros_of(self.now)
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
        if self.promise.since is not None:
            text += f", since {self.promise.since}"
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


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FreshnessReport(Shown):
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
    def statuses(self) -> tuple[FreshnessStatus, ...]:
        """The statuses that a table has a column for; ``backfilled`` only where it occurs."""
        shown: tuple[FreshnessStatus, ...] = ("pass", "warn", "late", "not due")
        backfilled = any(row.counts["backfilled"] for row in self.rows)
        return ("backfilled", *shown) if backfilled else shown

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

    def __repr__(self) -> str:
        return f"<FreshnessReport: {count(len(self.rows), 'asset')}, {self.status or 'nothing'}>"


def make_report(
    graph: Graph, facts: Facts, chosen: Collection[str], now: datetime
) -> FreshnessReport:
    """How every partition of the chosen assets that are under a promise stands at ``now``.

    ``facts`` hold when each partition was recorded last. Where that alone would be too late, and
    ``facts.lookup`` knows `Landings`, it is asked when the partition landed first, and since when
    the asset is under its promise.
    """
    wanted = set(chosen)
    withdrawn = find_withdrawn(graph, ResolvedGraph(graph, facts.spaces), facts)
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
    since = declared_since(asset.freshness, space.definition.zone_name)
    landings: object = facts.lookup
    codes, deadlines = evaluate_columns(asset.freshness, ends, landed, now, since)
    if isinstance(landings, Landings):
        if _put_first_landings(landings, asset.name, space, codes, landed):
            codes, deadlines = evaluate_columns(asset.freshness, ends, landed, now, since)
        if not since and (codes >= _WARN).any():
            since = landings.promised_since(asset.name) or micros_of(now)
            codes, deadlines = evaluate_columns(asset.freshness, ends, landed, now, since)
    landed = np.where(landed <= micros_of(now), landed, 0)
    if withdrawn is not None:  # nobody expects it any more
        out = withdrawn & ~own.there
        codes[out], landed[out] = _NOT_DUE, 0
    return AssetFreshness(asset.name, asset.freshness, space, codes, deadlines, landed, now)


def declared_since(promise: Freshness, zone_name: str) -> int:
    """µs since 1970 UTC of the declared beginning; 0 without one."""
    if promise.since is None:
        return 0
    begins, _ = as_stretch(promise.since, "since", zone_name)
    return instant_of(begins, zone_name) * _SECOND


def _put_first_landings(
    landings: Landings, asset: str, space: KeySpace, codes: np.ndarray, landed: np.ndarray
) -> bool:
    """Put first landings where only a rebuild's time made a partition look troubled."""
    troubled = np.flatnonzero((codes != _PASS) & (landed > 0))
    if not len(troubled):
        return False
    keys = space.keys(troubled)
    first = landings.first_landed(asset, keys)
    for ordinal, key in zip(troubled.tolist(), keys, strict=True):
        landed[ordinal] = min(int(landed[ordinal]), first.get(key, int(landed[ordinal])))
    return True
