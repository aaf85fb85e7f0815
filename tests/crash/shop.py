"""The pipeline that the crash tests kill: a source and two assets, every row marked.

A partition's rows all carry the generation that its raw file names, and the file names how many
rows there are: so a mixture, a loss or a double shows itself.
"""

from __future__ import annotations

import os
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets_core.asset import Definitions, Retry, asset, source
from assets_core.execute.context import Context
from assets_core.partitions import Partition, daily
from io_managers import DuckDBTables, Memory, ParquetFiles

FIRST = date(2024, 1, 1)
STORES = {
    "parquet": lambda: ParquetFiles("data"),
    "duckdb": lambda: DuckDBTables("data/warehouse.duckdb"),
    "memory": Memory,
}


def landing(partition: Partition, context: Context) -> Path:
    """``generation rows`` in a text file per day."""
    return context.resources["root"] / "raw" / f"{partition.key}.txt"


def orders(landing: Path, partition: Partition, context: Context) -> pa.Table:
    """As many rows as the file says. Waits while the file ``hold`` is there."""
    root: Path = context.resources["root"]
    generation, rows = (int(word) for word in landing.read_text().split()[:2])
    note_call(root, f"orders {partition.key} {generation}")
    while (root / "hold").exists():
        time.sleep(0.005)
    return table(generation, rows)


def totals(orders: pa.Table, partition: Partition, context: Context) -> pa.Table:
    """The same rows once more: a reader of one partition that must never see two versions."""
    note_call(context.resources["root"], f"totals {partition.key}")
    generations = orders["generation"].unique().to_pylist()
    assert len(generations) <= 1, f"a torn input: generations {generations}"
    return orders.append_column("doubled", pc.multiply(orders["id"], 2))


def table(generation: int, rows: int) -> pa.Table:
    """What ``orders`` makes of a raw file: rows whose noise takes room in any encoding."""
    noise = np.random.default_rng(generation).integers(0, 2**62, rows)
    return pa.table(
        {
            "generation": pa.array(np.full(rows, generation)),
            "id": pa.array(np.arange(rows)),
            "noise": pa.array(noise),
        }
    )


def note_call(root: Path, text: str) -> None:
    """One line per call, whole also when the process is killed the moment after."""
    file = os.open(root / "calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{text}\n".encode())
    os.close(file)


def make(root: Path, store: str, days: int, *, executor: str | None = None) -> Definitions:
    """The pipeline on ``store``, over ``days`` days."""
    partitions = daily(FIRST.isoformat(), end=(FIRST + timedelta(days)).isoformat())
    return Definitions(
        [
            source(partitions=partitions)(landing),
            asset(partitions=partitions, executor=executor)(orders),
            asset(partitions=partitions, retry=Retry(0))(totals),
        ],
        io_managers={"default": STORES[store]()},
        resources={"root": root},
    )
