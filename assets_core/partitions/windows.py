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
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from assets_core.errors import PartitionError

if TYPE_CHECKING:
    import numpy as np

_DAY = 86_400
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Windows:
    """Consecutive windows: ``edges`` int64 epoch seconds of length n + 1, ``labels`` of length n.

    Window i is ``[edges[i], edges[i + 1])``. ``labels`` are what keys are made from: a calendar
    index for calendar windows, local hours since 1970 for hours, the edge itself for cron.
    ``twice`` (bool, or None) marks labels that the clock shows twice.
    """

    edges: np.ndarray
    labels: np.ndarray
    twice: np.ndarray | None = None


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
            re.compile(r"(\d{4})-(\d\d)-(\d\d)"),
            lambda m: (date(int(m[1]), int(m[2]), int(m[3])) - _EPOCH).days,
        ),
        Calendar(
            "weekly",
            "week",
            lambda d: (d - date(1969, 12, 29)).days // 7,
            _week_day,
            _week_text,
            re.compile(r"(\d{4})-W(\d\d)"),
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
            re.compile(r"(\d{4})-(\d\d)"),
            lambda m: (int(m[1]) - 1970) * 12 + _in_range(int(m[2]), 12) - 1,
        ),
        Calendar(
            "quarterly",
            "quarter",
            lambda d: (d.year - 1970) * 4 + (d.month - 1) // 3,
            lambda i: _month_day(3 * i),
            lambda i: f"{1970 + i // 4:04d}-Q{i % 4 + 1}",
            re.compile(r"(\d{4})-Q([1-4])"),
            lambda m: (int(m[1]) - 1970) * 4 + int(m[2]) - 1,
        ),
        Calendar(
            "yearly",
            "year",
            lambda d: d.year - 1970,
            lambda i: date(1970 + i, 1, 1),
            lambda i: f"{1970 + i:04d}",
            re.compile(r"(\d{4})"),
            lambda m: int(m[1]) - 1970,
        ),
    )
}


def _in_range(value: int, most: int) -> int:
    if not 1 <= value <= most:
        raise ValueError(f"{value} is not between 1 and {most}")
    return value


def calendar_windows(
    calendar: Calendar, zone_name: str, offset: int, first: int, last: int
) -> Windows:
    """The windows of calendar indices ``first`` to ``last``, ``offset`` seconds after midnight.

    A day that a zone skipped altogether has no window.
    """
    import numpy as np

    labels = np.arange(first, max(last, first) + 1, dtype=np.int64)
    if zone_name == "UTC":
        edges = np.array(
            [(calendar.first_day(i) - _EPOCH).days for i in range(first, max(last, first) + 2)]
            if calendar.kind != "daily"
            else np.arange(first, max(last, first) + 2),
            dtype=np.int64,
        )
        edges = edges * _DAY + offset
    else:
        at = zone(zone_name)
        edges = np.array(
            [
                _instant(calendar.first_day(i), offset, at)
                for i in range(first, max(last, first) + 2)
            ],
            dtype=np.int64,
        )
    if last < first:
        return Windows(edges[:1], labels[:0])
    real = np.diff(edges) > 0
    return Windows(np.append(edges[:-1][real], edges[-1]), labels[real])


def _instant(day: date, offset: int, at: ZoneInfo) -> int:
    """The instant of a wall-clock time; one that is skipped is the instant of the skip."""
    local = datetime(day.year, day.month, day.day) + timedelta(seconds=offset)
    found = local.replace(tzinfo=at)
    early = int(found.timestamp())
    if found.replace(fold=1).utcoffset() == found.utcoffset():
        return early
    shown = datetime.fromtimestamp(early, at).replace(tzinfo=None)
    if shown == local:
        return early
    return _transition(at, early - _DAY, early + _DAY) or early


def _transition(at: ZoneInfo, low: int, high: int) -> int | None:
    """The instant in ``(low, high]`` at which the zone's offset changes."""
    before = _offset(at, low)
    if _offset(at, high) == before:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(at, middle) == before:
            low = middle
        else:
            high = middle
    return high


def _offset(at: ZoneInfo, instant: int) -> int:
    """Seconds east of UTC; zones before 1900 had offsets of odd seconds, all are kept."""
    found = datetime.fromtimestamp(instant, UTC).astimezone(at).utcoffset()
    assert found is not None
    return int(found.total_seconds())


# --------------------------------------------------------------------------------------------
# Hours


@lru_cache(maxsize=256)
def transitions(zone_name: str, low: int, high: int) -> tuple[tuple[int, int], ...]:
    """``(instant, seconds east)`` from ``low`` on: the offset at ``low``, then each change."""
    at = zone(zone_name)
    found = [(low, _offset(at, low))]
    # Half a day finds every change of every zone in the database; a step is about a microsecond.
    step = _DAY // 2
    for start in range(low, high, step):
        if _offset(at, start + step) != found[-1][1]:
            change = _transition(at, start, start + step)
            assert change is not None
            found.append((change, _offset(at, change)))
    return tuple(found)


def hour_windows(zone_name: str, offset: int, low: int, high: int) -> Windows:
    """The hours of the wall clock that begin in ``[low, high)``, ``offset`` seconds past the hour.

    Labels are local hours since 1970. An hour that comes twice is two windows of one label; a
    half hour that a shift cuts off is a window of its own.
    """
    import numpy as np

    if zone_name == "UTC":
        first = -((offset - low) // 3600)
        count = max(0, -((low - high) // 3600))
        labels = np.arange(first, first + count, dtype=np.int64)
        return Windows(np.append(labels, first + count) * 3600 + offset, labels)
    periods = transitions(zone_name, low - 2 * _DAY, high + 2 * _DAY)
    ends = [instant for instant, _ in periods[1:]] + [high + 2 * _DAY]
    edges, labels = [], []
    for (start, east), end in zip(periods, ends, strict=True):
        first = (start + east - offset) // 3600
        last = (end - 1 + east - offset) // 3600
        own = np.arange(first, last + 1, dtype=np.int64)
        begins = own * 3600 - east + offset
        begins[0] = start
        edges.append(begins)
        labels.append(own)
    begins, names = np.concatenate(edges), np.concatenate(labels)
    chosen = np.flatnonzero((begins >= low) & (begins < high))
    if not len(chosen):
        return Windows(begins[:1], names[:0])
    lo, hi = int(chosen[0]), int(chosen[-1]) + 1
    values, counts = np.unique(names, return_counts=True)
    twice = np.isin(names[lo:hi], values[counts > 1])
    return Windows(begins[lo : hi + 1], names[lo:hi], twice if twice.any() else None)


def hour_text(label: int) -> str:
    """The key of a local hour."""
    local = datetime(1970, 1, 1) + timedelta(hours=label)
    return local.strftime("%Y-%m-%dT%H") if local.year >= 1000 else local.isoformat()[:13]


def offset_text(seconds: int) -> str:
    """``+02:00`` for 7200."""
    sign, rest = ("-", -seconds) if seconds < 0 else ("+", seconds)
    return f"{sign}{rest // 3600:02d}:{rest % 3600 // 60:02d}"


# --------------------------------------------------------------------------------------------
# Cron


def cron_windows_between(expression: str, zone_name: str, low: int, high: int) -> Windows:
    """From tick to tick: those that begin in ``[low, high)``."""
    import numpy as np
    from cronsim import CronSim

    # CronSim gives ticks strictly after its start.
    ticks = CronSim(expression, datetime.fromtimestamp(low - 1, zone(zone_name)))
    edges: list[int] = []
    for tick in ticks:
        edges.append(int(tick.timestamp()))
        if edges[-1] >= high:
            break
    if not edges:
        return Windows(np.array([low], np.int64), np.zeros(0, np.int64))
    found = np.array(edges, np.int64)
    return Windows(found, found[:-1])


def check_cron(expression: str) -> None:
    """Raise PartitionError when the expression is not one."""
    from cronsim import CronSim, CronSimError

    try:
        CronSim(expression, datetime(2024, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise PartitionError(
            f"{expression!r} is not a cron expression: {error}",
            hint="Five fields: minute hour day month weekday, such as '0 6 * * 1-5'.",
        ) from error


# --------------------------------------------------------------------------------------------
# Texts that name a stretch of time, whatever the granularity


_HOUR = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d)(?::?(\d\d))?(?::?(\d\d))?")


def stretch_of(text: str) -> tuple[datetime, datetime] | None:
    """The local times ``[start, end)`` that ``2024``, ``2024-Q1``, … ``2024-01-01T05`` name.

    None for text that names no time; naive datetimes, for the reader's own zone.
    """
    for calendar in CALENDARS.values():
        match = calendar.pattern.fullmatch(text)
        if match:
            try:
                index = calendar.parse(match)
                first, after = calendar.first_day(index), calendar.first_day(index + 1)
            except (ValueError, OverflowError):
                return None
            return datetime(*first.timetuple()[:3]), datetime(*after.timetuple()[:3])
    match = _HOUR.fullmatch(text)
    if match is None:
        return None
    try:
        start = datetime(*(int(part or 0) for part in match.groups()))  # type: ignore[arg-type]
    except ValueError:
        return None
    length = timedelta(hours=1)
    if match[5] is not None:
        length = timedelta(minutes=1) if match[6] is None else timedelta(seconds=1)
    return start, start + length


def local_instant(local: datetime, zone_name: str) -> int:
    """The instant of a naive local time in a zone (the first of two, the skip's for none)."""
    seconds = local.hour * 3600 + local.minute * 60 + local.second
    return _instant(local.date(), seconds, zone(zone_name))


def as_local(value: Any, what: str) -> datetime:
    """A start or end as users write it → naive local time.

    Takes keys and ISO texts, dates, naive datetimes. Raises PartitionError for anything else.
    """
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            raise PartitionError(
                f"{what}={value!r} has a time zone; windows are laid out in timezone=….",
                hint="Give a naive local time, and the zone by itself.",
            )
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    if isinstance(value, str):
        found = stretch_of(value)
        if found is not None:
            return found[0]
    raise PartitionError(
        f"{what}={value!r} is not a time.", hint="Write '2024-01-01', '2024-01' or '2024-01-01T06'."
    )
