"""Threads of a run: none is left behind to meet the interpreter's end."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from assets_core import Definitions, Project, asset, sql_asset, static
from assets_core.contracts import Acquire, Operation
from assets_core.execution.engine import Engine
from assets_core.execution.recorder import Recorder


def test_no_worker_outlives_its_run(tmp_path: Path) -> None:
    @asset(partitions=static(["a", "b", "c", "d"]))
    def numbers() -> pa.Table:
        return pa.table({"x": [1, 2]})

    totals = sql_asset(
        "totals", "SELECT sum(x) AS x FROM numbers", partitions=static(["a", "b", "c", "d"])
    )
    with Project(Definitions([numbers, totals]), root=tmp_path) as project:
        assert project.materialize(jobs=4).counts["done"] == 8
        alive = [t.name for t in threading.enumerate() if t.name.startswith(("worker", "recorder"))]
    assert alive == []


def test_a_worker_that_is_slow_to_end_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that still closes a connection when the interpreter ends would abort the process."""
    following = Engine._next

    def slow_to_end(engine: Engine) -> int:
        position = following(engine)
        if position < 0:
            time.sleep(0.3)
        return position

    monkeypatch.setattr(Engine, "_next", slow_to_end)

    @asset
    def one() -> pa.Table:
        return pa.table({"x": [1]})

    with Project(Definitions([one]), root=tmp_path) as project:
        assert project.materialize().ok
        assert [t.name for t in threading.enumerate() if t.name.startswith("worker")] == []


def test_no_step_is_leased_by_two_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second lease would fence the first off."""
    asked: list[tuple[str, str]] = []
    call = Recorder.call

    def slowly(recorder: Recorder, operation: Operation) -> Any:
        if isinstance(operation, Acquire):
            asked.extend(operation.slots)
            time.sleep(0.1)
        return call(recorder, operation)

    monkeypatch.setattr(Recorder, "call", slowly)

    @asset(partitions=static(["a", "b", "c", "d"]))
    def numbers() -> pa.Table:
        return pa.table({"x": [1, 2]})

    with Project(Definitions([numbers]), root=tmp_path) as project:
        assert project.materialize(jobs=2).ok
    assert sorted(asked) == [("numbers", key) for key in "abcd"]
