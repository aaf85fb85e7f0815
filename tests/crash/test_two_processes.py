"""Two processes at once over the same partitions: each is built once, and both end well."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from crashing import ASSETS, EMPTY, STORES, World, check, ended, served, wait_for

pytestmark = [pytest.mark.crash, pytest.mark.slow]

DAYS = 20


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize(
    "generations",
    [(1,), (EMPTY, 1), (1, EMPTY)],
    ids=["nothing-to-full", "empty-to-full", "full-to-empty"],
)
def test_two_processes_build_every_partition_once(
    tmp_path: Path, store: str, generations: tuple[int, ...]
) -> None:
    world = World(tmp_path, store, DAYS)
    for generation in generations[:-1]:
        world.write(generation)
        with world.project() as project:
            assert project.materialize(jobs=2).ok
    before = len(world.calls())
    world.write(generations[-1])
    world.hold.touch()  # so that neither is done before the other has begun
    both = [world.start(jobs=2) for _ in range(2)]
    wait_for(lambda: running(world) == 2)
    world.hold.unlink()
    told = [ended(one) for one in both]
    assert [one["exit"] for one in told] == [0, 0], told
    assert sum(one["counts"]["done"] for one in told) == len(ASSETS) * DAYS
    calls = Counter(" ".join(call.split()[:2]) for call in world.calls()[before:])
    assert set(calls.values()) == {1}, [call for call, count in calls.items() if count > 1]
    assert len(calls) == len(ASSETS) * DAYS
    assert served(world) == {asset: [generations[-1]] * DAYS for asset in ASSETS}
    check(world)


def running(world: World) -> int:
    with world.project() as project:
        return sum(run.status == "running" for run in project.state.runs())
