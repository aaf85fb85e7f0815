"""Why one partition is stale: from it to its root causes, bounded, with before and after."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from world import World

from assets_core.declare.decorators import asset, source
from assets_core.display.why import why_lines
from assets_core.errors import PartitionError, UnknownAssetError
from assets_core.graph import Graph
from assets_core.partitions import daily, lag, last, monthly
from assets_core.planning.digests import Digests
from assets_core.planning.facts import Facts
from assets_core.planning.observations import Observations
from assets_core.planning.plan import Plan, make_plan
from assets_core.planning.resolved_graph import ResolvedGraph

DAYS = daily("2024-01-01")


@source(partitions=DAYS)
def landing() -> Any: ...


@asset(partitions=DAYS)
def clean(landing: Any) -> Any: ...


@asset(partitions=DAYS)
def trend(clean: Annotated[Any, last(3)]) -> Any: ...


@asset(partitions=monthly("2024-01"))
def month(trend: Any) -> Any: ...


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, [landing, clean, trend, month], "2024-03-01T00:00:00")
    made.observe_at_once("landing")
    for name in ("clean", "trend", "month"):
        made.parts[name] = {f"function jobs.{name}": "aaaa1111"}
        made.build_at_once(name)
    yield made
    made.state.close()


def test_a_fresh_partition_says_when_and_by_which_run_it_was_built(world: World) -> None:
    assert str(world.plan().why("clean", "2024-01-05")).splitlines() == [
        "clean@2024-01-05 is fresh",
        "  built 2024-01-10 06:00:00Z by run run0001, version "
        + f"{world.facts().assets['clean'].version(4)[0]:016x}"[:12],
    ]


def test_late_data_is_told_with_both_versions_and_when_it_was_seen(world: World) -> None:
    world.observe("landing", "2024-01-05", version=2, at="2024-02-01T00:00:00")
    why = world.plan().why("clean", "2024-01-05")
    (change,) = why.changes
    assert (why.status, change.kind, change.partition) == ("must", "late data", "2024-01-05")
    assert change.was != change.now
    assert "recorded 2024-02-01 00:00:00Z by looking at the source" in str(why)


def test_a_partition_two_steps_below_names_the_root_and_the_way(world: World) -> None:
    world.observe("landing", "2024-01-05", version=2, at="2024-02-01T00:00:00")
    why = world.plan().why("month@2024-01")
    assert why.status == "may"
    assert [(h.asset, h.where, h.count, h.status) for h in why.hops] == [
        ("trend", "2024-01-05..2024-01-07", 3, "may"),
        ("clean", "2024-01-05", 1, "must"),
    ]
    (root,) = why.roots
    assert (root.asset, root.partition, root.changes[0].kind) == (
        "clean",
        "2024-01-05",
        "late data",
    )


def test_a_changed_function_is_named_by_module_with_before_and_after(world: World) -> None:
    world.codes["clean"], world.parts["clean"] = "d" * 32, {"function jobs.clean": "bbbb2222"}
    why = world.plan().why("trend", "2024-01-05")
    assert why.roots[0].changes[0].parts == (("function jobs.clean", "aaaa1111", "bbbb2222"),)
    assert "    function jobs.clean: aaaa1111 → bbbb2222" in str(why).splitlines()


def test_a_rebuilt_upstream_is_told_with_its_run(world: World) -> None:
    run = world.begin()
    world.build("clean", "2024-01-05", version=7, run=run, at="2024-02-02T00:00:00")
    world.finish(run)
    (change,) = world.plan().why("trend", "2024-01-06").changes
    assert (change.asset, change.partition, change.run) == ("clean", "2024-01-05", run)


def test_missing_and_forced_are_reasons(world: World) -> None:
    (forced,) = world.plan(force=True).why("clean", "2024-01-05").changes
    assert forced.kind == "forced"
    later = world.again("2024-03-02T00:00:00")
    later.observe("landing", "2024-03-01", at="2024-03-02T00:00:00")
    (missing,) = later.plan().why("clean", "2024-03-01").changes
    assert missing.detail == "never materialized"


def test_what_waits_says_for_how_many_and_which(tmp_path: Path) -> None:
    made = World(tmp_path, [landing, clean, trend], "2024-01-06T00:00:00")
    made.observe("landing", "2024-01-01", "2024-01-04", at="2024-01-06T00:00:00")
    why = made.plan(assets=["trend"]).why("trend", "2024-01-04")
    assert why.status == "blocked"
    assert why.changes[0].detail == "waits for 3 of 3 of clean: 2024-01-02..2024-01-04"
    roots = {root.asset: root for root in made.plan().why("trend", "2024-01-04").roots}
    assert roots["clean"].changes[0].detail == "waits for 1 of 1 of landing: 2024-01-02"
    made.state.close()


def test_a_source_that_could_not_be_looked_at_is_a_root(world: World) -> None:
    seen = Observations(errors={"landing": {4: OSError("no such share")}})
    why = world.plan(observations=seen).why("trend", "2024-01-06")
    assert why.status == "blocked"
    (root,) = [root for root in why.roots if root.status == "failed"]
    assert (root.asset, root.changes[0].detail) == ("landing", "no such share")


def test_what_is_stale_and_was_not_selected_says_so(world: World) -> None:
    world.observe("landing", "2024-01-05", version=2, at="2024-02-01T00:00:00")
    why = world.plan(assets=["month"]).why("clean", "2024-01-05")
    assert (why.status, why.changes[0].kind) == ("not selected", "late data")


def test_what_reads_something_stale_that_was_not_selected_is_not_called_fresh(world: World) -> None:
    world.codes["clean"] = "d" * 32
    plan = world.plan(assets=["month"])
    assert plan.why("trend", "2024-01-05").status == "upstream not selected"
    assert plan.why("month", "2024-01").status == "upstream not selected"


def test_a_source_is_observed_not_built(world: World) -> None:
    assert world.plan().why("landing", "2024-01-05").status == "source"


def test_it_shows_itself_as_json_and_in_a_notebook(world: World) -> None:
    world.observe("landing", "2024-01-05", version=2, at="2024-02-01T00:00:00")
    why = world.plan().why("month", "2024-01")
    assert json.loads(json.dumps(why.to_dict()))["roots"][0]["asset"] == "clean"
    assert "root cause: clean@2024-01-05 must run" in why._repr_html_()


@pytest.mark.parametrize(
    ("reference", "error"),
    [
        ("clean@2024-13-01", PartitionError),
        ("clean", PartitionError),
        ("claen@2024-01-01", UnknownAssetError),
    ],
)
def test_what_there_is_not_is_an_error(world: World, reference: str, error: type) -> None:
    with pytest.raises(error):
        world.plan().why(reference)


def chain(length: int, days: int, *, own_past: bool = False) -> Plan:
    """Assets that read one another, all built; the first one's code changed."""
    space_of = daily("1990-01-01", end=f"{1990 + days // 365}-01-01")
    made: list[Any] = []
    for i in range(length):
        below = [made[-1].last(7)] if made else []
        past = [f"a{i}"] if own_past else []
        name = f"a{i}"
        one = asset(
            name=name,
            partitions=space_of,
            depends_on=[*below, *([_own(name)] if past else [])],
        )(lambda: None)
        made.append(one)
    graph = Graph.build(made)
    now = datetime(2024, 1, 1, tzinfo=UTC)
    space = space_of.resolve(now)
    facts = Facts.empty({a.name: space for a in made})
    facts.codes = {1: "old"}
    resolved = ResolvedGraph(graph, facts.spaces)
    for op in graph.ops:
        own = facts.assets[op.name]
        own.id[:], own.code[:], own.data[:] = 1, 1, np.uint64(5)
        own.digest[:] = Digests(resolved, facts).column(op)
    codes = dict.fromkeys(graph.assets, "old") | {"a0": "new"}
    return make_plan(graph, facts, codes, now=now)


def _own(name: str) -> Any:
    from assets_core.declare.asset import Reference

    return Reference(name, lag(1))


@pytest.mark.slow
def test_a_chain_of_a_thousand_assets_is_told_in_a_few_lines() -> None:
    plan = chain(1000, 3650)
    why = plan.why("a999", "1999-12-31")
    assert len(why.hops) == 999
    assert why.roots[0].asset == "a0"
    assert len(why_lines(why)) < 25


def test_a_past_of_thousands_of_partitions_is_one_hop() -> None:
    plan = chain(2, 9000, own_past=True)
    last_day = plan.facts.spaces["a1"].keys()[-1]
    why = plan.why("a1", last_day)
    assert [(h.asset, h.count) for h in why.hops] == [
        ("a1", plan.facts.spaces["a1"].n - 1),
        ("a0", plan.facts.spaces["a0"].n),
    ]
