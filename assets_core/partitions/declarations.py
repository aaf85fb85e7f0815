"""How users write partitions definitions: `daily`, `static`, `product` and their siblings.

Arguments are checked and brought into one form here; the definitions are beside it, by kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from datetime import timezone as fixed_zone

from assets_core.durations import parse_duration
from assets_core.errors import DefinitionError
from assets_core.partitions.calendars import CALENDARS
from assets_core.partitions.cron import check_cron
from assets_core.partitions.definitions import PartitionsDefinition
from assets_core.partitions.keys import canonical_key
from assets_core.partitions.named_values import Dynamic, Static, Unpartitioned
from assets_core.partitions.products import Product
from assets_core.partitions.time_windows import TimeWindows
from assets_core.partitions.times import as_stretch, instants_in, names_windows
from assets_core.partitions.zones import zone
from assets_core.problems import deferred

Moment = str | date | datetime


def _time_windows(
    granularity: str,
    start: Moment,
    end: Moment | None,
    timezone: str,
    offset: str | float | timedelta,
    cron: str = "",
) -> TimeWindows:
    zone(timezone)
    shift = parse_duration(offset)
    longest = timedelta(hours=1) if granularity == "hourly" else timedelta(days=1)
    if shift >= longest or shift.microseconds:
        raise DefinitionError(
            f"{granularity}(offset={offset!r}): windows begin less than {longest} later.",
            hint="Write '6h' for days that begin at 06:00.",
        )
    first = _window_start(start, "start", granularity, timezone, shift)
    last = None if end is None else _window_start(end, "end", granularity, timezone, shift)
    made = TimeWindows(granularity, first, last, timezone, int(shift.total_seconds()), cron)
    if made.last_instant() <= made.first_instant():
        raise DefinitionError(
            f"{granularity}({start!r}, end={end!r}) ends before it starts.",
            hint="end is the first that no longer belongs to it.",
        )
    return made


def _window_start(
    value: Moment, what: str, granularity: str, timezone: str, shift: timedelta
) -> datetime:
    """Where the window that holds ``value`` begins, on the zone's clock.

    Aware only where the clock shows that time twice.
    """
    stretch = as_stretch(value, what, timezone)
    moment = stretch[0]
    whole = names_windows(stretch, granularity)
    if moment.tzinfo is not None:
        instant = instants_in(stretch, granularity, timezone, int(shift.total_seconds()))[0]
        moment = datetime.fromtimestamp(instant, zone(timezone))
        if _comes_twice(moment) and granularity in ("hourly", "cron"):
            return moment.astimezone(fixed_zone(moment.utcoffset() or timedelta(0)))
        moment, whole = moment.replace(tzinfo=None), False
    if granularity == "cron":
        return moment
    label = moment if whole else moment - shift
    if granularity == "hourly":
        return label.replace(minute=0, second=0) + shift
    calendar = CALENDARS[granularity]
    return _midnight(calendar.first_day(calendar.index(label.date()))) + shift


def _some_windows(granularity: str) -> TimeWindows:
    """What stands in for windows that were declared wrongly."""
    cron = "0 0 * * *" if granularity == "cron" else ""
    return TimeWindows(granularity, datetime(2000, 1, 1), None, "UTC", 0, cron)


def _comes_twice(moment: datetime) -> bool:
    return moment.replace(fold=0).utcoffset() != moment.replace(fold=1).utcoffset()


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)


@deferred(lambda: _some_windows("hourly"))
def hourly(
    start: Moment,
    end: Moment | None = None,
    *,
    timezone: str = "UTC",
    offset: str | float | timedelta = 0,
) -> TimeWindows:
    """A partition per hour of the wall clock, keyed ``2024-01-01T05``.

    ``start`` is a key, an ISO text, a date or a naive datetime in ``timezone``, rounded down to
    its window; ``end`` is the first that no longer belongs to it. ``offset`` shifts the windows.
    The hour that comes twice in autumn is two partitions, told apart by their UTC offset.
    """
    return _time_windows("hourly", start, end, timezone, offset)


@deferred(lambda: _some_windows("daily"))
def daily(
    start: Moment,
    end: Moment | None = None,
    *,
    timezone: str = "UTC",
    offset: str | float | timedelta = 0,
) -> TimeWindows:
    """A partition per day, keyed ``2024-01-01``; ``offset="6h"`` for a day that starts at 06:00."""
    return _time_windows("daily", start, end, timezone, offset)


@deferred(lambda: _some_windows("weekly"))
def weekly(
    start: Moment,
    end: Moment | None = None,
    *,
    timezone: str = "UTC",
    offset: str | float | timedelta = 0,
) -> TimeWindows:
    """A partition per ISO week (from Monday), keyed ``2024-W01``."""
    return _time_windows("weekly", start, end, timezone, offset)


@deferred(lambda: _some_windows("monthly"))
def monthly(
    start: Moment,
    end: Moment | None = None,
    *,
    timezone: str = "UTC",
    offset: str | float | timedelta = 0,
) -> TimeWindows:
    """A partition per month, keyed ``2024-01``."""
    return _time_windows("monthly", start, end, timezone, offset)


@deferred(lambda: _some_windows("quarterly"))
def quarterly(
    start: Moment,
    end: Moment | None = None,
    *,
    timezone: str = "UTC",
    offset: str | float | timedelta = 0,
) -> TimeWindows:
    """A partition per quarter, keyed ``2024-Q1``."""
    return _time_windows("quarterly", start, end, timezone, offset)


@deferred(lambda: _some_windows("yearly"))
def yearly(
    start: Moment,
    end: Moment | None = None,
    *,
    timezone: str = "UTC",
    offset: str | float | timedelta = 0,
) -> TimeWindows:
    """A partition per year, keyed ``2024``."""
    return _time_windows("yearly", start, end, timezone, offset)


@deferred(lambda: _some_windows("cron"))
def cron_windows(
    expression: str, start: Moment, end: Moment | None = None, *, timezone: str = "UTC"
) -> TimeWindows:
    """A partition from each tick of a cron expression to the next, keyed ``2024-01-01T06:30``."""
    check_cron(expression)
    return _time_windows("cron", start, end, timezone, 0, expression)


@deferred(lambda: Static(("?",)))
def static(values: Iterable[str], *, name: str = "partition") -> Static:
    """A partition per named value.

    Raises PartitionError for a value that can't be a key, DefinitionError for one given twice.
    """
    if isinstance(values, str):
        raise DefinitionError(f"static({values!r}) takes a list.", hint=f"static([{values!r}])")
    keys = tuple(canonical_key(value) for value in values)
    twice = {key for key in keys if keys.count(key) > 1} if len(set(keys)) < len(keys) else set()
    if twice:
        raise DefinitionError(f"static([…]) holds {sorted(twice)[0]!r} twice.")
    return Static(keys, _dimension(name))


@deferred(lambda: Dynamic("unnamed"))
def dynamic(name: str) -> Dynamic:
    """A partition per key registered under ``name`` at run time."""
    return Dynamic(_dimension(name))


@deferred(lambda: Product((("unnamed", Static(("?",))),)))
def product(**dimensions: PartitionsDefinition) -> Product:
    """Every combination of several dimensions, keyed ``2024-01-01|EWR`` in the order given.

    The first time dimension is the one that windows and logical dates refer to; of any other only
    windows that have closed are partitions.
    """
    if len(dimensions) < 2:
        raise DefinitionError("product() needs two dimensions or more.")
    for name, definition in dimensions.items():
        _dimension(name)
        if isinstance(definition, Product | Unpartitioned):
            raise DefinitionError(
                f"Dimension {name!r} of a product can't be {definition.kind}.",
                hint="Give each dimension by itself.",
            )
    return Product(tuple(dimensions.items()))


def _dimension(name: str) -> str:
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        raise DefinitionError(f"{name!r} can't be a dimension's name; use a plain word.")
    if name in {"key", "start", "end", "dimensions"}:
        raise DefinitionError(
            f"{name!r} can't be a dimension's name: a partition has its own {name}."
        )
    return name
