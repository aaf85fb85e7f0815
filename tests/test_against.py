"""What a change of code makes stale, and nothing that is stale anyway."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import World

from assets_core import Group, daily, last
from assets_core.display.comparison import against_markdown
from assets_core.fingerprint.hashing import hexdigest
from assets_core.planning.comparison import Comparison, Scope, find_changes, plan_against
from assets_core.planning.description import Described, DescribedAsset, DescribedInput
from assets_core.planning.plan import Plan

g = Group("g", partitions=daily("2024-01-01", end="2024-01-06"))


@g.source
def landing() -> Any: ...


@g.asset
def raw(landing: Any) -> Any: ...


@g.asset
def clean(raw: Any) -> Any: ...


@g.asset
def trend(clean: Annotated[Any, last(2)]) -> Any: ...


ASSETS = (landing, raw, clean, trend)


def described(world: World, **codes: str) -> Described:
    """The world's definitions, some of them with other code."""
    found = {}
    for name, asset in world.graph.assets.items():
        reads = [
            DescribedInput(name=r.name, asset=r.asset, mapping=str(r.mapping))
            for r in world.graph.op_of[name].inputs
        ]
        code = codes.get(name, "")
        found[name] = DescribedAsset(
            kind=asset.kind,
            code=hexdigest("code", name, code) if code else world.codes[name],
            parts={f"function m.{name}": code or "1"},
            inputs=reads,
            partitions=str(asset.partitions.identity()),
            declared={},
        )
    return Described(schema=1, environment="prod", assets=found)


def without(found: Described, *names: str) -> Described:
    left = {name: each for name, each in found.assets.items() if name not in names}
    return found.model_copy(update={"assets": left})


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path, ASSETS, "2024-01-20")
    made.observe("landing", at="2024-01-10T01:00:00")
    for name in ("raw", "clean", "trend"):
        made.build(name)
    return made


def compare(
    world: World, base: Described, now: Described, *, recorded: bool = True
) -> tuple[Plan, int]:
    return plan_against(base, now, world.graph, world.facts(), Scope(world.now), recorded=recorded)


def numbers(plan: Plan) -> dict[str, tuple[int, int]]:
    return {
        batch.op.name: (int((batch.reasons != 0).sum()), int((batch.reasons == 0).sum()))
        for batch in plan.batches
    }


def test_equal_definitions_make_nothing_stale(world: World) -> None:
    plan, anyway = compare(world, described(world), described(world))
    assert (len(plan), anyway) == (0, 0)


def test_changed_code_must_run_and_all_that_reads_it_may(world: World) -> None:
    plan, anyway = compare(world, described(world), described(world, clean="2"))
    assert numbers(plan) == {"clean": (5, 0), "trend": (0, 5)}
    assert anyway == 0


def test_the_cause_names_what_changed(world: World) -> None:
    plan, _ = compare(world, described(world), described(world, clean="2"))
    found = Comparison(
        "main", plan, find_changes(described(world), described(world, clean="2")), 0, True
    )
    assert found.summary().because == [
        "because clean: code changed (function clean) → 5 must, 5 may downstream"
    ]


def test_what_is_stale_anyway_is_counted_and_left_out(world: World) -> None:
    world.observe("landing", "2024-01-02", version=2, at="2024-01-12T01:00:00")
    plan, anyway = compare(world, described(world), described(world, trend="2"))
    # raw of that day runs anyway; clean and trend may; but trend now must.
    assert numbers(plan) == {"trend": (5, 0)}
    assert anyway == 2


def test_what_was_never_built_is_stale_anyway(tmp_path: Path) -> None:
    world = World(tmp_path, ASSETS, "2024-01-20")
    world.observe("landing", at="2024-01-10T01:00:00")
    world.build("raw", "2024-01-01", "2024-01-02")
    plan, anyway = compare(world, described(world), described(world, raw="2"))
    assert numbers(plan) == {"raw": (2, 0)}
    assert anyway == 3 + 5 + 5


def test_what_old_code_built_is_stale_anyway(world: World) -> None:
    newer = described(world, clean="2")
    plan, anyway = compare(world, newer, described(world, clean="3"))
    assert numbers(plan) == {}
    assert anyway == 10


def test_what_the_new_code_has_built_already_does_not_become_stale(world: World) -> None:
    plan, anyway = compare(world, described(world, clean="0"), described(world))
    assert (numbers(plan), anyway) == ({}, 0)


def test_an_added_asset_must_be_built(tmp_path: Path) -> None:
    world = World(tmp_path, ASSETS, "2024-01-20")
    world.observe("landing", at="2024-01-10T01:00:00")
    for name in ("raw", "clean"):
        world.build(name)
    plan, anyway = compare(world, without(described(world), "trend"), described(world))
    assert numbers(plan) == {"trend": (5, 0)}
    assert anyway == 0


def test_another_mapping_makes_its_reader_stale(world: World) -> None:
    now = described(world)
    reads = [DescribedInput(name="clean", asset="clean", mapping="last(7)")]
    was = now.assets["trend"].model_copy(update={"inputs": reads})
    base = now.model_copy(update={"assets": {**now.assets, "trend": was}})
    plan, _ = compare(world, base, now)
    assert numbers(plan) == {"trend": (5, 0)}
    assert find_changes(base, now).changed == {"trend": ("reads clean by last(2), not last(7)",)}


def test_other_partitions_are_missing_because_of_the_change(tmp_path: Path) -> None:
    world = World(tmp_path, ASSETS, "2024-01-20")
    world.observe("landing", at="2024-01-10T01:00:00")
    world.build("raw", "2024-01-03", "2024-01-04", "2024-01-05")
    now = described(world)
    was = now.assets["raw"].model_copy(update={"partitions": "daily 2024-01-03"})
    base = now.model_copy(update={"assets": {**now.assets, "raw": was}})
    plan, _ = compare(world, base, now)
    assert numbers(plan)["raw"] == (2, 0)


def test_without_records_every_partition_counts(tmp_path: Path) -> None:
    world = World(tmp_path, ASSETS, "2024-01-20")
    plan, anyway = compare(world, described(world), described(world, clean="2"), recorded=False)
    assert numbers(plan) == {"clean": (5, 0), "trend": (0, 5)}
    assert anyway == 0
    found = Comparison("main", plan, find_changes(described(world), described(world)), 0, False)
    assert found.cost_text(2) == "What it takes is unknown: no builds are recorded here."


def test_an_invalidation_is_no_work_of_the_change(world: World) -> None:
    facts = world.facts()
    from assets_core.records import Invalidation

    ranges = (("2024-01-01", "2024-01-02"),)
    facts.invalidate([Invalidation("prod", "clean", ranges, "wrong", "me", 1, id=10**9)])
    plan, anyway = plan_against(
        described(world),
        described(world, clean="2"),
        world.graph,
        facts,
        Scope(world.now),
        recorded=True,
    )
    assert numbers(plan)["clean"] == (3, 0)
    assert anyway >= 2


def test_only_what_is_selected_is_told(world: World) -> None:
    scope = Scope(world.now, ["trend"])
    plan, _ = plan_against(
        described(world),
        described(world, clean="2", trend="2"),
        world.graph,
        world.facts(),
        scope,
        recorded=True,
    )
    assert numbers(plan) == {"trend": (5, 0)}


def test_the_cost_is_that_of_recorded_builds(world: World) -> None:
    plan, anyway = compare(world, described(world), described(world, clean="2"))
    found = Comparison("main", plan, find_changes(described(world), described(world)), anyway, True)
    assert found.cost(1).must.seconds == pytest.approx(5 * 1.5)
    assert found.cost(1).must.rows == 500


def test_the_facts_are_left_as_they_are(world: World) -> None:
    facts = world.facts()
    before = {name: each.digest.copy() for name, each in facts.assets.items()}
    scope = Scope(world.now)
    plan_against(
        described(world), described(world, raw="2"), world.graph, facts, scope, recorded=True
    )
    assert all((facts.assets[name].digest == before[name]).all() for name in before)


@given(st.sets(st.sampled_from(["raw", "clean", "trend"])))
def test_on_a_fresh_store_it_is_the_plan_of_the_new_code(changed: set[str]) -> None:
    world = _fresh()
    now = described(world, **dict.fromkeys(changed, "2"))
    plan, _ = compare(world, described(world), now)
    world.codes = {name: asset.code for name, asset in now.assets.items()}
    assert numbers(plan) == numbers(world.plan())


_WORLDS: list[Callable[[], World]] = []


def _fresh() -> World:
    world = _WORLDS[0]()
    world.codes = {name: hexdigest("code", name) for name in world.graph.assets}
    return world


@pytest.fixture(autouse=True, scope="module")
def _one_world(tmp_path_factory: pytest.TempPathFactory) -> None:
    made = World(tmp_path_factory.mktemp("fresh"), ASSETS, "2024-01-20")
    made.observe("landing", at="2024-01-10T01:00:00")
    for name in ("raw", "clean", "trend"):
        made.build(name)
    _WORLDS.append(lambda: made)


# --------------------------------------------------------------------------------------------
# How definitions differ, and how it is told


def test_added_and_removed_assets_are_named(world: World) -> None:
    whole = described(world)
    found = find_changes(without(whole, "trend"), without(whole, "raw"))
    assert (found.added, found.removed) == (("trend",), ("raw",))


def test_another_declaration_is_told_though_nothing_becomes_stale(world: World) -> None:
    now = described(world)
    was = now.assets["raw"].model_copy(update={"declared": {"columns": "a, b"}})
    base = now.model_copy(update={"assets": {**now.assets, "raw": was}})
    assert find_changes(base, now).changed == {"raw": ("columns: a, b → none",)}
    assert len(compare(world, base, now)[0]) == 0


def test_markdown_shows_what_is_special_as_it_is(world: World) -> None:
    plan, _ = compare(world, described(world), described(world, clean="2"))
    found = Comparison("a|b_c @me", plan, find_changes(described(world), described(world)), 0, True)
    text = against_markdown(found, 1)
    assert text.startswith("**Against a\\|b\\_c @\u200bme: 5 must run")
    rows = [line for line in text.splitlines() if line.startswith("| clean ")]
    assert rows == ["| clean | 2024-01-01..2024-01-05 | 5 | must | code changed |"]
