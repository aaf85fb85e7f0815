"""Several threads at one DuckDB file that is not there yet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pyarrow as pa

from assets_core.contracts import Target
from io_managers import DuckDBTables


def test_threads_stage_the_first_partitions_at_the_same_time(tmp_path: Path) -> None:
    store = DuckDBTables("warehouse.duckdb")
    store.bind("warehouse", tmp_path)
    together = Barrier(4, timeout=20)

    def stage(number: int) -> int:
        columns = {f"value_{column}": [number] for column in range(3)}
        rows = 0
        for asset in range(20):
            target = Target(f"asset_{asset}", str(number), (), 1, "run", f"{asset}-{number}")
            together.wait()
            rows += store.stage(target, pa.table({f"a_{asset}": [1], **columns})).rows
        return rows

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(stage, range(4))) == [20] * 4
    store.close()
