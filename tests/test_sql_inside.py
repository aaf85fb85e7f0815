"""SQL assets that run inside their store: the same rows and versions as beside it, nothing more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_core import (
    Definitions,
    Partition,
    Project,
    asset,
    daily,
    lag,
    last,
    not_null,
    sql_asset,
)
from assets_core.contracts import Query, Staged
from assets_core.declare.sql import reads_inputs_alone
from assets_core.execution import query as running
from io_managers import DuckDBTables, ParquetFiles

DAYS = daily("2024-01-01", end="2024-01-06", timezone="Europe/Berlin")
VALUES = st.one_of(st.none(), st.integers(-5, 5))
ROWS = st.lists(st.tuples(VALUES, st.sampled_from(["a", "B", "it's", None])), max_size=8)


def table(rows: list[tuple[int | None, str | None]]) -> pa.Table:
    return pa.table(
        {
            "n": pa.array([n for n, _ in rows], pa.int64()),
            "s": pa.array([s for _, s in rows], pa.string()),
        }
    )


def shop(root: Path, content: Callable[[str], pa.Table], *queries: str, **more: Any) -> Project:
    """Raw rows by day, and an SQL asset for each query over the last three days of them."""

    @asset(partitions=DAYS)
    def raw(partition: Partition) -> pa.Table:
        return content(partition.key)

    made = [
        sql_asset(f"made{at}", query, partitions=DAYS, inputs={"raw": raw.last(3)}, **more)
        for at, query in enumerate(queries)
    ]
    return Project(
        Definitions([raw, *made], io_managers={"default": DuckDBTables("data.duckdb")}), root=root
    )


def versions(project: Project) -> dict[tuple[str, str], tuple[str, str, int]]:
    return {
        (fact.asset, fact.partition): (str(fact.data_version), fact.schema, fact.receipt.rows)
        for fact in project.state.materializations("prod", None)
    }


QUERIES = (
    "SELECT n, s FROM raw WHERE n > 0",
    "SELECT s, sum(n) AS total, count(*) AS c FROM raw GROUP BY ALL",
    "SELECT DISTINCT upper(s) AS S, $partition_key AS day, $partition_start AS since FROM raw",
    "SELECT s, n FROM raw ORDER BY n DESC NULLS LAST, s LIMIT 2",
    "SELECT * FROM (PIVOT raw ON s IN ('a', 'B') USING sum(n))",
)


@settings(max_examples=15, deadline=None)
@given(st.lists(ROWS, min_size=5, max_size=5))
def test_inside_and_beside_the_store_make_the_same_versions(
    tmp_path_factory: pytest.TempPathFactory, days: list[list[tuple[int | None, str | None]]]
) -> None:
    content = {f"2024-01-0{at + 1}": table(rows) for at, rows in enumerate(days)}
    found = []
    for inside in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not inside:
                patch.setattr("assets_core.execution.step.runs_inside", lambda *_: False)
            with shop(tmp_path_factory.mktemp("p"), content.__getitem__, *QUERIES) as project:
                project.materialize(jobs=2).raise_for_status()
                found.append(versions(project))
                assert project.plan().idle
    assert found[0] == found[1]


def test_it_does_run_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "run_query", None)
    seen: list[tuple[str, bool]] = []
    stage_query = DuckDBTables.stage_query

    def spy(self: Any, target: Any, query: Query, *, hold: bool = False) -> Staged:
        seen.append((target.partition, all(isinstance(x, tuple) for x in query.inputs.values())))
        return stage_query(self, target, query, hold=hold)

    monkeypatch.setattr(DuckDBTables, "stage_query", spy)
    with shop(tmp_path, lambda key: table([(1, key)]), QUERIES[0]) as project:
        project.materialize().raise_for_status()
    assert sorted(seen) == [(f"2024-01-0{day}", True) for day in range(1, 6)]


@pytest.mark.parametrize(
    ("query", "alone"),
    [
        ("SELECT * FROM raw", True),
        ("WITH w AS (SELECT * FROM raw) SELECT * FROM w", True),
        ("SELECT r.n FROM raw AS r JOIN range(3) AS t(i) ON true", True),
        ("SELECT * FROM main.raw", False),
        ("SELECT * FROM raw JOIN data.main.secret ON true", False),
        ("SELECT * FROM raw WHERE n IN (SELECT n FROM main.secret)", False),
        ("SELECT * FROM query_table('secret')", False),
        ("SELECT * FROM raw UNION ALL FROM query('FROM secret')", False),
    ],
)
def test_only_what_reads_its_inputs_alone_runs_inside(query: str, alone: bool) -> None:
    assert reads_inputs_alone(query) is alone


def test_a_table_that_is_not_declared_can_not_be_read(tmp_path: Path) -> None:
    query = "SELECT raw.n FROM raw JOIN main.secret ON true"
    with shop(tmp_path, lambda key: table([(1, key)]), query) as project:
        assert project.materialize("raw").ok
        failed = project.materialize("made0", "2024-01-01")
        assert "secret" in str(failed.failures[0])


def test_a_failed_check_publishes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    content = {"2024-01-01": [(1, "a")]}
    with shop(
        tmp_path,
        lambda key: table(content.get(key, [])),
        "SELECT n, s FROM raw",
        checks=[not_null("n")],
    ) as project:
        project.materialize(None, "2024-01-01").raise_for_status()
        content["2024-01-01"] = [(None, "b")]
        result = project.materialize(None, "2024-01-01", force=True)
        assert [failure.asset for failure in result.failures] == ["made0"]
        assert project.load("made0", "2024-01-01").to_pydict() == {"n": [1], "s": ["a"]}
        content["2024-01-01"] = [(2, "c")]
        project.materialize(None, "2024-01-01", force=True).raise_for_status()
        assert project.load("made0", "2024-01-01").to_pydict() == {"n": [2], "s": ["c"]}


def test_a_worker_process_stages_what_the_run_publishes(tmp_path: Path) -> None:
    (tmp_path / "defs.py").write_text(
        "from assets_core import Definitions, daily, sql_asset\n"
        "from io_managers import DuckDBTables\n"
        "days = daily('2024-01-01', end='2024-01-04')\n"
        "raw = sql_asset('raw', 'SELECT i AS n FROM range(3) t(i)', partitions=days)\n"
        "total = sql_asset('total', 'SELECT sum(n) AS n FROM raw', partitions=days)\n"
        "all_ = Definitions([raw, total], io_managers={'default': DuckDBTables('w.duckdb')})\n"
    )
    with Project.load("defs.py", root=tmp_path) as project:
        result = project.materialize(executor="process", jobs=2)
        result.raise_for_status()
        assert result.counts["done"] == 6
        assert project.load("total", "2024-01-02").column("n").to_pylist() == [3]


def test_one_that_can_not_be_published_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions are published many to a transaction; the fault of one is no other's."""
    swaps = DuckDBTables._swaps
    sizes: list[int] = []

    def breaks(self: Any, session: Any, going: Any) -> Any:
        sizes.append(len(going))
        if any(one.target.partition == "2024-01-03" for one, *_ in going):
            raise OSError(5, "the third day can't be written")
        return swaps(self, session, going)

    monkeypatch.setattr(DuckDBTables, "_swaps", breaks)
    with shop(tmp_path, lambda key: table([(1, key)])) as project:
        result = project.materialize()
        assert [(f.asset, f.partition) for f in result.failures] == [("raw", "2024-01-03")]
        assert result.counts["done"] == 4
        assert max(sizes) > 1
        monkeypatch.undo()
        assert project.materialize().counts["done"] == 1


def test_mixed_stores_hand_their_rows_over(tmp_path: Path) -> None:
    @asset(partitions=DAYS, io="lake")
    def prices() -> pa.Table:
        return pa.table({"n": [1, 2], "price": [1.5, 2.5]})

    @asset(partitions=DAYS)
    def counts(
        counts: Annotated[pa.Table, lag(1)], prices: Annotated[pa.Table, last(2)]
    ) -> pa.Table:
        return pa.table({"n": [1], "c": [0 if counts is None else 1]})

    joined = sql_asset(
        "joined", "SELECT n, price * c AS worth FROM prices JOIN counts USING (n)", partitions=DAYS
    )
    stores = {"default": DuckDBTables("w.duckdb"), "lake": ParquetFiles("lake")}
    with Project(
        Definitions([prices, counts, joined], io_managers=stores), root=tmp_path
    ) as project:
        project.materialize().raise_for_status()
        assert project.load("joined", "2024-01-03").to_pydict() == {"n": [1], "worth": [1.5]}
