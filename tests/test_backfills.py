"""Backfills: everything wanted is built, once, whatever comes between."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_core import Definitions, Partition, Project, asset, daily, source
from assets_core.errors import PlanMovedError, UsageError
from assets_core.operations.backfill.request import BackfillRequest
from assets_core.records import Run
from io_managers.memory import Memory

LAST = datetime.now(UTC) - timedelta(hours=1)
FIRST = LAST.date() - timedelta(days=12)
KEYS = [(FIRST + timedelta(days=i)).isoformat() for i in range(12)]
RANGE = f"{KEYS[0]}..{KEYS[-1]}"


class World:
    """A project of three assets whose calls are counted and can be made to fail."""

    def __init__(self, root: Path, version: str = "1", store: Memory | None = None) -> None:
        self.root = root
        self.calls: Counter[tuple[str, str]] = Counter()
        self.order: list[tuple[str, str]] = []
        self.broken: set[tuple[str, str]] = set()
        self.value = 0
        self.store = store or Memory()
        days = daily(FIRST)

        def called(name: str, partition: Partition) -> None:
            self.calls[name, partition.key] += 1
            self.order.append((name, partition.key))
            if (name, partition.key) in self.broken:
                raise KeyError("country")

        @asset(partitions=days, version=version)
        def raw(partition: Partition) -> pa.Table:
            called("raw", partition)
            return pa.table({"v": [self.value]})

        @asset(partitions=days, version="1")
        def clean(raw: pa.Table, partition: Partition) -> pa.Table:
            called("clean", partition)
            return raw

        @asset(partitions=days, version="1")
        def report(clean: pa.Table, partition: Partition) -> pa.Table:
            called("report", partition)
            return clean

        self.project = Project(
            Definitions([raw, clean, report], io_managers={"default": self.store}),
            root=root,
            state=f"sqlite:///{root}/state.db",
        )

    def with_code(self, version: str) -> World:
        """The same stores under other code."""
        self.project.close()
        return World(self.root, version, self.store)

    def pausing_after(self, steps: int, seen: list[Any]) -> Any:
        """An event handler that pauses the newest backfill after so many steps."""
        lock = threading.Lock()

        def on_event(event: Any) -> None:
            with lock:
                seen.append(event)
                if sum(e.kind == "started" for e in seen) == steps:
                    self.project.backfills.pause("latest")

        return on_event


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)
    yield one
    one.project.close()


def test_a_backfill_builds_what_is_stale_once(world: World) -> None:
    result = world.project.backfill(["report", "+report"], RANGE)
    assert result.ok
    assert set(world.calls.values()) == {1}
    assert len(world.calls) == 36
    assert not world.project.plan(partitions=RANGE)
    now = world.project.backfills.progress("latest")
    assert (now.state, now.done, now.left, now.failed) == ("done", 36, 0, 0)


def test_a_dry_run_is_a_plan_and_stores_nothing(world: World) -> None:
    assert len(world.project.backfills.plan(BackfillRequest(partitions=(RANGE,)))) == 36
    assert world.project.backfills.all() == []


@pytest.mark.parametrize("order", ["oldest", "newest"])
def test_it_begins_at_the_end_that_was_asked_for(world: World, order: str) -> None:
    world.project.backfill("raw", RANGE, order=order, jobs=1)
    built = [key for _, key in world.order]
    assert built == (KEYS if order == "oldest" else KEYS[::-1])


def test_missing_leaves_what_is_there(world: World) -> None:
    world.project.materialize(partitions=KEYS[3])
    changed = world.with_code("2")
    changed.project.backfill("raw", RANGE, reprocess="missing")
    assert set(changed.calls) == {("raw", key) for key in KEYS if key != KEYS[3]}
    changed.project.close()


def test_failed_builds_what_failed_last(world: World) -> None:
    world.broken = {("raw", KEYS[2]), ("raw", KEYS[5])}
    world.project.materialize("raw", RANGE)
    world.broken = set()
    world.calls.clear()
    assert world.project.backfill("raw", RANGE, reprocess="failed").ok
    assert set(world.calls) == {("raw", KEYS[2]), ("raw", KEYS[5])}


@settings(max_examples=12)
@given(data=st.data())
def test_however_often_it_is_paused_everything_is_built_once(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """All of it anew, also what was fresh; another run takes some of it meanwhile."""
    world = World(tmp_path_factory.mktemp("world"))
    project = world.project
    if before := data.draw(st.integers(0, 12), "built before"):
        project.materialize(partitions=KEYS[:before])
    world.calls.clear()
    pauses = data.draw(st.lists(st.integers(1, 20), max_size=3), "pauses after")
    request = BackfillRequest(partitions=(RANGE,), reprocess="all", jobs=2)
    one = project.backfills.begin(request, project.backfills.plan(request))
    for steps in pauses:
        project.backfills.proceed(one.id, on_event=world.pausing_after(steps, []))
        if project.backfills.get(one.id).status == "done":
            break
        assert project.backfills.get(one.id).status == "paused"
    if project.backfills.get(one.id).status != "done":
        project.backfills.proceed(one.id)
    assert project.backfills.get(one.id).status == "done"
    assert world.calls == Counter({(n, k): 1 for n in ("raw", "clean", "report") for k in KEYS})
    assert not project.plan(partitions=RANGE)
    project.close()


def test_a_paused_run_was_interrupted_and_did_not_fail(world: World) -> None:
    request = BackfillRequest(partitions=(RANGE,))
    one = world.project.backfills.begin(request, world.project.backfills.plan(request))
    result = world.project.backfills.proceed(one.id, on_event=world.pausing_after(4, []))
    assert (result.status, result.exit_code) == ("interrupted", 130)
    run = world.project.run(result.run_id)
    assert (run.status, run.note) == ("interrupted", "the backfill was paused")
    assert [each.state for each in world.project.backfills.open()] == ["paused"]


def test_what_another_run_has_built_is_not_built_again(world: World) -> None:
    request = BackfillRequest(partitions=(RANGE,), reprocess="all")
    one = world.project.backfills.begin(request, world.project.backfills.plan(request))
    world.project.materialize(partitions=KEYS[4])
    world.project.backfills.proceed(one.id)
    assert set(world.calls.values()) == {1}


def test_failures_leave_the_rest_and_can_be_retried_alone(world: World) -> None:
    world.broken = {("clean", KEYS[2]), ("clean", KEYS[7])}
    result = world.project.backfill(None, RANGE)
    assert result.exit_code == 1
    now = world.project.backfills.progress("latest")
    assert (now.state, now.done, now.failed, now.left) == ("failed", 32, 2, 2)
    world.broken, world.value = set(), 0
    world.calls.clear()
    world.project.backfills.proceed("latest", failed_only=True)
    assert set(world.calls) == {(n, k) for n in ("clean", "report") for k in (KEYS[2], KEYS[7])}
    assert world.project.backfills.progress("latest").state == "done"


def test_retrying_what_failed_leaves_the_rest_to_be_done(world: World) -> None:
    world.broken = {("raw", key) for key in KEYS[:2]}
    world.project.backfill(None, RANGE, max_failures=2, jobs=1)
    world.broken = set()
    assert world.project.backfills.proceed("latest", failed_only=True).ok
    now = world.project.backfills.progress("latest")
    assert (now.state, now.done, now.left, now.failed) == ("paused", 6, 30, 0)
    assert world.project.backfills.proceed("latest").ok
    assert world.project.backfills.progress("latest").state == "done"


def test_so_many_failures_stop_it(world: World) -> None:
    world.broken = {("raw", key) for key in KEYS}
    world.project.backfill("raw", RANGE, max_failures=3, jobs=1)
    assert len(world.calls) == 3
    assert world.project.backfills.get("latest").status == "failed"


def test_sources_that_can_not_be_observed_are_failures_to_stop_at(tmp_path: Path) -> None:
    days = daily(FIRST)

    @source(partitions=days)
    def landing(partition: Partition) -> Path:
        raise OSError(f"nothing answers for {partition.key}")

    @asset(partitions=days)
    def other(partition: Partition) -> pa.Table:
        return pa.table({"v": [1]})

    @asset(partitions=days)
    def read(landing: Path) -> pa.Table:
        return pa.table({"v": [1]})

    definitions = Definitions([landing, other, read], io_managers={"default": Memory()})
    with Project(definitions, root=tmp_path, state=f"sqlite:///{tmp_path}/state.db") as project:
        result = project.backfill(None, RANGE, max_failures=2, jobs=1)
        assert (result.status, result.counts["done"]) == ("failed", 0)
        note = project.run(result.run_id).note
    assert note == "2 steps failed, as many as --max-failures allows"


def test_code_that_changed_is_said_and_the_rest_planned_anew(world: World) -> None:
    request = BackfillRequest(partitions=(RANGE,))
    one = world.project.backfills.begin(request, world.project.backfills.plan(request))
    world.project.backfills.proceed(one.id, on_event=world.pausing_after(4, []))
    changed = world.with_code("2")
    assert changed.project.backfills.changed(one) == ["raw"]
    assert changed.project.backfills.proceed(one.id).ok
    assert not changed.project.plan(partitions=RANGE)
    changed.project.close()


def test_what_other_code_builds_again_counts_once(world: World) -> None:
    world.broken = {("raw", KEYS[3])}
    world.project.backfill("raw", RANGE, max_failures=1, jobs=1)
    changed = world.with_code("2")
    changed.broken = world.broken
    changed.project.backfills.proceed("latest")
    now = changed.project.backfills.progress("latest")
    assert (now.done, now.left, now.failed) == (3, 8, 1)
    assert now.left + now.failed == len(changed.project.plan("raw", RANGE))
    changed.project.close()


def test_what_was_released_and_what_others_built_is_not_left(world: World) -> None:
    world.project.materialize(partitions=RANGE)
    changed = world.with_code("2")
    changed.broken = {("raw", KEYS[3])}
    changed.project.backfill(None, RANGE)
    now = changed.project.backfills.progress("latest")
    assert changed.calls.keys() == {("raw", key) for key in KEYS}  # of equal content: no more
    assert (now.state, now.done, now.left, now.failed) == ("failed", 33, 2, 1)
    assert now.by_asset == {"raw": (12, 11, 1), "clean": (12, 11, 0), "report": (12, 11, 0)}
    changed.broken = set()
    changed.project.materialize("raw", KEYS[3])
    now = changed.project.backfills.progress("latest")
    assert (now.state, now.done, now.left, now.failed) == ("failed", 36, 0, 0)
    changed.project.close()


def test_what_has_become_stale_beside_it_is_left_alone(world: World) -> None:
    world.project.materialize("raw", KEYS[:4])
    request = BackfillRequest(select=("raw",), partitions=(RANGE,))
    one = world.project.backfills.begin(request, world.project.backfills.plan(request))
    changed = world.with_code("2")
    assert changed.project.backfills.proceed(one.id).ok
    assert set(changed.calls) == {("raw", key) for key in KEYS[4:]}
    changed.project.close()


def test_pinned_code_is_not_gone_on_with_by_other_code(world: World) -> None:
    request = BackfillRequest(partitions=(RANGE,), pin_code=True)
    one = world.project.backfills.begin(request, world.project.backfills.plan(request))
    changed = world.with_code("2")
    with pytest.raises(PlanMovedError, match="raw") as refusal:
        changed.project.backfills.proceed(one.id)
    assert refusal.value.exit_code == 3
    assert not changed.calls
    changed.project.close()


def test_what_is_at_work_is_not_taken_up_twice(world: World) -> None:
    seen: list[str] = []

    def on_event(event: Any) -> None:
        if not seen:
            with pytest.raises(UsageError, match="at work already"):
                world.project.backfills.proceed("latest")
            seen.append(event.kind)

    world.project.backfill("raw", RANGE, on_event=on_event)
    assert seen


def test_what_was_paused_is_taken_up_when_its_steps_have_ended(world: World) -> None:
    refused: list[str] = []

    def on_event(event: Any) -> None:
        if not refused:
            world.project.backfills.pause("latest")
            with pytest.raises(UsageError, match="paused, but still finishing") as refusal:
                world.project.backfills.proceed("latest")
            refused.append(str(refusal.value))

    assert world.project.backfill("raw", RANGE, on_event=on_event).status == "interrupted"
    assert world.project.backfills.get("latest").status == "paused"
    assert world.project.backfills.proceed("latest").ok
    assert set(world.calls.values()) == {1}


def test_what_was_cancelled_stays_so(world: World) -> None:
    request = BackfillRequest(partitions=(RANGE,))
    one = world.project.backfills.begin(request, world.project.backfills.plan(request))
    world.project.backfills.cancel(one.id)
    with pytest.raises(UsageError, match="cancelled"):
        world.project.backfills.proceed(one.id)
    with pytest.raises(UsageError, match="cancelled"):
        world.project.backfills.left(one.id)
    assert not world.calls


@pytest.mark.slow
def test_it_waits_for_a_run_of_higher_priority(world: World) -> None:
    """And lets go of the leases that it took ahead."""
    state = world.project.state
    held: list[int] = []

    def on_event(event: Any) -> None:
        if event.kind == "done" and not held:
            state.begin(Run("daily", "prod", "running", 1), 600)
            held.append(len(world.calls))
            threading.Timer(1.0, finish).start()

    def finish() -> None:
        from assets_core.contracts import Finish

        held.append(len(world.calls))
        run = state.runs_of(world.project.backfills.get("latest").id)[0]
        held.append(len(state.held(run.id)))
        state.transact([Finish("daily", "done", 2)])

    def slow(event: Any) -> None:
        on_event(event)
        if event.kind == "started":
            threading.Event().wait(0.1)

    assert world.project.backfill("raw", RANGE, jobs=1, on_event=slow).ok
    begun, waiting, leases = held
    assert waiting - begun <= 4  # those begun before it looked
    assert leases == 0
    assert len(world.calls) == 12


def test_more_than_it_may_cost_is_refused(world: World) -> None:
    with pytest.raises(UsageError, match="never built"):
        world.project.backfill("raw", RANGE, max_cost="1h")
    world.project.materialize("raw", KEYS[0])
    with pytest.raises(UsageError, match="more than 5 rows"):
        world.project.backfill("raw", RANGE, max_cost="5 rows")
    assert world.project.backfills.all() == []
    assert world.project.backfill("raw", RANGE, max_cost="100 rows").ok


@pytest.mark.parametrize(
    "options",
    [
        {"reprocess": "some"},
        {"order": "random"},
        {"jobs": 0},
        {"max_failures": -1},
        {"max_cost": "1.2.3 GB"},
        {"max_cost": ", rows"},
    ],
)
def test_requests_that_can_not_be_are_refused(world: World, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        world.project.backfill("raw", RANGE, **options)
    assert world.project.backfills.all() == []


def test_an_unknown_backfill_names_those_there_are(world: World) -> None:
    world.project.backfill("raw", RANGE)
    known = world.project.backfills.get("latest").id
    with pytest.raises(UsageError, match=known):
        world.project.backfills.get("nothing")
