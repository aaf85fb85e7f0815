"""Killed while one call publishes many partitions: each is wholly old or new, as recorded."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from crashing import STORES, World, check, seen_outside, served, wait_for
from test_crash_points import complete, recovered, whole

pytestmark = [pytest.mark.crash, pytest.mark.slow]

DAYS = 5
BOTH = (
    "execute.loaded:1",
    "execute.called:1",
    "stage.created:1",
    "stage.written:1",
    "stage.synced:1",
    "stage.folder_synced:1",
    "audit.done:1",
    "publish.begin:1",
    "record.begin:1",
    "record.begin:2",
    "record.begin:3",
    "record.committed:1",
    "record.committed:2",
    "record.committed:3",
    "execute.loaded:2",
    "stage.written:2",
    "audit.done:2",
    "flush.begin:1",
    "run.ending:1",
)
ONLY = {
    "parquet": (
        "stage.created:3",
        "publish.begin:4",
        "expose.linked:1",
        "expose.renamed:1",
        "expose.linked:3",
        "expose.renamed:7",
    ),
    "duckdb": tuple(
        f"publish.{point}:{nth}"
        for point in ("fenced", "deleted", "inserted", "committed")
        for nth in (1, 2)
    ),
}
CASES = [(store, at) for store in ONLY for at in (*BOTH, *ONLY[store])]
FIRST = [case for case in CASES if case[1].startswith(("publish", "expose"))]


@pytest.fixture(autouse=True)
def by_calls_for_all_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_BATCH", "1")


@pytest.mark.parametrize(("store", "at"), FIRST)
def test_a_crash_in_the_first_build(tmp_path: Path, store: str, at: str) -> None:
    world = World(tmp_path, store, DAYS)
    world.write(1)
    world.crash(at)
    whole(seen_outside(world), 0, 1)
    recovered(world)
    whole(served(world), 0, 1)
    check(world)
    complete(world, 1)


@pytest.mark.parametrize(("store", "at"), CASES)
def test_a_crash_in_an_overwrite(tmp_path: Path, store: str, at: str) -> None:
    world = World(tmp_path, store, DAYS)
    world.write(1)
    with world.project() as project:
        assert project.materialize(jobs=1).ok
    world.write(2)
    world.crash(at)
    whole(seen_outside(world), 1, 2)
    recovered(world)
    whole(served(world), 1, 2)
    check(world)
    complete(world, 2)


def test_all_that_was_committed_is_rolled_forward_without_running_again(tmp_path: Path) -> None:
    world = World(tmp_path, "duckdb", DAYS)
    world.write(1)
    world.crash("publish.committed:1")
    assert recovered(world) == DAYS
    with world.project() as project:
        assert {step.asset for step in project.plan().steps()} == {"totals"}
    complete(world, 1)


@pytest.mark.parametrize("store", STORES)
def test_kills_at_random_moments(tmp_path: Path, store: str) -> None:
    world = World(tmp_path, store, 40)
    rng = random.Random(20240101)
    for generation in range(1, 7):
        world.write(generation)
        process = world.start()
        calls = len(world.calls())
        wait_for(lambda p=process, n=calls: len(world.calls()) > n or p.poll() is not None)
        time.sleep(rng.uniform(0, 0.25))
        process.kill()
        process.communicate()
        whole(seen_outside(world), *range(generation + 1))
        with world.project() as project:
            project.status()
        whole(served(world), *range(generation + 1))
        check(world)
    complete(world, 6)
