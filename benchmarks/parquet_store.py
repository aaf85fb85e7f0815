"""The Parquet store against bare pyarrow, in one run: a tiny partition, many files, a large one.

    python benchmarks/parquet_store.py [folder]

Prints medians in milliseconds; the folder should lie on the disk that is to be measured.
"""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from assets_core.contracts import Target
from assets_core.faults import reach
from assets_core.records import Receipt
from io_managers import ParquetFiles

TINY = pa.table({"id": np.arange(1_000), "v": np.random.default_rng(0).random(1_000)})
numbers = itertools.count(1)


def median(step: Callable[[], object], repeat: int = 400) -> float:
    """Milliseconds."""
    for _ in range(repeat // 10):
        step()
    took = []
    for _ in range(repeat):
        begun = time.perf_counter()
        step()
        took.append(time.perf_counter() - begun)
    return 1e3 * statistics.median(took)


def target() -> Target:
    number = next(numbers)
    key = f"2024-{number:06}"
    return Target("readings", key, (f"date={key}",), number, "run00000001", f"a{number}")


def bare(folder: Path) -> None:
    """What one would write by hand: write, fsync, rename, fsync of the folder, read back."""
    path = folder / f"{next(numbers)}.parquet"
    with path.with_suffix(".tmp").open("wb") as file:
        pq.write_table(TINY, file, compression="zstd", write_page_checksum=True)
        file.flush()
        os.fsync(file.fileno())
    path.with_suffix(".tmp").rename(path)
    place = os.open(folder, os.O_RDONLY)
    os.fsync(place)
    os.close(place)
    pq.read_table(path, page_checksum_verification=True)


def step(store: ParquetFiles) -> Receipt:
    staged = store.stage(target(), TINY)
    store.audit(staged).read_all()
    return store.publish(staged, "")


def show(label: str, milliseconds: float, floor: float | None = None) -> None:
    """One line; with ``floor`` also the ratio to it."""
    ratio = "" if floor is None else f"   {milliseconds / floor:.2f} × {floor:.3f} by hand"
    print(f"{label:<42} {milliseconds:10.3f} ms{ratio}", flush=True)


def tiny(store: ParquetFiles, folder: Path) -> None:
    floor = median(lambda: bare(folder))
    show("1,000 rows × 2: stage, audit, publish", median(lambda: step(store)), floor)
    show("  stage alone", median(lambda: store.stage(target(), TINY)))
    receipt = step(store)
    show("  read", median(lambda: store.read([receipt])))
    show("  open", median(lambda: store.open([receipt])))

    def expose() -> None:
        where = target()
        store.expose("prod", where.asset, where.path_parts, receipt)

    show("  expose, a new folder", median(expose))
    pair = itertools.cycle([step(store), step(store)])
    show(
        "  expose, a swap",
        median(lambda: store.expose("prod", "readings", ("date=one",), next(pair))),
    )
    show("  a thousand crash points, unarmed", median(points))


def points() -> None:
    for _ in range(1_000):
        reach("stage.synced")


def many(store: ParquetFiles) -> None:
    receipts = [step(store) for _ in range(1_000)]
    show("1,000 such versions as one scan", median(lambda: store.open(receipts).read_all(), 5))


def large(store: ParquetFiles, folder: Path) -> None:
    rng = np.random.default_rng(0)
    count = 5_000_000
    table = pa.table({"id": np.arange(count), "v": rng.random(count), "s": ["abc"] * count})
    path = folder / "large.parquet"

    def by_hand() -> None:
        with path.open("wb") as file:
            pq.write_table(table, file, compression="zstd", write_page_checksum=True)
            os.fsync(file.fileno())

    floor = median(by_hand, 3)
    show("5 million rows × 3: stage", median(lambda: store.stage(target(), table), 3), floor)
    floor = median(lambda: pq.read_table(path, page_checksum_verification=True), 3)
    receipt = store.publish(store.stage(target(), table), "")
    show("  open and read", median(lambda: store.open([receipt]).read_all(), 3), floor)


def main() -> None:
    folder = Path(tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else None))
    try:
        store = ParquetFiles("data")
        store.bind("lake", folder)
        tiny(store, folder)
        many(store)
        large(store, folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
