"""The state store among processes that die, stop, and fight for the same asset partitions."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from assets_core.contracts import Acquire, Held, Lease, Publish, Published, Refused, StateStore
from assets_core.records import Code, Materialization, Receipt, Run
from assets_core.state import open_store, sqlite

pytestmark = pytest.mark.crash

_spawn = multiprocessing.get_context("spawn")
SLOTS = tuple(("a", f"k{i}") for i in range(20))


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder}/state.db"


def fact(lease: Lease, run: str) -> Materialization:
    receipt = Receipt("lake", "table", f"a/{lease.partition}", lease.token)
    return Materialization(
        environment="prod",
        asset=lease.asset,
        partition=lease.partition,
        code=Code("c"),
        input_digest=(0, 1),
        data_version=(0, lease.token),
        receipt=receipt,
        started=1,
        finished=2,
        run=run,
        token=lease.token,
    )


@contextmanager
def process(work: Callable[..., None], *arguments: Any) -> Iterator[tuple[BaseProcess, Connection]]:
    """A process with a pipe to it; killed in the end if it still runs."""
    here, there = _spawn.Pipe()
    started = _spawn.Process(target=work, args=(there, *arguments))
    started.start()
    there.close()
    try:
        yield started, here
    finally:
        started.kill()
        started.join()
        here.close()


# ---- two processes, the same slots


def fight(pipe: Connection, url: str, run: str, seconds: float) -> None:
    """Lease what is free of the slots, publish it, and tell what was published."""
    store = open_store(url)
    store.begin(Run(run, "prod", "running", 1), 60)
    published = []
    pipe.send("ready")
    pipe.recv()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        (leases,) = store.transact([Acquire(run, "prod", SLOTS)])
        won = [lease for lease in leases if isinstance(lease, Lease)]
        results = store.transact([Publish(fact(lease, run)) for lease in won])
        published += [
            (result.id, lease.partition, lease.token)
            for lease, result in zip(won, results, strict=True)
            if isinstance(result, Published)
        ]
    pipe.send(published)
    store.close()


@pytest.fixture(scope="module")
def fought(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[tuple[int, str, int]], str]:
    """What two processes were told they published, and the store they did it in."""
    url = url_of(tmp_path_factory.mktemp("fight"))
    open_store(url).close()
    with process(fight, url, "r1", 1) as (_, first), process(fight, url, "r2", 1) as (_, second):
        for pipe in (first, second):
            pipe.recv()
        for pipe in (first, second):
            pipe.send("go")
        return sorted(first.recv() + second.recv()), url


def test_tokens_of_a_slot_strictly_increase_in_commit_order(
    fought: tuple[list[tuple[int, str, int]], str],
) -> None:
    for _, key in SLOTS:
        tokens = [token for _, partition, token in fought[0] if partition == key]
        assert tokens == sorted(set(tokens))


def test_no_acknowledged_publish_is_lost_and_none_is_doubled(
    fought: tuple[list[tuple[int, str, int]], str],
) -> None:
    store = open_store(fought[1])
    facts = [(one.id, one.partition, one.token) for one in store.materializations("prod", "a")]
    store.close()
    assert sorted(facts) == fought[0]


def test_both_processes_had_their_share(fought: tuple[list[tuple[int, str, int]], str]) -> None:
    store = open_store(fought[1])
    runs = Counter(one.run for one in store.materializations("prod", "a"))
    store.close()
    assert min(runs["r1"], runs["r2"]) > sum(runs.values()) / 10


# ---- killed


def publish_for_ever(pipe: Connection, url: str, run: str) -> None:
    """Lease and publish ten at a time, acknowledging every id."""
    store = open_store(url)
    store.begin(Run(run, "prod", "running", 1), 600)
    while True:
        (leases,) = store.transact([Acquire(run, "prod", SLOTS[:10])])
        results = store.transact([Publish(fact(lease, run)) for lease in leases])
        pipe.send([result.id for result in results])


def received(pipe: Connection) -> list[int]:
    """Everything that the other end sent before it was killed."""
    ids: list[int] = []
    try:
        while True:
            ids += pipe.recv()
    except EOFError:
        return ids


@pytest.mark.parametrize("more", range(5))
def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path, more: int) -> None:
    url = url_of(tmp_path)
    with process(publish_for_ever, url, "r1") as (killed, pipe):
        acknowledged = list(pipe.recv())
        time.sleep(0.03 * more + 0.007)
        os.kill(killed.pid or 0, signal.SIGKILL)
        acknowledged += received(pipe)
    store = open_store(url)
    recorded = {one.id for one in store.materializations("prod", "a")}
    problems = store.check()
    store.close()
    assert (set(acknowledged) - recorded, problems) == (set(), [])


def publish_and_checkpoint(pipe: Connection, url: str, run: str) -> None:
    """As publish_for_ever, bringing the log in every few commits, on slots that others want too."""
    sqlite.CHECKPOINT_BYTES, sqlite.TRUNCATE_BYTES, sqlite.CHECKPOINT_CHANGES = 20_000, 60_000, 50
    store = open_store(url)
    store.begin(Run(run, "prod", "running", 1), 600)
    while True:
        (leases,) = store.transact([Acquire(run, "prod", SLOTS)])
        won = [lease for lease in leases if isinstance(lease, Lease)]
        results = store.transact([Publish(fact(lease, run)) for lease in won])
        pipe.send([result.id for result in results if isinstance(result, Published)])
        store.snapshot("prod", ["a"])


@pytest.mark.slow
def test_a_storm_of_kills_among_rivals_loses_and_damages_nothing(tmp_path: Path) -> None:
    url = url_of(tmp_path)
    open_store(url).close()
    rng = random.Random(20240101)
    acknowledged: list[int] = []
    problems: list[str] = []
    for number in range(15):
        with (
            process(publish_and_checkpoint, url, f"a{number}") as (first, of_first),
            process(publish_and_checkpoint, url, f"b{number}") as (second, of_second),
        ):
            acknowledged += of_first.recv() + of_second.recv()
            for killed in (first, second):
                time.sleep(rng.uniform(0, 0.05))
                os.kill(killed.pid or 0, signal.SIGKILL)
            acknowledged += received(of_first) + received(of_second)
        store = open_store(url)
        problems += store.check()
        store.close()
    store = open_store(url)
    recorded = [one.id for one in store.materializations("prod", "a")]
    store.close()
    assert (set(acknowledged) - set(recorded), problems) == (set(), [])


def killed_with_leases(url: str, store: StateStore) -> None:
    """Leave the run r1 behind, killed while it holds a lease for ten minutes."""
    with process(zombie, url, 600) as (killed, pipe):
        pipe.recv()
        os.kill(killed.pid or 0, signal.SIGKILL)
        killed.join()
    assert len(store.held("r1")) == 1


def test_a_killed_run_is_known_dead_at_once(tmp_path: Path) -> None:
    store = open_store(url_of(tmp_path))
    killed_with_leases(url_of(tmp_path), store)
    assert [run.id for run in store.dead_runs()] == ["r1"]
    store.close()


def test_the_slots_of_a_killed_run_are_free_at_once(tmp_path: Path) -> None:
    store = open_store(url_of(tmp_path))
    killed_with_leases(url_of(tmp_path), store)
    store.begin(Run("r2", "prod", "running", 1), 60)
    results = store.transact([Acquire("r2", "prod", (("a", "k"),))])
    store.close()
    assert results == [(Lease("a", "k", 2, 0),)]


def fork_and_wait(pipe: Connection, url: str) -> None:
    """Begin a run, then fork a worker that outlives it."""
    store = open_store(url)
    store.begin(Run("r1", "prod", "running", 1), 600)
    if os.fork() == 0:
        pipe.send(os.getpid())  # by now the fork's hooks have run
        time.sleep(20)
        os._exit(0)
    time.sleep(20)


def test_a_forked_worker_does_not_keep_its_dead_run_alive(tmp_path: Path) -> None:
    store = open_store(url_of(tmp_path))
    with process(fork_and_wait, url_of(tmp_path)) as (killed, pipe):
        worker = pipe.recv()
        alive = store.dead_runs()
        os.kill(killed.pid or 0, signal.SIGKILL)
        killed.join()
        dead = [run.id for run in store.dead_runs()]
        os.kill(worker, signal.SIGKILL)
    store.close()
    assert (alive, dead) == ([], ["r1"])


# ---- stopped


def zombie(pipe: Connection, url: str, seconds: float) -> None:
    """Lease a slot, and publish it when told to."""
    store = open_store(url)
    store.begin(Run("r1", "prod", "running", 1), seconds)
    ((lease,),) = store.transact([Acquire("r1", "prod", (("a", "k"),))])
    pipe.send("leased")
    pipe.recv()
    pipe.send(store.transact([Publish(fact(lease, "r1"))]))
    store.close()


def test_a_stopped_run_keeps_its_leases_until_their_time_is_up(tmp_path: Path) -> None:
    store = open_store(url_of(tmp_path))
    with process(zombie, url_of(tmp_path), 600) as (stopped, pipe):
        pipe.recv()
        os.kill(stopped.pid or 0, signal.SIGSTOP)
        store.begin(Run("r2", "prod", "running", 1), 60)
        results = store.transact([Acquire("r2", "prod", (("a", "k"),))])
    store.close()
    assert results == [(Held("a", "k", "r1", 0),)]


def test_a_zombie_whose_slot_was_taken_over_is_refused(tmp_path: Path) -> None:
    store = open_store(url_of(tmp_path))
    with process(zombie, url_of(tmp_path), 0.2) as (stopped, pipe):
        pipe.recv()
        os.kill(stopped.pid or 0, signal.SIGSTOP)
        time.sleep(0.3)
        store.begin(Run("r2", "prod", "running", 1), 60)
        ((lease,),) = store.transact([Acquire("r2", "prod", (("a", "k"),))])
        (published,) = store.transact([Publish(fact(lease, "r2"))])
        os.kill(stopped.pid or 0, signal.SIGCONT)
        pipe.send("publish")
        results = pipe.recv()
    newest = store.materializations("prod", "a")
    store.close()
    assert (results, [one.id for one in newest]) == ([Refused(2, "")], [published.id])


# ---- durable


def strace() -> str:
    """How to run strace, skipping where it is missing or not allowed."""
    tried = subprocess.run(["/usr/bin/env", "strace", "true"], capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip("strace can't be used here")
    return "strace"


_TEN_COMMITS = """
import sys
from assets_core.contracts import Beat
from assets_core.records import Run
from assets_core.state import open_store, sqlite
store = open_store(sys.argv[1])
store.begin(Run("r1", "prod", "running", 1), 600)
print("begun", file=open(sys.argv[2], "w"))
for number in range(10):
    store.transact([Beat("r1", 60 + number)])
print("done", file=open(sys.argv[2], "w"))
"""


def test_every_commit_is_synced_to_disk(tmp_path: Path) -> None:
    trace, mark = tmp_path / "trace", tmp_path / "mark"
    calls = "trace=fsync,fdatasync,openat"
    command = [strace(), "-f", "-y", "-e", calls, "-o", str(trace), sys.executable, "-c"]
    path = os.pathsep.join(sys.path)
    subprocess.run(
        [*command, _TEN_COMMITS, url_of(tmp_path), str(mark)],
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    lines = trace.read_text().splitlines()
    marks = [number for number, line in enumerate(lines) if f'"{mark}"' in line]
    syncs = [line for line in lines[marks[0] : marks[1]] if "sync(" in line and "-wal>" in line]
    assert len(syncs) == 10
