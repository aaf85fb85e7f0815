"""Times as users write them: the stretch of local time that one names, and its instants. Pure."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from assets_core.errors import PartitionError
from assets_core.partitions.zones import (
    change_between,
    first_showing,
    offset_at,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]
from assets_core.partitions.calendars import CALENDARS
from assets_core.partitions.zones import zone

_HOUR = 3_600


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
