"""Time zones as arithmetic: where a zone's offset changes, and wall time to UTC and back.

Instants are seconds since 1970 UTC; wall times are seconds since 1970-01-01T00:00 on the zone's
own clock. The zone data are Python's ``zoneinfo``, so arrays and datetimes agree. Single instants
need no numpy; whole columns are a `Clock`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from assets_core.errors import PartitionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

DAY = 86_400
_STEP = 3 * DAY  # the closest two changes since 1900 lie 4 days apart (Africa/Freetown, 1939)
_REACH = 26 * 3_600  # no clock is further than this from UTC, nor jumps further
_MIN_YEAR, _MAX_YEAR = 2, 9998


def offset_at(zone: str, instant: int) -> int:
    """The zone's offset at an instant, in seconds east of UTC."""
    if zone == "UTC":
        return 0
    offset = datetime.fromtimestamp(instant, ZoneInfo(zone)).utcoffset()
    assert offset is not None
    return offset.days * DAY + offset.seconds


def change_between(zone: str, lo: int, hi: int) -> int:
    """The first instant after ``lo`` with another offset, where ``hi`` has one."""
    before = offset_at(zone, lo)
    while hi - lo > 1:
        middle = (lo + hi) // 2
        if offset_at(zone, middle) == before:
            lo = middle
        else:
            hi = middle
    return hi


def neighbours(zone: str, instant: int) -> tuple[int, int]:
    """The offsets about a day before and after an instant: what a change nearby goes between."""
    return offset_at(zone, instant - _REACH), offset_at(zone, instant + _REACH)


def first_showing(zone: str, wall: int) -> int:
    """The instant at which the clock first shows a wall time; the change's where it is skipped."""
    before, after = neighbours(zone, wall)
    if before == after:
        return wall - before
    change = change_between(zone, wall - _REACH, wall + _REACH)
    return wall - before if wall < change + before else max(wall - after, change)


@dataclass(frozen=True, slots=True, eq=False)
class Clock:
    """A zone's offsets over a span of time.

    ``changes`` are the instants where the offset changes; ``offsets`` (one more) are in seconds
    east of UTC: ``offsets[k]`` holds from ``changes[k-1]`` until before ``changes[k]``.
    """

    changes: Ints
    offsets: Ints

    def offset_at(self, instants: Ints) -> Ints:
        """The offset in force at each instant."""
        offsets: Ints = self.offsets[self.changes.searchsorted(instants, "right")]
        return offsets

    def to_utc(self, walls: Ints) -> Ints:
        """`first_showing` of each wall time. Never decreases where ``walls`` does not."""
        import numpy as np

        if not len(self.changes):
            return np.asarray(walls - self.offsets[0], np.int64)
        segment = np.searchsorted(self.changes + self.offsets[:-1], walls, "right")
        instants = walls - self.offsets[segment]
        after = segment > 0
        instants[after] = np.maximum(instants[after], self.changes[segment[after] - 1])
        return instants

    def turns(self) -> list[tuple[int, int, int]]:
        """Each change, with the offsets before and after it."""
        offsets = self.offsets.tolist()
        return list(zip(self.changes.tolist(), offsets[:-1], offsets[1:], strict=True))

    def segments(self, lo: int, hi: int) -> list[tuple[int, int, int]]:
        """``(from, to, offset)`` of each stretch of constant offset within ``[lo, hi)``."""
        first, last = self.changes.searchsorted([lo, hi - 1], "right").tolist()
        bounds = [lo, *self.changes[first:last].tolist(), hi]
        offsets = self.offsets[first : last + 1].tolist()
        return list(zip(bounds[:-1], bounds[1:], offsets, strict=True))


def clock(zone: str, lo: int, hi: int) -> Clock:
    """The zone's offsets over at least the instants ``lo`` to ``hi``, and a year around them."""
    import numpy as np

    first = max(year_of(lo) - 1, _MIN_YEAR)
    changes: list[tuple[int, int]] = []
    for year in range(first, min(year_of(hi) + 1, _MAX_YEAR) + 1):
        changes += _changes(zone, year)
    return Clock(
        np.array([instant for instant, _ in changes], np.int64),
        np.array([offset_at(zone, _new_year(first)), *(o for _, o in changes)], np.int64),
    )


def year_of(instant: int) -> int:
    """The UTC year of an instant, within what datetimes can hold."""
    bounded = min(max(instant, _new_year(_MIN_YEAR)), _new_year(_MAX_YEAR))
    return datetime.fromtimestamp(bounded, UTC).year


def _new_year(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp())


@lru_cache(maxsize=8192)
def _changes(zone: str, year: int) -> tuple[tuple[int, int], ...]:
    """The changes after this new year, up to and with the next one, each with its new offset."""
    if zone == "UTC":
        return ()
    samples = [*range(_new_year(year), _new_year(year + 1), _STEP), _new_year(year + 1)]
    offsets = [offset_at(zone, instant) for instant in samples]
    return tuple(
        (change_between(zone, samples[i], samples[i + 1]), offsets[i + 1])
        for i in range(len(samples) - 1)
        if offsets[i] != offsets[i + 1]
    )


@lru_cache(maxsize=256)
def zone(name: str) -> ZoneInfo:
    """A time zone by its name.

    Raises PartitionError when there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise PartitionError(
            f"There is no time zone {name!r}.", hint="Names are such as 'Europe/Berlin' or 'UTC'."
        ) from error
