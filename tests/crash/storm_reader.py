"""Reads every partition over and over until a line comes in; prints what was wrong, as JSON."""

from __future__ import annotations

import contextlib
import json
import select
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from crashing import ASSETS, World, generation_of, view_file

from assets_core.errors import AssetsError


def inside(world: World) -> list[str]:
    """Read all through the framework."""
    wrong = []
    with world.project() as project:
        for asset in ASSETS:
            for key in world.keys:
                try:
                    generation_of(project.load(asset, key), world)
                except (AssertionError, AssetsError) as error:
                    wrong.append(f"{asset}@{key}: {type(error).__name__} {error}")
    return wrong


def outside(world: World) -> list[str]:
    """Read every file of the view by opening it once: a file is one version, whole."""
    wrong = []
    for asset in ASSETS:
        for key in world.keys:
            try:
                with view_file(world, asset, key).open("rb") as file:
                    rows = pq.read_table(file, page_checksum_verification=True)
                assert len(rows), "no rows"
                generation_of(rows, world)
            except (AssertionError, OSError, pa.ArrowException) as error:
                wrong.append(f"{asset}@{key}: {type(error).__name__} {error}")
    return wrong


def scanning(world: World) -> list[str]:
    """Scan the folder of each asset with DuckDB, all partitions at once.

    DuckDB opens a file more than once for one query, so a swap in between makes the query fail
    (with any atomic rename, none of ours needed). It may fail; it must not give other rows.
    """
    wrong = []
    for asset in ASSETS:
        folder = view_file(world, asset, "*")
        query = "SELECT * FROM read_parquet(?, hive_partitioning = true)"
        with contextlib.suppress(duckdb.Error):
            rows = duckdb.sql(query, params=[str(folder)]).to_arrow_table()
            wrong += _partitions(world, asset, rows)
    return wrong


def _partitions(world: World, asset: str, rows: Any) -> list[str]:
    wrong = []
    days = pc.cast(rows["date"], "string")
    for key in world.keys:
        try:
            mine = rows.filter(pc.equal(days, key)).drop_columns(["date"])
            generation_of(mine, world)
            assert len(mine), "no rows"
        except AssertionError as error:
            wrong.append(f"{asset}@{key}: {error}")
    return wrong


def main() -> None:
    world = World(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    read = {"project": inside, "outside": outside, "scanning": scanning}[sys.argv[4]]
    reads = 0
    wrong: list[str] = []
    while not select.select([sys.stdin], [], [], 0)[0]:
        wrong += read(world)
        reads += 1
        time.sleep(0.02)  # the writer needs the machine too
    print(json.dumps({"reads": reads * len(world.keys) * len(ASSETS), "wrong": wrong[:5]}))


if __name__ == "__main__":
    main()
