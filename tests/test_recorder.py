"""The recorder: signs of life while a step is long, and what it makes of their answer."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pytest

from assets_core.contracts import Beat, Finish
from assets_core.declare.decorators import asset
from assets_core.declare.definitions import Definitions
from assets_core.execution.context import Context
from assets_core.execution.recorder import Recorder
from assets_core.partitions import daily
from assets_core.project import Project
from assets_core.records import Run
from assets_core.state import open_store
from assets_core.testing import rows
from io_managers import ParquetFiles


def make(root: Path, function: object) -> Project:
    return Project(
        Definitions([function], io_managers={"default": ParquetFiles("data")}), root=root
    )


@pytest.mark.slow
def test_a_run_in_a_long_step_is_not_taken_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSETS_LEASE_SECONDS", "1.5")
    dead: list[str] = []

    @asset
    def slow() -> pa.Table:
        time.sleep(2.2)
        store = open_store(f"sqlite:///{tmp_path}/.assets/state.db")
        dead.extend(run.id for run in store.dead_runs())
        store.close()
        return rows(1)

    with make(tmp_path, slow) as project:
        assert project.materialize().ok
    assert dead == []


def test_a_run_that_was_declared_dead_starts_no_further_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSETS_LEASE_SECONDS", "0.3")
    called: list[str] = []

    @asset(partitions=daily("2024-01-01", end="2024-01-04"))
    def days(context: Context) -> pa.Table:
        called.append(context.run_id)
        store = open_store(f"sqlite:///{tmp_path}/.assets/state.db")
        store.transact([Finish(context.run_id, "died", 1, {}, "by another")])
        store.close()
        time.sleep(0.5)
        return rows(1)

    with make(tmp_path, days) as project:
        assert not project.materialize(jobs=1).ok
    assert len(called) == 1


def test_a_closed_recorder_takes_nothing_more(tmp_path: Path) -> None:
    """Its thread is gone: who submitted would wait for ever, and think it queued."""
    store = open_store("sqlite://")
    store.begin(Run("r1", "prod", "running", 1), 60)
    recorder = Recorder(
        store, "r1", lease_seconds=60, idle=bool, on_lost=lambda: None, on_broken=lambda _: None
    )
    recorder.start()
    recorder.close()
    with pytest.raises(RuntimeError, match="closed"):
        recorder.submit(Beat("r1", 60), lambda _: None)
    store.close()
