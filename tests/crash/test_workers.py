"""A worker process that is killed costs the step it ran, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from crashing import World, staged_leftovers

from assets_core.project import Project

pytestmark = [pytest.mark.crash, pytest.mark.slow]

DEFINITIONS = '''
"""Three days; the second kills its worker, as often as the file says."""
import os, signal
from pathlib import Path
import pyarrow as pa
from assets_core import (Definitions, Partition, Retry, daily)
from assets_core import asset
from io_managers import DuckDBTables, ParquetFiles

ROOT = Path(__file__).parent
DAYS = daily("2024-01-01", end="2024-01-04")

@asset(partitions=DAYS, executor="process", retry={retry})
def orders(partition: Partition) -> pa.Table:
    deaths = ROOT / "deaths"
    left = int(deaths.read_text())
    if partition.key == "2024-01-02" and left:
        deaths.write_text(str(left - 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return pa.table({{"day": [partition.key], "pid": [0]}})

@asset(partitions=DAYS)
def totals(orders: pa.Table) -> pa.Table:
    return orders

definitions = Definitions(io_managers={{"default": {store}}})
'''
STORES = {"parquet": 'ParquetFiles("data")', "duckdb": 'DuckDBTables("data/warehouse.duckdb")'}


def load(root: Path, store: str, retry: str, deaths: int) -> Project:
    name = f"workers_{abs(hash(root))}"
    (root / f"{name}.py").write_text(DEFINITIONS.format(retry=retry, store=STORES[store]))
    (root / "deaths").write_text(str(deaths))
    return Project.load(f"{name}.py", root=root)


@pytest.mark.parametrize("store", STORES)
def test_a_killed_worker_fails_its_step_alone(tmp_path: Path, store: str) -> None:
    with load(tmp_path, store, "None", 1) as project:
        result = project.materialize(jobs=2)
        assert result.counts["done"] == 4
        assert [(one.asset, one.partition) for one in result.failures] == [("orders", "2024-01-02")]
        assert "worker process died" in result.failures[0].error
        assert [(one[0], one[1]) for one in result.blocked] == [("totals", "2024-01-02")]
        assert project.materialize(jobs=2).counts["done"] == 2
        assert project.plan().must == 0


@pytest.mark.parametrize("store", STORES)
def test_a_killed_worker_is_retried(tmp_path: Path, store: str) -> None:
    with load(tmp_path, store, "Retry(2, delay='0.05s')", 2) as project:
        result = project.materialize(jobs=2)
        assert (result.ok, result.counts["done"]) == (True, 6)
        attempts = project.attempts(result.run_id)
        assert [(one.partition, one.status) for one in attempts] == [("2024-01-02", "retried")] * 2


@pytest.mark.parametrize("store", STORES)
def test_a_worker_that_is_killed_while_it_stages_leaves_nothing(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every worker dies at its first write; the run's own process stages nothing of orders.
    monkeypatch.setenv("ASSETS_CRASH_AT", "stage.written:1")
    with load(tmp_path, store, "Retry(1, delay='0.05s')", 0) as project:
        result = project.materialize("orders", jobs=2)
        assert result.counts["failed"] == 3
    monkeypatch.delenv("ASSETS_CRASH_AT")
    world = World(tmp_path, store, days=3)
    assert staged_leftovers(world, set()) == []
    with load(tmp_path, store, "Retry(1, delay='0.05s')", 0) as project:
        assert project.materialize(jobs=2).ok
