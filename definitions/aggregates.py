"""Hours, days and the week's trend."""

from __future__ import annotations

from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc

from assets_core import Freshness, Out, accepted_values, last, not_null, row_count
from definitions._group import HOURS, iot
from definitions._simulate import KINDS

# An hour reads its day's measurements, and takes its own part of them.
hourly_climate = iot.sql(
    "hourly_climate",
    """
    SELECT station, kind, $partition_start AS hour, count(*) AS readings,
           round(avg(value), 3) AS mean, min(value) AS low, max(value) AS high
    FROM measurements
    WHERE measured_at >= $partition_start AND measured_at < $partition_end
    GROUP BY ALL
    """,
    partitions=HOURS,
    checks=[not_null("mean"), row_count(min=1)],
    description="Mean, lowest and highest value per station, kind and hour.",
)

# A day reads its 24 hours (23 or 25 when the clocks change), and is kept in DuckDB.
daily_climate = iot.sql(
    "daily_climate",
    "daily_climate.sql",
    io="warehouse",
    checks=[accepted_values("kind", KINDS), row_count(min=1)],
    freshness=Freshness(lands_within="8h", warn_within="6h"),
    description="Mean, lowest and highest value per station, kind and day.",
)


@iot.asset(io="warehouse")
def weekly_trend(daily_climate: Annotated[pa.RecordBatchReader, last(7)]) -> pa.Table:
    """How each station's values moved over the last seven days: change per day, by least squares.

    The first days of the series have fewer days to look back on.
    """
    week = daily_climate.read_all()
    x = pc.cast(pc.days_between(pa.scalar(pc.min(week["day"]).as_py()), week["day"]), pa.float64())
    sums = (
        week.append_column("x", x)
        .append_column("xx", pc.multiply(x, x))
        .append_column("xy", pc.multiply(x, week["mean"]))
        .group_by(["station", "kind"], use_threads=False)
        .aggregate([("x", "sum"), ("mean", "sum"), ("xx", "sum"), ("xy", "sum"), ("x", "count")])
    )
    return pa.table(
        {
            "station": sums["station"],
            "kind": sums["kind"],
            "days": sums["x_count"],
            "mean": pc.round(pc.divide(sums["mean_sum"], sums["x_count"]), 2),
            "change_per_day": slope(sums),
        }
    ).sort_by([("kind", "ascending"), ("station", "ascending")])


def slope(sums: pa.Table) -> pa.ChunkedArray:
    """The least-squares slope out of the sums; null where there is only one day."""
    n = sums["x_count"]
    top = pc.subtract(pc.multiply(n, sums["xy_sum"]), pc.multiply(sums["x_sum"], sums["mean_sum"]))
    bottom = pc.subtract(pc.multiply(n, sums["xx_sum"]), pc.multiply(sums["x_sum"], sums["x_sum"]))
    safe = pc.if_else(pc.equal(bottom, 0.0), None, bottom)
    return pc.round(pc.divide(top, safe), 3)


@iot.multi_asset(
    {
        "silent_sensors": Out(description="Sensors that sent less than they should, worst first."),
        "weak_batteries": Out(description="Sensors whose battery fell below a tenth."),
    },
    tags=["maintenance"],
)
def maintenance(readings: pa.Table, sensors: pa.Table) -> dict[str, pa.Table]:
    """What the technicians look at: one reading of the day makes both lists."""
    seen = readings.group_by("sensor_id").aggregate([("value", "count"), ("battery", "min")])
    most = pc.max(seen["value_count"])
    share = pc.divide(pc.cast(seen["value_count"], pa.float64()), pc.cast(most, pa.float64()))
    found = pa.table(
        {
            "sensor_id": seen["sensor_id"],
            "share_received": pc.round(share, 3),
            "battery": seen["battery_min"],
        }
    )
    silent = found.filter(pc.less(found["share_received"], 0.95)).select([0, 1])
    unheard = sensors.filter(
        pc.invert(pc.is_in(sensors["sensor_id"], value_set=found["sensor_id"]))
    )
    nothing = pa.table(
        {"sensor_id": unheard["sensor_id"], "share_received": pa.repeat(0.0, unheard.num_rows)}
    )
    weak = found.filter(pc.less(found["battery"], 10.0)).select([0, 2])
    return {
        "silent_sensors": pa.concat_tables([nothing, silent]).sort_by("share_received"),
        "weak_batteries": weak.sort_by("battery"),
    }
