"""The sensors' gateway, simulated: one raw file a day, the same bytes on every machine.

Made of sums of sines and a seeded generator whose numbers Python guarantees, with the faults
that real gateways have: lost ids, garbled values, spikes, lines sent twice, a drifting clock.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from assets_core import Partition

STEP = timedelta(minutes=5)
HEADER = "sensor_id,measured_at,value,battery"

# Where stations stand: (name, degrees warmer than the city's mean, traffic nearby, phase of noise)
STATIONS = (
    ("Alexanderplatz", 1.1, 1.0, 0.0),
    ("Koepenick", -0.4, 0.3, 1.0),
    ("Pankow", 0.0, 0.5, 2.1),
    ("Spandau", -0.2, 0.6, 3.3),
    ("Tempelhof", 0.3, 0.2, 4.0),
    ("Wannsee", -0.9, 0.1, 5.2),
)
KINDS = ("humidity", "pm25", "pressure", "temperature")


def sensor_id(station: str, kind: str) -> str:
    """``ALE-temperature`` and the like."""
    return f"{station[:3].upper()}-{kind}"


def raw_file(folder: Path, partition: Partition) -> Path:
    """The day's raw file, as the gateway would have left it; made when it is not there yet."""
    path = folder / f"{partition.key}.csv"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        staged = folder / f".{partition.key}.{os.getpid()}"
        staged.write_text("\n".join([HEADER, *_lines(partition), ""]), encoding="utf-8")
        assert partition.end is not None
        landed = (partition.end + timedelta(minutes=7)).timestamp()
        os.utime(staged, (landed, landed))
        staged.replace(path)
    return path


def _lines(partition: Partition) -> Iterator[str]:
    assert partition.start is not None
    assert partition.end is not None
    dice = random.Random(partition.key)
    moment, end = partition.start.astimezone(UTC), partition.end.astimezone(UTC)
    while moment < end:
        for station in STATIONS:
            for kind in KINDS:
                yield from _line(station, kind, moment, dice)
        moment += STEP


def _line(
    station: tuple[str, float, float, float], kind: str, moment: datetime, dice: random.Random
) -> Iterator[str]:
    name = sensor_id(station[0], kind)
    value = f"{_measure(station, kind, moment, dice):.2f}"
    battery = f"{_battery(name, moment):.1f}"
    if _is_out(name, moment):
        return
    fault = dice.random()
    if fault < 0.0010:
        name = ""
    elif fault < 0.0020:
        value = "ERR"
    elif fault < 0.0030:
        value = "-9999.00"
    elif fault < 0.0035:
        name = "TEST-BENCH"
    elif fault < 0.0040:
        moment += timedelta(days=365)
    line = f"{name},{moment:%Y-%m-%dT%H:%M:%SZ},{value},{battery}"
    yield line
    if 0.0040 <= fault < 0.0060:
        yield line


def _measure(
    station: tuple[str, float, float, float], kind: str, moment: datetime, dice: random.Random
) -> float:
    _, warmer, traffic, phase = station
    days = moment.timestamp() / 86_400
    noise = dice.random() - 0.5
    temperature = _temperature(days) + warmer + 0.6 * math.sin(days * 7 + phase)
    if kind == "temperature":
        return temperature + 0.4 * noise
    if kind == "humidity":
        return min(99.0, 84 - 1.9 * temperature + 5 * math.sin(days * 1.3 + phase) + 2 * noise)
    if kind == "pressure":
        return 1013 + 11 * math.sin(days * 0.9) + 4 * math.sin(days * 2.3 + 1) + 0.3 * noise
    return max(1.0, _dust(days, moment) * (0.4 + traffic) + 4 + 3 * noise)


def _temperature(days: float) -> float:
    season = -9.5 * math.cos((days - 16) / 365.25 * math.tau)
    weather = 2.4 * math.sin(days * 0.71) + 1.2 * math.sin(days * 1.9 + 2)
    return 11.4 + season + weather - 2.6 * math.cos((days - 0.08) * math.tau)


def _dust(days: float, moment: datetime) -> float:
    """Fine dust in µg/m³: rush hours, calm weather, and the fireworks of New Year's night."""
    hour = days % 1 * 24
    rush = math.exp(-((hour - 7) ** 2) / 3) + math.exp(-((hour - 16) ** 2) / 5)
    local = moment + timedelta(hours=1)
    new_year = (local - datetime(local.year, 1, 1, tzinfo=UTC)) / timedelta(hours=1)
    fireworks = 240 * math.exp(-new_year / 2.5) if new_year < 24 else 0.0
    return 7 + 12 * rush + 4 * math.sin(days * 0.8) + fireworks


def _battery(name: str, moment: datetime) -> float:
    """Per cent left: sensors were fitted on different days and last about 400."""
    fitted = sum(name.encode()) * 37 % 400
    return max(1.0, 100 - (moment.timestamp() / 86_400 + fitted) % 400 / 4)


def _is_out(name: str, moment: datetime) -> bool:
    """Each sensor is silent for two hours now and then."""
    slot = int(moment.timestamp()) // 7200
    return (slot * 31 + sum(name.encode()) * 17) % 211 == 0
