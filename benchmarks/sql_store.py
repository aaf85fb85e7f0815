"""SQL where the data is: raw → clean → daily over tables of one DuckDB file, one job.

    python benchmarks/sql_store.py [--rows 1000 100000 5000000] [--days 60 20 2] [--repeat 3]
        [--peers] [--json]

The yardstick is the bare client: per step one transaction of a delete, an insert of the query's
rows, a fence row's update, and a commit. Both make the same rows, which is checked. Every step is
an overwrite of a partition that is there already, as a daily rerun is; the same is given for the
first build. ``--peers`` does it with SQLMesh and dbt-duckdb, where those are installed.

Goal: at most 1.3 times the bare client at every size.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb

from assets_core import Definitions, Project, daily, sql_asset
from io_managers import DuckDBTables

START = date(2024, 1, 1)
GOAL = 1.3

RAW = """
    SELECT $partition_start + i * INTERVAL 1 SECOND AS moment, i % 97 AS sensor,
           'sensor ' || (i % 97) AS name, (i * 7919 % 10007) / 100.0 AS value
    FROM range({rows}) AS t(i)
"""
CLEAN = """
    SELECT moment, sensor, upper(name) AS name, round(value * 1.8 + 32, 2) AS value
    FROM raw WHERE value >= 1
"""
DAILY = """
    SELECT sensor, name, count(*) AS n, round(avg(value), 6) AS mean, max(value) AS high
    FROM clean GROUP BY ALL
"""
QUERIES = {"raw": RAW, "clean": CLEAN, "daily": DAILY}


def days(count: int) -> list[str]:
    """The keys of the partitions."""
    return [(START + timedelta(at)).isoformat() for at in range(count)]


class Bare:
    """What a careful script does with the client alone."""

    def __init__(self, root: Path, rows: int) -> None:
        self._db = duckdb.connect(str(root / "bare.duckdb"))
        self._db.execute("SET TimeZone = 'UTC'")
        self._db.execute(
            "CREATE TABLE fences(asset VARCHAR, day VARCHAR, token BIGINT, fact VARCHAR,"
            " PRIMARY KEY (asset, day))"
        )
        self._queries = {name: query.format(rows=rows) for name, query in QUERIES.items()}
        start = "TIMESTAMPTZ '2024-01-01 00:00:00+00'"
        for name, query in self._queries.items():
            shape = query.replace("$partition_start", start)
            self._db.execute(f"CREATE TABLE {name} AS SELECT *, '' AS day FROM ({shape}) LIMIT 0")

    def build(self, keys: list[str]) -> float:
        """Seconds for every partition of every table."""
        run, began = self._db.execute, time.perf_counter()
        for key in keys:
            for name, query in self._queries.items():
                of_day = f"(SELECT * EXCLUDE day FROM {{}} WHERE day = '{key}')"
                query = query.replace("$partition_start", f"TIMESTAMPTZ '{key} 00:00:00+00'")
                query = query.replace("FROM raw", "FROM " + of_day.format("raw"))
                query = query.replace("FROM clean", "FROM " + of_day.format("clean"))
                run("BEGIN TRANSACTION")
                run(f"DELETE FROM {name} WHERE day = ?", [key])
                run(f"INSERT INTO {name} SELECT *, '{key}' FROM ({query})")
                run(
                    "INSERT INTO fences VALUES (?, ?, 1, 'fact')"
                    " ON CONFLICT DO UPDATE SET token = token + 1, fact = excluded.fact",
                    [name, key],
                )
                run("COMMIT")
        return time.perf_counter() - began

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


class Ours:
    """The same assets here."""

    def __init__(self, root: Path, rows: int, count: int) -> None:
        end = (START + timedelta(count)).isoformat()
        partitions = daily(START.isoformat(), end=end)
        assets = [
            sql_asset(name, query.format(rows=rows), partitions=partitions)
            for name, query in QUERIES.items()
        ]
        self._project = Project(
            Definitions(assets, io_managers={"default": DuckDBTables("ours.duckdb")}), root=root
        )
        self._steps = count * len(QUERIES)

    def build(self, *, force: bool) -> float:
        """Seconds for every partition of every table, from the plan to the last record."""
        began = time.perf_counter()
        result = self._project.materialize(force=force, jobs=1)
        took = time.perf_counter() - began
        assert result.ok, result.failures[0]
        assert result.counts["done"] == self._steps, result.counts
        return took

    def close(self) -> None:
        """Let go of the project."""
        self._project.close()


def same_rows(root: Path) -> None:
    """Refuse to compare what made other rows."""
    with duckdb.connect() as db:
        db.execute(f"ATTACH '{root}/bare.duckdb' AS bare (READ_ONLY)")
        db.execute(f"ATTACH '{root}/ours.duckdb' AS ours (READ_ONLY)")
        for name in QUERIES:
            left = f"SELECT * EXCLUDE day FROM bare.{name}"
            right = f"SELECT * EXCLUDE _partition FROM ours.{name}"
            for one, other in ((left, right), (right, left)):
                found = db.execute(f"SELECT count(*) FROM ({one} EXCEPT ALL {other})").fetchone()
                assert found == (0,), f"{name} holds other rows"


def measure(root: Path, rows: int, count: int, repeat: int) -> dict[str, Any]:
    """One size's figures, in ms a step: first build and overwrite, the two taking turns."""
    keys, steps = days(count), count * len(QUERIES)
    bare, ours = Bare(root, rows), Ours(root, rows, count)
    first = bare.build(keys), ours.build(force=False)
    turns = [(bare.build(keys), ours.build(force=True)) for _ in range(repeat)]
    bare.close()
    ours.close()
    same_rows(root)
    one, other = (statistics.median(each) for each in zip(*turns, strict=True))
    return {
        "rows": rows,
        "steps": steps,
        "bare_first_ms": first[0] / steps * 1e3,
        "ours_first_ms": first[1] / steps * 1e3,
        "first_ratio": first[1] / first[0],
        "bare_ms": one / steps * 1e3,
        "ours_ms": other / steps * 1e3,
        "ratio": statistics.median(b / a for a, b in turns),
    }


def main() -> None:
    """Print the figures beside the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 100_000, 5_000_000])
    parser.add_argument("--days", type=int, nargs="+", default=[60, 20, 2])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="sql-store-", dir=Path.cwd()))
    found = []
    try:
        for rows, count in zip(options.rows, options.days, strict=True):
            root = place / str(rows)
            root.mkdir()
            found.append(measure(root, rows, count, options.repeat))
            if not options.json:
                one = found[-1]
                print(
                    f"{rows:>9,} rows, {one['steps']} steps:"
                    f" first {one['ours_first_ms']:8.2f} / {one['bare_first_ms']:8.2f} ms"
                    f" = {one['first_ratio']:.2f};"
                    f" overwrite {one['ours_ms']:8.2f} / {one['bare_ms']:8.2f} ms"
                    f" = {one['ratio']:.2f} (goal {GOAL})",
                    flush=True,
                )
    finally:
        shutil.rmtree(place)
    if options.json:
        json.dump(found, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
