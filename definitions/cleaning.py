"""From raw text to trusted measurements. A bad line is set aside with its reason, never lost."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from assets_core import Context, Partition, in_range, not_null, row_count, unique
from definitions._group import iot

NUMBER = r"^-?\d+(\.\d+)?$"
RAW_COLUMNS = ("sensor_id", "measured_at", "value", "battery")


@iot.asset(
    checks=[
        not_null("sensor_id", "value"),
        unique("sensor_id", "measured_at"),
        in_range("battery", min=0, max=100),
        row_count(min=1_000, severity="warn"),
    ],
    partition_column="measured_at",
    max_rejected=0.02,
)
def readings(landing: Path, sensors: pa.Table, partition: Partition, context: Context) -> pa.Table:
    """The day's good measurements, each once."""
    raw = read_raw(landing)
    reasons = find_faults(raw, sensors, partition)
    for reason in sorted(set(reasons.drop_null().to_pylist())):
        context.reject(raw.filter(pc.equal(reasons, reason)), reason=reason)
    good = typed(raw.filter(pc.is_null(reasons)))
    context.log.info("%d of %d lines are good", good.num_rows, raw.num_rows)
    context.metadata["lines"] = raw.num_rows
    return good


def read_raw(path: Path) -> pa.Table:
    """The file as text, column by column: what can't be parsed must still be seen."""
    as_text = csv.ConvertOptions(
        column_types={name: pa.string() for name in RAW_COLUMNS}, strings_can_be_null=False
    )
    return csv.read_csv(path, convert_options=as_text)


def find_faults(raw: pa.Table, sensors: pa.Table, partition: Partition) -> pa.Array:
    """Why each line can't be used; null for a good one. The first fault found is named."""
    known = pc.index_in(raw["sensor_id"], value_set=sensors["sensor_id"])
    value = to_number(raw["value"])
    outside = pc.or_(
        pc.less(value, sensors["low"].take(known)), pc.greater(value, sensors["high"].take(known))
    )
    moment = to_moment(raw["measured_at"])
    other_day = pc.or_(
        pc.less(moment, scalar(partition.start)), pc.greater_equal(moment, scalar(partition.end))
    )
    faults = {
        "no sensor id": pc.equal(raw["sensor_id"], ""),
        "unknown sensor": pc.is_null(known),
        "not a number": pc.is_null(value),
        "outside the sensor's range": outside,
        "clock is off": other_day,
        "sent twice": repeated(raw),
    }
    flags = pa.StructArray.from_arrays([flat(f) for f in faults.values()], names=list(faults))
    return pc.case_when(flags, *faults)


def flat(flags: pa.ChunkedArray | pa.Array) -> pa.Array:
    """One chunk, an unknown counting as no fault."""
    filled = pc.fill_null(flags, False)
    return filled.combine_chunks() if isinstance(filled, pa.ChunkedArray) else filled


def to_number(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text as numbers; null where it is none."""
    is_number = pc.match_substring_regex(text, NUMBER)
    return pc.if_else(is_number, text, None).cast(pa.float64())


def to_moment(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """ISO text in UTC as instants."""
    return text.cast(pa.timestamp("ms", "UTC"))


def scalar(moment: datetime | None) -> pa.Scalar:
    """An instant that can be compared with a column of `to_moment`."""
    return pa.scalar(moment, pa.timestamp("ms", "UTC"))


def repeated(raw: pa.Table) -> pa.Array:
    """True for a line whose sensor and time an earlier line has."""
    order = pa.array(range(raw.num_rows))
    first = (
        raw.append_column("line", order)
        .group_by(["sensor_id", "measured_at"])
        .aggregate([("line", "min")])
    )
    return pc.invert(pc.is_in(order, value_set=first["line_min"]))


def typed(raw: pa.Table) -> pa.Table:
    """Good lines with the types that their columns mean."""
    return pa.table(
        {
            "sensor_id": raw["sensor_id"],
            "measured_at": to_moment(raw["measured_at"]),
            "value": to_number(raw["value"]),
            "battery": to_number(raw["battery"]),
        }
    )


measurements = iot.sql(
    "measurements",
    """
    SELECT sensors.station, sensors.kind, readings.measured_at, readings.value, sensors.unit
    FROM readings JOIN sensors USING (sensor_id)
    """,
    partition_column="measured_at",
    description="Readings with where and what they measure.",
)
