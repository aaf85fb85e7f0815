"""Neighbouring partitions built by one call: the same results as one by one, and who fails."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets_core import (
    Batch,
    Context,
    Definitions,
    Partitions,
    Project,
    Retry,
    asset,
    daily,
    multi_asset,
    product,
    row_count,
    source,
    sql_asset,
    static,
)
from assets_core.contracts import IOManager
from assets_core.errors import DiskFullError
from assets_core.execution.events import StepEvent
from assets_core.partitions import Partition, PartitionsDefinition
from assets_core.records import Materialization
from io_managers import DuckDBTables, Memory, ParquetFiles

FIRST = date(2024, 1, 1)
NOW = datetime(2025, 1, 1, tzinfo=UTC)
STORES: dict[str, Callable[[], IOManager]] = {
    "memory": Memory,
    "duckdb": lambda: DuckDBTables("warehouse.duckdb"),
    "parquet": lambda: ParquetFiles("data"),
}


def days(count: int) -> PartitionsDefinition:
    return daily(FIRST.isoformat(), end=(FIRST + timedelta(count)).isoformat())


def day(n: int) -> str:
    """The key of the n-th day, from 1 on."""
    return (FIRST + timedelta(n - 1)).isoformat()


def keys(*numbers: int) -> list[str]:
    return [day(n) for n in numbers]


def whole(numbers: Iterable[int]) -> pa.Array:
    return pa.array(list(numbers), pa.int64())


def texts(values: Iterable[str]) -> pa.Array:
    return pa.array(list(values), pa.string())


class Shop:
    """A source of numbers, and an asset that is built from them by calls for many days."""

    def __init__(self, root: Path, store: str = "memory", count: int = 8, **options: Any) -> None:
        self.numbers = {day(n): n for n in range(1, count + 1)}
        self.bad: set[str] = set()
        self.calls: list[tuple[str, ...]] = []
        self.root, self.count = root, count
        self.options = {"batch": True, **options}
        self.io = STORES[store]()

    def definitions(self) -> Definitions:
        partitions = days(self.count)

        @source(partitions=partitions)
        def numbers(partition: Partition) -> pa.Table:
            n = self.numbers[partition.key]
            return pa.table({"day": texts([partition.key] * (n % 4)), "n": whole([n] * (n % 4))})

        @asset(partitions=partitions, partition_column="day", version="1", **self.options)
        def doubled(numbers: pa.Table, range_: Partitions) -> pa.Table:
            self.calls.append(range_.keys)
            print(f"building {range_}")
            if self.bad & set(range_.keys):
                raise ValueError(f"bad day in {len(range_)}")
            return numbers.append_column("double", whole(2 * n for n in numbers["n"].to_pylist()))

        return Definitions([numbers, doubled], io_managers={"default": self.io})

    def open(self) -> Project:
        return Project(self.definitions(), root=self.root)

    def run(self, **options: Any) -> Any:
        self.calls.clear()
        with self.open() as project:
            return project.materialize(**{"now": NOW, "jobs": 1, **options})


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def failed(result: Any) -> list[str]:
    return [failure.partition for failure in result.failures]


# ---- which partitions go together


def test_all_neighbours_that_are_ready_are_one_call(shop: Shop) -> None:
    assert shop.run().counts["done"] == 8
    assert shop.calls == [tuple(keys(*range(1, 9)))]


def test_a_call_takes_no_more_than_it_may(tmp_path: Path) -> None:
    shop = Shop(tmp_path, batch=Batch(3))
    shop.run()
    assert [len(call) for call in shop.calls] == [3, 3, 2]


def test_without_batch_each_is_a_call(tmp_path: Path) -> None:
    shop = Shop(tmp_path, batch=None)
    shop.run()
    assert shop.calls == [(key,) for key in keys(*range(1, 9))]


def test_only_what_is_stale_is_in_a_call(shop: Shop) -> None:
    shop.run()
    for n in (2, 3, 6):
        shop.numbers[day(n)] = 11
    shop.run()
    assert shop.calls == [tuple(keys(2, 3)), tuple(keys(6))]


def test_what_turns_out_fresh_leaves_the_call(tmp_path: Path) -> None:
    calls: list[tuple[str, ...]] = []
    values = dict.fromkeys(keys(*range(1, 6)), 1)

    @source(partitions=days(5))
    def numbers(partition: Partition) -> pa.Table:
        return pa.table({"day": [partition.key], "n": [values[partition.key]]})

    @asset(partitions=days(5), partition_column="day", batch=True)
    def halved(numbers: pa.Table, range_: Partitions) -> pa.Table:
        return pa.table({"day": numbers["day"], "n": [n.as_py() // 2 for n in numbers["n"]]})

    @asset(partitions=days(5), partition_column="day", batch=True)
    def copied(halved: pa.Table, range_: Partitions) -> pa.Table:
        calls.append(range_.keys)
        return halved

    with Project(Definitions([numbers, halved, copied]), root=tmp_path) as project:
        project.materialize(now=NOW, jobs=1)
        calls.clear()
        values.update({day(1): 4, day(2): 0, day(3): 4, day(4): 4})
        values[day(2)] = 0
        result = project.materialize(now=NOW, jobs=1)
    # Half of 0 and of 1 is the same: day 2 is released, and parts its neighbours.
    assert calls == [tuple(keys(1)), tuple(keys(3, 4))]
    assert result.counts["released"] == 1


def test_a_product_runs_along_its_time(tmp_path: Path) -> None:
    calls: list[tuple[str, ...]] = []
    both = product(place=static(["x", "y"]), date=days(3))

    @asset(partitions=both, partition_column="day", batch=True)
    def made(range_: Partitions) -> pa.Table:
        calls.append(range_.keys)
        return pa.table({"day": [p.start for p in range_], "place": [p.place for p in range_]})

    with Project(Definitions([made]), root=tmp_path) as project:
        assert project.materialize(now=NOW).counts["done"] == 6
        assert project.load("made", f"y|{day(2)}")["place"].to_pylist() == ["y"]
    assert sorted(calls) == [tuple(f"{p}|{k}" for k in keys(1, 2, 3)) for p in "xy"]


def test_ready_steps_go_before_a_call_that_is_not_full(tmp_path: Path) -> None:
    order: list[str] = []

    @asset(partitions=days(4))
    def single(partition: Partition) -> pa.Table:
        order.append(partition.key[-2:])
        return pa.table({"day": [partition.key]})

    @asset(partitions=days(4), partition_column="day", batch=True)
    def together(single: pa.Table, range_: Partitions) -> pa.Table:
        order.append(str(len(range_)))
        return single

    with Project(Definitions([single, together]), root=tmp_path) as project:
        project.materialize(now=NOW, jobs=1)
    assert order == ["01", "02", "03", "04", "4"]


def test_a_window_is_read_once_for_all(tmp_path: Path) -> None:
    seen: list[int] = []

    @asset(partitions=days(6))
    def single(partition: Partition) -> pa.Table:
        return pa.table({"day": [partition.key]})

    @asset(partitions=days(6), partition_column="day", batch=True, inputs={"w": single.last(3)})
    def rolling(w: pa.Table, range_: Partitions) -> pa.Table:
        seen.append(len(w))
        return w

    with Project(Definitions([single, rolling]), root=tmp_path) as project:
        assert project.materialize(now=NOW, jobs=1).ok
        facts = {f.partition: f for f in project.state.materializations("prod", "rolling")}
    assert seen == [6]
    # Each partition's lineage is its own window all the same.
    assert [facts[day(n)].inputs[0].count for n in (1, 2, 3, 6)] == [1, 2, 3, 3]


def test_a_partition_without_an_input_is_told_so_alone(tmp_path: Path) -> None:
    given: list[tuple[int, bool]] = []

    @asset(partitions=days(4))
    def single(partition: Partition) -> pa.Table:
        return pa.table({"day": [partition.key]})

    @asset(partitions=days(4), partition_column="day", batch=True, inputs={"old": single.lag(1)})
    def after(old: pa.Table | None, range_: Partitions) -> pa.Table:
        given.append((len(range_), old is None))
        return pa.table({"day": list(range_.keys)})

    with Project(Definitions([single, after]), root=tmp_path) as project:
        assert project.materialize(now=NOW, jobs=1).ok
    assert given == [(1, True), (3, False)]


# ---- what is published


@pytest.mark.parametrize("store", STORES)
def test_a_partition_without_rows_overwrites_to_empty(tmp_path: Path, store: str) -> None:
    shop = Shop(tmp_path, store, count=3)
    shop.run()
    shop.numbers[day(2)] = 4  # 4 % 4 rows
    shop.run()
    with shop.open() as project:
        if store != "memory":
            assert project.load("doubled", day(2)).num_rows == 0
        found = project.state.materializations("prod", "doubled", day(2), limit=1)[0]
    assert (found.receipt.rows, found.kind) == (0, "built")


def test_unchanged_content_keeps_its_version(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "parquet", count=4)
    shop.run()
    shop.options["batch"] = Batch(2)
    with shop.open() as project:
        before = {f.partition: f.receipt for f in project.state.materializations("prod", "doubled")}
        result = project.materialize("doubled", force=True, now=NOW)
        after = project.state.materializations("prod", "doubled", limit=4)
    assert result.counts["done"] == 4
    assert {
        f.partition: f.receipt.token > before[f.partition].token for f in after
    } == dict.fromkeys(keys(1, 2, 3, 4), True)


@pytest.mark.parametrize("store", STORES)
def test_rejected_rows_land_beside_their_partition(tmp_path: Path, store: str) -> None:
    @asset(partitions=days(3), partition_column="day", batch=True)
    def sieved(range_: Partitions, context: Context) -> pa.Table:
        bad = pa.table({"day": keys(3, 1, 3), "why": [1, 2, 3]})
        context.reject(bad, reason="odd")
        return pa.table({"day": list(range_.keys)})

    io = {"default": STORES[store]()}
    with Project(Definitions([sieved], io_managers=io), root=tmp_path) as project:
        assert project.materialize(now=NOW, jobs=1).ok
        facts = {f.partition: f for f in project.state.materializations("prod", "sieved")}
        assert [facts[k].receipt.rejected for k in keys(1, 2, 3)] == [1, 0, 2]
        table = project.io["default"].open_rejects(facts[day(3)].receipt)
        assert table is not None
        assert table["why"].to_pylist() == [1, 3]


def test_several_assets_of_one_function_are_told_apart_each(tmp_path: Path) -> None:
    @multi_asset(["even", "odd"], partitions=days(4), partition_column="day", batch=True)
    def both(range_: Partitions) -> dict[str, pa.Table]:
        table = pa.table({"day": list(range_.keys)})
        return {"even": table, "odd": table.slice(0, 2)}

    with Project(Definitions([both]), root=tmp_path) as project:
        assert project.materialize(now=NOW).counts["done"] == 8
        assert project.load("even", day(4)).num_rows == 1
        assert project.load("odd", day(4)).num_rows == 0


def test_a_query_is_one_statement_for_its_range(tmp_path: Path) -> None:
    @asset(partitions=days(6))
    def single(partition: Partition) -> pa.Table:
        return pa.table({"day": [partition.start.date()], "n": [1]})

    query = "SELECT *, $partition_start AS low, $partition_end AS high FROM single"
    bounded = sql_asset("bounded", query, partitions=days(6), partition_column="day", batch=True)
    with Project(Definitions([single, bounded]), root=tmp_path) as project:
        assert project.materialize(now=NOW, jobs=1).ok
        row = project.load("bounded", day(3)).to_pylist()[0]
    assert (row["low"].date(), row["high"].date()) == (FIRST, FIRST + timedelta(6))


def test_a_stream_is_told_apart_like_a_table(tmp_path: Path) -> None:
    @asset(partitions=days(3), partition_column="day", batch=True)
    def streamed(range_: Partitions) -> Iterable[pa.RecordBatch]:
        return iter([pa.record_batch({"day": [key]}) for key in reversed(range_.keys)])

    with Project(Definitions([streamed]), root=tmp_path) as project:
        assert project.materialize(now=NOW, jobs=1).ok
        assert project.load("streamed", day(2))["day"].to_pylist() == [day(2)]


def test_output_is_readable_from_each_partition(shop: Shop) -> None:
    run = shop.run().run_id
    with shop.open() as project:
        log = project.run_log(run)
        told = f"building {day(1)}..{day(8)}"
        assert [e["text"] for e in log.read("doubled", day(5))] == [told]
        assert [e["partition"] for e in log.read("doubled", day(5))] == [day(5)]
        assert [e["partition"] for e in log.read("doubled")] == [f"{day(1)}..{day(8)}"]
        assert list(log.read("doubled", "2023-01-01")) == []


def test_changing_batch_makes_nothing_stale(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "parquet")
    shop.run()
    for batch in (None, Batch(2, on_failure="fail")):
        shop.options["batch"] = batch
        with shop.open() as project:
            assert project.plan(now=NOW).must == 0


# ---- failures


@pytest.mark.parametrize("bad", [(1,), (8,), (3, 4), (2, 7), tuple(range(1, 9))])
def test_halving_finds_exactly_the_bad_ones(shop: Shop, bad: tuple[int, ...]) -> None:
    shop.bad = set(keys(*bad))
    result = shop.run()
    assert failed(result) == keys(*bad)
    assert result.counts["done"] == 8 - len(bad)


def test_a_failing_range_can_fail_as_one(tmp_path: Path) -> None:
    shop = Shop(tmp_path, batch=Batch(4, on_failure="fail"))
    shop.bad = {day(6)}
    result = shop.run()
    assert failed(result) == keys(5, 6, 7, 8)
    assert len(shop.calls) == 2


def test_a_failed_check_fails_its_partition_alone(tmp_path: Path) -> None:
    shop = Shop(tmp_path, checks=[row_count(min=1)])
    result = shop.run()
    assert failed(result) == keys(4, 8)  # n % 4 rows
    assert len(shop.calls) == 1


def test_a_failed_check_can_fail_the_range(tmp_path: Path) -> None:
    shop = Shop(tmp_path, checks=[row_count(min=1)], batch=Batch(on_failure="fail"))
    assert failed(shop.run()) == keys(*range(1, 9))


def test_halving_is_no_retry(tmp_path: Path) -> None:
    shop = Shop(tmp_path, retry=Retry(2, delay=0, on=ValueError))
    shop.bad = {day(2)}
    result = shop.run()
    assert [call for call in shop.calls if len(call) == 1 and call[0] == day(2)] == [
        (day(2),)
    ] * 3  # one attempt and two retries, of the partition alone
    assert failed(result) == keys(2)


def test_a_whole_call_is_retried_where_it_fails_as_one(tmp_path: Path) -> None:
    batch = Batch(on_failure="fail")
    shop = Shop(tmp_path, batch=batch, retry=Retry(2, delay=0, on=ValueError))
    shop.bad = {day(2)}
    result = shop.run()
    assert [len(call) for call in shop.calls] == [8, 8, 8]
    assert len(result.failures) == 8


def test_attempts_are_recorded_of_each_partition(shop: Shop) -> None:
    shop.bad = {day(2)}
    run = shop.run().run_id
    with shop.open() as project:
        attempts = project.state.attempts(run=run, asset="doubled", partition=day(1))
    assert [a.status for a in attempts] == ["retried"] * len(attempts)
    assert "one call for 8 partitions, halved" in attempts[-1].error


def test_a_row_outside_of_the_range_blames_the_partition_that_makes_it(tmp_path: Path) -> None:
    @asset(partitions=days(4), partition_column="day", batch=True)
    def stray(range_: Partitions) -> pa.Table:
        more = ["2030-01-01"] if day(3) in range_ else []
        return pa.table({"day": [*range_.keys, *more]})

    with Project(Definitions([stray]), root=tmp_path) as project:
        result = project.materialize(now=NOW, jobs=1)
    assert failed(result) == keys(3)
    assert "outside partition" in result.failures[0].error


def test_a_full_disk_is_not_halved(tmp_path: Path) -> None:
    calls: list[int] = []

    @asset(partitions=days(8), partition_column="day", batch=True)
    def large(range_: Partitions) -> pa.Table:
        calls.append(len(range_))
        raise DiskFullError("There is no room.")

    with Project(Definitions([large]), root=tmp_path) as project:
        assert len(project.materialize(now=NOW).failures) == 8
    assert calls == [8]


def test_readers_of_what_failed_are_blocked(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.bad = {day(2)}
    definitions = shop.definitions()

    @asset(partitions=days(8), partition_column="day", batch=True)
    def reader(doubled: pa.Table, range_: Partitions) -> pa.Table:
        return doubled

    both = replace(definitions, assets=[*definitions.flat(), reader])
    with Project(both, root=tmp_path) as project:
        result = project.materialize(now=NOW, jobs=1)
    assert [(b[0], b[1]) for b in result.blocked] == [("reader", day(2))]
    assert result.by_asset["reader"]["done"] == 7


def test_events_are_told_of_each_partition(shop: Shop) -> None:
    events: list[StepEvent] = []
    shop.run(on_event=events.append)
    for kind in ("started", "done"):
        assert sorted(e.partition for e in events if e.kind == kind) == keys(*range(1, 9))


# ---- the same as one by one


def _facts(project: Project) -> dict[str, Any]:
    """What is recorded of each partition, but for what two runs never share."""
    return {
        fact.partition: _comparable(fact)
        for fact in reversed(project.state.materializations("prod", "doubled"))
    }


def _comparable(fact: Materialization) -> Any:
    reads = tuple((r.name, r.asset, r.ranges, r.count, r.digest) for r in fact.inputs)
    receipt = fact.receipt
    return (
        (fact.code.hex, fact.input_digest, fact.data_version, fact.schema, fact.kind),
        (reads, fact.checks, fact.metadata, fact.deadline),
        (receipt.store, receipt.kind, receipt.rows, receipt.rejected),
    )


@pytest.mark.slow
@pytest.mark.parametrize("store", ["duckdb", "parquet", "memory"])
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), size=st.integers(2, 9))
def test_any_history_of_batches_equals_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, store: str, seed: int, size: int
) -> None:
    ends = []
    for batch in (None, Batch(size)):
        rng = random.Random(seed)
        shop = Shop(tmp_path_factory.mktemp("shop"), store, count=9, batch=batch)
        shop.options["checks"] = [row_count(min=rng.choice([0, 1]))]
        with shop.open() as project:
            outcome = []
            for _ in range(3):
                low = rng.randint(1, 9)
                for n in rng.sample(range(1, 10), 3):
                    shop.numbers[day(n)] = rng.randint(0, 9)
                shop.bad = set(keys(*rng.sample(range(1, 10), rng.choice([0, 0, 1, 2]))))
                chosen = f"{day(low)}..{day(rng.randint(low, 9))}"
                result = project.materialize(partitions=chosen, now=NOW, jobs=1)
                outcome.append((sorted(failed(result)), dict(result.counts)))
            facts = _facts(project)
            rows = {key: project.load("doubled", key).to_pylist() for key in facts}
        ends.append((outcome, facts, rows))
    assert ends[0] == ends[1]


@pytest.mark.slow
@pytest.mark.parametrize("store", ["duckdb", "parquet"])
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), size=st.integers(2, 9))
def test_any_history_of_a_query_in_batches_equals_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, store: str, seed: int, size: int
) -> None:
    """A text that is no number fails its day, and no other; days without rows are empty."""
    query = "SELECT day, sum(text::BIGINT) AS total, count(*) AS n FROM written GROUP BY day"
    ends = []
    for batch in (None, Batch(size)):
        rng, partitions = random.Random(seed), days(9)
        content: dict[str, list[str]] = {key: ["1"] for key in keys(*range(1, 10))}

        @source(partitions=partitions)
        def written(partition: Partition, content: dict[str, list[str]] = content) -> pa.Table:
            own = content[partition.key]
            return pa.table({"day": texts([partition.key] * len(own)), "text": texts(own)})

        doubled = sql_asset(
            "doubled", query, partitions=partitions, partition_column="day", batch=batch
        )
        made = Definitions([written, doubled], io_managers={"default": STORES[store]()})
        with Project(made, root=tmp_path_factory.mktemp("query")) as project:
            outcome = []
            for _ in range(3):
                for n in rng.sample(range(1, 10), 3):
                    content[day(n)] = rng.choices(["1", "2", "30"], k=rng.randint(0, 3))
                for n in rng.sample(range(1, 10), rng.choice([0, 1, 2])):
                    content[day(n)] = ["n/a"]
                low = rng.randint(1, 9)
                chosen = f"{day(low)}..{day(rng.randint(low, 9))}"
                result = project.materialize("doubled", chosen, now=NOW, jobs=1)
                outcome.append((sorted(failed(result)), dict(result.counts)))
            facts = _facts(project)
            rows = {key: project.load("doubled", key).to_pylist() for key in facts}
        ends.append((outcome, facts, rows))
    assert ends[0] == ends[1]


def test_workers_in_processes_take_ranges(tmp_path: Path) -> None:
    module = tmp_path / "ranged_defs.py"
    module.write_text(
        "import pyarrow as pa\n"
        "from assets_core import Partitions, asset, daily\n"
        "@asset(partitions=daily('2024-01-01', end='2024-01-05'), partition_column='day',"
        " batch=True, executor='process')\n"
        "def made(range_: Partitions) -> pa.Table:\n"
        "    if '2024-01-02' in range_:\n"
        "        raise ValueError('bad')\n"
        "    return pa.table({'day': list(range_.keys)})\n"
    )
    with Project.load("ranged_defs.py", root=tmp_path) as project:
        result = project.materialize(now=NOW, jobs=1)
    assert (failed(result), result.counts["done"]) == (keys(2), 3)
