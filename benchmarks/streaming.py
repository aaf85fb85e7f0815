"""A partition larger than memory, streamed: made batch by batch, stored, read back, hashed.

    python benchmarks/streaming.py [--gigabytes 5] [--batch-rows 500000]

Runs in a process of its own and prints that process's peak memory: flat, at most 500 MB, however
large the partition is. The yardstick is the same stream through ``pq.ParquetWriter`` alone.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

GOAL_MB = 500


def batches(gigabytes: float, rows: int) -> Iterator[object]:
    """Record batches of incompressible numbers, about so many gigabytes in all."""
    import numpy as np
    import pyarrow as pa

    rng = np.random.default_rng(1)
    for i in range(max(1, int(gigabytes * 1e9 / (rows * 32)))):
        yield pa.record_batch(
            {
                "id": np.arange(i * rows, (i + 1) * rows),
                "a": rng.random(rows),
                "b": rng.random(rows),
                "at": np.arange(i * rows, (i + 1) * rows).astype("datetime64[us]"),
            }
        )


def ours(folder: Path, gigabytes: float, rows: int) -> None:
    """Build a streamed asset and one that reads it as a stream."""
    import pyarrow as pa

    from assets_core import Definitions, Project, asset, row_count

    @asset(checks=[row_count(min=1)])
    def large() -> Iterator[pa.RecordBatch]:
        yield from batches(gigabytes, rows)  # type: ignore[misc]

    @asset
    def counted(large: pa.RecordBatchReader) -> pa.Table:
        return pa.table({"rows": [sum(batch.num_rows for batch in large)]})

    with Project(Definitions([large, counted]), root=folder) as project:
        result = project.materialize(jobs=1).raise_for_status()
        assert project.load("counted")["rows"][0].as_py() > 0
        print(f"rows {result.rows:,}", end="  ")


def bare(folder: Path, gigabytes: float, rows: int) -> None:
    """The yardstick: write the same stream, and nothing else."""
    import pyarrow.parquet as pq

    source = batches(gigabytes, rows)
    first = next(source)
    options = {"compression": "zstd", "compression_level": 1, "write_page_checksum": True}
    with pq.ParquetWriter(folder / "bare.parquet", first.schema, **options) as writer:
        writer.write_batch(first)
        for batch in source:
            writer.write_batch(batch)


def main() -> None:
    """Run both, each in a process of its own, and print time and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=5.0)
    parser.add_argument("--batch-rows", type=int, default=500_000)
    parser.add_argument("--one", choices=["ours", "bare"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is None:
        for name in ("bare", "ours"):
            subprocess.run([sys.executable, __file__, "--one", name, *sys.argv[1:]], check=True)
        print(f"goal: at most {GOAL_MB} MB, whatever the size")
        return
    folder = Path(tempfile.mkdtemp(prefix="streaming-", dir=os.environ.get("BENCHMARK_DIR", ".")))
    began = time.perf_counter()
    try:
        run = ours if options.one == "ours" else bare
        run(folder, options.gigabytes, options.batch_rows)
        took = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found = {p.stat().st_ino: p.stat().st_size for p in folder.rglob("*") if p.is_file()}
        size = sum(found.values()) / 1e9  # a file and its view are one
        print(f"{options.one}: {took:.1f} s, peak {peak:.0f} MB, {size:.1f} GB on disk")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
