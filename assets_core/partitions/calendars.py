"""Granularities of whole days: the index of the window that holds a date, and its key. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

_EPOCH = date(1970, 1, 1)


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
