"""Two years of hours, made from a real sensor's days by a rule, and the days made of them.

The rule: the n-th day of the two years has the readings of the file's day ``n mod N``, N being
the number of days that the file has, each at its own time of day.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from assets_core import Partition, asset, daily, hourly, row_count

FILE = Path(__file__).parents[1] / "nab" / "machine_temperature_system_failure.csv"
HOURS = hourly("2023-01-01", end="2025-01-01")
DAYS = daily("2023-01-01", end="2025-01-01")


@cache
def recorded_days() -> list[list[tuple[datetime, float]]]:
    """The file's readings, day by day."""
    table = pyarrow.csv.read_csv(FILE)
    days: dict[date, list[tuple[datetime, float]]] = {}
    for row in table.to_pylist():
        days.setdefault(row["timestamp"].date(), []).append((row["timestamp"], row["value"]))
    return [days[day] for day in sorted(days)]


@asset(partitions=HOURS)
def readings(partition: Partition) -> pa.Table:
    """One hour of readings; some hours have none."""
    known = recorded_days()
    number = (partition.start.date() - date(2023, 1, 1)).days
    today = datetime.combine(partition.start.date(), datetime.min.time(), UTC)
    rows = [
        {"at": today + timedelta(hours=at.hour, minutes=at.minute, seconds=at.second), "value": v}
        for at, v in known[number % len(known)]
        if at.hour == partition.start.hour
    ]
    kind = pa.schema([("at", pa.timestamp("us", "UTC")), ("value", pa.float64())])
    return pa.Table.from_pylist(rows, kind)


@asset(partitions=DAYS, checks=[row_count(max=1)])
def daily_mean(readings: pa.Table, partition: Partition) -> pa.Table:
    """The mean of a day's readings, and how many there were."""
    mean = pc.mean(readings["value"]).as_py() if len(readings) else None
    return pa.table({"day": [partition.key], "mean": [mean], "readings": [len(readings)]})
