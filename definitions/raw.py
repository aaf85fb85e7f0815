"""Where it starts: the raw files that the gateway leaves, and the register of sensors."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from assets_core import Partition, asset, not_null, unique
from definitions._group import iot
from definitions._simulate import KINDS, STATIONS, raw_file, sensor_id

FOLDER = Path(__file__).parent.parent / "data" / "landing"

# What a sensor of each kind can measure at all, and how.
RANGES = {
    "humidity": ("%", 0.0, 100.0),
    "pm25": ("µg/m³", 0.0, 500.0),
    "pressure": ("hPa", 930.0, 1070.0),
    "temperature": ("°C", -30.0, 45.0),
}


@iot.source
def landing(partition: Partition) -> Path:
    """A day's raw file: comma-separated text, one line per measurement."""
    return raw_file(FOLDER, partition)


@asset(
    group="iot",
    owner="city-climate@example.com",
    checks=[not_null("sensor_id"), unique("sensor_id")],
)
def sensors() -> pa.Table:
    """The register of sensors: which stands where, what it measures and within which range."""
    rows = []
    for station, *_ in STATIONS:
        for kind in KINDS:
            unit, low, high = RANGES[kind]
            rows.append(
                {
                    "sensor_id": sensor_id(station, kind),
                    "station": station,
                    "kind": kind,
                    "unit": unit,
                    "low": low,
                    "high": high,
                }
            )
    return pa.Table.from_pylist(rows)
