"""Which values of a partition column belong to a partition: rows never cross into another's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from assets_core.declare.asset import Asset
from assets_core.errors import OutsidePartitionError
from assets_core.partitions import Partition

if TYPE_CHECKING:
    import pyarrow as pa


def guard_of(
    asset: Asset, partition: Partition, schema: pa.Schema
) -> Callable[[pa.RecordBatch], None] | None:
    """A guard that refuses rows whose partition column lies outside the partition."""
    column = asset.partition_column
    if column is None:
        return None
    index = schema.get_field_index(column)
    if index < 0:
        raise OutsidePartitionError(
            f"The output has no column {column!r}, its partition_column.",
            facts={"asset": asset.name, "columns": ", ".join(schema.names)},
        )
    belongs = membership(partition, schema.field(index).type)

    def guard(batch: pa.RecordBatch) -> None:
        import pyarrow.compute as pc

        values = batch.column(index)
        ok = pc.fill_null(belongs(values), False)
        inside = pc.sum(ok).as_py() or 0
        if inside == len(values):
            return
        strangers = values.filter(pc.invert(ok))
        raise OutsidePartitionError(
            f"{len(strangers):,} rows lie outside partition {partition.key}.",
            facts={
                "asset": asset.name,
                "column": column,
                "for example": strangers[0].as_py(),
            },
            hint="Filter the input by the partition's window, or mend its mapping.",
        )

    return guard


_ISO_DATE = r"^\d{4}-\d{2}-\d{2}$"
_ISO_TIME = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d+)?$"


def written(text: Any, pattern: str, form: str) -> Any:
    """The times (timestamp[s]) that texts of a pattern name, null for any other text.

    A text that only looks like one, such as 2024-02-30, names none.
    """
    import pyarrow.compute as pc

    plain = pc.if_else(pc.match_substring_regex(text, pattern), text, None)
    plain = pc.replace_substring(pc.utf8_slice_codeunits(plain, 0, 19), "T", " ")
    found = pc.strptime(plain, format=form, unit="s", error_is_null=True)
    # Parsing lets 30 February pass for 1 March; writing it back tells.
    return pc.if_else(pc.equal(pc.strftime(found, format=form), plain), found, None)


def written_dates(text: Any) -> Any:
    """ISO dates as date32, null for any other text."""
    import pyarrow as pa

    return written(text, _ISO_DATE, "%Y-%m-%d").cast(pa.date32())


def written_times(text: Any) -> Any:
    """Local ISO dates and times as timestamp[s], null for any other text."""
    return written(text, _ISO_TIME, "%Y-%m-%d %H:%M:%S")


def _written_within(partition: Partition) -> Callable[[Any], Any]:
    """Which texts are an ISO date, or a local date and time, within the partition's window."""
    import pyarrow as pa
    import pyarrow.compute as pc

    dates, times = membership(partition, pa.date32()), membership(partition, pa.timestamp("s"))

    def belongs(text: Any) -> Any:
        days, instants = written_dates(text), written_times(text)
        return pc.or_(pc.fill_null(dates(days), False), pc.fill_null(times(instants), False))

    return belongs


def membership(partition: Partition, kind: pa.DataType) -> Callable[[Any], Any]:
    """Which values of a column belong to the partition."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(kind):
        plain = membership(partition, kind.value_type)
        return lambda values: plain(values.cast(kind.value_type))
    timed = pa.types.is_date(kind) or pa.types.is_timestamp(kind)
    if partition.start is None or partition.end is None or not timed:
        # Text in any of its types, and numbers such as a year: as the key writes them.
        keys = {partition.key, *partition.dimensions.values()}
        own = pa.array(sorted(keys))
        if partition.start is None or pa.types.is_integer(kind):
            return lambda values: pc.is_in(values.cast(pa.string()), own)
        iso = _written_within(partition)

        def belongs(values: Any) -> Any:
            text = values.cast(pa.string())
            return pc.or_(pc.is_in(text, own), iso(text))

        return belongs
    if pa.types.is_date(kind):
        # A date has no time of day: it belongs when any of it lies in the window.
        first, last = partition.start.date(), last_day(partition.end)
        low, high = pa.scalar(first, kind), pa.scalar(last, kind)
        return lambda v: pc.and_(pc.greater_equal(v, low), pc.less_equal(v, high))
    start, end = partition.start, partition.end
    if kind.tz is None:
        start, end = start.replace(tzinfo=None), end.replace(tzinfo=None)
    low, high = pa.scalar(start, kind), pa.scalar(end, kind)
    return lambda v: pc.and_(pc.greater_equal(v, low), pc.less(v, high))


def last_day(end: datetime) -> Any:
    """The last date of which some lies before ``end``."""
    return (end - timedelta(microseconds=1)).date()
