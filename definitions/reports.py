"""The last step: a day of the city's climate, in one small table that people read."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from assets_core import Freshness, Partition, not_null
from definitions._group import iot


class Limits(BaseModel):
    """Where the report's words change; set with --config daily_report.dust=30 and the like."""

    dust: float = 25.0
    frost: float = 0.0


@iot.asset(
    checks=[not_null("station", "mean_temperature")],
    freshness=Freshness(lands_within="9h", warn_within="7h"),
)
def daily_report(
    daily_climate: pa.Table, weekly_trend: pa.Table, partition: Partition, limits: Limits
) -> pa.Table:
    """A line per station: temperature, air, the week's trend, and a word on it."""
    trend = {(r["station"], r["kind"]): r["change_per_day"] for r in weekly_trend.to_pylist()}
    rows = []
    for station in sorted(set(daily_climate["station"].to_pylist())):
        of_station = daily_climate.filter(pc.equal(daily_climate["station"], station))
        day = {row["kind"]: row for row in of_station.to_pylist()}
        rows.append(
            {
                "station": station,
                "mean_temperature": day["temperature"]["mean"],
                "lowest": day["temperature"]["low"],
                "highest": day["temperature"]["high"],
                "warming_per_day": trend[station, "temperature"],
                "humidity": day["humidity"]["mean"],
                "dust": day["pm25"]["mean"],
                "verdict": verdict(day, limits),
            }
        )
    print(as_text(partition.key, rows))
    return pa.Table.from_pylist(rows, schema=SCHEMA)


SCHEMA = pa.schema(
    {
        "station": pa.string(),
        "mean_temperature": pa.float64(),
        "lowest": pa.float64(),
        "highest": pa.float64(),
        "warming_per_day": pa.float64(),
        "humidity": pa.float64(),
        "dust": pa.float64(),
        "verdict": pa.string(),
    }
)


def verdict(day: dict[str, dict[str, float]], limits: Limits) -> str:
    """The day in a few words."""
    words = []
    if day["temperature"]["low"] < limits.frost:
        words.append("frost")
    if day["pm25"]["mean"] > limits.dust:
        words.append("bad air")
    return ", ".join(words) or "fine"


def as_text(day: str, rows: list[dict[str, float | str | None]]) -> str:
    """The report as lines; a run keeps what a step prints (assets logs latest daily_report)."""
    lines = [f"Climate of the city, {day}", f"{'':16}{'mean':>7}{'low':>7}{'high':>7}{'dust':>7}"]
    for row in rows:
        values = (row["mean_temperature"], row["lowest"], row["highest"], row["dust"])
        numbers = "".join(f"{value:7.1f}" for value in values)
        lines.append(f"{row['station']:<16}{numbers}  {row['verdict']}")
    return "\n".join(lines)
