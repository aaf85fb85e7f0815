"""What compaction removes from the log: never what anybody could ask for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_core import (
    Definitions,
    Partition,
    Project,
    all_partitions,
    asset,
    daily,
    dynamic,
    lag,
    last,
    static,
)
from assets_core.records import Materialization
from io_managers.memory import Memory

DAYS = daily("2024-01-01")
NOW = datetime(2024, 1, 11, 1, tzinfo=UTC)
ASSETS = ("raw", "week", "total", "balance")


class World:
    """A project in which a day's content can be changed and built again."""

    def __init__(self, root: Path) -> None:
        self.values = dict.fromkeys((f"2024-01-{day:02}" for day in range(1, 11)), 0)

        @asset(partitions=DAYS, version="1")
        def raw(partition: Partition) -> pa.Table:
            return pa.table({"v": [self.values[partition.key]]})

        @asset(partitions=DAYS)
        def week(raw: Annotated[pa.Table, last(3)]) -> pa.Table:
            return raw

        @asset
        def total(raw: Annotated[pa.Table, all_partitions()]) -> pa.Table:
            return raw

        @asset(partitions=DAYS)
        def balance(raw: pa.Table, balance: Annotated[pa.Table, lag(1)]) -> pa.Table:
            return raw if balance is None else pa.concat_tables([raw, balance])

        self.project = Project(
            Definitions([raw, week, total, balance], io_managers={"default": Memory()}),
            root=root,
            state=f"sqlite:///{root}/state.db",
        )

    def change(self, days: Iterable[str], to: int) -> None:
        """New content, built with all that reads it."""
        keys = list(days)
        for key in keys:
            self.values[key] = to
        if keys:
            self.project.materialize("raw", keys, force=True, now=NOW).raise_for_status()
        self.project.materialize(now=NOW).raise_for_status()

    def lineage(self) -> dict[str, object]:
        """Every current partition with all versions that it was built from, to the ends."""
        spaces = self.project.spaces(NOW)
        places = [(name, i) for name in ASSETS for i in range(spaces[name].n)]
        keys = [(name, spaces[name].key(i)) for name, i in places]
        return {f"{n}@{key}": self.project.lineage(n, key).to_dict() for n, key in keys}

    def log(self) -> list[Materialization]:
        return self.project.state.materializations("prod", None)


@pytest.fixture
def world(tmp_path: Path) -> Iterable[World]:
    one = World(tmp_path)
    yield one
    one.project.close()


def test_what_nothing_reads_any_more_goes(world: World) -> None:
    for value in range(1, 6):
        world.change(["2024-01-04"], value)
    before = len(world.log())
    found = world.project.compact("0s")
    assert found["removed"] > 0
    assert len(world.log()) == found["kept"] == before - found["removed"]
    versions = [f for f in world.log() if (f.asset, f.partition) == ("raw", "2024-01-04")]
    assert len(versions) == 2  # the first and the current


def test_a_dry_run_removes_nothing(world: World) -> None:
    for value in range(1, 4):
        world.change(["2024-01-04"], value)
    before = world.log()
    assert world.project.compact("0s", dry_run=True)["removed"] > 0
    assert world.log() == before


def test_what_was_current_lately_stays(world: World) -> None:
    for value in range(1, 4):
        world.change(["2024-01-04"], value)
    assert world.project.compact("1h")["removed"] == 0


def test_the_last_few_stay(world: World) -> None:
    for value in range(1, 8):
        world.change(["2024-01-04"], value)
    world.project.compact("0s", keep_last=3)
    versions = [f for f in world.log() if (f.asset, f.partition) == ("raw", "2024-01-04")]
    assert len(versions) == 4


def test_a_version_that_something_current_was_built_from_stays(world: World) -> None:
    for value in (1, 2):
        world.change(["2024-01-04"], value)
    for value in range(3, 6):  # the source moves on, its readers do not
        world.values["2024-01-04"] = value
        world.project.materialize("raw", "2024-01-04", force=True, now=NOW).raise_for_status()
    before = world.lineage()
    world.project.compact("0s")
    assert world.lineage() == before


@pytest.mark.slow
@settings(max_examples=10)
@given(
    rounds=st.lists(
        st.tuples(st.sets(st.integers(1, 10), max_size=3), st.booleans()), min_size=1, max_size=6
    )
)
def test_lineage_staleness_and_landings_are_as_before(
    rounds: list[tuple[set[int], bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    world = World(tmp_path_factory.mktemp("world"))
    for value, (days, readers_too) in enumerate(rounds, start=1):
        keys = [f"2024-01-{day:02}" for day in sorted(days)]
        if readers_too:
            world.change(keys, value)
        elif keys:
            world.values.update(dict.fromkeys(keys, value))
            world.project.materialize("raw", keys, force=True, now=NOW).raise_for_status()
    project = world.project
    built = {name for name in ASSETS if project.state.materializations("prod", name)}
    if built != set(ASSETS):
        world.change([], 0)
    lineage, plan = world.lineage(), project.plan(now=NOW).to_dict()["steps"]
    firsts = {(f.asset, f.partition): f for f in project.state.materializations("prod", None)}
    project.compact("0s")
    assert world.lineage() == lineage
    assert project.plan(now=NOW).to_dict()["steps"] == plan
    assert {
        (f.asset, f.partition): f for f in project.state.materializations("prod", None)
    } == firsts
    assert project.compact("0s")["removed"] == 0
    project.close()


def test_what_was_read_of_a_partition_that_is_removed_stays(tmp_path: Path) -> None:
    rows = {"n": 0}

    @asset(partitions=dynamic("shops"), version="1")
    def stock(partition: Partition) -> pa.Table:
        rows["n"] += 1
        return pa.table({"n": [rows["n"]]})

    @asset
    def total(stock: Annotated[pa.Table, all_partitions()]) -> pa.Table:
        return stock

    definitions = Definitions([stock, total], io_managers={"default": Memory()})
    with Project(definitions, root=tmp_path, state=f"sqlite:///{tmp_path}/state.db") as project:
        project.add_partitions("shops", ["a", "b", "c"])
        for _ in range(2):
            project.materialize(force=True).raise_for_status()
        project.materialize("stock", force=True).raise_for_status()
        before = project.lineage("total").to_dict()
        project.remove_partitions("shops", ["b"])
        project.compact("0s")
        project.add_partitions("shops", ["b"])
        assert project.lineage("total").to_dict() == before


def test_what_was_read_of_values_in_another_order_stays(tmp_path: Path) -> None:
    rows = {"n": 0}

    def project(*values: str) -> Project:
        @asset(partitions=static(values), version="1")
        def stock(partition: Partition) -> pa.Table:
            rows["n"] += 1
            return pa.table({"n": [rows["n"]]})

        @asset
        def total(stock: Annotated[pa.Table, all_partitions()]) -> pa.Table:
            return stock

        definitions = Definitions([stock, total], io_managers={"default": Memory()})
        return Project(definitions, root=tmp_path, state=f"sqlite:///{tmp_path}/state.db")

    with project("a", "b", "c") as one:
        for _ in range(2):
            one.materialize(force=True).raise_for_status()
        one.materialize("stock", force=True).raise_for_status()
        before = one.lineage("total").to_dict()
    with project("c", "b", "a") as other:
        other.compact("0s")
    with project("a", "b", "c") as one:
        assert one.lineage("total").to_dict() == before


def test_what_a_run_at_work_may_have_read_stays(world: World) -> None:
    from assets_core.records import Run

    for value in range(1, 4):
        world.change(["2024-01-04"], value)
    started = int((datetime.now(UTC) - timedelta(hours=1)).timestamp() * 1e6)
    world.project.state.begin(Run("at-work", "prod", "running", started), 600)
    assert world.project.compact("0s")["removed"] == 0
