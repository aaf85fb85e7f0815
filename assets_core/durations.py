"""Lengths of time as users write them: ``"8h"``, ``"1d 2h"``, seconds, a `timedelta`.

Only lengths that are the same everywhere; months and clock times belong to partitions.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta

from assets_core.errors import UsageError

Duration = str | float | timedelta
"""What `parse_duration` takes."""

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_WORDS = {
    "ms": ("ms", "millisecond", "milliseconds"),
    "s": ("s", "sec", "secs", "second", "seconds"),
    "m": ("m", "min", "mins", "minute", "minutes"),
    "h": ("h", "hr", "hrs", "hour", "hours"),
    "d": ("d", "day", "days"),
    "w": ("w", "week", "weeks"),
}
_UNITS = {word: unit for unit, words in _WORDS.items() for word in words}
_LONGEST = timedelta(days=365_000)
"""So that a date before or after by a duration is one in every calendar that is in use."""

_PART = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)\s*")


def parse_duration(value: Duration) -> timedelta:
    """A length of time, never negative: text with units, a number of seconds, or a `timedelta`.

    Units are ``ms s m h d w`` (``m`` is minutes) or their English words, each at most once.

    >>> parse_duration("1d 2h")
    datetime.timedelta(days=1, seconds=7200)
    >>> parse_duration(90)
    datetime.timedelta(seconds=90)

    Raises UsageError for anything else.
    """
    if isinstance(value, timedelta):
        found = value
    elif isinstance(value, str):
        found = _from_text(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        found = _from_seconds(value, value)
    else:
        raise _nonsense(value)
    if found < timedelta(0):
        raise UsageError(
            f"A duration can't be negative: {value!r}.", hint="Write how long it takes, as in '8h'."
        )
    if found > _LONGEST:
        raise UsageError(
            f"{value!r} is longer than a thousand years.", hint="Did you mean another unit?"
        )
    return found


def _from_text(text: str) -> timedelta:
    parts: dict[str, float] = {}
    at, lower = 0, text.strip().lower()
    while at < len(lower):
        match = _PART.match(lower, at)
        unit = _UNITS.get(match[2]) if match else None
        if match is None or unit is None or unit in parts:
            raise _nonsense(text)
        parts[unit] = float(match[1])
        at = match.end()
    if not parts:
        raise _nonsense(text)
    return _from_seconds(sum(_SECONDS[unit] * count for unit, count in parts.items()), text)


def _from_seconds(seconds: float, shown: object) -> timedelta:
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        raise _nonsense(shown) from None


def _nonsense(value: object) -> UsageError:
    return UsageError(
        f"{value!r} is not a duration.",
        hint="Write it with units, such as '30m', '8h' or '1d 2h'; a plain number is seconds.",
    )
