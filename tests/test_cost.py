"""What a plan will take, told out of recorded builds: medians, must and may apart, walls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from world import World

from assets_core.declare.decorators import asset, multi_asset, source
from assets_core.partitions import daily, lag
from assets_core.planning.cost import Amount, AssetCost, Cost, cost_line, estimate

DAYS = daily("2024-01-01")


@source(partitions=DAYS)
def landing() -> Any: ...


@asset(partitions=DAYS)
def clean(landing: Any) -> Any: ...


@asset(partitions=DAYS)
def report(clean: Any) -> Any: ...


@asset(partitions=DAYS)
def balance(clean: Any, balance: Annotated[Any, lag(1)]) -> Any: ...


@multi_asset(["left", "right"], partitions=DAYS)
def both(clean: Any) -> Any: ...


MINUTE = 60_000_000


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, [landing, clean, report, balance, *both.assets], "2024-01-11T00:00:00")
    made.observe_at_once("landing")
    yield made
    made.state.close()


def timed(world: World, name: str, *seconds: float) -> None:
    """Build the asset's partitions, each in so many seconds."""
    for key, took in zip(world.spaces[name].keys(), seconds, strict=False):
        world.build(name, key, started=MINUTE, finished=MINUTE + round(took * 1e6))


def test_one_more_takes_the_median_of_the_builds(world: World) -> None:
    timed(world, "clean", 1.0, 2.0, 90.0)
    (cost,) = estimate(world.plan(assets=["clean"])).assets
    assert (cost.each, cost.builds) == (2.0, 3)
    assert cost.must == Amount(7, 7, 14.0, 700, 35_000)


def test_only_the_newest_builds_count(world: World) -> None:
    made = World(
        Path(world.state.beside("x")).parent / "more",
        world.graph.assets.values(),
        "2024-03-01T00:00:00",
    )  # type: ignore[arg-type]  # a file store has a folder
    made.observe_at_once("landing")
    timed(made, "clean", *[50.0] * 10, *[1.0] * 40)
    (cost,) = estimate(made.plan(assets=["clean"])).assets
    assert (cost.each, cost.builds) == (1.0, 32)
    made.state.close()


def test_must_and_may_are_apart(world: World) -> None:
    timed(world, "clean", *[1.0] * 10)
    timed(world, "report", *[2.0] * 10)
    world.codes["clean"] = "d" * 32
    cost = estimate(world.plan(assets=["clean", "report"]))
    assert (cost.must.seconds, cost.may.seconds) == (10.0, 20.0)


def test_jobs_share_the_work(world: World) -> None:
    timed(world, "clean", *[1.0] * 10)
    world.codes["clean"] = "d" * 32
    plan = world.plan(assets=["clean"])
    assert [estimate(plan, jobs).wall_must for jobs in (1, 2, 5)] == [10.0, 5.0, 2.0]


def test_no_number_of_jobs_beats_the_longest_chain(world: World) -> None:
    timed(world, "clean", *[1.0] * 10)
    timed(world, "report", *[2.0] * 10)
    world.codes["clean"] = "d" * 32
    cost = estimate(world.plan(assets=["clean", "report"]), 1000)
    assert (cost.wall_must, cost.wall_all) == (1.0, 3.0)


def test_a_past_that_is_read_is_one_long_chain(world: World) -> None:
    timed(world, "clean", *[1.0] * 10)
    timed(world, "balance", *[3.0] * 10)
    cost = estimate(world.plan(assets=["clean", "balance"], force=True), 1000)
    assert cost.wall_must == 31.0


def test_outputs_of_one_function_take_one_call(world: World) -> None:
    timed(world, "clean", *[1.0] * 10)
    for name in ("left", "right"):
        timed(world, name, *[4.0] * 10)
    world.codes["left"] = world.codes["right"] = "d" * 32
    cost = estimate(world.plan(assets=["left", "right"]))
    assert cost.must == Amount(20, 20, 40.0, 2_000, 100_000)


def test_what_was_never_built_is_unknown_and_in_no_figure(world: World) -> None:
    timed(world, "clean", 1.0)
    cost = estimate(world.plan(assets=["clean", "report"]))
    assert cost.unknown == ("report",)
    assert (cost.must.partitions, cost.must.known, cost.must.seconds) == (19, 9, 9.0)


def test_the_line_says_what_is_unknown(world: World) -> None:
    timed(world, "clean", 1.0)
    assert cost_line(estimate(world.plan(assets=["clean", "report"]), 3)) == (
        "Takes about 3.0 s with 3 jobs; 900 rows, 45 kB. Unknown: report was never built here."
    )


def test_the_line_without_any_history_gives_no_figure(world: World) -> None:
    line = cost_line(estimate(world.plan(assets=["clean"]), 2))
    assert line == "How long it takes is unknown: clean was never built here."


def test_the_line_gives_both_ends_where_some_only_may_run(world: World) -> None:
    timed(world, "clean", *[1.0] * 10)
    timed(world, "report", *[2.0] * 10)
    world.codes["clean"] = "d" * 32
    assert cost_line(estimate(world.plan(assets=["clean", "report"]), 1)) == (
        "Takes about 10 s with 1 job, 30 s if all that may run does; "
        "1,000 to 2,000 rows, 50 kB to 100 kB."
    )


def test_both_ends_that_look_alike_are_one_and_one_row_is_a_row() -> None:
    one, little = Amount(1, 1, 1.0, 1, 25_000), Amount(1, 1, 1.0, 0, 1)
    cost = Cost(1, (AssetCost(("clean",), 1, 1.0, one, little),), 1.0, 2.0)
    assert cost_line(cost).endswith("all that may run does; 1 row, 25 kB.")


def test_an_empty_plan_costs_nothing_and_says_nothing(world: World) -> None:
    timed(world, "clean", *[1.0] * 10)
    cost = estimate(world.plan(assets=["clean"]))
    assert (cost.wall_all, cost_line(cost)) == (0.0, "")


def test_it_is_plain_json(world: World) -> None:
    told = json.loads(json.dumps(estimate(world.plan(assets=["clean"])).to_dict()))
    assert told["wall_seconds"] == {"must": None, "all": None}
