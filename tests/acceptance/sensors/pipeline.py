"""One set of assets per file, declared in a loop."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated

import pyarrow as pa

from assets_core import (
    Context,
    Group,
    Partition,
    daily,
    hourly,
    in_range,
    last,
    monthly,
    not_null,
    unique,
)
from sensors.cleaning import clean, lines_of_day
from sensors.trends import trend_of

# Each file's first and last day. Days in between that hold no line are empty partitions.
FILES = {
    "ambient_temperature_system_failure": ("2013-07-04", "2014-05-28"),
    "cpu_utilization_asg_misconfiguration": ("2014-05-14", "2014-07-15"),
    "ec2_cpu_utilization_24ae8d": ("2014-02-14", "2014-02-28"),
    "ec2_cpu_utilization_53ea38": ("2014-02-14", "2014-02-28"),
    "machine_temperature_system_failure": ("2013-12-02", "2014-02-19"),
    "nyc_taxi": ("2014-07-01", "2015-01-31"),
    "occupancy_6005": ("2015-09-01", "2015-09-17"),
    "rds_cpu_utilization_cc0c53": ("2014-02-14", "2014-02-28"),
    "speed_7578": ("2015-09-08", "2015-09-17"),
}

# Small enough to have a partition per hour as well.
BY_THE_HOUR = ("occupancy_6005", "speed_7578")

HOURLY = """
    SELECT date_trunc('hour', measured_at) AS hour, count(*) AS readings,
           sum(value) AS total, min(value) AS low, max(value) AS high
    FROM readings GROUP BY ALL
"""
ONE_HOUR = """
    SELECT $partition_key AS hour, count(*) AS readings, sum(value) AS total
    FROM readings
    WHERE measured_at >= $partition_start AND measured_at < $partition_end
    HAVING count(*) > 0
"""
MONTHLY = """
    SELECT $partition_key AS month, sum(readings)::BIGINT AS readings, sum(total) AS total,
           min(low) AS low, max(high) AS high
    FROM days HAVING count(*) > 0
"""


def declare(name: str, first: str, final: str) -> None:
    """The assets of one file."""
    after = date.fromisoformat(final) + timedelta(days=1)
    next_month = (date.fromisoformat(final).replace(day=28) + timedelta(days=4)).replace(day=1)
    group = Group(name, partitions=daily(first, end=after), tags=["nab"])

    @group.source(name=f"{name}_lines")
    def lines(partition: Partition) -> pa.Table:
        """The file's lines of one day, as text."""
        return lines_of_day(name, partition.key)

    @group.asset(
        name=f"{name}_readings",
        inputs={"lines": f"{name}_lines"},
        checks=[
            not_null("measured_at", "value"),
            unique("measured_at", severity="warn"),
            in_range("value", min=-100, max=100_000),
        ],
        partition_column="measured_at",
        max_rejected=0.01,
    )
    def readings(lines: pa.Table, context: Context) -> pa.Table:
        """The day's measurements, typed."""
        return clean(lines, context)

    group.sql(f"{name}_hourly", HOURLY, inputs={"readings": f"{name}_readings"})
    group.sql(f"{name}_daily", "daily.sql", inputs={"readings": f"{name}_readings"}, io="warehouse")
    group.sql(
        f"{name}_monthly",
        MONTHLY,
        partitions=monthly(first[:7], end=next_month),
        inputs={"days": f"{name}_daily"},
    )
    if name in BY_THE_HOUR:
        group.sql(
            f"{name}_by_the_hour",
            ONE_HOUR,
            partitions=hourly(f"{first}T00", end=f"{after}T00"),
            inputs={"readings": f"{name}_readings"},
        )

    @group.asset(name=f"{name}_trend", inputs={"days": f"{name}_daily"})
    def trend(days: Annotated[pa.Table, last(7)], partition: Partition) -> pa.Table:
        """Where the week is heading."""
        return trend_of(days, partition.key)
