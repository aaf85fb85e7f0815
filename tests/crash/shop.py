"""The pipeline that the crash tests kill: a source and two assets, every row marked.

A partition's rows all carry the generation that its raw file names, and the file names how many
rows there are: so a mixture, a loss or a double shows itself.
"""

from __future__ import annotations

import os
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets_core.declare.decorators import asset, source
from assets_core.declare.definitions import Definitions
from assets_core.declare.policies import Retry
from assets_core.execution.context import Context
from assets_core.partitions import Partition, Partitions, daily
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


def orders_of_days(landing: dict[str, Path], range_: Partitions, context: Context) -> pa.Table:
    """What ``orders`` makes of each of these days, in one call."""
    made = []
    for key, file in landing.items():
        generation, rows = (int(word) for word in file.read_text().split()[:2])
        note_call(context.resources["root"], f"orders {key} {generation}")
        made.append(table(generation, rows).append_column("day", [[key] * rows]))
    assert [*landing] == [*range_.keys]
    return pa.concat_tables(made)


def totals_of_days(orders: pa.Table, range_: Partitions, context: Context) -> pa.Table:
    """The rows of these days once more; no day may come in two versions."""
    for key in range_.keys:
        note_call(context.resources["root"], f"totals {key}")
        generations = orders.filter(pc.field("day") == key)["generation"].unique().to_pylist()
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
    """The pipeline on ``store``, over ``days`` days; with SHOP_BATCH=1 by calls for all days."""
    partitions = daily(FIRST.isoformat(), end=(FIRST + timedelta(days)).isoformat())
    ranged = {"partitions": partitions, "partition_column": "day", "batch": True}
    single: list[Any] = [
        asset(partitions=partitions, executor=executor)(orders),
        asset(partitions=partitions, retry=Retry(0))(totals),
    ]
    together: list[Any] = [
        asset(name="orders", executor=executor, **ranged)(orders_of_days),
        asset(name="totals", retry=Retry(0), **ranged)(totals_of_days),
    ]
    return Definitions(
        [
            source(partitions=partitions)(landing),
            *(together if os.environ.get("SHOP_BATCH") else single),
        ],
        io_managers={"default": STORES[store]()},
        resources={"root": root},
    )
