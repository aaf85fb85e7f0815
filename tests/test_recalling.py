"""What reasons and lineage ask of the store: exact answers, and few questions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from world import World, data_version

from assets_core.declare.decorators import asset, source
from assets_core.partitions import daily, last
from assets_core.workspace import ledger as recalling
from assets_core.workspace.ledger import StoreLedger, StoreLookup, expand

DAYS = daily("2024-01-01")


@source(partitions=DAYS)
def landing() -> Any: ...


@asset(partitions=DAYS)
def clean(landing: Any) -> Any: ...


@asset(partitions=DAYS)
def trend(clean: Annotated[Any, last(3)]) -> Any: ...


class Counted:
    """A store that counts the questions it is asked."""

    def __init__(self, state: Any) -> None:
        self.state = state
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        return getattr(self.state, name)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, [landing, clean, trend], "2024-03-01T00:00:00")
    made.observe("landing", "2024-01-05", at="2024-01-06T00:00:00")
    made.build_at_once("clean")
    made.build_at_once("trend")
    yield made
    made.state.close()


def lookup(made: World) -> StoreLookup:
    return StoreLookup(made.state, made.env, made.spaces)


def test_reads_are_those_of_the_current_materialization(world: World) -> None:
    (read,) = lookup(world).reads("trend", "2024-01-05")
    assert (read.asset, read.ranges, read.count) == (
        "clean",
        (("2024-01-03", "2024-01-05"),),
        3,
    )


def test_reads_of_what_is_not_recorded_are_none(world: World) -> None:
    assert lookup(world).reads("landing", "2024-01-01") == ()


def test_versions_read_are_those_of_the_build_not_of_now(world: World) -> None:
    world.build("clean", "2024-01-04", version=2)
    found = lookup(world)
    (read,) = found.reads("trend", "2024-01-05")
    assert found.versions_read("trend", "2024-01-05", read) == {
        key: data_version("clean", key, 1) for key in ("2024-01-03", "2024-01-04", "2024-01-05")
    }


def test_a_partition_that_was_not_there_has_no_version(world: World) -> None:
    found = lookup(world)
    (read,) = found.reads("clean", "2024-01-06")
    assert found.versions_read("clean", "2024-01-06", read) == {"2024-01-06": (0, 0)}


def test_code_parts_of_an_unknown_code_are_none(world: World) -> None:
    assert lookup(world).code_parts("f" * 32) == {}


def test_code_parts_are_those_recorded(world: World) -> None:
    world.codes["clean"], world.parts["clean"] = "e" * 32, {"function clean": "12ab"}
    world.build("clean", "2024-01-01")
    assert lookup(world).code_parts("e" * 32) == {"function clean": "12ab"}


def test_reading_a_plan_in_order_asks_few_questions(world: World) -> None:
    store = Counted(world.state)
    found = StoreLookup(store, world.env, world.spaces)
    for key in world.spaces["trend"].keys(None):
        found.reads("trend", key)
    assert len(store.asked) <= 4


def test_first_landed_is_the_first_of_several_builds(world: World) -> None:
    world.build("clean", "2024-01-02", at="2024-02-02T00:00:00")
    first = lookup(world).first_landed("clean", ["2024-01-02"])
    facts = world.state.materializations("prod", "clean", "2024-01-02")
    assert first == {"2024-01-02": facts[-1].finished}


def test_first_landed_of_many_agrees_with_one_by_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = world.spaces["clean"].keys()
    one_by_one = lookup(world).first_landed("clean", keys)
    monkeypatch.setattr(recalling, "_ONE_BY_ONE", 1)
    found = lookup(world).first_landed("clean", keys)
    assert {key: found[key] for key in keys} == one_by_one


def test_the_log_answers_as_the_store_does(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = world.begin()
    world.build("clean", "2024-01-04", "2024-01-05", version=2, run=run)
    world.build("trend", "2024-01-05", "2024-01-06", run=run)
    world.build("clean", "2024-01-05", version=3, run=run)
    world.build("clean", "2024-01-05", version=4)
    world.build("trend", "2024-01-07")

    def answers() -> list[Any]:
        ledger = StoreLedger(world.state, world.env, world.graph, world.spaces)
        facts = world.state.materializations(world.env, "trend")
        return [
            [(key, version and version.id) for key, version in ledger.versions_read(fact, read)]
            for fact in facts
            for read in fact.inputs
        ]

    monkeypatch.setattr(recalling, "_QUESTIONS", 10**9)
    asked = answers()
    monkeypatch.setattr(recalling, "_QUESTIONS", 0)
    monkeypatch.setattr(recalling, "_FACTS_PER_QUESTION", 10**9)
    assert answers() == asked


def test_many_questions_are_answered_out_of_the_log(world: World) -> None:
    store = Counted(world.state)
    ledger = StoreLedger(store, world.env, world.graph, world.spaces)
    for fact in world.state.materializations(world.env, "trend"):
        ledger.versions_read(fact, fact.inputs[0])
    assert store.asked.count("version_as_of") <= 20
    assert store.asked.count("materializations") == 1


def test_served_is_what_the_pointer_points_to(world: World) -> None:
    world.build("clean", "2024-01-04", version=2)
    assert world.ledger().served("clean", "2024-01-04") == data_version("clean", "2024-01-04", 2)
    assert world.ledger().served("landing", "2024-01-06") is None


def test_all_that_a_walk_reaches_is_one_revision(world: World) -> None:
    store = Counted(world.state)
    ledger = StoreLedger(store, world.env, world.graph, world.spaces)
    ledger.served("trend", "2024-01-05")
    world.build("clean", "2024-01-05", version=9)
    assert ledger.served("clean", "2024-01-05") == data_version("clean", "2024-01-05", 1)
    assert store.asked.count("snapshot") == 1


def test_ranges_expand_in_the_order_of_the_space(world: World) -> None:
    ranges = [("2024-01-30", "2024-02-02"), ("2024-02-10", "2024-02-10")]
    assert expand(world.spaces["clean"], ranges) == [
        "2024-01-30",
        "2024-01-31",
        "2024-02-01",
        "2024-02-02",
        "2024-02-10",
    ]


def test_of_a_range_that_has_left_the_space_the_ends_are_known(world: World) -> None:
    ranges = [("2030-01-01", "2030-01-05")]
    assert expand(world.spaces["clean"], ranges) == ["2030-01-01", "2030-01-05"]
    assert expand(None, ranges) == ["2030-01-01", "2030-01-05"]
