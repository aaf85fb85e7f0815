"""The tiny asset partition in other orchestrators, for a comparison of the same run.

    python benchmarks/peers.py luigi|dagster STEPS FOLDER

prints seconds per step; `tiny_partition.py --peers PYTHON` calls it with an interpreter in which
they are installed. What a step does by itself is the yardstick's: read, compute, write, fsync,
rename. Everything else is the orchestrator's.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 1_000
START = date(1990, 1, 1)


def step(source: Path, out: Path) -> None:
    """The work of one partition, durable."""
    table = pq.read_table(source)
    value = pa.array(table["value"].to_numpy() * 2.0 + 1.0)
    staged = out.with_suffix(".tmp")
    pq.write_table(pa.table({"sensor": table["sensor"], "value": value}), staged)
    _fsync(staged)
    staged.rename(out)
    _fsync(out.parent)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def luigi_seconds(steps: int, folder: Path, source: Path) -> float:
    """One task per day, its local scheduler, one worker."""
    import luigi

    class Day(luigi.Task):  # type: ignore[misc]
        day = luigi.IntParameter()

        def output(self) -> object:
            return luigi.LocalTarget(str(folder / f"{self.day}.parquet"))

        def run(self) -> None:
            step(source, folder / f"{self.day}.parquet")

    tasks = [Day(day=i) for i in range(steps)]
    began = time.perf_counter()
    assert luigi.build(tasks, local_scheduler=True, log_level="ERROR")
    return time.perf_counter() - began


def dagster_seconds(steps: int, folder: Path, source: Path) -> float:
    """One in-process run per day, an instance on SQLite."""
    import dagster

    @dagster.asset(partitions_def=dagster.DailyPartitionsDefinition(START.isoformat()))
    def result(context) -> None:  # type: ignore[no-untyped-def]  # read by it at run time
        step(source, folder / f"{context.partition_key}.parquet")

    with dagster.DagsterInstance.local_temp(str(folder)) as instance:
        began = time.perf_counter()
        for i in range(steps):
            key = (START + timedelta(days=i)).isoformat()
            assert dagster.materialize([result], instance=instance, partition_key=key).success
        return time.perf_counter() - began


def main() -> None:
    """Print seconds per step."""
    name, steps, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "source.parquet"
    pq.write_table(pa.table({"sensor": list(range(ROWS)), "value": [0.5] * ROWS}), source)
    measure = {"luigi": luigi_seconds, "dagster": dagster_seconds}[name]
    print(measure(steps, folder, source) / steps)


if __name__ == "__main__":
    main()
