"""Runs that stop for longer than their lease and go on: what they publish then is refused.

A stopped process keeps whatever it has open. Where that is the DuckDB file nobody can take over
before it is gone; everywhere else another process may, and the zombie must find out.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from crashing import ASSETS, World, check, ended, is_stopped, seen_outside, served, wait_for

from assets_core.errors import AssetsError, StorageError

pytestmark = [pytest.mark.crash, pytest.mark.slow]

LEASE = 0.6
LONG = 2.0  # no sign of life is due yet when the point is reached, so no commit is cut in two


@contextmanager
def killed_in_the_end(process: Any) -> Iterator[Any]:
    try:
        yield process
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()


@contextmanager
def held(world: World) -> Iterator[Any]:
    """A process that stopped while its first function was running, with nothing open."""
    world.hold.touch()
    process = world.start(environ={"ASSETS_LEASE_SECONDS": str(LEASE)})
    with killed_in_the_end(process):
        wait_for(lambda: len(world.calls()) > before(world))
        if (world.root / "data" / "warehouse.duckdb").exists():
            time.sleep(2.5)  # so long it keeps the file open for what comes next
        wait_for(lambda: stops_with_nothing_locked(world, process))
        time.sleep(LEASE + 0.1)
        world.hold.unlink()
        yield process


def stops_with_nothing_locked(world: World, process: Any) -> bool:
    """Stop the process unless that is in the middle of a commit, which would stop everybody."""
    os.kill(process.pid, signal.SIGSTOP)
    wait_for(lambda: is_stopped(process))
    with (world.root / ".assets" / "state.db-lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.kill(process.pid, signal.SIGCONT)
            return False
    return True


def before(world: World) -> int:
    return int((world.root / "before").read_text()) if (world.root / "before").exists() else 0


def built(world: World, generation: int) -> None:
    world.write(generation)
    with world.project() as project:
        assert project.materialize(jobs=1).ok
    (world.root / "before").write_text(str(len(world.calls())))


def resumed(process: Any) -> dict[str, Any]:
    os.kill(process.pid, signal.SIGCONT)
    return ended(process)


def assert_refused(told: dict[str, Any]) -> None:
    assert told["exit"] == 3, told
    texts = [told["details"]] if "details" in told else [f["details"] for f in told["failures"]]
    assert all("published nothing" in t or "nothing of ours" in t for t in texts), texts


def everything_is(world: World, generation: int) -> None:
    expected = {asset: [generation] * world.days for asset in ASSETS}
    assert served(world) == expected
    assert seen_outside(world) == expected


@pytest.mark.parametrize("first", [True, False], ids=["first-build", "overwrite"])
def test_a_zombie_is_refused_when_another_run_has_published(world: World, first: bool) -> None:
    if first:
        world.write(2)
    else:
        built(world, 1)
        world.write(2)
    with held(world) as zombie:
        built(world, 3)
        told = resumed(zombie)
    assert_refused(told)
    everything_is(world, 3)
    check(world)


@pytest.mark.parametrize("first", [True, False], ids=["first-build", "overwrite"])
def test_a_zombie_is_refused_when_it_was_only_declared_dead(world: World, first: bool) -> None:
    if first:
        world.write(2)
    else:
        built(world, 1)
        world.write(2)
    with held(world) as zombie:
        with world.project() as project:
            project.status()
            assert project.run("latest").status == "died"
        told = resumed(zombie)
    assert_refused(told)
    everything_is(world, 0 if first else 1)
    check(world)


@pytest.mark.parametrize("at", ["execute.called:1", "audit.done:1", "publish.begin:1"])
def test_a_zombie_with_a_staged_version_is_refused(tmp_path: Path, at: str) -> None:
    world = World(tmp_path, "parquet")
    built(world, 1)
    world.write(2)
    with killed_in_the_end(world.stopped(at, lease_seconds=LONG)) as zombie:
        time.sleep(LONG + 0.1)
        built(world, 3)
        told = resumed(zombie)
    assert_refused(told)
    everything_is(world, 3)
    check(world)


@pytest.mark.parametrize("at", ["record.committed:2", "expose.linked:1"])
def test_a_zombie_that_had_recorded_does_not_put_the_view_back(tmp_path: Path, at: str) -> None:
    world = World(tmp_path, "parquet")
    built(world, 1)
    world.write(2)
    with killed_in_the_end(world.stopped(at, lease_seconds=LONG)) as zombie:
        time.sleep(LONG + 0.1)
        built(world, 3)
        resumed(zombie)
    everything_is(world, 3)
    check(world)


@pytest.mark.parametrize("at", ["publish.begin:1", "publish.inserted:1", "publish.committed:1"])
def test_who_holds_the_duckdb_file_is_named_and_recovered_once_it_is_gone(
    tmp_path: Path, at: str
) -> None:
    world = World(tmp_path, "duckdb")
    built(world, 1)
    world.write(2)
    with killed_in_the_end(world.stopped(at, lease_seconds=LONG)) as zombie:
        time.sleep(LONG + 0.1)
        with world.project() as project:
            project.io["default"]._file._timeout = 0.3  # shared with what this process did before
            with pytest.raises(StorageError) as error:
                project.materialize(jobs=1)
        assert str(zombie.pid) in str(error.value)
    built(world, 3)
    everything_is(world, 3)
    check(world)


@pytest.mark.parametrize("at", ["publish.begin:1", "publish.inserted:1", "publish.committed:1"])
def test_a_stopped_publish_to_duckdb_ends_well_when_it_goes_on(tmp_path: Path, at: str) -> None:
    world = World(tmp_path, "duckdb")
    built(world, 1)
    world.write(2)
    with killed_in_the_end(world.stopped(at, lease_seconds=LONG)) as zombie:
        time.sleep(LONG + 0.1)
        with world.project() as project:
            project.io["default"]._file._timeout = 0.3  # shared with what this process did before
            with pytest.raises(AssetsError):
                project.recover()
        told = resumed(zombie)
    assert told["exit"] in (0, 3)
    check(world)
    built(world, 3)
    everything_is(world, 3)
    check(world)


@pytest.mark.parametrize("first", [True, False], ids=["first-build", "overwrite"])
def test_a_zombie_is_refused_when_its_lease_was_taken_over_and_nothing_published(
    world: World, first: bool
) -> None:
    if not first:
        built(world, 1)
    world.write(2)
    with world.project() as project:
        plan = project.plan()  # before anybody is late: nothing to recover is found here
        with held(world) as zombie:
            for raw in (world.root / "raw").iterdir():
                raw.unlink()
            result = project.materialize(plan=plan, jobs=1)
            assert result.counts["failed"] == world.days
            world.write(2)
            told = resumed(zombie)
    assert_refused(told)
    everything_is(world, 0 if first else 1)
    with world.project() as project:
        project.status()
    check(world)
