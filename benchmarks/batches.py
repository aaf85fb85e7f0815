"""A range of partitions in one go: ten years of days of an SQL asset, built by calls for many.

    python benchmarks/batches.py [--days 3650] [--rows 20] [--alone 200] [--calls 366 3650]
        [--stores duckdb parquet] [--json]

Per store the asset is built one partition at a time (``--alone`` partitions of it, unless 0 asks
for all: the price of one does not depend on how many there are) and with ``batch=``; both are the
whole ``materialize``, from the plan to the last record. Rows and data versions are compared.

Goal: all days with ``batch=`` in at most 5 % of the time that one by one takes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from assets_core import Batch, Definitions, Partitions, Project, asset, daily, sql_asset
from assets_core.contracts import IOManager
from io_managers import DuckDBTables, ParquetFiles

START = date(2014, 1, 1)
STORES: dict[str, Callable[[], IOManager]] = {
    "duckdb": lambda: DuckDBTables("warehouse.duckdb"),
    "parquet": lambda: ParquetFiles("data"),
}
QUERY = """
    SELECT day, sensor, count(*) AS n, avg(value) AS mean, max(value) AS highest
    FROM readings
    GROUP BY ALL
"""
GOAL = 0.05


def definitions(store: str, days: int, rows: int, batch: Batch | None) -> Definitions:
    """``rows`` readings a day, and what an SQL asset makes of them."""
    partitions = daily(START.isoformat(), end=(START + timedelta(days)).isoformat())

    @asset(partitions=partitions, partition_column="day", batch=Batch(max_partitions=366))
    def readings(range_: Partitions) -> pa.Table:
        first = range_.first.start
        assert first is not None
        number = np.repeat(np.arange(len(range_)), rows) + (first.date() - START).days
        epoch = (START - date(1970, 1, 1)).days
        return pa.table(
            {
                "day": pa.array((number + epoch).astype(np.int32)).cast(pa.date32()),
                "sensor": np.arange(len(number)) % 5,
                "value": (number * 7919 + np.arange(len(number)) % rows * 104_729) % 1000 / 10,
            }
        )

    summary = sql_asset(
        "summary", QUERY, partitions=partitions, partition_column="day", batch=batch
    )
    return Definitions([readings, summary], io_managers={"default": STORES[store]()})


def build(
    root: Path, store: str, days: int, rows: int, batch: Batch | None, until: int
) -> tuple[float, dict[str, str]]:
    """Seconds for the asset's partitions, and their data versions by key."""
    root.mkdir()
    with Project(definitions(store, days, rows, batch), root=root) as project:
        assert project.materialize("readings").ok
        last = (START + timedelta(until - 1)).isoformat()
        began = time.perf_counter()
        result = project.materialize("summary", partitions=f"{START}..{last}")
        took = time.perf_counter() - began
        assert result.ok, result.failures[0]
        assert result.counts["done"] == until
        facts = project.state.materializations("prod", "summary")
        return took, {fact.partition: str(fact.data_version) for fact in facts}


def measure(place: Path, store: str, options: argparse.Namespace) -> dict[str, Any]:
    """One store's figures: seconds one by one and by calls of each size."""
    few = options.alone or options.days
    root = place / f"{store}-alone"
    alone, versions = build(root, store, options.days, options.rows, None, few)
    each = alone / few
    found: dict[str, Any] = {"store": store, "ms_each_alone": each * 1e3, "measured": few}
    for size in options.calls:
        root = place / f"{store}-{size}"
        took, together = build(root, store, options.days, options.rows, Batch(size), options.days)
        assert versions.items() <= together.items(), "batches made other rows"
        found[f"calls_of_{size}"] = {
            "seconds": took,
            "ms_each": took / options.days * 1e3,
            "ratio": took / (each * options.days),
        }
    return found


def main() -> None:
    """Print the figures beside the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=3650)
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--alone", type=int, default=200)
    parser.add_argument("--calls", type=int, nargs="+", default=[366, 3650])
    parser.add_argument("--stores", nargs="+", default=list(STORES), choices=list(STORES))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="batches-", dir=Path.cwd()))
    try:
        # Removed at the end only: after many files were removed ext4 is slow to create new ones.
        figures = [measure(place, store, options) for store in options.stores]
    finally:
        shutil.rmtree(place)
    if options.json:
        json.dump(figures, sys.stdout)
        return
    for one in figures:
        alone = one["ms_each_alone"]
        print(
            f"{one['store']}: one by one {alone:.2f} ms a partition ({one['measured']:,} of them)"
        )
        for size in options.calls:
            got = one[f"calls_of_{size}"]
            print(
                f"  calls of {size:>5,}: {options.days:,} days in {got['seconds']:.2f} s, "
                f"{got['ms_each']:.2f} ms each: {got['ratio']:.1%} of one by one "
                f"(goal: {GOAL:.0%})"
            )


if __name__ == "__main__":
    main()
