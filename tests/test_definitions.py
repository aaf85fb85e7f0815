"""The bundled project: what a fresh clone runs, in a folder of its own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.compute as pc
import pytest

ROOT = Path(__file__).parent.parent
DAY = "2024-01-01"
STEPS = 1 + 1 + 2 + 1 + 24 + 1 + 1 + 1


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One day, materialized by the command. For reading only."""
    folder = copied(tmp_path_factory.mktemp("bundled"))
    done = assets(folder, "materialize", "--partition", DAY, "--json")
    (folder / "result.json").write_text(done.stdout)
    return folder


def copied(folder: Path) -> Path:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "definitions", folder / "definitions", ignore=ignore)
    return folder


def assets(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "assets_core", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "120"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done


def rows(query: str) -> list[tuple[Any, ...]]:
    return duckdb.sql(query).fetchall()


def test_a_day_is_built_whole(built: Path) -> None:
    result = json.loads((built / "result.json").read_text())
    assert (result["counts"]["done"], result["exit_code"]) == (STEPS, 0)


def test_a_second_time_nothing_is_left_to_do(built: Path) -> None:
    assert "Nothing to do" in assets(built, "materialize", "--partition", DAY).stdout


def test_the_raw_file_is_the_same_on_every_machine(built: Path) -> None:
    made = (built / "data" / "landing" / f"{DAY}.csv").read_bytes()
    assert hashlib.sha256(made).hexdigest()[:16] == "408892eacf7c3ef7"


def test_no_line_is_lost(built: Path) -> None:
    lines = len((built / "data" / "landing" / f"{DAY}.csv").read_text().splitlines()) - 1
    result = json.loads((built / "result.json").read_text())
    scan = f"SELECT count(*) FROM read_parquet('{built}/data/readings/*/*.parquet')"
    assert rows(scan) == [(lines - result["rejected"],)]


def test_bad_lines_are_set_aside_with_their_reasons(built: Path) -> None:
    told = json.loads(assets(built, "rejects", "readings", "--json").stdout)
    assert {row["_reason"] for row in told["rows"]} == {
        "clock is off",
        "no sensor id",
        "not a number",
        "outside the sensor's range",
        "sent twice",
        "unknown sensor",
    }


def test_a_day_in_the_database_sums_up_its_hours(built: Path) -> None:
    hours = f"SELECT sum(readings) FROM read_parquet('{built}/data/hourly_climate/*/*.parquet')"
    connection = duckdb.connect(str(built / "data" / "warehouse.duckdb"), read_only=True)
    try:
        days = connection.execute("SELECT sum(readings) FROM daily_climate").fetchall()
    finally:
        connection.close()
    assert days == rows(hours)


def test_the_report_is_printed_and_kept_with_its_columns_in_line(built: Path) -> None:
    told = assets(built, "logs", "latest", "daily_report").stdout
    assert "Alexanderplatz      0.5   -1.5    2.3   59.6  frost, bad air" in told


def test_the_report_has_a_line_per_station(built: Path) -> None:
    scan = f"SELECT count(*) FROM read_parquet('{built}/data/daily_report/*/*.parquet')"
    assert rows(scan) == [(6,)]


def test_every_asset_is_described_owned_and_grouped(built: Path) -> None:
    listed = json.loads(assets(built, "list", "--json").stdout)["assets"]
    bare = [a["name"] for a in listed if not (a["description"] and a["owner"] and a["group"])]
    assert bare == []


def test_the_cleaning_is_an_ordinary_function(built: Path) -> None:
    """As the how-to shows: called with plain values, without a project."""
    code = f"""
import sys; sys.path[:0] = [{str(built)!r}, {str(ROOT)!r}]
from pathlib import Path
from assets_core import Context
from definitions import cleaning, raw
from definitions._group import DAYS
Path("two.csv").write_text(
    "sensor_id,measured_at,value,battery\\n"
    "ALE-pm25,2024-01-05T10:00:00Z,12.5,90.0\\n"
    ",2024-01-05T10:05:00Z,12.5,90.0\\n"
)
context = Context(asset="readings")
good = cleaning.readings(Path("two.csv"), raw.sensors(), DAYS.partition("2024-01-05"), context)
print(good.num_rows, context.rejected["readings"][0]["_reason"].to_pylist())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=built, capture_output=True, text=True)
    assert done.stdout == "1 ['no sensor id']\n", done.stderr


@pytest.mark.slow
def test_late_data_runs_exactly_its_day_and_the_weeks_that_read_it(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    assets(folder, "materialize", "--yes", "--jobs", "2")
    with (folder / "data" / "landing" / "2024-01-09.csv").open("a") as file:
        file.write("ALE-pm25,2024-01-09T10:02:00Z,77.00,60.0\n")
    plan = json.loads(assets(folder, "plan", "--json").stdout)
    days = {step["asset"]: set() for step in plan["steps"]}
    for step in plan["steps"]:
        days[step["asset"]].add(step["partition"])
    result = json.loads(assets(folder, "materialize", "--yes", "--json").stdout)
    by_asset = {name: counts.get("done", 0) for name, counts in result["by_asset"].items()}
    assert days["readings"] == {"2024-01-09"}
    assert days["weekly_trend"] == {f"2024-01-{day:02}" for day in range(9, 15)}
    # One hour has another mean, so one day has, and with it the weeks that look back on it.
    assert by_asset["hourly_climate"] == 1
    assert by_asset["daily_climate"] == 1
    assert by_asset["weekly_trend"] == 6


def test_the_numbers_are_believable(built: Path) -> None:
    import pyarrow.parquet as pq

    path = next((built / "data" / "measurements").glob("date=*/*.parquet"))
    table = pq.ParquetFile(path).read()
    means = table.group_by("kind").aggregate([("value", "mean")])
    found = dict(zip(means["kind"].to_pylist(), means["value_mean"].to_pylist(), strict=True))
    assert -5 < found["temperature"] < 8
    assert 60 < found["humidity"] < 100
    assert 990 < found["pressure"] < 1040
    assert pc.max(table.filter(pc.equal(table["kind"], "pm25"))["value"]).as_py() > 200
