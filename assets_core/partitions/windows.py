"""Windows of logical time: where each begins in UTC, and what it is called.

Days and longer follow the calendar of a zone, hours follow the clock on its wall; both are laid
out as arrays of instants, so a day has 23, 24 or 25 hours because its boundaries say so. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from assets_core.partitions import labels as columns
from assets_core.partitions.zones import (
    Clock,
    clock,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]
from assets_core.partitions.calendars import CALENDARS, Calendar
from assets_core.partitions.cron import cron_edges

_EPOCH = date(1970, 1, 1)

_DAY, _HOUR = 86_400, 3_600


@dataclass(frozen=True, slots=True)
class Windows:
    """Consecutive windows: ``edges`` int64 epoch seconds of length n + 1, ``labels`` of length n.

    Window i is ``[edges[i], edges[i + 1])``. ``labels`` are what keys are made from: a calendar
    index for calendar windows, local hours since 1970 for hours, the edge itself for cron.
    ``twice`` (bool, or None) marks labels that the clock shows twice.
    """

    edges: Ints
    labels: Ints
    twice: Bools | None = None

    def between(self, low: int, high: int) -> Windows:
        """Those that begin in ``[low, high)``."""
        lo, hi = self.edges[:-1].searchsorted([low, high]).tolist()
        return self.part(lo, max(lo, hi))

    def part(self, lo: int, hi: int) -> Windows:
        """Those from the ``lo``-th to before the ``hi``-th."""
        twice = None if self.twice is None else self.twice[lo:hi]
        found = twice if twice is not None and twice.any() else None
        return Windows(self.edges[lo : hi + 1], self.labels[lo:hi], found)


def windows_around(
    granularity: str, cron: str, zone_name: str, offset: int, low: int, high: int
) -> Windows:
    """All windows that touch the instants ``[low, high]``, and some around; no start, no end."""
    if cron:
        edges, twice = cron_edges(cron, zone_name, low, high)
        return Windows(edges, edges[:-1], twice)
    if granularity == "hourly":
        return _hour_windows(zone_name, offset, low, high)
    return _calendar_windows(CALENDARS[granularity], zone_name, offset, low, high)


def _calendar_windows(
    calendar: Calendar, zone_name: str, offset: int, low: int, high: int
) -> Windows:
    """Windows that begin ``offset`` seconds after midnight. A day that was skipped has none."""
    import numpy as np

    first = calendar.index(_wall_date(low - offset - 2 * _DAY)) - 1
    last = calendar.index(_wall_date(high - offset + 2 * _DAY)) + 2
    labels = np.arange(first, last + 1, dtype=np.int64)
    walls = columns.walls(calendar.kind, labels) + offset
    edges = clock(zone_name, low, high).to_utc(walls)
    real = np.flatnonzero(edges[:-1] < edges[1:])
    if len(real) == len(labels) - 1:
        return Windows(edges, labels[:-1])
    return Windows(np.append(edges[real], edges[-1]), labels[real])


def _wall_date(wall: int) -> date:
    return _EPOCH + timedelta(days=wall // _DAY)


# --------------------------------------------------------------------------------------------
# Hours


def _hour_windows(zone_name: str, offset: int, low: int, high: int) -> Windows:
    """Stretches in which the clock shows one hour at one distance from UTC.

    Labels are local hours since 1970. An hour that comes twice is two windows of one label; a
    half hour that a shift cuts off is a window of its own.
    """
    import numpy as np

    zone_clock = clock(zone_name, low, high)
    starts, labels = [], []
    for begin, end, east in zone_clock.segments(low - 2 * _DAY, high + 2 * _DAY):
        first, last = (begin + east - offset) // _HOUR, (end - 1 + east - offset) // _HOUR
        own = np.arange(first, last + 1, dtype=np.int64)
        starts.append(np.maximum(own * _HOUR + (offset - east), begin))
        labels.append(own)
    # The first and the last are cut by where we began and stopped looking: leave them out.
    edges, names = np.concatenate(starts)[1:], np.concatenate(labels)[1:-1]
    return Windows(edges, names, _doubled(edges, names, zone_clock, offset))


def _doubled(edges: Ints, labels: Ints, zone_clock: Clock, offset: int) -> Bools | None:
    """Which hours come twice: told by the zone alone, whatever part of it is looked at."""
    import numpy as np

    twice = np.zeros(len(labels), bool)
    for change, before, after in zone_clock.turns():
        first, last = (change + after - offset) // _HOUR, (change - 1 + before - offset) // _HOUR
        if first <= last:
            lo, hi = edges[:-1].searchsorted([change - 2 * _DAY, change + 2 * _DAY]).tolist()
            twice[lo:hi] |= (labels[lo:hi] >= first) & (labels[lo:hi] <= last)
    return twice if twice.any() else None


def hour_text(label: int) -> str:
    """The key of a local hour."""
    return (datetime(1970, 1, 1) + timedelta(hours=label)).isoformat()[:13]


def offset_text(seconds: int) -> str:
    """``+02:00`` for 7200; with seconds only where there are some, as before 1900."""
    sign, rest = ("-", -seconds) if seconds < 0 else ("+", seconds)
    text = f"{sign}{rest // 3600:02d}:{rest % 3600 // 60:02d}"
    return f"{text}:{rest % 60:02d}" if rest % 60 else text
