"""What a lease and a publish cost in the state store, and a snapshot of many partitions.

Run ``python benchmarks/state_commits.py [--rows 100000] [--snapshot 1000000] [--folder DIR]``.
Every commit is durable (fsync): the floor printed first is one SQLite commit of one small row on
the same disk in the same journal mode.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from assets_core.contracts import Acquire, Finish, Lease, Publish, StateStore
from assets_core.records import CheckOutcome, Code, InputRead, Materialization, Receipt, Run
from assets_core.state import open_store

RUN = "benchmark-run"
CHECKS = (CheckOutcome("not_null(sensor_id)", True, "error", "", 0),)


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=100_000)
    options.add_argument("--snapshot", type=int, default=1_000_000)
    options.add_argument("--folder", type=Path, default=None)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        print(f"floor: one commit of one row, WAL, synchronous=FULL  {floor(Path(folder)):.3f} ms")
        measure_commits(Path(folder), given.rows)
        measure_snapshot(Path(folder), given.snapshot)


def floor(folder: Path) -> float:
    """Milliseconds of a bare durable commit, the median of 200."""
    raw = sqlite3.connect(folder / "floor.db", isolation_level=None)
    raw.execute("PRAGMA journal_mode=WAL")
    raw.execute("PRAGMA synchronous=FULL")
    raw.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
    return 1000 * statistics.median(
        seconds(lambda: raw.execute("INSERT INTO t (b) VALUES ('some text')")) for _ in range(200)
    )


def seconds(work: Callable[[], object]) -> float:
    """How long ``work`` takes."""
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def measure_commits(folder: Path, rows: int) -> None:
    """Acquire and publish in groups, at the start and after ``rows`` materializations."""
    store = open_store(f"sqlite:///{folder}/commits.db")
    store.begin(Run(RUN, "prod", "running", 1), 3600)
    print("rows in store   group   ms per acquire   ms per publish   ms per transaction")
    serial = 0
    for start in (0, rows // 10, rows):
        serial = fill(store, serial, start)
        for group in (1, 10, 100):
            serial = measure_group(store, serial, group)
    print(f"10 publishes and an acquire of 64 in one transaction: {measure_mixed(store):.3f} ms")
    size = database_bytes(store, folder / "commits.db")
    print(f"bytes per materialization and its asset partition: {size / serial:.0f} ({serial} rows)")


def database_bytes(store: StateStore, path: Path) -> int:
    """Size on disk once the log is brought in."""
    store.transact([Finish(RUN, "done", 2)])
    store.close()
    return path.stat().st_size


def fill(store: StateStore, serial: int, until: int) -> int:
    """Publish up to ``until`` partitions in large groups."""
    while serial < until:
        slots = slots_after(serial, min(1000, until - serial))
        (leases,) = store.transact([Acquire(RUN, "prod", slots)])
        store.transact([Publish(fact(lease)) for lease in leases])
        serial += len(slots)
    return serial


def measure_group(store: StateStore, serial: int, group: int) -> int:
    """Median milliseconds of 30 groups."""
    acquiring, publishing = [], []
    for _ in range(30):
        slots = slots_after(serial, group)
        before = time.perf_counter()
        (leases,) = store.transact([Acquire(RUN, "prod", slots)])
        acquiring.append(time.perf_counter() - before)
        operations = [Publish(fact(lease)) for lease in leases]
        publishing.append(seconds(lambda batch=operations: store.transact(batch)))  # type: ignore[misc]
        serial += group
    acquired, published = (1000 * statistics.median(times) for times in (acquiring, publishing))
    print(
        f"{serial:13,} {group:7} {acquired / group:16.3f} {published / group:16.3f}"
        f" {published:20.3f}"
    )
    return serial


def measure_mixed(store: StateStore) -> float:
    """Median milliseconds of what an executor does at a time: publish ten, lease the next."""
    (ready,) = store.transact([Acquire(RUN, "prod", slots_after(0, 64))])
    times = []
    for number in range(1, 31):
        operations = [Publish(fact(lease)) for lease in ready[:10]]
        acquire = Acquire(RUN, "prod", slots_after(64 * number, 64))
        before = time.perf_counter()
        *_, ready = store.transact([*operations, acquire])
        times.append(time.perf_counter() - before)
    return 1000 * statistics.median(times)


def slots_after(serial: int, count: int) -> tuple[tuple[str, str], ...]:
    """Asset partitions of ten assets in turn, a new one for every number."""
    return tuple(
        (f"asset_{i % 10}", f"2024-01-01T{i // 10:07d}") for i in range(serial, serial + count)
    )


def fact(lease: Lease) -> Materialization:
    """A build with two inputs, a check and a schema, as a run records it."""
    key = lease.partition
    return Materialization(
        environment="prod",
        asset=lease.asset,
        partition=key,
        code=Code("0123456789abcdef0123456789abcdef", {"body": "aa"}),
        input_digest=(hash(key) & 0xFFFFFFFF, 7),
        data_version=(3, hash(key) & 0xFFFFFFFF),
        receipt=Receipt(
            store="parquet",
            kind="table",
            location=f"{lease.asset}/date={key}/00000001-{RUN}.parquet",
            token=lease.token,
            rows=1000,
            bytes=20_000,
        ),
        started=1_700_000_000_000_000,
        finished=1_700_000_000_100_000,
        run=RUN,
        token=lease.token,
        inputs=(
            InputRead("landing", "landing", ((key, key),), 1, 1, (1, 2)),
            InputRead("stations", "stations", (("all", "all"),), 1, 1, (3, 4)),
        ),
        checks=CHECKS,
        schema="sensor_id: string\nv: double",
    )


def measure_snapshot(folder: Path, partitions: int) -> None:
    """A cold snapshot of all of it, and of the tail after a few changes."""
    url = f"sqlite:///{folder}/snapshot.db"
    store = open_store(url)
    store.begin(Run(RUN, "prod", "running", 1), 3600)
    fill(store, 0, partitions)
    store.close()
    names = [f"asset_{i}" for i in range(10)]
    store = open_store(url, create=False)
    whole = min(seconds(lambda: store.snapshot("prod", names)) for _ in range(3))
    print(f"snapshot of {partitions:,} partitions: {whole:.2f} s")
    tail = min(seconds(lambda: store.snapshot("prod", names, partitions - 10)) for _ in range(3))
    print(f"snapshot of the last 10 changes:   {1000 * tail:.2f} ms")
    size = (folder / "snapshot.db").stat().st_size
    print(f"bytes per partition: {size / partitions:.0f}")
    store.close()


if __name__ == "__main__":
    main()
