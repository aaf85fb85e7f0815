"""Threads of a run: none is left behind to meet the interpreter's end."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa

from assets_core import Definitions, Project, asset, sql_asset, static


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
