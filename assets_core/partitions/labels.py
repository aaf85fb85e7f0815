"""Whole columns of labels: to wall time, to keys, and back from keys. Needs numpy when called.

A label counts the units of a granularity since 1970 (days, Monday weeks, months, local hours).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]
    Columns = NDArray[np.uint8]

NO_LABEL = -(1 << 63)
"""Stands for a text that is no key."""

_DAY, _HOUR = 86_400, 3_600
_FIRST_YEAR, _LAST_YEAR = 1000, 9990
_CODES = {"hourly": "h", "daily": "D", "monthly": "M", "yearly": "Y"}
_MONTHS = {"monthly": 1, "quarterly": 3, "yearly": 12}


def walls(granularity: str, labels: Ints) -> Ints:
    """Where each label begins on the clock, in seconds since 1970-01-01T00:00 local."""
    import numpy as np

    if granularity == "hourly":
        return labels * _HOUR
    if granularity == "daily":
        return labels * _DAY
    if granularity == "weekly":
        return (labels * 7 - 3) * _DAY  # 1970-01-01 was a Thursday
    months = (labels * _MONTHS[granularity]).astype("datetime64[M]")
    return months.astype("datetime64[s]").astype(np.int64)


def keys_of(granularity: str, labels: Ints) -> list[str] | None:
    """The plain keys of labels; None for a granularity without a quick way."""
    import numpy as np

    code = _CODES.get(granularity)
    if code is None:
        return None
    found: list[str] = np.datetime_as_string(labels.astype(f"datetime64[{code}]")).tolist()
    return found


def labels_of(granularity: str, keys: Sequence[str]) -> Ints:
    """The label of each plain key; `NO_LABEL` for a text that is not exactly one."""
    import numpy as np

    width, parse = _PARSERS[granularity]
    labels = np.full(len(keys), NO_LABEL, np.int64)
    fit = np.fromiter(map(len, keys), np.int64, len(keys)) == width
    if fit.all():
        labels[:] = parse(_columns("".join(keys), width))
        return labels
    chosen = np.flatnonzero(fit)
    labels[chosen] = parse(_columns("".join([keys[i] for i in chosen.tolist()]), width))
    return labels


def _columns(text: str, width: int) -> Columns:
    """The characters of equally long keys, one row for each place; beyond ASCII as ``?``."""
    import numpy as np

    raw = np.frombuffer(text.encode("ascii", "replace"), np.uint8)
    return np.ascontiguousarray(raw.reshape(-1, width).T)


def _number(columns: Columns, valid: Bools) -> Ints:
    """The number that rows of digits spell; clears ``valid`` where they are no digits."""
    import numpy as np

    value = np.zeros(columns.shape[1], np.int32)
    for column in columns:
        digit = column - np.uint8(48)
        valid &= digit < 10
        value = value * 10 + digit
    return value.astype(np.int64)


def _year(columns: Columns, valid: Bools) -> Ints:
    year = _number(columns[:4], valid)
    valid &= (year >= _FIRST_YEAR) & (year <= _LAST_YEAR)
    return year - 1970


def _month(columns: Columns, valid: Bools) -> Ints:
    valid &= columns[4] == ord("-")
    years, month = _year(columns, valid), _number(columns[5:7], valid)
    valid &= (month >= 1) & (month <= 12)
    months: Ints = years * 12 + month - 1
    return months


def _day(columns: Columns, valid: Bools) -> Ints:
    import numpy as np

    months = _month(columns, valid)
    months[~valid] = 0
    valid &= columns[7] == ord("-")
    day = _number(columns[8:10], valid)
    if not len(months):
        return months
    # A table of where months begin is many times faster than casts of every key.
    low, high = int(months.min()), int(months.max())
    begins = np.arange(low, high + 2).astype("datetime64[M]").astype("datetime64[D]")
    starts = begins.astype(np.int64)
    days: Ints = starts[months - low] + day - 1
    valid &= (day >= 1) & (days < starts[months - low + 1])
    return days


def _hour(columns: Columns, valid: Bools) -> Ints:
    valid &= columns[10] == ord("T")
    days, hour = _day(columns, valid), _number(columns[11:13], valid)
    valid &= hour < 24
    return days * 24 + hour


def _quarter(columns: Columns, valid: Bools) -> Ints:
    valid &= (columns[4] == ord("-")) & (columns[5] == ord("Q"))
    years, quarter = _year(columns, valid), _number(columns[6:7], valid)
    valid &= (quarter >= 1) & (quarter <= 4)
    return years * 4 + quarter - 1


def _week(columns: Columns, valid: Bools) -> Ints:
    import numpy as np

    valid &= (columns[4] == ord("-")) & (columns[5] == ord("W"))
    years, week = _year(columns, valid), _number(columns[6:8], valid)
    years = np.where(valid, years, 0)
    label = _first_week(years) + week - 1
    valid &= (week >= 1) & (label < _first_week(years + 1))
    return label


def _first_week(years: Ints) -> Ints:
    """The label of each year's week 1: the one that holds the 4th of January."""
    import numpy as np

    new_years = years.astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
    return (new_years + 6) // 7


def _parser(read: Callable[[Columns, Bools], Ints]) -> Callable[[Columns], Ints]:
    def parse(columns: Columns) -> Ints:
        import numpy as np

        valid = np.ones(columns.shape[1], bool)
        labels = read(columns, valid)
        return np.where(valid, labels, np.int64(NO_LABEL))

    return parse


_PARSERS = {
    "hourly": (13, _parser(_hour)),
    "daily": (10, _parser(_day)),
    "weekly": (8, _parser(_week)),
    "monthly": (7, _parser(_month)),
    "quarterly": (7, _parser(_quarter)),
    "yearly": (4, _parser(_year)),
}
