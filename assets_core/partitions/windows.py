"""Windows of logical time: where each begins in UTC, and what it is called.

Days and longer follow the calendar of a zone, hours follow the clock on its wall; both are laid
out as arrays of instants, so a day has 23, 24 or 25 hours because its boundaries say so. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from assets_core.errors import PartitionError
from assets_core.partitions import labels as columns
from assets_core.partitions.zones import (
    Clock,
    change_between,
    clock,
    first_showing,
    offset_at,
    year_of,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

_DAY, _HOUR = 86_400, 3_600
_EPOCH = date(1970, 1, 1)


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


# --------------------------------------------------------------------------------------------
# Calendars: an index per day, week, month, quarter or year


@dataclass(frozen=True, slots=True)
class Calendar:
    """A granularity of whole days: its name, how a date becomes an index and back, and its keys."""

    kind: str
    dimension: str
    index: Callable[[date], int]
    first_day: Callable[[int], date]
    text: Callable[[int], str]
    pattern: re.Pattern[str]
    parse: Callable[[re.Match[str]], int]


def _week_text(index: int) -> str:
    year, week, _ = _week_day(index).isocalendar()
    return f"{year:04d}-W{week:02d}"


def _week_day(index: int) -> date:
    # 1969-12-29 was the Monday of the week that holds 1970-01-01.
    return date(1969, 12, 29) + timedelta(weeks=index)


def _month_day(index: int) -> date:
    return date(1970 + index // 12, index % 12 + 1, 1)


CALENDARS = {
    calendar.kind: calendar
    for calendar in (
        Calendar(
            "daily",
            "date",
            lambda d: (d - _EPOCH).days,
            lambda i: _EPOCH + timedelta(days=i),
            lambda i: (_EPOCH + timedelta(days=i)).isoformat(),
            re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII),
            lambda m: (date(int(m[1]), int(m[2]), int(m[3])) - _EPOCH).days,
        ),
        Calendar(
            "weekly",
            "week",
            lambda d: (d - date(1969, 12, 29)).days // 7,
            _week_day,
            _week_text,
            re.compile(r"(\d{4})-W(\d\d)", re.ASCII),
            lambda m: (
                (date.fromisocalendar(int(m[1]), int(m[2]), 1) - date(1969, 12, 29)).days // 7
            ),
        ),
        Calendar(
            "monthly",
            "month",
            lambda d: (d.year - 1970) * 12 + d.month - 1,
            _month_day,
            lambda i: f"{1970 + i // 12:04d}-{i % 12 + 1:02d}",
            re.compile(r"(\d{4})-(\d\d)", re.ASCII),
            lambda m: (int(m[1]) - 1970) * 12 + _in_range(int(m[2]), 12) - 1,
        ),
        Calendar(
            "quarterly",
            "quarter",
            lambda d: (d.year - 1970) * 4 + (d.month - 1) // 3,
            lambda i: _month_day(3 * i),
            lambda i: f"{1970 + i // 4:04d}-Q{i % 4 + 1}",
            re.compile(r"(\d{4})-Q([1-4])", re.ASCII),
            lambda m: (int(m[1]) - 1970) * 4 + int(m[2]) - 1,
        ),
        Calendar(
            "yearly",
            "year",
            lambda d: d.year - 1970,
            lambda i: date(1970 + i, 1, 1),
            lambda i: f"{1970 + i:04d}",
            re.compile(r"(\d{4})", re.ASCII),
            lambda m: int(m[1]) - 1970,
        ),
    )
}


def _in_range(value: int, most: int) -> int:
    if not 1 <= value <= most:
        raise ValueError(f"{value} is not between 1 and {most}")
    return value


def windows_around(
    granularity: str, cron: str, zone_name: str, offset: int, low: int, high: int
) -> Windows:
    """All windows that touch the instants ``[low, high]``, and some around; no start, no end."""
    if cron:
        return _cron_windows(cron, zone_name, low, high)
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


# --------------------------------------------------------------------------------------------
# Cron

_QUIET_YEARS = 60  # an expression that fires at all fires within so many years


def _cron_windows(expression: str, zone_name: str, low: int, high: int) -> Windows:
    """From tick to tick; ``twice`` marks those that begin at a time the clock shows twice."""
    import numpy as np

    first, last = year_of(low) - 1, year_of(high) + 1
    years = [_cron_ticks(expression, zone_name, year) for year in range(first, last + 1)]
    while not _any(years[:2], lambda ticks: ticks[0] <= low) and len(years) < 2 * _QUIET_YEARS:
        first -= 1
        years.insert(0, _cron_ticks(expression, zone_name, first))
    while not _any(years[-2:], lambda ticks: ticks[-1] > high) and len(years) < 4 * _QUIET_YEARS:
        last += 1
        years.append(_cron_ticks(expression, zone_name, last))
    edges = _distinct(np.concatenate(years))
    twice = np.zeros(max(len(edges) - 1, 0), bool)
    for change, before, after in clock(zone_name, low, high).turns():
        lo, hi = (
            edges[:-1].searchsorted([change - before + after, change + before - after]).tolist()
        )
        twice[lo:hi] = True
    return Windows(edges, edges[:-1], twice if twice.any() else None)


def _distinct(instants: Ints) -> Ints:
    """Sorted, each once. Numpy's own ``unique`` imports its masked arrays: 20 ms of a command."""
    import numpy as np

    found = np.sort(instants)
    return found[np.append(True, found[1:] != found[:-1])] if len(found) else found


def _any(years: list[Ints], holds: Callable[[Ints], bool]) -> bool:
    return any(len(ticks) and holds(ticks) for ticks in years)


@lru_cache(maxsize=2048)
def _cron_ticks(expression: str, zone_name: str, year: int) -> Ints:
    """The instants at which the expression fires within a local year.

    The fields and the matching of days are cronsim's. What cronsim does second by second where
    the clock changes is done here by arrays: a plain time of day fires once (at the change where
    it is skipped, the first time where it comes twice), a wildcard whenever the clock shows it.
    """
    import numpy as np
    from cronsim import CronSim

    cron = CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC))
    first = (date(year, 1, 1) - _EPOCH).days
    dates = (_EPOCH + timedelta(days=n) for n in range(first, (date(year + 1, 1, 1) - _EPOCH).days))
    days = [(d - _EPOCH).days for d in dates if d.month in cron.months and cron.match_day(d)]
    minutes = [h * _HOUR + m * 60 for h in sorted(cron.hours) for m in sorted(cron.minutes)]
    times = np.add.outer(np.array(minutes, np.int64), np.array(sorted(cron.seconds), np.int64))
    walls = np.add.outer(np.array(days, np.int64) * _DAY, times.ravel()).ravel()
    zone_clock = clock(zone_name, first * _DAY, (first + 366) * _DAY)
    if _fires_once(expression):
        return _distinct(zone_clock.to_utc(walls))
    return _showings(walls, zone_clock)


def _fires_once(expression: str) -> bool:
    fields = expression.split()
    return len(fields) == 5 and not fields[0].startswith("*") and not fields[1].startswith("*")


def _showings(walls: Ints, zone_clock: Clock) -> Ints:
    """Every instant at which the clock shows one of these wall times."""
    import numpy as np

    if not len(walls):
        return walls
    found = []
    span = zone_clock.segments(int(walls[0]) - 2 * _DAY, int(walls[-1]) + 2 * _DAY)
    for begin, end, east in span:
        lo, hi = walls.searchsorted([begin + east, end + east]).tolist()
        found.append(walls[lo:hi] - east)
    return _distinct(np.concatenate(found))


def check_cron(expression: str) -> None:
    """Raise PartitionError when the expression is not one."""
    from cronsim import CronSim, CronSimError

    try:
        next(CronSim(expression, datetime(2024, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        raise PartitionError(
            f"{expression!r} is not a cron expression that fires: {error or 'no such day'}.",
            hint="Five fields: minute hour day month weekday, such as '0 6 * * 1-5'.",
        ) from error


# --------------------------------------------------------------------------------------------
# Texts that name a stretch of time, whatever the granularity


_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d)(?::?(\d\d))?(?::?(\d\d))?(Z|[+-]\d\d:\d\d(?::\d\d)?)?",
    re.ASCII,
)


def stretch_of(text: str) -> tuple[datetime, datetime] | None:
    """The local times ``[start, end)`` that ``2024``, ``2024-Q1``, … ``2024-01-01T05`` name.

    None for text that names no time; naive datetimes, for the reader's own zone, but aware ones
    for a time that says its distance from UTC (``2024-10-27T02+01:00``).
    """
    if not _PLAUSIBLE.match(text):
        return None
    try:
        return _calendar_stretch(text) or _clock_stretch(text)
    except (ValueError, OverflowError):
        return None


_PLAUSIBLE = re.compile(r"[1-9]\d{3}(?:-|\Z)", re.ASCII)


def _calendar_stretch(text: str) -> tuple[datetime, datetime] | None:
    for calendar in CALENDARS.values():
        match = calendar.pattern.fullmatch(text)
        if match:
            index = calendar.parse(match)
            first, after = calendar.first_day(index), calendar.first_day(index + 1)
            return datetime(*first.timetuple()[:3]), datetime(*after.timetuple()[:3])
    return None


def _clock_stretch(text: str) -> tuple[datetime, datetime] | None:
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    start = datetime(year, month, day, hour, minute, second)
    if match[7]:
        start = start.replace(tzinfo=datetime.fromisoformat(f"2000-01-01T00:00{match[7]}").tzinfo)
    length = timedelta(hours=1)
    if match[5] is not None:
        length = timedelta(minutes=1) if match[6] is None else timedelta(seconds=1)
    return start, start + length


def instant_of(local: datetime, zone_name: str) -> int:
    """The instant of an aware time, or at which a zone's clock first shows a naive one."""
    if local.tzinfo is not None:
        return int(local.timestamp() // 1)
    return first_showing(zone_name, wall_seconds(local))


def wall_seconds(local: datetime) -> int:
    """Seconds since 1970-01-01T00:00 on the same clock."""
    return int((local - datetime(1970, 1, 1)).total_seconds() // 1)


def instants_named(
    text: str, granularity: str, zone_name: str, offset: int
) -> tuple[int, int] | None:
    """The instants ``[start, end)`` that a text names for windows of a granularity.

    A text as coarse as the windows (``2024-01`` for days) names whole windows, which begin
    ``offset`` later than the clock's; a finer one names what the clock shows.
    """
    found = stretch_of(text)
    return None if found is None else instants_in(found, granularity, zone_name, offset)


def instants_in(
    stretch: tuple[datetime, datetime], granularity: str, zone_name: str, offset: int
) -> tuple[int, int]:
    """`instants_named` of a text that has been read."""
    shift = timedelta(seconds=offset if names_windows(stretch, granularity) else 0)
    start, end = (instant_of(moment + shift, zone_name) for moment in stretch)
    east = stretch[0].utcoffset()
    if east is not None and end - start == _HOUR:
        # A clock that changes by half an hour comes to this distance from UTC within the hour.
        seconds = int(east.total_seconds())
        if offset_at(zone_name, start) != seconds == offset_at(zone_name, end - 1):
            start = change_between(zone_name, start, end - 1)
    return start, end


def names_windows(stretch: tuple[datetime, datetime], granularity: str) -> bool:
    """Whether a text is as coarse as windows of this granularity; never for cron."""
    return stretch[1] - stretch[0] >= _SHORTEST.get(granularity, timedelta.max)


_SHORTEST = {
    "hourly": timedelta(hours=1),
    "daily": timedelta(days=1),
    "weekly": timedelta(days=7),
    "monthly": timedelta(days=28),
    "quarterly": timedelta(days=90),
    "yearly": timedelta(days=365),
}
"""The shortest that a window of each granularity is on the calendar."""


def as_stretch(value: object, what: str, zone_name: str) -> tuple[datetime, datetime]:
    """A start or end as users write it → the stretch it names, as `stretch_of` gives it.

    Takes keys and ISO texts, dates, and datetimes; at a full hour or at midnight these name the
    hour or the date. Raises PartitionError for anything else.
    """
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            value = value.astimezone(zone(zone_name))
            if value.utcoffset() == value.replace(fold=1 - value.fold).utcoffset():
                value = value.replace(tzinfo=None)
        value = value.replace(microsecond=0)
        length = timedelta(seconds=1)
        if not (value.minute or value.second):
            length = timedelta(hours=1) if value.hour or value.tzinfo else timedelta(days=1)
        return value, value + length
    found = stretch_of(value.isoformat()) if isinstance(value, date) else None
    if isinstance(value, str):
        found = stretch_of(value.strip())
    if found is None:
        raise PartitionError(
            f"{what}={value!r} is not a time.",
            hint="Write '2024-01-01', '2024-01' or '2024-01-01T06'.",
        )
    return found
