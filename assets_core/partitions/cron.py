"""Windows from one tick of a cron expression to the next. Pure; the expressions are cronsim's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from assets_core.errors import PartitionError
from assets_core.partitions.zones import (
    Clock,
    clock,
    year_of,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]
_DAY, _HOUR = 86_400, 3_600
_EPOCH = date(1970, 1, 1)


# --------------------------------------------------------------------------------------------
# Cron

_QUIET_YEARS = 60  # an expression that fires at all fires within so many years


def cron_edges(expression: str, zone_name: str, low: int, high: int) -> tuple[Ints, Bools | None]:
    """Its ticks around ``[low, high]``; and which of them the clock shows at a time that comes
    twice, None when it is none of them."""
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
    return edges, twice if twice.any() else None


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
