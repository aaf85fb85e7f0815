"""Which partition of a range each row belongs to: what one call made, told apart again.

The rules are those of ``membership``, for many partitions at a time: a binary search among the
edges of their windows, or a look-up among their keys. A row belongs to exactly one of them; what
can't be told apart is refused, never guessed.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from assets_core.declare.asset import Asset
from assets_core.errors import OutputError, OutsidePartitionError
from assets_core.execution.membership import last_day, membership, written_dates, written_times
from assets_core.partitions import Partitions

if TYPE_CHECKING:
    import pyarrow as pa

    Places = np.ndarray
    """int64 per row: the number of its partition within the range, -1 outside of all."""

_OUTSIDE, _UNCLEAR = -1, -2


def split(asset: Asset, partitions: Partitions, table: pa.Table, what: str) -> list[pa.Table]:
    """The rows of each partition, in the order they came; empty where there are none.

    ``what`` names the rows in errors. Raises OutsidePartitionError for rows of no partition of
    the range (or without the column), OutputError for values that several of them could own.
    """
    column = asset.partition_column
    assert column is not None
    index = table.schema.get_field_index(column)
    if index < 0:
        raise OutsidePartitionError(
            f"{what.capitalize()} has no column {column!r}, its partition_column.",
            facts={"asset": asset.name, "columns": ", ".join(table.column_names)},
            hint="Built together, partitions are told apart by that column: keep it in the rows.",
        )
    values = table.column(index)
    places = _places(partitions, values)
    _refuse_strangers(asset, partitions, values, places, what)
    if len(places) and (places[1:] < places[:-1]).any():
        order = np.argsort(places, kind="stable")
        table, places = table.take(order), places[order]
    bounds = places.searchsorted(np.arange(len(partitions) + 1)).tolist()
    return [table.slice(low, high - low) for low, high in itertools.pairwise(bounds)]


def _refuse_strangers(
    asset: Asset, partitions: Partitions, values: Any, places: Places, what: str
) -> None:
    bad = np.flatnonzero(places < 0)
    if not len(bad):
        return
    facts = {
        "asset": asset.name,
        "column": asset.partition_column,
        "for example": values[int(bad[0])].as_py(),
    }
    if (places == _UNCLEAR).any():
        first = int(np.flatnonzero(places == _UNCLEAR)[0])
        raise OutputError(
            f"Column {asset.partition_column!r} can't tell the partitions {partitions} apart.",
            facts={**facts, "for example": values[first].as_py()},
            hint="Give it values that lie in one partition only: timestamps with a time zone for "
            "hours, keys for names; or drop batch=.",
        )
    raise OutsidePartitionError(
        f"{len(bad):,} rows of {what} lie outside the partitions {partitions}.",
        facts=facts,
        hint="Filter the input by the partitions' window, or mend its mapping.",
    )


def _places(partitions: Partitions, values: Any) -> Places:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.cast(kind.value_type), kind.value_type
    if len(partitions) == 1:
        # As when it is built alone: then also what several could own is its own.
        mine = pc.fill_null(membership(partitions.first, kind)(values), False)
        return np.where(_numpy(mine), 0, _OUTSIDE)
    timed = pa.types.is_date(kind) or pa.types.is_timestamp(kind)
    if partitions.start is not None and timed:
        return _by_window(partitions, values, kind)
    text = values.cast(pa.string())
    places = _by_key(partitions, text)
    if partitions.start is None or pa.types.is_integer(kind):
        return places
    return _by_written_time(partitions, text, places)


def _numpy(values: Any) -> np.ndarray:
    found: np.ndarray = values.to_numpy() if hasattr(values, "chunks") else np.asarray(values)
    return found


# --------------------------------------------------------------------------------------------
# Windows


def _by_window(partitions: Partitions, values: Any, kind: pa.DataType) -> Places:
    import pyarrow as pa
    import pyarrow.compute as pc

    low, high = _dates(partitions, kind) if pa.types.is_date(kind) else _times(partitions, kind)
    missing = _numpy(pc.is_null(values))
    found = _numpy(pc.fill_null(_plain(values), 0)).astype(np.int64)
    # Local times run back in autumn, and a day holds many hours: then a value has two windows.
    order = np.argsort(low, kind="stable")
    low, high = low[order], high[order]
    reach = np.maximum.accumulate(high)
    last = low.searchsorted(found, side="right") - 1
    at, before = np.maximum(last, 0), np.maximum(last - 1, 0)
    places = np.where((last >= 0) & (found < high[at]), order[at], _OUTSIDE)
    places[(last >= 1) & (found < reach[before])] = _UNCLEAR
    places[missing] = _OUTSIDE
    return places


def _plain(values: Any) -> Any:
    """Dates and times as whole numbers of their unit."""
    import pyarrow as pa

    if pa.types.is_date32(values.type):
        values = values.cast(pa.int32())
    return values.cast(pa.int64())


def _times(partitions: Partitions, kind: pa.DataType) -> tuple[Places, Places]:
    starts = [partition.start for partition in partitions]
    ends = [partition.end for partition in partitions]
    if kind.tz is None:
        starts = [moment and moment.replace(tzinfo=None) for moment in starts]
        ends = [moment and moment.replace(tzinfo=None) for moment in ends]
    return _numbers(starts, kind), _numbers(ends, kind)


def _dates(partitions: Partitions, kind: pa.DataType) -> tuple[Places, Places]:
    """A date belongs to the window that holds any of it: up to its last day, that included."""
    starts = [partition.start and partition.start.date() for partition in partitions]
    lasts = [last_day(p.end) if p.end is not None else None for p in partitions]
    return _numbers(starts, kind), _numbers(lasts, kind) + 1


def _numbers(moments: list[Any], kind: pa.DataType) -> Places:
    import pyarrow as pa

    return np.asarray(_plain(pa.array(moments, kind)))


# --------------------------------------------------------------------------------------------
# Keys


def _by_key(partitions: Partitions, text: Any) -> Places:
    """By the partition's key, or by the one of its dimensions that the range runs along."""
    import pyarrow as pa
    import pyarrow.compute as pc

    owned = _keys_of(partitions)
    found = pc.index_in(text, value_set=pa.array(list(owned), pa.string()))
    owner = np.array([*owned.values(), _OUTSIDE], np.int64)
    at: Places = owner[_numpy(pc.fill_null(found, len(owned)))]
    # A null would match a null among the keys, of which there are none.
    return at


def _keys_of(partitions: Partitions) -> dict[str, int]:
    """Which partition each text stands for; those of several are marked as unclear."""
    each = [{partition.key, *partition.dimensions.values()} for partition in partitions]
    shared = Counter(text for texts in each for text in texts)
    return {
        text: place if shared[text] == 1 else _UNCLEAR
        for place, texts in enumerate(each)
        for text in texts
    }


def _by_written_time(partitions: Partitions, text: Any, places: Places) -> Places:
    """ISO texts of dates and times, as far as they are no keys."""
    import pyarrow as pa

    left = np.flatnonzero(places == _OUTSIDE)
    if not len(left):
        return places
    rest = text.take(pa.array(left))
    for column in (written_dates(rest), written_times(rest)):
        own = _by_window(partitions, column, column.type)
        places[left] = np.where(places[left] == _OUTSIDE, own, places[left])
    return places


__all__ = ["split"]
