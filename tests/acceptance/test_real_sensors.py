"""A pipeline over real sensor data: nothing lost, and what changes runs, and only that.

The files (Numenta Anomaly Benchmark) lie outside the repository: in the folder that
ASSETS_ACCEPTANCE_DATA names, or in ../shared/data/nab.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

REPOSITORY = Path(__file__).parents[2]
DATA = Path(os.environ.get("ASSETS_ACCEPTANCE_DATA") or REPOSITORY.parent / "shared/data/nab")

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(
        not DATA.is_dir(),
        reason=f"acceptance: the sensor data is not in {DATA}; name its folder with "
        "ASSETS_ACCEPTANCE_DATA",
    ),
]

ROWS = {
    "ambient_temperature_system_failure": 7_267,
    "cpu_utilization_asg_misconfiguration": 18_050,
    "ec2_cpu_utilization_24ae8d": 4_032,
    "ec2_cpu_utilization_53ea38": 4_032,
    "machine_temperature_system_failure": 22_695,
    "nyc_taxi": 10_320,
    "occupancy_6005": 2_380,
    "rds_cpu_utilization_cc0c53": 4_032,
    "speed_7578": 1_127,
}

# A fresh interpreter each time, as a command would be: code and caches are read anew.
SCRIPT = """
import json, sys
from assets_core import Project

events = {}
def note(event):
    if event.kind not in ("started", "retrying"):
        events.setdefault(event.kind, []).append(f"{event.asset}@{event.partition}")

with Project.load("sensors", root=sys.argv[1]) as project:
    result = project.materialize(sys.argv[2], on_event=note)
    plan = project.plan(sys.argv[2])
    events = {kind: sorted(steps) for kind, steps in events.items()}
    print(json.dumps({"result": result.to_dict(), "events": events, "stale": plan.must + plan.may}))
"""


def make_project(folder: Path) -> Path:
    shutil.copytree(Path(__file__).parent / "sensors", folder / "sensors")
    shutil.copytree(DATA, folder / "nab")
    (folder / "nab").chmod(0o755)
    for path in (folder / "nab").iterdir():
        path.chmod(0o644)
    (folder / "assets.toml").write_text('module = "sensors"\n')
    return folder


def materialize(folder: Path, select: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), select],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def built(found: dict[str, Any]) -> set[str]:
    """Asset partitions whose content changed."""
    return set(found["events"].get("done", ()))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {path.name}"
    path.write_text(text.replace(old, new))


# --------------------------------------------------------------------------------------------
# Everything, once


def built_once(factory: pytest.TempPathFactory, name: str, select: str) -> Path:
    """A project with these assets materialized, once for all the workers of the session."""
    shared = factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    folder = shared / name
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done.json").exists():
            found = materialize(make_project(folder), select)
            (folder / "done.json").write_text(json.dumps(found))
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files. For reading only."""
    return built_once(tmp_path_factory, "real-sensors", "*")


@pytest.fixture(scope="session")
def summary(whole: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((whole / "done.json").read_text())
    return found


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True)
    try:
        yield connection
    finally:
        connection.close()


def rows_of(folder: Path, asset: str) -> str:
    """A scan of all of an asset's published partitions, as any engine would make it."""
    return f"read_parquet('{folder}/data/{asset}/*/*.parquet')"


def csv_of(folder: Path, name: str) -> str:
    return f"read_csv('{folder}/nab/{name}.csv')"


def values(query: str) -> list[tuple[Any, ...]]:
    return duckdb.sql(query).fetchall()


def test_everything_is_built_and_nothing_is_left(summary: dict[str, Any]) -> None:
    assert (summary["result"]["status"], summary["stale"]) == ("done", 0)


def test_nothing_failed_was_blocked_or_rejected(summary: dict[str, Any]) -> None:
    counts = summary["result"]["counts"]
    assert (counts["failed"], counts["blocked"], summary["result"]["rejected"]) == (0, 0, 0)


def test_timestamps_that_come_twice_are_warned_of(summary: dict[str, Any]) -> None:
    assert summary["result"]["warnings"] > 0


@pytest.mark.parametrize(("name", "rows"), ROWS.items())
def test_the_days_together_hold_every_row_of_the_file(whole: Path, name: str, rows: int) -> None:
    days = f"SELECT measured_at, value FROM {rows_of(whole, f'{name}_readings')}"
    lines = f"SELECT timestamp, value::DOUBLE FROM {csv_of(whole, name)}"
    counted = f"SELECT (SELECT count(*) FROM ({days})), (SELECT count(*) FROM ({lines}))"
    unlike = (
        f"SELECT count(*) FROM (({days} EXCEPT ALL {lines}) UNION ALL ({lines} EXCEPT ALL {days}))"
    )
    assert values(counted) == [(rows, rows)]
    assert values(unlike) == [(0,)]


@pytest.mark.parametrize("name", ROWS)
def test_a_day_holds_the_lines_of_that_day(whole: Path, name: str) -> None:
    scan = rows_of(whole, f"{name}_readings").replace("')", "', hive_partitioning = true)")
    strangers = f"SELECT count(*) FROM {scan} WHERE measured_at::DATE <> date"
    assert values(strangers) == [(0,)]


def test_days_without_data_are_empty_partitions(whole: Path) -> None:
    name = "ambient_temperature_system_failure"
    folders = len(list((whole / "data" / f"{name}_readings").glob("date=*")))
    with_data = values(f"SELECT count(DISTINCT timestamp::DATE) FROM {csv_of(whole, name)}")
    assert (folders, with_data) == (329, [(311,)])


AGGREGATES = "count(*), round(sum(value), 3), min(value)::DOUBLE, max(value)::DOUBLE"
AGGREGATED = "sum(readings)::BIGINT, round(sum(total), 3), min(low), max(high)"


@pytest.mark.parametrize("name", ROWS)
def test_hours_equal_those_of_the_file(whole: Path, name: str) -> None:
    hour = "date_trunc('hour', timestamp)"
    wanted = f"SELECT {hour}, {AGGREGATES} FROM {csv_of(whole, name)} GROUP BY 1 ORDER BY 1"
    found = (
        f"SELECT hour, {AGGREGATED} FROM {rows_of(whole, f'{name}_hourly')} GROUP BY 1 ORDER BY 1"
    )
    assert values(found) == values(wanted)


@pytest.mark.parametrize("name", ["occupancy_6005", "speed_7578"])
def test_hourly_partitions_equal_the_files_hours(whole: Path, name: str) -> None:
    hour = "strftime(timestamp, '%Y-%m-%dT%H')"
    totals = f"{hour}, count(*), round(sum(value), 3)"
    wanted = f"SELECT {totals} FROM {csv_of(whole, name)} GROUP BY 1 ORDER BY 1"
    scan = rows_of(whole, f"{name}_by_the_hour").replace("')", "', hive_partitioning = false)")
    found = f"SELECT hour, readings, round(total, 3) FROM {scan} ORDER BY 1"
    assert values(found) == values(wanted)


@pytest.mark.parametrize("name", ROWS)
def test_days_in_the_database_equal_those_of_the_file(whole: Path, name: str) -> None:
    day = "strftime(timestamp, '%Y-%m-%d')"
    wanted = f"SELECT {day}, {AGGREGATES} FROM {csv_of(whole, name)} GROUP BY 1 ORDER BY 1"
    found = f"SELECT day, {AGGREGATED} FROM {name}_daily GROUP BY 1 ORDER BY 1"
    with opened(whole) as connection:
        assert connection.execute(found).fetchall() == values(wanted)


@pytest.mark.parametrize("name", ROWS)
def test_months_equal_those_of_the_file(whole: Path, name: str) -> None:
    month = "strftime(timestamp, '%Y-%m')"
    wanted = f"SELECT {month}, {AGGREGATES} FROM {csv_of(whole, name)} GROUP BY 1 ORDER BY 1"
    scan = rows_of(whole, f"{name}_monthly").replace("')", "', hive_partitioning = false)")
    found = f"SELECT month, {AGGREGATED} FROM {scan} GROUP BY 1 ORDER BY 1"
    assert values(found) == values(wanted)


@pytest.mark.parametrize("name", ROWS)
def test_the_trend_looks_back_seven_days(whole: Path, name: str) -> None:
    """The independent way: a window over all days at once."""
    wanted = f"""
        WITH means AS (
            SELECT timestamp::DATE AS day, avg(value) AS mean
            FROM {csv_of(whole, name)} GROUP BY 1
        )
        SELECT strftime(day, '%Y-%m-%d'), count(*) OVER week, avg(mean) OVER week FROM means
        WINDOW week AS (ORDER BY day RANGE BETWEEN INTERVAL 6 DAYS PRECEDING AND CURRENT ROW)
        ORDER BY 1
    """
    scan = f"SELECT day, days, mean FROM {rows_of(whole, f'{name}_trend')} ORDER BY 1"
    found = {day: (days, mean) for day, days, mean in values(scan)}
    for day, days, mean in values(wanted):
        assert found[day] == (days, pytest.approx(mean, abs=2e-6))


# --------------------------------------------------------------------------------------------
# Then something changes


NAME = "rds_cpu_utilization_cc0c53"
DAYS = [str(date(2014, 2, 14) + timedelta(days=i)) for i in range(15)]


@pytest.fixture
def project(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """One file's assets, materialized, to be changed by a test."""
    built = built_once(tmp_path_factory, "one-sensor", f"group:{NAME}")
    return Path(shutil.copytree(built, tmp_path / "project"))


def test_a_second_time_there_is_nothing_to_do(project: Path) -> None:
    found = materialize(project, f"group:{NAME}")
    assert (found["events"], found["result"]["run"]) == ({}, "")


def test_one_changed_line_runs_that_days_chain_and_the_windows_that_read_it(project: Path) -> None:
    edit(
        project / "nab" / f"{NAME}.csv",
        "2014-02-18 12:00:00,6.2079999999999975\n",
        "2014-02-18 12:00:00,9.5\n",
    )
    found = materialize(project, f"group:{NAME}")
    chain = {f"{NAME}_{step}@2014-02-18" for step in ("readings", "hourly", "daily")}
    weeks = {f"{NAME}_trend@2014-02-{day}" for day in range(18, 25)}
    assert built(found) == chain | weeks | {f"{NAME}_monthly@2014-02"}
    assert set(found["events"]) == {"done"}


def test_a_line_more_than_the_file_had_runs_the_same(project: Path) -> None:
    path = project / "nab" / f"{NAME}.csv"
    path.write_text(path.read_text().rstrip("\n") + "\n2014-02-28 23:59:00,1.5\n")
    found = materialize(project, f"group:{NAME}")
    last_day = {f"{NAME}_{step}@2014-02-28" for step in ("readings", "hourly", "daily", "trend")}
    assert built(found) == last_day | {f"{NAME}_monthly@2014-02"}


def test_a_touched_file_with_equal_lines_runs_nothing(project: Path) -> None:
    path = project / "nab" / f"{NAME}.csv"
    path.write_bytes(path.read_bytes())
    assert materialize(project, f"group:{NAME}")["events"] == {}


def test_lines_in_another_order_run_nothing(project: Path) -> None:
    path = project / "nab" / f"{NAME}.csv"
    head, *lines = path.read_text().splitlines()
    path.write_text("\n".join([head, *reversed(lines)]))
    assert materialize(project, f"group:{NAME}")["events"] == {}


def test_a_refactoring_with_equal_output_runs_nothing_downstream(project: Path) -> None:
    edit(
        project / "sensors" / "cleaning.py",
        "    kept = lines.filter(good)\n",
        "    mask = good\n    kept = lines.filter(mask)\n",
    )
    found = materialize(project, f"group:{NAME}")
    steps = {kind: len(names) for kind, names in found["events"].items()}
    # 15 days of readings run; hours, days, trends and the month are still fresh.
    assert steps == {"unchanged": 15, "released": 15 + 15 + 15 + 1}
    assert {name.split("@")[0] for name in found["events"]["unchanged"]} == {f"{NAME}_readings"}


def test_comments_and_layout_change_nothing(project: Path) -> None:
    edit(
        project / "sensors" / "trends.py",
        "    totals = days",
        "    # What a week was worth.\n\n    totals = days",
    )
    assert materialize(project, f"group:{NAME}")["events"] == {}


def test_a_helpers_constant_runs_what_uses_it_and_nothing_else(project: Path) -> None:
    edit(project / "sensors" / "trends.py", "DIGITS = 6", "DIGITS = 2")
    found = materialize(project, f"group:{NAME}")
    ran = {step for steps in found["events"].values() for step in steps}
    assert ran == {f"{NAME}_trend@{day}" for day in DAYS}


def test_a_changed_query_file_runs_its_asset_and_what_reads_it(project: Path) -> None:
    edit(project / "sensors" / "daily.sql", "max(value) AS high", "max(value) + 1 AS high")
    found = materialize(project, f"group:{NAME}")
    # The trend does not look at `high`, but its input's content changed: it runs, to equal output.
    assert built(found) == {f"{NAME}_daily@{day}" for day in DAYS} | {f"{NAME}_monthly@2014-02"}
    assert set(found["events"]["unchanged"]) == {f"{NAME}_trend@{day}" for day in DAYS}
