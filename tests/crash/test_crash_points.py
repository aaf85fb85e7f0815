"""Killed at every named step of publish and record, on every store; the next command mends it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from crashing import ASSETS, World, check, read, seen_outside, served

from assets_core import faults
from assets_core.errors import MissingDataError

pytestmark = [pytest.mark.crash, pytest.mark.slow]

BOTH = (
    "run.begun:1",
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
    "stage.written:3",
    "audit.done:2",
    "flush.begin:1",
    "run.ending:1",
)
ONLY = {
    "parquet": ("expose.linked:1", "expose.renamed:1", "expose.linked:2", "expose.renamed:3"),
    "duckdb": (
        "publish.fenced:1",
        "publish.deleted:1",
        "publish.inserted:1",
        "publish.committed:1",
        "publish.fenced:2",
        "publish.deleted:2",
        "publish.inserted:2",
        "publish.committed:2",
    ),
}
UNCHANGED = ("discard.begin:1", "discard.removed:1", "discard.begin:2", "discard.removed:2")
WITHDRAWN = {
    "parquet": ("conceal.begin:1", "conceal.removed:1", "conceal.begin:2", "conceal.removed:2"),
    "duckdb": (
        "publish.begin:1",
        "publish.fenced:1",
        "publish.deleted:1",
        "publish.inserted:1",
        "publish.committed:1",
        "publish.fenced:2",
        "publish.committed:2",
    ),
}
_RECORDING = ("run.begun:1", "record.begin:1", "record.begin:2", "record.committed:2")
_GOING = [(store, at) for store, points in WITHDRAWN.items() for at in (*_RECORDING, *points)]
CASES = [(store, at) for store in ONLY for at in (*BOTH, *ONLY[store])]


@pytest.fixture
def case(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[World, str]:
    store, at = request.param
    return World(tmp_path, store), at


def pytest_id(value: object) -> str:
    return "-".join(value) if isinstance(value, tuple) else str(value)


every_case = pytest.mark.parametrize("case", CASES, indirect=True, ids=pytest_id)


def recovered(world: World) -> int:
    """What the next command recovers; fails unless it is the one run that died."""
    with world.project() as project:
        project.status()
        found = project.take_recovered()
        assert [one.run.id for one in found] == [project.run("latest").id]
        assert project.run("latest").status == "died"
        return found[0].rolled_forward


def complete(world: World, generation: int) -> None:
    """Run again: everything is of this generation, nothing that is fresh is built again."""
    before = world.calls()
    with world.project() as project:
        planned = {f"{s.asset} {s.partition}": s.status for s in project.plan().steps()}
        assert project.materialize(jobs=1).ok
        assert project.plan().must == 0
    again = [" ".join(call.split()[:2]) for call in world.calls()[len(before) :]]
    assert len(again) == len(set(again))
    assert {one for one, status in planned.items() if status == "must"} <= set(again)
    assert set(again) <= set(planned)
    expected = {asset: [generation] * world.days for asset in ASSETS}
    assert served(world) == expected
    assert seen_outside(world) == expected
    check(world)


def whole(found: dict[str, list[int]], *generations: int) -> None:
    assert all(one in generations for every in found.values() for one in every), found


@every_case
def test_a_crash_in_the_first_build_leaves_whole_partitions_or_none(
    case: tuple[World, str],
) -> None:
    world, at = case
    world.write(1)
    world.crash(at)
    whole(seen_outside(world), 0, 1)
    recovered(world)
    whole(served(world), 0, 1)
    check(world)
    complete(world, 1)


@every_case
def test_a_crash_in_an_overwrite_leaves_whole_old_or_whole_new_partitions(
    case: tuple[World, str],
) -> None:
    world, at = case
    world.write(1)
    with world.project() as project:
        assert project.materialize(jobs=1).ok
    world.write(2)
    world.crash(at)
    whole(seen_outside(world), 1, 2)
    if world.store == "parquet":  # a reader of a store without history may have to recover
        whole(served(world), 1, 2)
    recovered(world)
    whole(served(world), 1, 2)
    check(world)
    complete(world, 2)


@pytest.mark.parametrize("at", UNCHANGED)
def test_a_crash_while_an_equal_version_is_discarded_loses_nothing(world: World, at: str) -> None:
    world.write(1)
    with world.project() as project:
        assert project.materialize(jobs=1).ok
    world.write(1, note="late")
    world.crash(at)
    whole(served(world), 1)
    recovered(world)
    check(world)
    complete(world, 1)


@pytest.mark.parametrize("case", _GOING, indirect=True, ids=pytest_id)
def test_a_crash_in_a_withdrawal_is_rolled_forward_or_repaired(case: tuple[World, str]) -> None:
    world, at = case
    world.write(1)
    going, staying = world.keys
    with world.project() as project:
        assert project.materialize(jobs=1).ok
        (world.root / "raw" / f"{going}.txt").unlink()
        project.withdraw("landing", going, reason="taken back")
    called = world.calls()
    world.crash(at)
    for asset, (first, second) in seen_outside(world).items():
        assert (first in (0, 1), second) == (True, 1), asset
    recovered(world)
    check(world)
    with world.project() as project:
        assert project.materialize(jobs=1).ok
        assert len(project.plan()) == 0
        for asset in ASSETS:
            assert project.status()[asset].state(going) == "withdrawn"
            assert read(world, project, asset, staying) == 1
            with pytest.raises(MissingDataError, match="is withdrawn"):
                project.load(asset, going)
    assert seen_outside(world) == {asset: [0, 1] for asset in ASSETS}
    assert world.calls() == called
    check(world)


@pytest.mark.parametrize("nth", [1, 2])
def test_what_was_committed_and_not_recorded_is_rolled_forward_without_running_again(
    tmp_path: Path, nth: int
) -> None:
    world = World(tmp_path, "duckdb")
    world.write(1)
    world.crash(f"publish.committed:{nth}")
    assert recovered(world) >= 1
    with world.project() as project:
        left = {f"{step.asset} {step.partition}" for step in project.plan().steps()}
        # Steps that were called beside the commit are no part of it, and run again.
        committed = {f"{one.asset} {one.partition}" for one in project.io["default"].scan()}
    assert committed
    assert committed.isdisjoint(left)
    complete(world, 1)


def test_a_reader_alone_recovers_what_a_store_without_history_needs(tmp_path: Path) -> None:
    world = World(tmp_path, "duckdb")
    world.write(1)
    with world.project() as project:
        assert project.materialize(jobs=1).ok
    world.write(2)
    world.crash("publish.committed:1")
    # How many were published together depends on who was ready when.
    assert served(world) in ({"orders": [2, each], "totals": [1, 1]} for each in (1, 2))
    check(world)


@pytest.mark.parametrize(
    "at", ["recover.begin", "recover.forwarded", "recover.exposed", "recover.swept"]
)
def test_a_recovery_that_is_killed_is_recovered_too(world: World, at: str) -> None:
    world.write(1)
    with world.project() as project:
        assert project.materialize(jobs=1).ok
    world.write(2)
    world.crash("publish.committed:2" if world.store == "duckdb" else "record.committed:3")
    world.crash(at)
    with world.project() as project:
        project.status()
        assert {run.status for run in project.runs()} == {"done", "died"}
    check(world)
    complete(world, 2)


def test_the_time_until_somebody_noticed_is_not_the_runs(world: World) -> None:
    world.write(1)
    world.crash("publish.committed:2" if world.store == "duckdb" else "record.committed:3")
    gone = time.time_ns() // 1000
    with world.project() as project:
        project.status()
        (run,) = project.runs()
        assert run.started <= run.finished < gone
        last = max(fact.finished for fact in project.materialized_by(run.id))
        assert run.finished == last


def test_every_crash_point_is_tried() -> None:
    tried = {at.partition(":")[0] for _, at in CASES} | {at.partition(":")[0] for at in UNCHANGED}
    tried |= {at.partition(":")[0] for _, at in _GOING}
    recovery = {point for point in faults.CRASH_POINTS if point.startswith("recover.")}
    assert tried | recovery == set(faults.CRASH_POINTS)
