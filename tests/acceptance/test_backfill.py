"""Two years of hours out of a real sensor: killed three times at random and resumed, as if never.

See `hours` for the rule by which the sensor's days are repeated.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from test_real_sensors import DATA, REPOSITORY, pytestmark

from assets_core import Project
from assets_core.operations.backfill.progress import Progress

pytestmark = [*pytestmark, pytest.mark.slow]

HOURS, DAYS = 2 * 8_760 + 24, 731
RANGE = "2023-01-01..2024-12-31"


def make_project(folder: Path) -> Path:
    folder.mkdir()
    shutil.copytree(Path(__file__).parent / "hours", folder / "hours")
    (folder / "nab").mkdir()
    name = "machine_temperature_system_failure.csv"
    (folder / "nab" / name).write_bytes((DATA / name).read_bytes())
    (folder / "assets.toml").write_text('module = "hours"\n')
    return folder


def begin(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "assets_core", "backfill", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    told = process.communicate()[0]
    assert process.returncode == 0, told
    return told


def progress(folder: Path) -> Progress | None:
    """How far it is, as another process sees it."""
    with Project.load("hours", root=folder) as project:
        found = project.backfills.all()
        return found[0] if found else None


def killed_at(folder: Path, process: subprocess.Popen[str], done: int) -> int:
    """Kill -9 as soon as so many partitions are recorded; how many were."""
    while process.poll() is None:
        seen = progress(folder)
        if seen is not None and seen.done >= done:
            process.kill()
            process.communicate()
            return seen.done
        time.sleep(0.2)
    raise AssertionError(f"it ended before {done} were done:\n{process.communicate()[0]}")


def test_two_years_of_hours_killed_three_times(tmp_path: Path) -> None:
    undisturbed, disturbed = make_project(tmp_path / "one"), make_project(tmp_path / "two")
    ended(begin(undisturbed, "--partitions", RANGE))

    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    moments = sorted(random.Random(seed).sample(range(100, HOURS - 100), 3))
    process = begin(disturbed, "--partitions", RANGE)
    for moment in moments:
        killed_at(disturbed, process, moment)
        seen = progress(disturbed)
        assert seen is not None
        assert (seen.state, seen.backfill.total) == ("interrupted", HOURS + DAYS)
        process = begin(disturbed, "resume", "latest")
    assert f"{HOURS + DAYS:,} done, nothing left" in ended(process)

    for folder in (undisturbed, disturbed):
        with Project.load("hours", root=folder) as project:
            assert not project.plan()
            now = project.backfills.progress("latest")
            assert (now.state, now.done, now.failed, now.left) == ("done", HOURS + DAYS, 0, 0)
            # Each was recorded once, whatever was killed.
            for asset, many in (("readings", HOURS), ("daily_mean", DAYS)):
                assert len(project.history(asset)) == many
    same(undisturbed, disturbed)


def same(one: Path, two: Path) -> None:
    """Content for content, as DuckDB reads the files that any program may read."""

    def rows(folder: Path, asset: str) -> str:
        files = folder / "data" / asset / "*" / "*.parquet"
        return f"SELECT * EXCLUDE (filename) FROM read_parquet('{files}', filename = true)"

    with duckdb.connect() as connection:
        for asset in ("readings", "daily_mean"):
            for left, right in ((one, two), (two, one)):
                query = f"{rows(left, asset)} EXCEPT ALL {rows(right, asset)}"
                assert connection.execute(query).fetchall() == []
        days = f"SELECT count(*), sum(readings) FROM ({rows(one, 'daily_mean')})"
        readings = f"SELECT count(*) FROM ({rows(one, 'readings')})"
        ((many, counted),) = connection.execute(days).fetchall()
        ((number,),) = connection.execute(readings).fetchall()
    assert (many, counted) == (DAYS, number)
    assert number > 22_695 * 7
