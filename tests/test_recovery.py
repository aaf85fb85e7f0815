"""Recovery and its races: what comes between two of its steps changes nothing of the outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets_core.contracts import Acquire, Lease, Staged
from assets_core.declare.asset import Out
from assets_core.declare.decorators import asset, multi_asset
from assets_core.declare.definitions import Definitions
from assets_core.errors import LeaseLostError, StorageError
from assets_core.execution.events import RESULTS
from assets_core.execution.fact_json import fact_to_json
from assets_core.execution.recovery import expose, settle
from assets_core.fingerprint.row_hash.hasher import data_version
from assets_core.project import Project
from assets_core.records import Run
from assets_core.testing import rows, target
from io_managers import DuckDBTables, ParquetFiles

STORES: dict[str, Callable[[], Any]] = {
    "parquet": lambda: ParquetFiles("data"),
    "duckdb": lambda: DuckDBTables("warehouse.duckdb"),
}


def project(root: Path, store: str, value: int = 1, version: str = "") -> Project:
    """One asset of one row, and one that reads it."""

    @asset(version=version or str(value))
    def orders() -> pa.Table:
        return rows(value)

    @asset
    def totals(orders: pa.Table) -> pa.Table:
        return orders

    return Project(
        Definitions([orders, totals], io_managers={"default": STORES[store]()}), root=root
    )


def view(root: Path) -> pa.Table:
    """What other programs see of ``orders``."""
    return pq.ParquetFile(root / "data" / "orders" / "data.parquet").read()


def once(before: Callable[[], Any], call: Callable[..., Any]) -> Callable[..., Any]:
    """``call``, with something happening right before its first call."""
    left = [before]

    def wrapped(*arguments: Any, **more: Any) -> Any:
        if left:
            left.pop()()
        return call(*arguments, **more)

    return wrapped


def staged_by_a_zombie(here: Project, name: str) -> tuple[Staged, str]:
    """What a run that is out of time has staged and may publish, with the fact for the fence."""
    state = here.state
    fact = state.materializations("prod", name)[0]
    state.begin(Run("zombie", "prod", "running", 1), 0)
    ((lease,),) = state.transact([Acquire("zombie", "prod", ((name, fact.partition),))])
    assert isinstance(lease, Lease)
    where = target(fact.partition, lease.token, asset=name, run="zombie")
    staged = here.io["default"].stage(where, rows(9))
    receipt = replace(fact.receipt, location=staged.location, token=lease.token)
    late = replace(fact, run="zombie", token=lease.token, receipt=receipt)
    late = replace(late, data_version=tuple(data_version(rows(9))))
    return staged, fact_to_json(late)


def test_what_a_dead_run_publishes_while_it_is_recovered_is_refused_or_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may not be dead at all: its publish comes when its fence rows were just looked at."""
    with project(tmp_path, "duckdb") as here:
        assert here.materialize("orders").ok
        manager, state = here.io["default"], here.state
        staged, fact = staged_by_a_zombie(here, "orders")
        look = manager.fences

        def then_publish(*arguments: Any) -> Any:
            found = look(*arguments)
            monkeypatch.undo()
            try:
                manager.publish(staged, fact)
            except LeaseLostError:
                manager.discard(staged)
            return found

        monkeypatch.setattr(manager, "fences", then_publish)
        settle(here.runtime, state, "zombie", "prod", state.held("zombie"))
        assert recorded_and_published(here, "orders") in {(1, 1), (2, 2)}


def recorded_and_published(here: Project, name: str) -> tuple[int, int]:
    """The tokens of the newest record and of the fence row."""
    newest = here.state.materializations("prod", name)[0]
    (row,) = here.io["default"].fences("prod", name, [newest.partition])
    return newest.receipt.token, row.token


def test_who_takes_a_lease_over_records_what_its_holder_had_published(tmp_path: Path) -> None:
    """The holder was late only after the run had begun, so nobody has recovered it; and the step
    turns out fresh, so nothing is published over it."""
    with project(tmp_path, "duckdb") as here:
        assert here.materialize().ok
    with project(tmp_path, "duckdb", version="equal") as here:
        plan = here.plan()
        assert (plan.must, plan.may) == (1, 1)
        staged, fact = staged_by_a_zombie(here, "totals")
        here.io["default"].publish(staged, fact)
        assert here.materialize(plan=plan, jobs=1).counts["released"] == 1
        assert here.load("totals").equals(rows(9))


def test_a_view_that_is_swapped_meanwhile_shows_the_newest_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with project(tmp_path, "parquet") as here:
        assert here.materialize("orders").ok
        (fact,) = here.state.materializations("prod", "orders")

        def newer() -> None:
            with project(tmp_path, "parquet", 2) as there:
                assert there.materialize("orders").ok

        manager = here.io["default"]
        monkeypatch.setattr(manager, "expose", once(newer, manager.expose))
        expose(here.runtime, here.state, "prod", {"orders": {fact.partition}})
        assert view(tmp_path).equals(rows(2))


def test_a_view_that_could_not_be_swapped_is_swapped_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with project(tmp_path, "parquet") as here:
        assert here.materialize("orders").ok
    with project(tmp_path, "parquet", 2) as here:
        manager = here.io["default"]
        monkeypatch.setattr(manager, "expose", once(_fail, manager.expose))
        assert here.materialize("orders").ok
    assert view(tmp_path).equals(rows(2))


def _fail() -> None:
    raise StorageError("The disk is in trouble.")


def test_a_reader_whose_input_was_replaced_meanwhile_reads_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with project(tmp_path, "duckdb") as here:
        assert here.materialize("orders").ok
        plan = here.plan("totals")
        manager = here.io["default"]

        def newer() -> None:
            with project(tmp_path, "duckdb", 2) as there:
                assert there.materialize("orders").ok

        monkeypatch.setattr(manager, "_scan", once(newer, manager._scan))
        assert here.materialize(plan=plan).ok
        assert here.load("totals").equals(rows(2))


def test_outputs_that_are_published_before_another_fails_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @multi_asset({"a": Out(), "b": Out()})
    def both() -> dict[str, pa.Table]:
        return {"a": rows(1), "b": rows(1)}

    managers = {"default": DuckDBTables("warehouse.duckdb")}
    with Project(Definitions([both], io_managers=managers), root=tmp_path) as here:
        manager = here.io["default"]
        publish_many = manager.publish_many  # type: ignore[attr-defined]  # DuckDB has it

        def fails_for_b(staged: Any, facts: Any) -> Any:
            if any(one.target.asset == "b" for one in staged):
                _fail()
            return publish_many(staged, facts)

        monkeypatch.setattr(manager, "publish_many", fails_for_b)
        assert here.materialize().counts["failed"] == 2
        assert here.load("a").equals(rows(1))


@pytest.mark.parametrize("store", STORES)
def test_the_sweep_after_a_failure_keeps_what_the_run_published(tmp_path: Path, store: str) -> None:
    @asset
    def good() -> pa.Table:
        return rows(1)

    @asset
    def bad(good: pa.Table) -> pa.Table:
        raise ValueError(good)

    managers = {"default": STORES[store]()}
    with Project(Definitions([good, bad], io_managers=managers), root=tmp_path) as here:
        assert here.materialize().counts == {**dict.fromkeys(RESULTS, 0), "done": 1, "failed": 1}
        assert here.load("good").equals(rows(1))


@pytest.mark.parametrize("store", STORES)
def test_repair_leaves_alone_what_a_run_at_work_has_staged(tmp_path: Path, store: str) -> None:
    with project(tmp_path, store) as here:
        assert here.materialize("orders").ok
        here.state.begin(Run("working", "prod", "running", 1), 60)
        staged = here.io["default"].stage(target("all", 9, run="working"), rows(2))
        here.repair()
        assert here.io["default"].audit(staged).read_all().equals(rows(2))


def test_repair_keeps_what_is_recorded(tmp_path: Path) -> None:
    with project(tmp_path, "parquet") as here:
        assert here.materialize().ok
        here.repair()
        assert here.load("orders").equals(rows(1))
