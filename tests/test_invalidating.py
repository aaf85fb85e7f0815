"""Invalidations: exactly what was declared stale runs again, once, and everything says why."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_core import (
    Definitions,
    Partition,
    Project,
    all_partitions,
    asset,
    daily,
    lag,
    last,
    product,
    source,
    static,
)
from assets_core.contracts import Invalidate, Publish
from assets_core.errors import PartitionError, PlanMovedError, UnknownAssetError, UsageError
from assets_core.operations.invalidation_marks import Invalidated
from assets_core.partitions import KeySpace, from_ranges, to_ranges
from assets_core.records import Code, Invalidation, Materialization, Receipt
from assets_core.state import open_store, packed
from io_managers.memory import Memory
from io_managers.parquet import ParquetFiles

DAYS = daily("2024-01-01")
NOW = datetime(2024, 1, 9, 1, tzinfo=UTC)
KEYS = [f"2024-01-{day:02}" for day in range(1, 9)]


class World:
    """Assets whose content never changes, and whose calls are counted.

    Their ``version`` is given: what the calls are counted in is memory that code reaches.
    """

    def __init__(self, root: Path, store: Any = None) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self.during: Callable[[str, str], None] = lambda name, key: None

        def called(name: str, partition: Partition) -> None:
            self.calls[name, partition.key] += 1
            self.during(name, partition.key)

        @source(partitions=DAYS)
        def landing(partition: Partition) -> pa.Table:
            return pa.table({"v": [partition.key]})

        @asset(partitions=DAYS, version="1")
        def raw(partition: Partition) -> pa.Table:
            called("raw", partition)
            return pa.table({"v": [1]})

        @asset(partitions=DAYS, version="1")
        def week(raw: Annotated[pa.Table, last(3)], partition: Partition) -> pa.Table:
            called("week", partition)
            return pa.table({"v": [1]})

        @asset(version="1")
        def total(week: Annotated[pa.Table, all_partitions()], partition: Partition) -> pa.Table:
            called("total", partition)
            return pa.table({"v": [1]})

        @asset(partitions=DAYS, version="1")
        def balance(
            raw: pa.Table, balance: Annotated[pa.Table, lag(1)], partition: Partition
        ) -> pa.Table:
            called("balance", partition)
            return pa.table({"v": [1]})

        self.project = Project(
            Definitions(
                [landing, raw, week, total, balance],
                io_managers={"default": store or Memory()},
            ),
            root=root,
            state=f"sqlite:///{root}/state.db",
        )

    def build(self, *names: str, partitions: Any = None) -> set[tuple[str, str]]:
        """Build what is stale; what was called."""
        self.calls.clear()
        built = self.project.materialize(list(names) or None, partitions, now=NOW)
        built.raise_for_status()
        assert not self.calls or max(self.calls.values()) == 1
        return set(self.calls)

    def invalidate(self, *names: str, partitions: Any = None, **more: Any) -> Invalidated:
        more = {"reason": "restated", "by": "ann", **more}
        return self.project.invalidate(list(names), partitions, now=NOW, **more)

    def stale(self) -> set[tuple[str, str]]:
        """What must run."""
        plan = self.project.plan(now=NOW)
        return {(s.asset, s.partition) for s in plan.steps() if s.status == "must"}

    @property
    def revision(self) -> int:
        return self.project.state.snapshot("prod", ()).revision


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)
    one.build()
    yield one
    one.project.close()


# ---- what it does


def test_exactly_the_marked_partitions_run_again(world: World) -> None:
    world.invalidate("raw", partitions="2024-01-03..2024-01-04")
    assert world.build() == {("raw", "2024-01-03"), ("raw", "2024-01-04")}


def test_a_build_settles_it(world: World) -> None:
    world.invalidate("raw")
    world.build()
    assert world.project.plan(now=NOW).idle


def test_accepting_settles_it_without_a_run(world: World) -> None:
    world.invalidate("week", partitions="2024-01-05")
    world.calls.clear()
    assert world.project.accept("week", now=NOW) == [("week", "2024-01-05")]
    assert world.project.plan(now=NOW).idle
    assert not world.calls


def test_what_is_built_again_is_written_again(world: World) -> None:
    before = world.project.state.materializations("prod", "raw", "2024-01-03")[0]
    world.invalidate("raw", partitions="2024-01-03")
    world.build()
    after = world.project.state.materializations("prod", "raw", "2024-01-03")[0]
    assert after.kind == "built"
    assert after.receipt.token > before.receipt.token


def test_with_downstream_its_readers_run_even_where_it_comes_out_equal(world: World) -> None:
    world.invalidate("raw", partitions="2024-01-06", downstream=True)
    readers = {("week", key) for key in KEYS[5:8]} | {("balance", key) for key in KEYS[5:]}
    assert world.build() == {("raw", "2024-01-06"), ("total", "all"), *readers}


def test_a_selection_of_several_is_marked_as_such(world: World) -> None:
    found = world.invalidate("raw", "week", partitions="2024-01-02", downstream=True)
    assert {mark.asset: mark.origin for mark in found.marks} == {
        "raw": "",
        "week": "",
        "total": "week",
        "balance": "raw",
    }


def test_it_outlives_the_process(world: World, tmp_path: Path) -> None:
    world.invalidate("raw", partitions="2024-01-03")
    world.project.close()
    again = open_store(f"sqlite:///{tmp_path}/state.db")
    (found,) = again.invalidations("prod")
    again.close()
    assert (found.by, found.reason) == ("ann", "restated")
    assert found.ranges == (("2024-01-03", "2024-01-03"),)


def test_a_later_mark_holds_after_an_earlier_one_was_settled(world: World) -> None:
    world.invalidate("raw", partitions="2024-01-03")
    world.build()
    world.invalidate("raw", partitions="2024-01-03", reason="again")
    assert world.stale() == {("raw", "2024-01-03")}


def test_what_was_never_built_is_simply_missing(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.build("raw", partitions="2024-01-01..2024-01-02")
    found = world.invalidate("raw", partitions="2024-01-02..2024-01-04")
    assert (len(found), found.missing) == (1, 2)
    told = {
        step.partition: step.reasons[0].kind for step in world.project.plan("raw", now=NOW).steps()
    }
    assert told["2024-01-02"] == "invalidated"
    assert told["2024-01-03"] == "missing"
    world.build("raw")
    assert world.project.plan("raw", now=NOW).idle
    world.project.close()


def test_a_build_that_was_under_way_does_not_settle_it(world: World) -> None:
    def mark(name: str, key: str) -> None:
        if key == "2024-01-03":
            world.during = lambda name, key: None
            world.invalidate("raw", partitions="2024-01-01..2024-01-05", reason="meanwhile")

    world.during = mark
    world.project.materialize("raw", "2024-01-03..2024-01-04", force=True, jobs=1, now=NOW)
    assert ("raw", "2024-01-03") in world.stale()
    plan = world.project.plan("raw", "2024-01-03", now=NOW)
    assert "invalidated by ann: meanwhile" in str(next(plan.steps()).reasons[0].detail)
    world.build()
    assert world.project.plan(now=NOW).idle


def test_a_step_of_the_running_plan_that_is_marked_meanwhile_runs_once(world: World) -> None:
    def mark(name: str, key: str) -> None:
        if (name, key) == ("raw", "2024-01-01"):
            world.during = lambda name, key: None
            world.invalidate("raw", partitions="2024-01-08", reason="meanwhile")

    world.during = mark
    world.calls.clear()
    world.project.materialize("raw", force=True, jobs=1, now=NOW).raise_for_status()
    assert world.calls["raw", "2024-01-08"] == 1


# ---- what it refuses, changing nothing


@pytest.mark.parametrize(
    ("names", "more", "error"),
    [
        (["landing"], {}, UsageError),
        (["raw", "landing"], {}, UsageError),
        (["rav"], {}, UnknownAssetError),
        (["raw"], {"reason": " \n"}, UsageError),
        (["raw"], {"reason": "x" * 2000}, UsageError),
        (["raw"], {"partitions": "2031-01-01"}, PartitionError),
        (["raw"], {"partitions": "2024-01-05..2024-01-02"}, PartitionError),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(
    world: World, names: list[str], more: dict[str, Any], error: type[Exception]
) -> None:
    before = world.revision
    with pytest.raises(error):
        world.invalidate(*names, **more)
    assert world.revision == before


def test_a_source_is_refused_by_name(world: World) -> None:
    with pytest.raises(UsageError, match="'landing' is a source") as caught:
        world.invalidate("landing")
    assert "assets observe landing" in caught.value.hint


def test_nothing_recorded_is_nothing_to_mark(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert len(world.invalidate("raw")) == 0
    assert world.revision == 0
    world.project.close()


def test_a_dry_run_records_nothing(world: World) -> None:
    before = world.revision
    assert len(world.invalidate("raw", dry_run=True)) == 8
    assert world.revision == before


def test_accepting_refuses_what_was_marked_after_the_plan(world: World) -> None:
    world.invalidate("raw", partitions="2024-01-03")
    plan = world.project.plan("raw", now=NOW)
    world.invalidate("raw", partitions="2024-01-03", reason="worse")
    with pytest.raises(UsageError, match="worse"):
        world.project.accept(plan=plan)
    assert ("raw", "2024-01-03") in world.stale()


def test_a_stored_plan_refuses_to_read_what_was_marked_since(world: World, tmp_path: Path) -> None:
    plan = world.project.plan("week", force=True, now=NOW)
    world.project.store_plan(plan, tmp_path / "plan.json")
    world.invalidate("raw", partitions="2024-01-03")
    with pytest.raises(PlanMovedError) as caught:
        world.project.replay(tmp_path / "plan.json")
    assert caught.value.facts["invalidated since"] == "raw 2024-01-03, by ann: restated"


# ---- what is told


def test_a_plan_tells_by_whom_and_why(world: World) -> None:
    world.invalidate("raw", partitions="2024-01-03..2024-01-05")
    text = str(world.project.plan(now=NOW))
    assert "raw: invalidated by ann: restated" in text
    step = next(world.project.plan(now=NOW).steps())
    assert step.reasons[0].kind == "invalidated"
    assert step.reasons[0].detail == "invalidated by ann: restated"


def test_an_explanation_tells_when_too(world: World) -> None:
    world.invalidate("raw", partitions="2024-01-03", downstream=True)
    why = world.project.plan(now=NOW).why("week@2024-01-04")
    assert "invalidated by ann: restated (downstream of raw), on 20" in str(why)


def test_a_status_shows_what_is_held_stale(world: World) -> None:
    world.invalidate("raw", partitions="2024-01-03..2024-01-05")
    status = world.project.status(now=NOW)
    assert status["raw"].counts["stale"] == 3
    assert "raw 2024-01-03..2024-01-05  invalidated by ann: restated" in str(status)
    (told,) = status["raw"].to_dict()["invalidated"]
    assert told["partitions"] == [["2024-01-03", "2024-01-05"]]
    world.build()
    assert not world.project.status(now=NOW)["raw"].invalidated


def test_a_history_has_it(world: World) -> None:
    world.invalidate("raw", partitions="2024-01-03..2024-01-05")
    newest = world.project.history("raw").entries[0]
    assert (newest.what, newest.partition) == ("invalidated", "2024-01-03..2024-01-05")
    assert newest.message == "by ann: restated"
    assert world.project.history("raw", "2024-01-04").entries[0].what == "invalidated"
    assert world.project.history("raw", "2024-01-06").entries[0].what == "built"
    assert "invalidated" in str(world.project.history("raw"))
    assert "invalidated" in world.project.history("raw")._repr_html_()


def test_what_was_marked_shows_itself(world: World) -> None:
    found = world.invalidate("raw", partitions=["2024-01-03", "2024-01-05"], downstream=True)
    assert repr(found) == f"<Invalidated {len(found)} asset partitions by ann: restated>"
    assert "  raw 2024-01-03, 2024-01-05 (2)" in str(found)
    assert "  total all (1, downstream of raw)" in str(found)


# ---- the caches and the upkeep


def test_packed_facts_hold_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_WORTH_PACKING", 1)
    world.project.plan(now=NOW)  # packs
    world.invalidate("raw", partitions="2024-01-03")
    assert world.stale() == {("raw", "2024-01-03")}  # out of the log's tail
    world.build("week", partitions="2024-01-01")
    path = world.project.state.beside("facts-prod.bin")
    assert path is not None
    path.unlink()
    assert world.stale() == {("raw", "2024-01-03")}  # packs it
    assert path.is_file()
    assert world.stale() == {("raw", "2024-01-03")}  # out of the file
    world.build()
    assert not world.stale()


def test_a_mark_is_kept_by_compaction_while_it_holds(world: World) -> None:
    world.invalidate("raw", partitions="2024-01-03")
    world.project.compact("0s")
    assert world.stale() == {("raw", "2024-01-03")}


def test_compaction_forgets_what_is_settled(world: World) -> None:
    world.invalidate("raw", partitions="2024-01-03")
    world.build()
    would = world.project.compact("0s", dry_run=True)
    assert world.project.compact("0s") == would
    assert world.project.state.invalidations("prod") == []
    assert world.project.plan(now=NOW).idle


def test_what_is_recorded_again_stays_marked_when_it_was_built_before(tmp_path: Path) -> None:
    world = World(tmp_path, ParquetFiles(str(tmp_path / "data")))
    world.build("raw")
    space = world.project.spaces(NOW)["raw"]
    world.project.close()
    for left in (tmp_path).glob("state.db*"):
        if left.is_file():
            left.unlink()
    again = World(tmp_path, ParquetFiles(str(tmp_path / "data")))
    at = int(datetime.now(UTC).timestamp() * 1e6)
    mark = Invalidation("prod", "raw", (("2024-01-02", "2024-01-03"),), "bad", "ann", at)
    again.project.state.transact([Invalidate(mark, space)])
    assert again.project.rebuild()["recorded"] == 8
    stale = {(s.asset, s.partition) for s in again.project.plan("raw", now=NOW).steps()}
    assert stale == {("raw", "2024-01-02"), ("raw", "2024-01-03")}
    again.project.close()


# ---- against a naive model

READS: dict[str, Callable[[str], list[tuple[str, str]]]] = {
    "raw": lambda key: [],
    "week": lambda key: [("raw", k) for k in KEYS if k <= key][-3:],
    "total": lambda key: [("week", k) for k in KEYS],
    "balance": lambda key: (
        [("raw", key), *(("balance", k) for k in KEYS if k < key)][:1]
        + [("balance", k) for k in KEYS if k < key][-1:]
    ),
}
PLACES = [(name, key) for name in READS for key in (["all"] if name == "total" else KEYS)]

act = st.tuples(
    st.sampled_from(["mark", "mark below", "build", "accept"]),
    st.sampled_from(sorted(READS)),
    st.sampled_from(KEYS),
    st.sampled_from(KEYS),
)


def naive(marked: set[tuple[str, str]], what: str, wanted: set[tuple[str, str]]) -> None:
    """The same on single partitions."""
    if what in ("build", "accept"):
        marked -= wanted
        return
    while what == "mark below":
        more = {p for p in PLACES if p not in wanted and wanted & set(READS[p[0]](p[1]))}
        if not more:
            break
        wanted |= more
    marked |= wanted


@pytest.mark.slow
@settings(max_examples=6)
@given(st.lists(act, max_size=7))
def test_any_marks_builds_and_accepts_leave_what_a_naive_model_says(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, str, str, str]]
) -> None:
    world = World(tmp_path_factory.mktemp("world"))
    world.build()
    marked: set[tuple[str, str]] = set()
    for what, name, a, b in acts:
        first, final = sorted((a, b))
        span = f"{first}..{final}"
        wanted = {(n, k) for n, k in PLACES if n == name and (k == "all" or first <= k <= final)}
        if what == "build":
            expected = wanted & marked
            assert world.build(name, partitions=span) == expected
        elif what == "accept":
            world.project.accept(name, span, now=NOW)
        else:
            world.invalidate(name, partitions=span, downstream=what == "mark below")
        naive(marked, what, wanted)
        assert world.stale() == marked
    assert world.build() == marked
    assert world.project.plan(now=NOW).idle
    world.project.close()


# ---- ranges of keys

AT = datetime(2024, 3, 1, 12, tzinfo=UTC)
NAMES = ["a", "b", "c", "d"]
DEFINITIONS: dict[str, Any] = {
    "days": daily("2024-02-20"),
    "names": static(NAMES),
    "both": product(day=daily("2024-02-20"), name=static(NAMES)),
    "names only": product(one=static(NAMES), two=static(["x", "y", "z"])),
}


@pytest.mark.parametrize("kind", DEFINITIONS)
@given(data=st.data())
def test_a_set_of_partitions_survives_as_ranges(kind: str, data: st.DataObject) -> None:
    space = DEFINITIONS[kind].resolve(AT)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=space.n, max_size=space.n)))
    if mask.any():
        assert from_ranges(space, to_ranges(space, mask)).tolist() == mask.tolist()


def keys_of(space: KeySpace, mask: Any) -> set[str]:
    return set(space.keys(np.flatnonzero(mask)))


@given(
    st.permutations([*NAMES, "new"]),
    st.integers(-4, 4),
    st.sets(st.integers(0, 39), min_size=1, max_size=30),
)
def test_it_is_the_same_set_when_the_key_space_has_changed(
    names: list[str], days: int, chosen: set[int]
) -> None:
    space = DEFINITIONS["both"].resolve(AT)
    mask = np.zeros(space.n, bool)
    mask[[i for i in chosen if i < space.n]] = True
    ranges = to_ranges(space, mask)
    start = datetime(2024, 2, 20, tzinfo=UTC) + timedelta(days=days)
    other = product(day=daily(start.date()), name=static(names)).resolve(AT)
    if ranges:
        known = set(other.keys())
        assert keys_of(other, from_ranges(other, ranges)) == keys_of(space, mask) & known


def test_a_year_of_days_is_one_range() -> None:
    space = daily("2023-01-01").resolve(AT)
    mask = np.zeros(space.n, bool)
    mask[10:380] = True
    assert len(to_ranges(space, mask)) == 1


def test_everything_needs_no_range() -> None:
    space = DEFINITIONS["names"].resolve(AT)
    assert to_ranges(space, np.ones(space.n, bool)) == ()


# ---- crashes


def fact(asset_name: str) -> Materialization:
    return Materialization(
        environment="prod",
        asset=asset_name,
        partition="all",
        code=Code("c"),
        input_digest=(0, 1),
        data_version=(0, 1),
        receipt=Receipt("", "none", "", 0),
        started=1,
        finished=2,
        kind="observed",
    )


def mark_for_ever(pipe: Any, url: str, assets: int) -> None:
    """Mark that many assets in one go, again and again, and tell of each time."""
    store = open_store(url)
    space = static(["all"]).resolve(AT)
    for number in range(100_000):
        store.transact(
            [
                Invalidate(Invalidation("prod", f"a{i}", (), str(number), "ann", 1), space)
                for i in range(assets)
            ]
        )
        pipe.send(number)


@pytest.mark.crash
@pytest.mark.parametrize("more", [0, 3, 11])
def test_a_kill_leaves_a_mark_of_all_assets_or_of_none(tmp_path: Path, more: int) -> None:
    url, spawn = f"sqlite:///{tmp_path}/state.db", multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    killed = spawn.Process(target=mark_for_ever, args=(there, url, 40))
    killed.start()
    there.close()
    for _ in range(more + 1):
        here.recv()
    os.kill(killed.pid or 0, signal.SIGKILL)
    killed.join()
    told = more
    while True:
        try:
            told = here.recv()
        except EOFError:
            break
    store = open_store(url)
    found = Counter(int(one.reason) for one in store.invalidations("prod"))
    assert set(found.values()) == {40}
    assert set(found) >= set(range(told + 1))  # what was acknowledged is there
    store.transact([Publish(fact("a0"), lease=False)])
    assert store.check() == []
    store.close()


def test_neither_reason_nor_name_can_repaint_a_terminal(world: World) -> None:
    found = world.invalidate("raw", reason="bad\n \x1b[2Jwords", by="\x1b[1mbob")
    assert (found.by, found.reason) == ("bob", "bad words")
