"""What a data version costs beside the write of the same rows.

Prints, for tables of fixed-width columns and of columns with text, the median time to hash all
rows, to write them as Parquet (zstd level 1, page checksums, fsync) and the ratio of the two. The
goal is a quarter. `python benchmarks/data_version.py --rows 1000 100000 --json`
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from assets_core.fingerprint.row_hash.hasher import data_version

GOAL = 0.25


def fixed(rows: int, rng: np.random.Generator) -> pa.Table:
    """Two columns: a counter and a measurement."""
    return pa.table({"id": np.arange(rows), "value": rng.random(rows)})


def mixed(rows: int, rng: np.random.Generator) -> pa.Table:
    """A number, a measurement, a time and a text of six to fourteen letters."""
    lengths = rng.integers(6, 15, rows)
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    letters = rng.integers(97, 123, int(offsets[-1]), np.uint8)
    text = pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(letters))
    times = np.cumsum(rng.integers(0, 10**6, rows)).astype("datetime64[us]")
    return pa.table(
        {
            "id": rng.integers(0, 10**9, rows),
            "value": rng.random(rows),
            "time": pa.array(times),
            "text": text,
        }
    )


TABLES: dict[str, Callable[[int, np.random.Generator], pa.Table]] = {
    "fixed": fixed,
    "mixed": mixed,
}


def write(table: pa.Table, path: Path) -> None:
    """As the Parquet store does: encode, then make durable."""
    with path.open("wb") as file:
        pq.write_table(
            table, file, compression="zstd", compression_level=1, write_page_checksum=True
        )
        file.flush()
        os.fsync(file.fileno())


def median_ms(action: Callable[[], object], repeats: int) -> float:
    """The median time of ``action`` in milliseconds, after one turn to warm up."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def measure(kind: str, rows: int, folder: Path) -> dict[str, object]:
    """One line of the report."""
    table = TABLES[kind](rows, np.random.default_rng(rows))
    repeats = 200 if rows <= 10_000 else 20 if rows <= 1_000_000 else 3
    hash_ms = median_ms(lambda: data_version(table), repeats)
    write_ms = median_ms(lambda: write(table, folder / "table.parquet"), repeats)
    ratio = hash_ms / write_ms
    return {
        "table": kind,
        "rows": rows,
        "hash_ms": round(hash_ms, 4),
        "write_ms": round(write_ms, 4),
        "ratio": round(ratio, 4),
        "goal": GOAL,
        "reached": ratio <= GOAL,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 100_000, 10_000_000])
    parser.add_argument("--json", action="store_true", help="print JSON lines alone")
    options = parser.parse_args()
    if not options.json:
        print(
            f"{'table':8}{'rows':>12}{'hash ms':>12}{'write ms':>12}{'ratio':>9}   goal {GOAL:.0%}"
        )
    with tempfile.TemporaryDirectory() as folder:
        for kind in TABLES:
            for rows in options.rows:
                line = measure(kind, rows, Path(folder))
                if options.json:
                    print(json.dumps(line))
                else:
                    print(
                        f"{kind:8}{rows:>12,}{line['hash_ms']:>12}{line['write_ms']:>12}"
                        f"{line['ratio']:>9.1%}   {'reached' if line['reached'] else 'MISSED'}"
                    )


if __name__ == "__main__":
    main()
