"""The tiny asset partition in other orchestrators, for a comparison of the same run.

    python benchmarks/peers.py luigi|dagster|dagster-plan STEPS FOLDER

prints seconds per step (or per partition planned, of so many days of ten assets).
`tiny_partition.py` and `planning.py` call it with ``--peers PYTHON``, an interpreter in which they
are installed. What a step does by itself is the yardstick's: read, compute, write, fsync, rename.
Everything else is the orchestrator's.
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


def dagster_plan_seconds(days: int, folder: Path) -> tuple[float, int]:
    """What is stale among ten layered assets of so many days, nothing recorded; partitions."""
    import dagster
    from dagster._core.definitions.data_version import CachingStaleStatusResolver
    from dagster._core.loader import LoadingContextForTest

    last = START + timedelta(days=days - 1)
    partitions = dagster.DailyPartitionsDefinition(
        START.isoformat(), end_date=(last + timedelta(days=1)).isoformat()
    )
    made = []
    for i in range(10):
        upstream = [f"t{k}" for k in {i - 1, i // 2, i - 3} if 0 <= k < i]

        @dagster.asset(name=f"t{i}", partitions_def=partitions, deps=upstream)
        def one() -> None: ...

        made.append(one)
    with dagster.DagsterInstance.local_temp(str(folder)) as instance:
        graph = dagster.Definitions(assets=made).resolve_asset_graph()
        resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
        keys = partitions.get_partition_keys()
        began = time.perf_counter()
        for asset in made:
            for key in keys:
                resolver.get_status(asset.key, key)
        return time.perf_counter() - began, len(keys) * len(made)


def main() -> None:
    """Print seconds per step."""
    name, steps, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    if name == "dagster-plan":
        took, partitions = dagster_plan_seconds(steps, folder)
        print(took / partitions)
        return
    source = folder / "source.parquet"
    pq.write_table(pa.table({"sensor": list(range(ROWS)), "value": [0.5] * ROWS}), source)
    measure = {"luigi": luigi_seconds, "dagster": dagster_seconds}[name]
    print(measure(steps, folder, source) / steps)


if __name__ == "__main__":
    main()
