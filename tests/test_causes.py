"""Root causes of a plan: each found once, with all that follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world import World

from assets_core.declare.decorators import asset, source
from assets_core.graph import Graph
from assets_core.partitions import all_partitions, daily, lag, last, monthly
from assets_core.planning.cause_finder import MOST, find_causes
from assets_core.planning.causes import Cause
from assets_core.planning.digests import Digests
from assets_core.planning.facts import Facts
from assets_core.planning.plan import Plan, make_plan
from assets_core.planning.resolved_graph import ResolvedGraph
from assets_core.planning.summary import summarize_plan

DAYS = daily("2024-01-01")


@source(partitions=DAYS)
def landing() -> Any: ...


@source(partitions=DAYS)
def rates() -> Any: ...


@asset(partitions=DAYS)
def clean(landing: Any) -> Any: ...


@asset(partitions=DAYS)
def priced(clean: Any, rates: Any) -> Any: ...


@asset(partitions=DAYS)
def trend(clean: Annotated[Any, last(3)]) -> Any: ...


@asset(partitions=DAYS)
def balance(clean: Any, balance: Annotated[Any, lag(1)]) -> Any: ...


@asset(partitions=monthly("2024-01"))
def month(priced: Any) -> Any: ...


@asset
def total(priced: Annotated[Any, all_partitions()]) -> Any: ...


ASSETS = [landing, rates, clean, priced, trend, balance, month, total]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, [a for a in ASSETS if a is not balance], "2024-03-01T00:00:00")
    for name in ("landing", "rates"):
        made.observe_at_once(name)
    for name in ("clean", "priced", "trend", "month", "total"):
        made.build_at_once(name)
    yield made
    made.state.close()


def told(plan: Plan) -> list[tuple[str, str]]:
    causes = find_causes(plan)
    return [(causes.text(cause), cause.effect) for cause in causes.found]


def late(world: World, name: str, *keys: str) -> None:
    world.observe(name, *keys, version=2, at="2024-03-01T00:00:00")


def test_a_changed_helper_is_one_cause_of_all_that_use_it(tmp_path: Path) -> None:
    made = World(tmp_path, [landing, rates, clean, priced], "2024-01-04T00:00:00")
    for name in ("clean", "priced"):
        made.parts[name] = {"helper scale": "old"}
    for name in ("landing", "rates"):
        made.observe_at_once(name)
    for name in ("clean", "priced"):
        made.build_at_once(name)
        made.codes[name], made.parts[name] = "d" * 32, {"helper scale": "new"}
    assert told(made.plan()) == [("clean, priced: code changed (helper scale)", "6 must")]
    made.state.close()


def test_downstream_counts_through_windows_and_months(world: World) -> None:
    late(world, "rates", "2024-01-05")
    (cause,) = find_causes(world.plan()).found
    assert (cause.must, cause.may, cause.blocked) == (1, 2, 0)


def test_two_sources_are_two_causes_and_tell_which_partitions_moved(world: World) -> None:
    late(world, "landing", "2024-01-05")
    late(world, "rates", "2024-01-07", "2024-01-08")
    found = dict(told(world.plan(assets=["clean", "priced"])))
    assert found["late data in rates: 2024-01-07..2024-01-08"] == "2 must"
    (text,) = [text for text in found if "landing" in text]
    assert text.startswith("late data in landing[2024-01-05] (")


def test_of_two_inputs_recorded_since_only_the_one_that_moved_is_told(world: World) -> None:
    late(world, "rates", "2024-01-07")
    world.build("clean", "2024-01-07", version=1)  # again, with the same content
    (cause,) = find_causes(world.plan(assets=["priced"])).found
    assert cause.subject == "rates"


def test_a_rebuilt_upstream_outside_the_plan_is_named(world: World) -> None:
    world.build("clean", "2024-01-07", version=9)
    (text, effect), *_ = told(world.plan(assets=["priced", "month"]))
    assert text.startswith("input clean[2024-01-07] (")
    assert effect == "1 must, 1 may downstream"


def test_a_wider_window_is_one_cause_and_nothing_is_said_to_have_changed(world: World) -> None:
    wider = asset(name="trend", partitions=DAYS)(_wider)
    world.graph = Graph.build([landing, rates, clean, priced, wider, month, total])
    plan = world.plan(assets=["trend"])
    assert told(plan) == [("trend: reads other partitions of clean", "57 must")]
    assert find_causes(plan).to_dict()[0]["kind"] == "reads otherwise"
    reasons = plan.why("trend", "2024-01-20").changes
    assert [reason.detail for reason in reasons] == [
        "now reads clean[2024-01-16]",
        "now reads clean[2024-01-17]",
    ]


def _wider(clean: Annotated[Any, last(5)]) -> Any: ...


def test_a_partition_with_two_causes_counts_for_both(world: World) -> None:
    world.codes["clean"] = "d" * 32
    late(world, "landing", "2024-01-05")
    causes = find_causes(world.plan(assets=["clean"])).found
    assert [(c.kind, c.must) for c in causes] == [("code changed", 60), ("late data", 1)]


def test_missing_ones_of_all_assets_are_one_cause(world: World) -> None:
    later = world.again("2024-03-02T00:00:00")
    for name in ("landing", "rates"):
        later.observe(name, "2024-03-01", at="2024-03-02T00:00:00")
    found = dict(told(later.plan()))
    assert found["never built: clean, priced, trend"] == "3 must, 1 may downstream"


def test_what_waits_counts_as_blocked(tmp_path: Path) -> None:
    made = World(tmp_path, [landing, clean, trend], "2024-01-04T00:00:00")
    (cause,) = find_causes(made.plan()).found
    assert (cause.kind, cause.must, cause.blocked) == ("missing", 0, 6)
    made.state.close()


def test_a_plan_with_many_causes_shows_the_largest() -> None:
    names = [f"a{i:03}" for i in range(3 * MOST)]
    plan = _wide(names)
    causes = find_causes(plan)
    assert len(causes.found) == MOST
    assert sum(cause.must for cause in causes.found) == len(names)
    assert summarize_plan(plan).causes[-1] == (
        f"more than {MOST - 13} further causes",
        "180 asset partitions",
    )


def _wide(names: list[str]) -> Plan:
    """Each asset with code parts of its own that changed."""
    made = [asset(name=name)(lambda: None) for name in names]
    graph = Graph.build(made)
    spaces = {a.name: a.partitions.resolve(_now()) for a in made}
    facts = Facts.empty(spaces)
    facts.lookup = _Parts()  # type: ignore[assignment]  # only code parts are asked for
    for i, name in enumerate(names):
        facts.codes[i] = f"old{i}"
        facts.assets[name].id[:] = facts.assets[name].data[:] = 1
        facts.assets[name].code[:] = i
    resolved = ResolvedGraph(graph, spaces)
    for op in graph.ops:
        facts.assets[op.name].digest[:] = Digests(resolved, facts).column(op)
    parts = {name: {f"function {name}": "new"} for name in names}
    return make_plan(graph, facts, dict.fromkeys(names, "new"), now=_now(), parts=parts)


class _Parts:
    def code_parts(self, code: str) -> dict[str, str]:
        return {f"function a{int(code[3:]):03}": "old"}


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime(2024, 3, 1, tzinfo=UTC)


# --------------------------------------------------------------------------------------------
# Against brute force


@settings(max_examples=30)
@given(
    st.sets(st.integers(0, 59), max_size=4),
    st.sets(st.integers(0, 59), max_size=4),
    st.booleans(),
)
def test_counts_equal_a_walk_over_every_step(
    landed: set[int], rated: set[int], changed: bool
) -> None:
    graph = Graph.build(ASSETS)
    spaces = {a.name: a.partitions.resolve(_now()) for a in ASSETS}
    resolved, facts = ResolvedGraph(graph, spaces), Facts.empty(spaces)
    facts.codes = {1: "old"}
    for number, op in enumerate(graph.ops):
        own = facts.assets[op.name]
        own.id[:] = number + 1
        own.data[:] = np.arange(2, dtype=np.uint64) + np.uint64(number + 1)
        own.code[:] = 1
        own.digest[:] = Digests(resolved, facts).column(op)
    for name, moved in (("landing", landed), ("rates", rated)):
        facts.assets[name].id[list(moved)] = 100
        facts.assets[name].data[list(moved)] += np.uint64(7)
    codes = dict.fromkeys(graph.assets, "old") | ({"trend": "new"} if changed else {})
    plan = make_plan(graph, facts, codes, now=_now())
    expected = _walked(plan, {"landing": landed, "rates": rated})
    found = {c.subject: (c.must, c.may) for c in find_causes(plan).found if c.kind == "late data"}
    assert found == {name: numbers for name, numbers in expected.items() if any(numbers)}


def _walked(plan: Plan, moved: dict[str, set[int]]) -> dict[str, tuple[int, int]]:
    causes: dict[tuple[str, int], set[str]] = {}
    counts = {name: [0, 0] for name in moved}
    for batch in plan.batches:
        for ordinal, bits in zip(batch.ordinals.tolist(), batch.reasons.tolist(), strict=True):
            own, carried = set(), set()
            for read in batch.op.inputs:
                for up in plan.resolved.edge(batch.op, read).upstream(ordinal).tolist():
                    if up in moved.get(read.asset, ()):
                        own.add(read.asset)
                    carried |= causes.get((read.asset, up), set())
            causes[batch.op.name, ordinal] = own | carried
            for name in own:
                counts[name][0] += 1
            for name in carried if not bits else ():
                counts[name][1] += 1
    return {name: (must, may) for name, (must, may) in counts.items()}


def test_a_million_stale_partitions_have_one_cause() -> None:
    days = daily("1997-01-01")
    made = [source(name="a0000", partitions=days)(lambda: None)]
    for i in range(1, 101):
        below = made[-1].last(7) if i % 2 else made[-1]
        made.append(asset(name=f"a{i:04}", partitions=days, depends_on=[below])(lambda: None))
    graph = Graph.build(made)
    space = days.resolve(_now())
    facts = Facts.empty({a.name: space for a in made})
    facts.codes = {1: "old"}
    resolved = ResolvedGraph(graph, facts.spaces)
    for op in graph.ops:
        own = facts.assets[op.name]
        own.id[:], own.code[:], own.data[:] = 1, 1, 5
        own.digest[:] = Digests(resolved, facts).column(op)
    codes = dict.fromkeys(graph.assets, "old") | {"a0001": "new"}
    plan = make_plan(graph, facts, codes, now=_now())
    told = summarize_plan(plan)
    assert len(plan) == 100 * space.n > 900_000
    assert told.causes == (
        ("a0001: code changed", f"{space.n:,} must, {99 * space.n:,} may downstream"),
    )


def test_a_phrase_names_the_source() -> None:
    assert Cause("late data", "landing").phrase == "late data in landing"
