"""The state of every partition at a glance: fresh, stale, missing, blocked, failed.

Pure values; `status_rows` makes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from assets_core.partitions import KeySpace
from assets_core.planning.missing_inputs import (
    MissingInput,
    missing_input_dict,
)
from assets_core.records import Attempt, Invalidation
from assets_core.shown import Shown
from assets_core.wording import (
    count,
    iso_time,
    key_pairs,
    one_line,
    ranges,
)

STATES = ("fresh", "observed", "withdrawn", "stale", "missing", "not seen", "blocked", "failed")
"""What a partition can be, from good to bad; the position is its code in columns.

``withdrawn`` is neither there nor expected: a source's partition was taken out, or nothing is left
of what a partition is built from.

``observed`` and ``not seen`` are said of sources, which are not built: a partition not seen is
not there yet, or nobody has looked. ``failed`` is a stale or missing partition whose newest
attempt failed, ``blocked`` one that can't run because something that it maps to failed, is
blocked itself, does not exist yet, or is a partition that a source was looked at for in vain.
"""

FRESH, OBSERVED, WITHDRAWN, STALE, MISSING, NOT_SEEN, BLOCKED, FAILED = range(len(STATES))

_BAR = 60


@dataclass(frozen=True, slots=True)
class StatusCell:
    """Neighbouring partitions, drawn as one: ordinals ``first`` to ``last``, their worst state.

    ``share`` is the fraction of them in that state.
    """

    state: str
    first: int
    last: int
    share: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class AssetStatus:
    """One asset's partitions. ``codes`` uint8 by ordinal, positions in `STATES`.

    ``failures`` holds the failed attempt of each failed partition, ``fresh_failures`` that of
    partitions which are fresh all the same: they were forced, or their code was put back, and the
    version before serves. ``landed`` is the µs of the newest record (0: none), ``rows`` the rows
    of all current partitions. Of a source, ``unseen`` holds the error of each partition that could
    not be looked at, ``gone`` the ordinals of those that were seen before and are not there now.
    ``invalidated`` are the invalidations in force with the ordinals that each holds for, ``waits``
    what the blocked partitions lack, ``incomplete`` the ordinals of what was built in windows that
    are still open, ``was_open`` of what is stale since its window was open then, and has closed.
    ``held_back`` says why what is ``gone`` was not withdrawn, where the source asks for that.
    """

    asset: str
    kind: str
    space: KeySpace
    codes: np.ndarray
    failures: Mapping[str, Attempt] = field(default_factory=dict)
    fresh_failures: Mapping[str, Attempt] = field(default_factory=dict)
    landed: int = 0
    rows: int = 0
    unseen: Mapping[str, str] = field(default_factory=dict)
    gone: np.ndarray | None = None
    invalidated: tuple[tuple[Invalidation, np.ndarray], ...] = ()
    waits: tuple[MissingInput, ...] = ()
    incomplete: np.ndarray | None = None
    was_open: np.ndarray | None = None
    held_back: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of partitions by state; only states that an asset of this kind can be in, and
        ``withdrawn`` where there are any."""
        numbers = np.bincount(self.codes, minlength=len(STATES)).tolist()
        return {state: numbers[STATES.index(state)] for state in self._states}

    @property
    def _states(self) -> tuple[str, ...]:
        out = ("withdrawn",) if (self.codes == WITHDRAWN).any() else ()
        if self.kind == "source":
            return ("observed", "not seen", *out)
        return ("fresh", "stale", "missing", "blocked", "failed", *out)

    @property
    def waiting(self) -> str:
        """``waits for 3 of 31 of days: 2024-01-07, …``; empty when nothing is lacking."""
        told = "; ".join(str(missing_input) for missing_input in self.waits)
        return one_line(f"waits for {told}") if told else ""

    @property
    def incomplete_text(self) -> str:
        """What is told of open windows that were built; empty when there are none."""
        if self.incomplete is None or not len(self.incomplete):
            return ""
        return (
            f"{self.asset}  {ranges(self.incomplete, self.space)}  incomplete: its window is open"
        )

    @property
    def healthy(self) -> bool:
        """Whether every partition is as it should be."""
        return not (self.codes > WITHDRAWN).any()

    def ordinals(self, *states: str) -> np.ndarray:
        """The ordinals of the partitions in these states."""
        return np.flatnonzero(np.isin(self.codes, [STATES.index(state) for state in states]))

    def keys(self, *states: str) -> list[str]:
        """The keys of the partitions in these states."""
        found: list[str] = self.space.keys(self.ordinals(*states))
        return found

    def state(self, partition: str) -> str:
        """The state of one partition. Raises PartitionError for a key that is not one."""
        return STATES[int(self.codes[self.space.ordinal(partition)])]

    def bar(self, width: int = _BAR) -> list[StatusCell]:
        """The partitions in order, compacted into at most ``width`` cells.

        The worst state wins in a cell: one failed day in ten years is still seen, and a cell that
        looks well is well. ``share`` tells how much of the cell it is.
        """
        n = len(self.codes)
        cells = min(n, max(width, 1))
        if not cells:
            return []
        firsts = np.arange(cells) * n // cells
        worst = np.maximum.reduceat(self.codes, firsts)
        sizes = np.diff(np.append(firsts, n))
        same = np.add.reduceat((self.codes == np.repeat(worst, sizes)).astype(np.int64), firsts)
        return [
            StatusCell(STATES[code], first, first + size - 1, alike / size)
            for code, first, size, alike in zip(
                worst.tolist(), firsts.tolist(), sizes.tolist(), same.tolist(), strict=True
            )
        ]

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values. ``partitions`` lists inclusive key ranges by state."""
        return {
            "asset": self.asset,
            "kind": self.kind,
            "total": len(self.codes),
            "counts": self.counts,
            "rows": self.rows,
            "landed": iso_time(self.landed),
            "partitions": {state: self._key_ranges(state) for state in self._states},
            "failures": _failure_dicts(self.failures),
            "fresh_failures": _failure_dicts(self.fresh_failures),
            "unseen": [{"partition": key, "error": e} for key, e in self.unseen.items()],
            "gone": self._ranges_of(self.gone),
            "waits": [
                {
                    **missing_input_dict(one),
                    "partitions": _ranges_in(one.space, one.ordinals),
                }
                for one in self.waits
            ],
            "incomplete": self._ranges_of(self.incomplete),
            "was_open": self._ranges_of(self.was_open),
            "invalidated": [
                {
                    "partitions": self._ranges_of(at),
                    "by": one.by,
                    "reason": one.reason,
                    "at": iso_time(one.at),
                    "downstream_of": one.origin,
                }
                for one, at in self.invalidated
            ],
        }

    def _key_ranges(self, state: str) -> list[list[str]]:
        return self._ranges_of(self.ordinals(state))

    def _ranges_of(self, ordinals: np.ndarray | None) -> list[list[str]]:
        return [] if ordinals is None else _ranges_in(self.space, ordinals)


def _ranges_in(space: KeySpace, ordinals: np.ndarray) -> list[list[str]]:
    return [list(pair) for pair in key_pairs(ordinals, space)]


def _failure_dicts(failures: Mapping[str, Attempt]) -> list[dict[str, Any]]:
    return [
        {"partition": key, "run": a.run, "error": a.error, "at": iso_time(a.finished)}
        for key, a in failures.items()
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Status(Shown):
    """The chosen assets, upstream first."""

    now: datetime
    rows: tuple[AssetStatus, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[AssetStatus]:
        return iter(self.rows)

    def __getitem__(self, asset: str) -> AssetStatus:
        for row in self.rows:
            if row.asset == asset:
                return row
        raise KeyError(asset)

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of partitions by state, over all assets."""
        total = np.zeros(len(STATES), np.int64)
        for row in self.rows:
            total += np.bincount(row.codes, minlength=len(STATES))
        found = dict(zip(STATES, total.tolist(), strict=True))
        return found if found["withdrawn"] else {n: v for n, v in found.items() if n != "withdrawn"}

    @property
    def healthy(self) -> bool:
        """Whether everything built is fresh; sources that are not seen yet don't count."""
        return all(row.healthy for row in self.rows if row.kind != "source")

    def bar(self, asset: str, width: int = _BAR) -> list[StatusCell]:
        """See `AssetStatus.bar`."""
        return self[asset].bar(width)

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values."""
        return {
            "now": self.now.astimezone(UTC).isoformat(),
            "counts": self.counts,
            "assets": [row.to_dict() for row in self.rows],
        }

    def __repr__(self) -> str:
        return f"<Status: {count(len(self.rows), 'asset')}, {summary(self.counts)}>"


def summary(counts: Mapping[str, int]) -> str:
    """The states that occur, with their numbers."""
    return ", ".join(f"{n:,} {state}" for state, n in counts.items() if n) or "no partitions"
