"""Where the order of rows is content: data versions, what is stored, and who reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_core import Definitions, Partition, Project, any_order, asset, daily, last, sql_asset
from assets_core.errors import DefinitionError
from assets_core.fingerprint.row_hash.hasher import data_version
from assets_core.fingerprint.sql_tokens import is_ordered
from assets_core.graph import Graph
from io_managers import DuckDBTables, Memory, ParquetFiles

STORES: dict[str, Callable[[], Any]] = {
    "parquet": lambda: ParquetFiles("data"),
    "duckdb": lambda: DuckDBTables("data.duckdb"),
    "memory": Memory,
}
ROWS = st.lists(st.tuples(st.integers(0, 5), st.text("ab", max_size=2)), max_size=12)


def table(rows: list[tuple[int, str]]) -> pa.Table:
    return pa.table(
        {
            "n": pa.array([n for n, _ in rows], pa.int64()),
            "s": pa.array([s for _, s in rows], pa.string()),
        }
    )


@settings(max_examples=200)
@given(ROWS, ROWS, st.integers(1, 4))
def test_an_ordered_version_is_that_of_a_sequence(
    one: list[tuple[int, str]], two: list[tuple[int, str]], size: int
) -> None:
    first, second = (data_version(table(rows), ordered=True) for rows in (one, two))
    assert (first == second) == (one == two)
    assert (first.hi == second.hi) == (sorted(one) == sorted(two))
    chunks = table(one).to_batches(max_chunksize=size)
    assert data_version(pa.Table.from_batches(chunks, table([]).schema), ordered=True) == first


def test_an_ordered_version_of_many_rows_knows_each_place() -> None:
    n = 300_000
    rows = pa.table({"n": list(range(n))})
    swapped = pa.table({"n": [*range(n - 2), n - 1, n - 2]})
    moved = pa.table({"n": [*range(1, n), 0]})
    versions = {data_version(each, ordered=True) for each in (rows, swapped, moved)}
    assert len(versions) == 3
    assert len({version.hi for version in versions}) == 1
    assert len({data_version(each) for each in (rows, swapped, moved)}) == 1


@pytest.mark.parametrize(
    ("query", "ordered"),
    [
        ("SELECT * FROM t ORDER BY n", True),
        ("(SELECT * FROM t ORDER BY n LIMIT 5)", True),
        ("FROM t ORDER BY ALL", True),
        ("WITH r AS (SELECT * FROM t ORDER BY n) SELECT * FROM r", True),
        ("WITH a AS (SELECT 1), r AS (FROM t ORDER BY n) SELECT n FROM r WHERE n > 1", True),
        ("SELECT * FROM (SELECT * FROM t ORDER BY n LIMIT 3) x", True),
        ("SELECT n FROM t UNION ALL SELECT n FROM u ORDER BY 1", True),
        ("SELECT * FROM t", False),
        ("SELECT row_number() OVER (ORDER BY n) FROM t", False),
        ("SELECT array_agg(n ORDER BY n) FROM t", False),
        ("WITH r AS (SELECT * FROM t ORDER BY n) SELECT s, sum(n) FROM r GROUP BY s", False),
        ("WITH r AS (SELECT * FROM t ORDER BY n) SELECT * FROM r, u", False),
        ("SELECT n FROM (SELECT n FROM t ORDER BY n) UNION ALL SELECT n FROM u", False),
        ("SELECT 'ORDER BY n' FROM t -- ORDER BY n", False),
    ],
)
def test_a_query_is_ordered_by_its_outermost_order_by(query: str, ordered: bool) -> None:
    assert is_ordered(query) is ordered
    assert sql_asset("a", query).is_ordered is ordered
    assert not sql_asset("a", query, ordered=False).is_ordered


def ranking(direction: str) -> list[Any]:
    @asset
    def rows() -> pa.Table:
        return pa.table({"who": ["ann", "bob", "cid"], "n": [1, 2, 3]})

    ranked = sql_asset("ranked", f"SELECT * FROM rows ORDER BY n {direction}")

    @asset
    def best(ranked: pa.Table) -> pa.Table:
        return ranked.slice(0, 1)

    @asset
    def total(ranked: Annotated[pa.Table, any_order()]) -> pa.Table:
        return pa.table({"n": [sum(ranked["n"].to_pylist())]})

    return [rows, ranked, best, total]


@pytest.mark.parametrize("store", STORES)
def test_another_order_runs_what_goes_by_it_and_nothing_else(tmp_path: Path, store: str) -> None:
    io = STORES[store]()

    def opened(direction: str) -> Project:
        return Project(Definitions(ranking(direction), io_managers={"default": io}), root=tmp_path)

    with opened("DESC") as project:
        project.materialize()
        assert project.read("best").to_pylist() == [{"who": "cid", "n": 3}]
    with opened("ASC") as project:
        ran = set()
        project.materialize(on_event=lambda e: ran.add(e.asset) if e.kind == "done" else None)
        assert ran == {"ranked", "best"}
        assert project.read("best").to_pylist() == [{"who": "ann", "n": 1}]
        assert [row["n"] for row in project.read("ranked").to_pylist()] == [1, 2, 3]
        assert not project.plan()


@pytest.mark.parametrize("store", STORES)
def test_rows_come_back_as_they_were_published(tmp_path: Path, store: str) -> None:
    days = daily("2024-01-01", end="2024-01-05")

    def expected(day: int) -> list[int]:
        return [(i * 7919 + day) % 10_007 for i in range(10_007)]

    @asset(partitions=days, ordered=True)
    def shuffled(partition: Partition) -> pa.Table:
        day = int(partition.key[-2:])
        return pa.table({"day": [day] * 10_007, "n": expected(day)})

    @asset(partitions=days)
    def windows(shuffled: Annotated[pa.Table, last(3)]) -> pa.Table:
        return shuffled

    handed = sql_asset("handed", "SELECT * FROM shuffled", partitions=days, ordered=True)
    made = Definitions([shuffled, windows, handed], io_managers={"default": STORES[store]()})
    with Project(made, root=tmp_path) as project:
        project.materialize()
        project.materialize("shuffled", "2024-01-02", force=True)  # another one is overwritten
        found = project.read("shuffled", partitions="2024-01-01..2024-01-04")["n"].to_pylist()
        assert found == [n for day in (1, 2, 3, 4) for n in expected(day)]
        for kind in ("polars", "pandas", "arrow"):
            one = project.read("shuffled", "2024-01-03", as_=kind)
            assert list(one["n"].to_pylist() if kind == "arrow" else one["n"]) == expected(3)
        window = project.read("windows", "2024-01-04")
        assert window["n"].to_pylist() == [n for day in (2, 3, 4) for n in expected(day)]
        assert project.read("handed", "2024-01-04")["n"].to_pylist() == expected(4)


def test_an_order_that_is_declared_makes_the_asset_stale_once(tmp_path: Path) -> None:
    def made(ordered: bool | None) -> Definitions:
        @asset(ordered=ordered)
        def rows() -> pa.Table:
            return pa.table({"n": [2, 1]})

        return Definitions([rows])

    with Project(made(None), root=tmp_path) as project:
        project.materialize()
    with Project(made(True), root=tmp_path) as project:
        assert project.plan().must == 1
        project.materialize()
        assert not project.plan()


def test_an_order_is_yes_or_no() -> None:
    odd: Any = asset(name="a", ordered="yes")  # type: ignore[call-overload]
    with pytest.raises(DefinitionError, match="neither True nor False"):
        Graph.build([odd(lambda: None)])
