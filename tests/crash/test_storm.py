"""A storm of kills at random moments while the content keeps changing, with readers alongside.

``ASSETS_STORM_KILLS`` (20) says how many kills each store gets.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from crashing import ASSETS, HERE, STORES, World, check, seen_outside, served

pytestmark = [pytest.mark.crash, pytest.mark.slow]

KILLS = int(os.environ.get("ASSETS_STORM_KILLS", "20"))
DAYS = 4
READERS = {"parquet": ("project", "outside", "scanning"), "duckdb": ("project", "project")}


@contextmanager
def writers(world: World) -> Iterator[Any]:
    """A process that has imported everything and forks one that materializes per line it gets."""
    process = _child("storm_writer.py", world)
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait(30)


@contextmanager
def readers(world: World, kinds: tuple[str, ...]) -> Iterator[list[Any]]:
    """Processes that read on and on until they are told to stop."""
    processes = [_child("storm_reader.py", world, kind) for kind in kinds]
    try:
        yield processes
    finally:
        for process in processes:
            process.stdin.close()


def _child(script: str, world: World, *more: str) -> Any:
    return subprocess.Popen(
        [sys.executable, str(HERE / script), str(world.root), world.store, str(DAYS), *more],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("store", STORES)
def test_random_kills_tear_lose_and_double_nothing(tmp_path: Path, store: str) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    world = World(tmp_path, store, DAYS)
    world.write(1)
    with world.project() as project:
        assert project.materialize(jobs=2).ok
    kinds = READERS[store]
    generation = killed = 0
    with readers(world, kinds) as reading, writers(world) as writing:
        generation = 1
        while killed < KILLS:
            generation += 1
            world.write(generation)
            # By its progress, not by the clock, so that a loaded machine is hit as evenly: from
            # before the first call (anything up to planning) to after the last.
            calls = chance.randrange(2 * DAYS + 1)
            killed += one_kill(writing, calls, chance.uniform(0, 0.3 if not calls else 0.03))
        for process in reading:
            process.stdin.write("stop\n")
            process.stdin.flush()
        told = [json.loads(process.stdout.readlines()[-1]) for process in reading]
    print(f"{killed} kills, {generation} generations, reads {[one['reads'] for one in told]}")
    hit = what_was_hit(world)
    print(hit)
    assert hit["died with something published"] > 0  # how many depends on the machine
    assert [one["wrong"] for one in told] == [[]] * len(kinds)
    assert all(one["reads"] > 0 for one in told)
    with world.project() as project:
        project.status()
    check(world)
    with world.project() as project:
        assert project.materialize(jobs=2).ok
    expected = {asset: [generation] * DAYS for asset in ASSETS}
    assert served(world) == expected
    assert seen_outside(world) == expected
    check(world)


def what_was_hit(world: World) -> dict[str, int]:
    """How far the killed runs had come: a storm that only hits beginnings shows nothing."""
    with world.project() as project:
        project.status()
        runs = project.state.runs()
        facts = project.state.materializations("prod", "orders")
    died = [run for run in runs if run.status == "died"]
    return {
        "died": len(died),
        "died with something published": sum(run.counts.get("done", 0) > 0 for run in died),
        "rolled forward": sum(fact.kind == "recovered" for fact in facts),
        "published": len(facts),
    }


def one_kill(writing: Any, calls: int, after: float) -> bool:
    """Let a process materialize and kill it so many seconds after its so-manieth call; False if it
    was done before."""
    writing.stdin.write(f"{calls} {after}\n")
    writing.stdin.flush()
    ended = int(writing.stdout.readline())
    assert ended in (0, -signal.SIGKILL), ended
    return bool(ended)
