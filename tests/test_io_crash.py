"""Killed at every crash point and at random: what readers see is whole, old or new.

A store alone has no state store, so the catalog here is a file with the receipt in it, swapped by
rename: what the state store's transaction does for real.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets_core.contracts import IOManager, Target
from assets_core.errors import LeaseLostError, VersionReplacedError
from assets_core.faults import CRASH_POINTS
from assets_core.records import Receipt
from assets_core.testing import publish, target
from io_managers import DeltaTables, DuckDBTables, ParquetFiles

ROOT = Path(__file__).parent.parent
STEPS = ("stage.", "publish.", "expose.", "discard.")  # a store's own
# The storm of crash/test_storm.py goes through the whole engine.
KILLS = int(os.environ.get("ASSETS_STORM_KILLS", "15"))
KEY, RUN, COUNT = "2024-01-01", "victim00001", 300


STORES: dict[str, Callable[[], IOManager]] = {
    "parquet": ParquetFiles,
    "duckdb": lambda: DuckDBTables(timeout=30),
    "delta": DeltaTables,
}
LAKES = ("delta",)  # one commit of a log: nothing lies between fence and rows


def make(kind: str, folder: Path) -> IOManager:
    store: IOManager = STORES[kind]()
    store.bind("store", folder)
    return store


def version(token: int) -> pa.Table:
    """Rows that all say which version they are."""
    return pa.table({"token": pa.array([token] * COUNT, pa.int64()), "row": range(COUNT)})


def point_to(folder: Path, receipt: Receipt) -> None:
    new = folder / f"pointer.{os.getpid()}"
    new.write_text(json.dumps(asdict(receipt)))
    new.rename(folder / "pointer")


def pointer(folder: Path) -> Receipt:
    return Receipt(**json.loads((folder / "pointer").read_text()))


def attempt(store: IOManager, folder: Path, where: Target) -> None:
    """One step as the executor takes it, with rejects and a discarded attempt beside it."""
    spare = replace(where, attempt=where.attempt + "-spare")
    store.discard(store.stage_rejects(store.stage(spare, version(-1)), version(-1)))
    staged = store.stage_rejects(store.stage(where, version(where.token)), version(where.token))
    store.audit(staged).read_all()
    receipt = store.publish(staged, f"fact {where.token}")
    if not store.transactional:
        point_to(folder, receipt)
        store.expose(where.environment, where.asset, where.path_parts, receipt)
        store.flush()


def recovered(store: IOManager, folder: Path) -> Receipt:
    """What the next command does: take the newest version there is, mend the view, sweep."""
    if store.transactional:
        (found,) = store.scan()
        receipt = found.receipt
    else:
        receipt = pointer(folder)
        store.expose("prod", "orders", (f"date={KEY}",), receipt)
    store.sweep(RUN, [receipt.location, receipt.rejects])
    return receipt


def token_of(table: pa.Table) -> int:
    """The one version that these rows are of."""
    assert table.num_rows == COUNT
    (token,) = set(table.column("token").to_pylist())
    return int(token)


def start(kind: str, folder: Path, *arguments: object, crash: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, kind, str(folder), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "ASSETS_CRASH_AT": crash},
        stderr=subprocess.PIPE,
        text=True,
    )


def points(kind: str) -> list[str]:
    """Which points the steps of ``attempt`` pass in this kind of store."""
    inside = ("publish.fenced", "publish.deleted", "publish.inserted", "publish.committed")
    rows = ("publish.deleted", "publish.inserted")
    found = [p for p in CRASH_POINTS if p.startswith(STEPS)]
    if kind == "parquet":
        return [p for p in found if p not in inside]
    found = [p for p in found if not p.startswith("expose.")]
    return [p for p in found if p not in rows] if kind in LAKES else found


# stage passes: the spare's rows and rejects, then the version's own.
NTH = {"stage": (1, 3, 4)}
CASES = [
    (kind, f"{point}:{nth}")
    for kind in STORES
    for point in points(kind)
    for nth in NTH.get(point.partition(".")[0], (1,))
]


@pytest.mark.crash
@pytest.mark.parametrize(("kind", "point"), CASES)
def test_killed_at(kind: str, point: str, tmp_path: Path) -> None:
    store = make(kind, tmp_path)
    old = publish(store, target(KEY, 1), version(1))
    point_to(tmp_path, old)
    store.close()

    victim = start(kind, tmp_path, "once", crash=point)
    _, errors = victim.communicate(timeout=60)
    assert victim.returncode == -signal.SIGKILL, errors

    before_recovery = seen(store, tmp_path)
    receipt = recovered(store, tmp_path)
    assert token_of(store.read([receipt])) == before_recovery
    committed = point.startswith(("publish.committed", "expose."))
    assert receipt.token == (2 if committed else 1)
    if committed:
        rejects = store.open_rejects(receipt)
        assert rejects is not None
        assert token_of(rejects) == 2
    # Nothing of the dead run is left but what it published.
    left = [found for found in store.scan() if found.run == RUN]
    assert [found.receipt for found in left] == ([receipt] if committed else [])
    assert store.sweep(RUN, [receipt.location, receipt.rejects]) == 0
    # And the next run goes on as if nothing had been.
    newest = publish(store, target(KEY, 3), version(3))
    assert token_of(store.read([newest])) == 3
    if kind == "parquet":
        names = [p.name for p in (tmp_path / "data" / "orders" / f"date={KEY}").iterdir()]
        assert names == ["data.parquet"]


def seen(store: IOManager, folder: Path) -> int:
    """The version that a reader sees right after the crash; also the outside view is whole."""
    if store.transactional:
        (found,) = store.scan()
        return token_of(store.read([found.receipt]))
    shown = folder / "data" / "orders" / f"date={KEY}" / "data.parquet"
    assert token_of(pq.ParquetFile(shown).read()) in {1, 2}
    return token_of(store.read([pointer(folder)]))


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "the other process does not get on"
        time.sleep(0.02)


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.parametrize("kind", STORES)
def test_a_storm_of_random_kills_with_readers_alongside(kind: str, tmp_path: Path) -> None:
    """Kills at random moments: nothing torn, nothing lost, nothing doubled."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    dice = random.Random(seed)
    store = make(kind, tmp_path)
    point_to(tmp_path, publish(store, target(KEY, 1), version(1)))
    store.close()
    acknowledged = 1
    for round_ in range(KILLS):
        victim = start(kind, tmp_path, "loop")
        while not (tmp_path / f"started.{victim.pid}").exists():
            assert victim.poll() is None
            time.sleep(0.01)
        deadline = time.monotonic() + dice.uniform(0.0, 0.5)
        while time.monotonic() < deadline:
            token = read_newest(store, tmp_path)
            assert token is None or token >= acknowledged
        if round_ % 25 == 0:
            # On a busy machine a short life ends before the first publish: some live long enough.
            store.close()
            wait_until(lambda: (tmp_path / "acknowledged").exists())
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        acked = tmp_path / "acknowledged"
        if acked.exists():
            acknowledged = max(acknowledged, int(acked.read_text()))
        receipt = recovered(store, tmp_path)
        assert receipt.token >= acknowledged
        assert token_of(store.read([receipt])) == receipt.token
        store.close()
    assert acknowledged > 1, "no victim lived long enough to publish"


def read_newest(store: IOManager, folder: Path) -> int | None:
    try:
        if store.transactional:
            (found,) = store.scan()
            return token_of(store.read([found.receipt]))
        return token_of(store.read([pointer(folder)]))
    except VersionReplacedError:
        return None  # replaced between looking up and reading: refused, not torn


def main(kind: str, folder: Path, manner: str) -> None:
    """The victim."""
    store = make(kind, folder)
    (folder / f"started.{os.getpid()}").touch()
    rounds = 1 if manner == "once" else 10_000
    for _ in range(rounds):
        newest = max((found.receipt.token for found in store.scan()), default=1)
        token = newest + 1
        try:
            attempt(store, folder, replace(target(KEY, token, run=RUN), attempt=f"t{token}"))
        except LeaseLostError:
            continue
        ack = folder / f"acknowledged.{os.getpid()}"
        ack.write_text(str(token))
        ack.rename(folder / "acknowledged")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
