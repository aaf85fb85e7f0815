"""Nothing at all is a fair thing to have: no rows, no columns, no batches, through every entry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from assets_core import (
    Context,
    Definitions,
    Partitions,
    Project,
    asset,
    daily,
    multi_asset,
    not_null,
    source,
    sql_asset,
    unique,
)
from io_managers import DuckDBTables, Memory, ParquetFiles

SCHEMA = pa.schema([("v", pa.string())])
STORES: dict[str, Callable[[], Any]] = {
    "parquet": lambda: ParquetFiles("data"),
    "duckdb": lambda: DuckDBTables("data.duckdb"),
    "memory": Memory,
}
NO_ROWS: dict[str, Callable[[], Any]] = {
    "table": SCHEMA.empty_table,
    "reader without batches": lambda: pa.RecordBatchReader.from_batches(SCHEMA, []),
    "record batch": lambda: pa.record_batch([pa.array([], pa.string())], schema=SCHEMA),
    "polars": lambda: pl.DataFrame({"v": pl.Series([], dtype=pl.String)}),
    "lazy polars": lambda: pl.LazyFrame({"v": pl.Series([], dtype=pl.String)}),
    "pandas": lambda: pd.DataFrame({"v": pd.Series([], dtype="string")}),
    "relation": lambda: duckdb.connect().sql("SELECT 'a' AS v WHERE false"),
}
NO_COLUMNS: dict[str, Callable[[], Any]] = {
    "table": lambda: pa.table({}),
    "reader": lambda: pa.RecordBatchReader.from_batches(pa.schema([]), []),
    "polars": pl.DataFrame,
    "pandas": pd.DataFrame,
    "list": list,
    "dict": dict,
    "generator": lambda: (row for row in ()),
    "list of nothing": lambda: [pa.table({}), pa.table({})],
    "None": lambda: None,
}
TYPES = [pa.Table, pa.RecordBatchReader, pl.DataFrame, pd.DataFrame, duckdb.DuckDBPyRelation]


@pytest.mark.parametrize("value", NO_ROWS)
@pytest.mark.parametrize("store", STORES)
def test_no_rows_go_through_everything(tmp_path: Path, store: str, value: str) -> None:
    make = NO_ROWS[value]
    days = daily("2024-01-01", end="2024-01-04")

    @source
    def landing() -> Any:
        return make()

    @asset(checks=[not_null("v"), unique("v")])
    def rows(landing: pa.Table, context: Context) -> Any:
        context.reject(make(), reason="none")
        return make()

    @multi_asset(["left", "right"])
    def both() -> Any:
        return {"left": make(), "right": make()}

    @asset(partitions=days, batch=True, partition_column="v")
    def ranged(partitions: Partitions) -> Any:
        return make()

    def reader(kind: Any) -> Any:
        def read(rows: Any) -> pa.Table:
            return pa.table({"n": [1]})

        read.__annotations__ = {"rows": kind, "return": pa.Table}
        return asset(name=f"read_{TYPES.index(kind)}")(read)

    counted = sql_asset("counted", "SELECT count(*) AS n FROM rows")
    made = [landing, rows, *both, ranged, counted, *map(reader, TYPES)]
    definitions = Definitions(made, io_managers={"default": STORES[store]()})
    with Project(definitions, root=tmp_path) as project:
        result = project.materialize()
        assert result.counts["failed"] == 0, result.failures
        assert project.read("counted").to_pylist() == [{"n": 0}]
        for kind in ("arrow", "polars", "pandas"):
            assert len(project.read("rows", as_=kind)) == 0
        assert project.rejects("rows") is None
        assert not project.plan()


@pytest.mark.parametrize("value", NO_COLUMNS)
def test_nothing_at_all_is_rejected_without_a_fault(tmp_path: Path, value: str) -> None:
    @asset
    def rows(context: Context) -> pa.Table:
        context.reject(NO_COLUMNS[value](), reason="none")
        return pa.table({"v": [1]})

    with Project(Definitions([rows]), root=tmp_path) as project:
        assert project.materialize().counts["done"] == 1
        assert project.rejects("rows") is None


@pytest.mark.parametrize("value", [name for name in NO_COLUMNS if name not in ("None", "dict")])
def test_an_asset_without_columns_is_told_what_to_return(tmp_path: Path, value: str) -> None:
    @asset
    def rows() -> Any:
        return NO_COLUMNS[value]()

    with Project(Definitions([rows]), root=tmp_path) as project:
        (failure,) = project.materialize().failures
    assert "columns" in failure.error + failure.details


def test_rows_without_columns_are_not_nothing(tmp_path: Path) -> None:
    @asset
    def rows(context: Context) -> pa.Table:
        context.reject(pd.DataFrame(index=[1, 2]), reason="odd")
        return pa.table({"v": [1]})

    with Project(Definitions([rows]), root=tmp_path) as project:
        assert project.materialize().counts["failed"] == 1
