"""Ctrl-C: once, the run ends within a second or two; twice, at once; nothing is half-done."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crashing import ASSETS, STORES, World, check, ended, served, wait_for

from assets_core.errors import AssetsError

pytestmark = [pytest.mark.crash, pytest.mark.slow]

SLACK = 1.5
"""Seconds for a loaded machine to end a process."""


@pytest.fixture(autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """Also where a shell that starts the tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(world: World, process: Any, times: int) -> float:
    """Press Ctrl-C; the seconds until the process was gone."""
    began = time.monotonic()
    for _ in range(times):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.15)
    assert ended(process)["exit"] == 130 if times == 1 else ended_somehow(process) == 130
    return time.monotonic() - began


def ended_somehow(process: Any) -> int:
    process.communicate(timeout=30)
    return int(process.returncode)


def complete(world: World, generation: int) -> None:
    world.hold.unlink(missing_ok=True)
    with world.project() as project:
        assert project.materialize(jobs=2).ok
    assert served(world) == {asset: [generation] * world.days for asset in ASSETS}
    check(world)


@pytest.fixture
def running(world: World) -> Any:
    """A run over an older version whose functions are at work and will not return."""
    world.write(1)
    with world.project() as project:
        assert project.materialize(jobs=2).ok
    world.write(2)
    world.hold.touch()
    before = len(world.calls())
    process = world.start(jobs=2)
    wait_for(lambda: len(world.calls()) == before + 2)
    yield process
    process.kill()
    process.communicate()


def test_one_interrupt_ends_the_run_soon_and_cleanly(world: World, running: Any) -> None:
    assert interrupted(world, running, 1) < 2 + SLACK
    with world.project() as project:
        newest = project.run("latest")
        assert (newest.status, project.state.held(newest.id)) == ("interrupted", [])
        project.status()
        assert project.take_recovered() == []
    assert served(world) == {asset: [1, 1] for asset in ASSETS}
    check(world)
    complete(world, 2)


def test_two_interrupts_end_it_at_once_and_as_safely(world: World, running: Any) -> None:
    assert interrupted(world, running, 2) < 0.3 + SLACK
    with world.project() as project:
        project.status()
        newest = project.run("latest")
        assert newest.status in ("interrupted", "died")
        assert project.state.held(newest.id) == []
    assert served(world) == {asset: [1, 1] for asset in ASSETS}
    check(world)
    complete(world, 2)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("times", [1, 2])
def test_interrupts_at_any_moment_leave_whole_partitions(
    tmp_path: Path, store: str, times: int
) -> None:
    chance = random.Random(f"{store} {times}")
    world = World(tmp_path, store, days=12)
    world.write(1)
    with world.project() as project:
        assert project.materialize(jobs=2).ok
    for generation in range(2, 8):
        world.write(generation)
        before = len(world.calls())
        process = world.start(jobs=2)
        wait_for(lambda count=before, p=process: len(world.calls()) > count or p.poll() is not None)
        time.sleep(chance.uniform(0, 0.15))
        for _ in range(times):
            if process.poll() is None:
                os.kill(process.pid, signal.SIGINT)
                time.sleep(0.02)
        assert ended_somehow(process) in (0, 130)
        found = {one for every in served(world).values() for one in every}
        assert found <= {*range(1, generation + 1)}
        with world.project() as project:
            project.status()
        check(world)
    complete(world, 7)


def test_what_is_staged_after_the_end_of_a_run_is_swept_by_the_next_command(
    world: World, running: Any
) -> None:
    os.kill(running.pid, signal.SIGINT)
    wait_for(lambda: newest_run(world) == "interrupted")
    world.hold.unlink()
    ended_somehow(running)
    with world.project() as project:
        project.status()
        assert project.take_recovered() == [] or project.take_recovered()[0].swept
    assert served(world) == {asset: [1, 1] for asset in ASSETS}
    check(world)


def newest_run(world: World) -> str:
    with world.project() as project:
        return project.state.runs(limit=1)[0].status


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("where", ["function", "publish", "record"])
def test_a_step_that_outlives_its_run_changes_nothing_any_more(
    tmp_path: Path, store: str, where: str
) -> None:
    """As in a notebook, where Ctrl-C ends the run and not the process."""
    world = World(tmp_path, store)
    became = outlived(world, where)
    assert became == {"function": [], "publish": ["refused"], "record": ["published"]}[where]
    with world.project() as project:
        project.status()  # the run ended unswept
    # What a store had committed when its run ended was recorded at that end.
    first = 2 if (store, where) == ("duckdb", "record") else 1
    assert served(world) == {"orders": [first, 1], "totals": [1, 1]}
    check(world)
    complete(world, 2)


@pytest.mark.parametrize("store", STORES)
def test_what_a_step_staged_and_left_after_its_run_is_swept_by_the_next_command(
    tmp_path: Path, store: str
) -> None:
    world = World(tmp_path, store)
    with pytest.MonkeyPatch.context() as patch:
        # As if it were killed before it came to that.
        patch.setattr(type(manager_of(world)), "discard", lambda *_: None)
        outlived(world, "function")
    with world.project() as project:
        project.status()
        assert project.take_recovered()[0].swept == 1
    check(world)


def manager_of(world: World) -> Any:
    with world.project() as project:
        return project.io["default"]


def outlived(world: World, where: str) -> list[str]:
    """Interrupt a run whose first step waits in its function, before its publish or before its
    record, and let the step go on when the run has ended; what became of its publish."""
    world.write(1)
    with world.project() as project:
        assert project.materialize(jobs=1).ok
    world.write(2)
    with world.project() as project, pytest.MonkeyPatch.context() as patch:
        manager = project.io["default"]
        became: list[str] = []
        # By its worker, as large versions are: a group's publish is waited for like its commit.
        patch.setattr("assets_core.execution.sealing._MOST_BYTES", -1)
        patch.setattr(manager, "publish", _watched(world, manager.publish, where, became))
        if where == "function":
            world.hold.touch()
        press = threading.Thread(target=_interrupt, args=(world, len(world.calls()) + 1))
        press.start()
        result = project.materialize(jobs=1)
        press.join()
        assert result.status == "interrupted"
        world.hold.unlink()
        wait_for(lambda: not [t for t in threading.enumerate() if t.name.startswith("worker-")])
    return became


def _watched(world: World, publish: Any, where: str, became: list[str]) -> Any:
    def wait(here: str) -> None:
        if where == here:
            world.hold.touch()
            wait_for(lambda: not world.hold.exists())

    def watched(staged: Any, fact: str) -> Any:
        wait("publish")
        try:
            receipt = publish(staged, fact)
        except AssetsError:
            became.append("refused")
            raise
        became.append("published")
        wait("record")
        return receipt

    return watched


def _interrupt(world: World, calls: int) -> None:
    wait_for(lambda: len(world.calls()) >= calls and world.hold.exists())
    os.kill(os.getpid(), signal.SIGINT)
