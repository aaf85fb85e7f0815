"""Lineage: which versions a partition was built from, who read it, and the proof of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pyarrow as pa
import pytest
from world import World

from assets_core import Definitions, Partition, Project
from assets_core.declare.decorators import asset, multi_asset, source
from assets_core.graph import Graph
from assets_core.lineage.walks import _adds_up, upstream_of
from assets_core.partitions import (
    all_partitions,
    daily,
    lag,
    last,
    latest,
    monthly,
    product,
    static,
)
from assets_core.records import Version
from assets_core.workspace.ledger import StoreLedger

DAYS = daily("2024-01-01")


@source(partitions=DAYS)
def landing() -> Any: ...


@asset(partitions=DAYS)
def clean(landing: Any) -> Any: ...


@asset(partitions=DAYS)
def trend(clean: Annotated[Any, last(3)]) -> Any: ...


@asset(partitions=DAYS)
def report(clean: Any, trend: Any) -> Any: ...


@asset
def total(clean: Annotated[Any, all_partitions()]) -> Any: ...


ASSETS = [landing, clean, trend, report, total]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, ASSETS, "2024-01-12T09:00:00")
    made.observe("landing", at="2024-01-12T01:00:00", token="size-1")
    for name in ("clean", "trend", "report", "total"):
        made.build_at_once(name)
    yield made
    made.state.close()


def children(lineage: Any) -> list[str]:
    return [f"{c.asset}@{c.partition}" for c in lineage.children]


def test_children_are_exactly_the_partitions_that_were_read(world: World) -> None:
    assert children(world.upstream("trend", "2024-01-05")) == [
        "clean@2024-01-03",
        "clean@2024-01-04",
        "clean@2024-01-05",
    ]


def test_a_source_ends_the_walk_and_tells_its_token(world: World) -> None:
    leaf = world.upstream("clean", "2024-01-05").children[0]
    assert (leaf.asset, leaf.node.kind, leaf.node.token) == ("landing", "observed", "size-1")
    assert leaf.children == []


def test_facts_of_the_version_are_those_recorded(world: World) -> None:
    node = world.upstream("clean", "2024-01-05").node
    recorded = world.state.materializations("prod", "clean", "2024-01-05")[0]
    assert (node.id, node.run, node.rows, node.finished) == (
        recorded.id,
        recorded.run,
        100,
        recorded.finished,
    )


def test_everything_is_current_and_adds_up_after_a_build(world: World) -> None:
    nodes = world.upstream("report", "2024-01-05").nodes.values()
    assert all(node.current and node.verified for node in nodes)


def test_a_version_replaced_since_is_still_the_one_that_is_told(world: World) -> None:
    before = world.upstream("clean", "2024-01-04").node.data_version
    world.build("clean", "2024-01-04", version=2)
    lineage = world.upstream("trend", "2024-01-05")
    read = {c.partition: c.node for c in lineage.children}
    assert read["2024-01-04"].data_version == before
    assert {key: node.current for key, node in read.items()} == {
        "2024-01-03": True,
        "2024-01-04": False,
        "2024-01-05": True,
    }


def test_versions_replaced_since_still_add_up(world: World) -> None:
    world.build("clean", "2024-01-04", version=2)
    assert world.upstream("trend", "2024-01-05").verified is True


def test_a_rebuild_with_equal_content_is_still_current(world: World) -> None:
    world.build("clean", "2024-01-04", version=1)
    assert all(c.current for c in world.upstream("trend", "2024-01-05").children)


def test_within_one_run_the_version_of_that_run_counts(world: World) -> None:
    run = world.begin()
    # As an engine does: one revision for the run, upstream recorded after it.
    world.build("clean", "2024-01-05", version=7, run=run)
    world.build("trend", "2024-01-05", version=7, run=run)
    newest = world.state.materializations("prod", "clean", "2024-01-05")[0]
    assert world.upstream("trend", "2024-01-05").children[-1].node.id == newest.id


def test_a_record_that_was_tampered_with_does_not_add_up(world: World) -> None:
    wrong: Version = (1, 2)
    world.build("trend", "2024-01-05", input_digest=wrong)
    lineage = world.upstream("trend", "2024-01-05")
    assert lineage.verified is False
    assert "DOES NOT ADD UP" in str(lineage)


def test_an_input_whose_versions_differ_from_its_digest_does_not_add_up(world: World) -> None:
    world.build("clean", "2024-01-04", version=2)
    fact = world.state.materializations("prod", "trend", "2024-01-05")[0]
    ledger = world.ledger()
    read = fact.inputs[0]
    newest = {k: ledger.current("clean", k) for k, _ in ledger.versions_read(fact, read)}
    assert _adds_up(ledger, read, list(newest.items())) is False


def test_depth_limits_the_walk(world: World) -> None:
    assert {node.asset for node in world.upstream("report", "2024-01-05", 1).nodes.values()} == {
        "report",
        "clean",
        "trend",
    }


def test_depth_zero_is_the_partition_alone(world: World) -> None:
    assert len(world.upstream("report", "2024-01-05", 0)) == 1


def test_a_version_that_several_read_is_stored_once(world: World) -> None:
    refs = [(n.asset, n.partition) for n in world.upstream("report", "2024-01-05").nodes.values()]
    assert len(refs) == len(set(refs))


def test_what_a_version_read_is_looked_up_once(tmp_path: Path) -> None:
    class Counting(StoreLedger):
        asked: ClassVar[list[tuple[str, int]]] = []

        def versions_read(self, fact: Any, read: Any) -> Any:
            self.asked.append((read.name, fact.id))
            return super().versions_read(fact, read)

    @asset(partitions=DAYS)
    def spread(trend: Annotated[Any, last(3)]) -> Any: ...

    made = World(tmp_path, [landing, clean, trend, spread], "2024-01-12T00:00:00")
    for name in ("clean", "trend", "spread"):
        made.build_at_once(name)
    ledger = Counting(made.state, made.env, made.graph, made.spaces)
    upstream_of(ledger, "spread", "2024-01-09")
    assert len(Counting.asked) == len(set(Counting.asked)) == 1 + 3 + 5
    made.state.close()


def test_assets_that_have_exchanged_their_places_do_not_make_a_circle(tmp_path: Path) -> None:
    def pair(first: str, second: str) -> list[Any]:
        @asset(name=first, partitions=DAYS)
        def upstream() -> Any: ...

        @asset(name=second, partitions=DAYS, inputs={"read": first})
        def downstream(read: Any) -> Any: ...

        return [upstream, downstream]

    made = World(tmp_path, pair("one", "two"), "2024-01-03T00:00:00")
    made.build_at_once("one")
    made.build_at_once("two")
    made.graph = Graph.build(pair("two", "one"))
    made.build("one", "2024-01-01")
    found = made.downstream("one", "2024-01-01")
    assert {node.asset for node in found.nodes.values()} == {"one", "two"}
    assert "(see above)" in str(found)
    json.dumps(found.to_dict())
    assert "<svg" in found._repr_html_()
    made.state.close()


def test_a_repeated_subtree_is_shown_once(world: World) -> None:
    text = str(world.upstream("report", "2024-01-05"))
    assert text.count("landing@2024-01-05") == 1
    assert text.count("(see above)") == 1


def test_a_wide_input_is_one_line_of_text(world: World) -> None:
    text = str(world.upstream("total", "all"))
    assert "clean  2024-01-01..2024-01-11  (11 partitions, 1,100 rows)" in text
    assert "clean@2024-01-05" not in text


def test_a_wide_input_tells_how_many_were_replaced(world: World) -> None:
    world.build("clean", "2024-01-04", "2024-01-07", version=2)
    assert "2 replaced since" in str(world.upstream("total", "all"))


def test_a_wide_input_is_complete_in_the_dict(world: World) -> None:
    found = world.upstream("total", "all").to_dict()
    root = next(node for node in found["nodes"] if node["ref"] == found["root"])
    assert len(root["links"][0]["refs"]) == 11
    assert sum(node["asset"] == "landing" for node in found["nodes"]) == 11


def test_the_dict_is_strict_json(world: World) -> None:
    found = world.upstream("report", "2024-01-05").to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_every_reference_in_the_dict_leads_to_a_node(world: World) -> None:
    found = world.upstream("report", "2024-01-05").to_dict()
    refs = {node["ref"] for node in found["nodes"]}
    assert {r for n in found["nodes"] for link in n["links"] for r in link["refs"]} <= refs


def test_a_partition_that_is_not_materialized_says_so(tmp_path: Path) -> None:
    empty = World(tmp_path, ASSETS, "2024-01-12T09:00:00")
    assert str(empty.upstream("clean", "2024-01-05")) == "clean@2024-01-05  not materialized"
    empty.state.close()


def test_an_upstream_partition_that_was_missing_is_told(tmp_path: Path) -> None:
    made = World(tmp_path, ASSETS, "2024-01-12T09:00:00")
    made.build("clean", "2024-01-05")
    lineage = made.upstream("clean", "2024-01-05")
    assert lineage.children[0].node.kind == "missing"
    assert "landing@2024-01-05  nothing was there" in str(lineage)
    assert lineage.verified is True
    made.state.close()


def test_a_long_chain_through_its_own_past_is_walked_to_its_end(tmp_path: Path) -> None:
    @asset(name="balance", partitions=DAYS, inputs={"before": "balance"})
    def running(clean: Any, before: Annotated[Any, lag(1)]) -> Any: ...

    made = World(tmp_path, [landing, clean, running], "2026-12-31T00:00:00")
    keys = made.spaces["balance"].keys()
    made.build_at_once("balance")
    lineage = made.upstream("balance", keys[-1])
    assert sum(node.asset == "balance" for node in lineage.nodes.values()) == len(keys) > 1000
    assert "deeper levels" in str(lineage)
    json.dumps(lineage.to_dict())
    assert "<svg" in lineage._repr_html_()
    made.state.close()


# --------------------------------------------------------------------------------------------
# Downstream


def test_readers_are_those_whose_ranges_hold_the_partition(world: World) -> None:
    lineage = world.downstream("clean", "2024-01-05", 1)
    assert sorted(children(lineage)) == [
        "report@2024-01-05",
        "total@all",
        "trend@2024-01-05",
        "trend@2024-01-06",
        "trend@2024-01-07",
    ]


def test_readers_of_readers_follow(world: World) -> None:
    found = {
        (n.asset, n.partition) for n in world.downstream("landing", "2024-01-05").nodes.values()
    }
    assert ("report", "2024-01-07") in found
    assert ("report", "2024-01-08") not in found


def test_a_reader_of_an_older_version_is_not_current(world: World) -> None:
    world.build("clean", "2024-01-05", version=2)
    world.build("trend", "2024-01-06")
    read = {
        f"{c.asset}@{c.partition}": c.current
        for c in world.downstream("clean", "2024-01-05", 1).children
    }
    assert read == {
        "report@2024-01-05": False,
        "total@all": False,
        "trend@2024-01-05": False,
        "trend@2024-01-06": True,
        "trend@2024-01-07": False,
    }


def test_an_older_version_read_is_told_in_text(world: World) -> None:
    world.build("clean", "2024-01-05", version=2)
    assert "READ AN OLDER VERSION" in str(world.downstream("clean", "2024-01-05"))


def test_what_nobody_read_says_so(world: World) -> None:
    assert "read by nothing" in str(world.downstream("report", "2024-01-05"))


def test_a_reader_of_what_has_left_the_key_space_is_found(tmp_path: Path) -> None:
    made = World(tmp_path, [landing, clean], "2024-01-12T09:00:00")
    made.observe("landing", at="2024-01-12T01:00:00")
    made.build("clean", "2024-01-10")
    made.spaces = made.spaces_at(datetime(2024, 1, 5, tzinfo=UTC))
    assert children(made.downstream("landing", "2024-01-10")) == ["clean@2024-01-10"]
    assert made.upstream("clean", "2024-01-10").verified is None
    made.state.close()


def test_html_draws_the_assets_and_escapes(world: World) -> None:
    html = world.upstream("report", "2024-01-05")._repr_html_()
    assert "<svg" in html
    assert "landing" in html


# --------------------------------------------------------------------------------------------
# What the engine records


def test_what_the_engine_builds_adds_up_through_every_kind_of_mapping(tmp_path: Path) -> None:
    days = daily("2024-01-01", end="2024-02-03")
    sites = static(["north", "south"])

    def table(*inputs: Any) -> pa.Table:
        return pa.table({"n": [sum(i.num_rows for i in inputs if i is not None)]})

    @source(partitions=days)
    def raw(partition: Partition) -> pa.Table:
        return pa.table({"day": [partition.key]})

    @asset(partitions=days)
    def clean(raw: pa.Table) -> pa.Table:
        return raw

    @asset(partitions=days)
    def trend(clean: Annotated[pa.Table, last(3)]) -> pa.Table:
        return table(clean)

    @asset(partitions=days, inputs={"before": "balance"})
    def balance(clean: pa.Table, before: Annotated[pa.Table | None, lag(1)]) -> pa.Table:
        return table(clean, before)

    @asset(partitions=monthly("2024-01-01", end="2024-02-01"))
    def month(trend: pa.Table) -> pa.Table:
        return table(trend)

    @asset(partitions=product(date=days, site=sites))
    def by_site(clean: pa.Table, partition: Partition) -> pa.Table:
        return pa.table({"site": [partition.key]})

    @multi_asset(["left", "right"], partitions=days)
    def both(by_site: pa.Table, balance: pa.Table) -> dict[str, pa.Table]:
        return {"left": table(by_site), "right": table(balance)}

    @asset
    def total(
        left: Annotated[pa.Table, all_partitions()],
        right: Annotated[pa.Table, all_partitions()],
        month: Annotated[pa.Table, latest()],
    ) -> pa.Table:
        return table(left, right, month)

    definitions = Definitions([raw, clean, trend, balance, month, by_site, both, total])
    with Project(definitions, root=tmp_path) as project:
        assert project.materialize().ok
        project.materialize("clean", "2024-01-20..2024-01-22", force=True)
        lineage = project.lineage("total")
        assert {node.asset for node in lineage.nodes.values()} == set(project.graph.assets)
        assert all(node.verified for node in lineage.nodes.values())
