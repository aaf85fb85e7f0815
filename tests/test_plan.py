"""Plans are values made of columns: no store, no clock, no files."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pytest

from assets_core.declare.asset import Asset
from assets_core.declare.decorators import asset, multi_asset, source
from assets_core.graph import Graph
from assets_core.partitions import daily, hourly, lag, last, monthly, parse_selection
from assets_core.planning.digests import Digests
from assets_core.planning.facts import Facts
from assets_core.planning.plan import Plan, make_plan
from assets_core.planning.resolved_graph import ResolvedGraph
from assets_core.planning.summary import plan_groups
from assets_core.records import InputRead, Version

NOW = datetime(2024, 1, 11, tzinfo=UTC)
DAYS = daily("2024-01-01")


@source(partitions=DAYS)
def landing() -> pa.Table: ...


@asset(partitions=DAYS)
def clean(landing: pa.Table) -> pa.Table: ...


@asset(partitions=DAYS)
def trend(clean: Annotated[pa.Table, last(3)]) -> pa.Table: ...


@asset(partitions=monthly("2024-01"))
def month(clean: pa.Table) -> pa.Table: ...


class World:
    """Recorded facts by hand: everything built once, then changed here and there."""

    def __init__(self, *assets: Asset, now: datetime = NOW, include_open: bool = False) -> None:
        self.graph = Graph.build(assets)
        spaces = {
            a.partitions: a.partitions.resolve(now, include_open=include_open) for a in assets
        }
        self.facts = Facts.empty({a.name: spaces[a.partitions] for a in assets})
        self.facts.codes = {1: "old", 2: "new"}
        self.codes = dict.fromkeys(self.graph.assets, "old")
        self.now = now

    def build(self, *names: str) -> World:
        """Record assets as built from what is recorded of their inputs."""
        resolved = ResolvedGraph(self.graph, self.facts.spaces)
        for name in names or self.graph.order:
            own, n = self.facts.assets[name], self.facts.spaces[name].n
            own.id[:] = np.arange(1, n + 1)
            own.data[:] = np.arange(1 << 60, (1 << 60) + 2 * n, dtype=np.uint64).reshape(n, 2)
            own.code[:] = 1
            own.digest[:] = Digests(resolved, self.facts).column(self.graph.op_of[name])
        return self

    def change(self, name: str, key: str) -> World:
        """Give a partition another data version."""
        self.facts.assets[name].data[self.facts.spaces[name].ordinal(key)] += np.uint64(1 << 50)
        return self

    def plan(self, **options: Any) -> Plan:
        """A plan of the whole graph, or of what the options select."""
        return make_plan(self.graph, self.facts, self.codes, now=self.now, **options)


def steps(plan: Plan) -> dict[str, str]:
    return {str(step): step.status for step in plan.steps()}


def test_nothing_is_planned_when_nothing_moved() -> None:
    plan = World(landing, clean, trend).build().plan()
    assert (plan.must, plan.may, bool(plan)) == (0, 0, False)


def test_everything_is_missing_at_first() -> None:
    plan = World(landing, clean, trend).build("landing").plan()
    assert (plan.must, plan.may) == (20, 0)
    first = next(plan.steps())
    assert (first.asset, first.partition, first.reasons[0].kind) == (
        "clean",
        "2024-01-01",
        "missing",
    )


def test_one_late_day_makes_stale_only_what_read_it() -> None:
    plan = World(landing, clean, trend).build().change("landing", "2024-01-05").plan()
    assert steps(plan) == {
        "clean@2024-01-05": "must",
        "trend@2024-01-05": "may",
        "trend@2024-01-06": "may",
        "trend@2024-01-07": "may",
    }


def test_a_changed_code_version_is_must_for_its_asset_and_may_below() -> None:
    world = World(landing, clean, trend).build()
    world.codes["clean"] = "new"
    plan = world.plan()
    assert (plan.must, plan.may) == (10, 10)
    reason = next(plan.steps()).reasons[0]
    assert (reason.kind, reason.was, reason.now) == ("code changed", "old", "new")


def test_what_is_not_selected_spreads_nothing() -> None:
    world = World(landing, clean, trend).build()
    world.codes["clean"] = "new"
    assert steps(world.plan(assets=["trend"])) == {}


def test_partitions_select_by_overlap_in_other_granularities() -> None:
    hours = asset(name="hours", partitions=hourly("2024-01-01"))(lambda: None)
    plan = (
        World(hours, landing, clean).build("landing").plan(partitions=parse_selection("2024-01-03"))
    )
    assert {s.split("@")[0] for s in steps(plan)} == {"hours", "clean"}
    assert len(steps(plan)) == 25


def test_a_missing_upstream_outside_the_selection_is_waited_for_and_named() -> None:
    plan = (
        World(landing, clean, trend)
        .build("landing")
        .plan(assets=["trend"], partitions=parse_selection("2024-01-02"))
    )
    assert not plan
    (waiting,) = plan.waiting()
    assert waiting.missing == (("clean", "2024-01-01"), ("clean", "2024-01-02"))


def test_a_missing_source_holds_back_all_that_follows() -> None:
    plan = World(landing, clean, trend).plan()
    assert (plan.must, plan.may, plan.blocked) == (0, 0, 20)


def test_a_window_that_has_not_closed_is_waited_for_by_name() -> None:
    # The month of the share is still going on; the days of it that are over wait for its end.
    @asset(partitions=DAYS)
    def share(month) -> pa.Table: ...

    plan = World(landing, clean, month, share).build("landing", "clean").plan()
    told = {waiting.told for waiting in plan.waiting()}
    assert told == {"waits for partitions of month that do not exist yet"}
    assert "waits for partitions of month that do not exist yet" in str(plan)
    assert "waits for partitions of month that do not exist yet" in str(
        plan.why("share@2024-01-01")
    )


def test_an_open_month_is_built_from_the_days_that_there_are() -> None:
    open_month = World(landing, clean, month, include_open=True).build("landing")
    assert open_month.facts.spaces["month"].n == 1
    plan = open_month.plan()
    assert not list(plan.waiting())
    assert [step.partition for step in plan.steps() if step.asset == "month"] == ["2024-01"]


def test_force_is_a_reason_of_its_own_and_stays_in_the_selection() -> None:
    plan = World(landing, clean, trend).build().plan(assets=["clean"], force=True)
    assert plan.must == 10
    assert {r.kind for step in plan.steps() for r in step.reasons} == {"forced"}


def test_an_own_past_carries_staleness_forward() -> None:
    def balance(clean, balance) -> pa.Table: ...

    balance.__annotations__ = {"clean": pa.Table, "balance": Annotated[pa.Table | None, lag(1)]}
    world = World(landing, clean, asset(partitions=DAYS)(balance)).build()
    for _ in range(10):  # the digests of an own past settle one day at a time
        world.build("balance")
    plan = world.change("clean", "2024-01-08").plan(assets=["balance"])
    assert steps(plan) == {
        "balance@2024-01-08": "must",
        "balance@2024-01-09": "may",
        "balance@2024-01-10": "may",
    }


def test_siblings_of_one_function_are_stale_together() -> None:
    @multi_asset(["good", "bad"], partitions=DAYS)
    def split(landing: pa.Table) -> dict[str, pa.Table]: ...

    world = World(landing, *split).build()
    world.facts.assets["bad"].id[3] = 0
    plan = world.plan()
    assert plan.must == 2
    kinds = {step.asset: step.reasons[0].kind for step in plan.steps()}
    assert kinds == {"good": "sibling", "bad": "missing"}


def test_what_is_made_along_with_the_selected_is_told() -> None:
    @multi_asset(["good", "bad"], partitions=DAYS)
    def split(landing: pa.Table) -> dict[str, pa.Table]: ...

    world = World(landing, *split).build()
    world.facts.assets["bad"].id[3] = 0
    plan = world.plan(assets=["good"])
    assert plan.made_along == {"bad": ("good",)}
    assert plan.to_dict()["made_along"] == [{"asset": "bad", "selected": ["good"]}]
    told = {group.asset: group.why for group in plan_groups(plan)}
    assert told["good"] == "made together with bad"
    assert told["bad"].endswith("; made together with good")
    assert world.plan().made_along == world.plan(assets=["good", "bad"]).made_along == {}


def test_a_plan_is_strict_json_of_the_promised_shape() -> None:
    plan = World(landing, clean, trend).build().change("landing", "2024-01-05").plan()
    told = json.loads(plan.to_json(), parse_constant=pytest.fail)
    assert (told["must"], told["may"]) == (1, 3)
    first = told["steps"][0]
    assert (first["asset"], first["partition"], first["status"]) == (
        "clean",
        "2024-01-05",
        "must",
    )
    assert set(first["reasons"][0]) == {"kind", "detail", "was", "now"}


def test_reasons_name_the_partition_that_moved_with_before_and_after() -> None:
    world = World(landing, clean, trend).build()
    before = world.facts.assets["landing"].version(4)
    _, sums = Digests(ResolvedGraph(world.graph, world.facts.spaces), world.facts).one(
        world.graph.op_of["clean"], 4
    )

    class Memory:
        def reads(self, asset: str, partition: str) -> list[InputRead]:
            days = (("2024-01-05", "2024-01-05"),)
            return [InputRead("landing", "landing", days, 1, 1, sums[0])]

        def versions_read(self, asset: str, partition: str, read: InputRead) -> dict[str, Version]:
            return {"2024-01-05": before}

        def code_parts(self, code: str) -> dict[str, str]:
            return {}

    world.facts.lookup = Memory()
    step = next(world.change("landing", "2024-01-05").plan().steps())
    (reason,) = step.reasons
    assert (reason.kind, reason.detail) == ("late data", "late data in landing[2024-01-05]")
    assert reason.was == f"{before[0]:016x}"[:12]
    assert reason.now != reason.was


def test_exchanged_inputs_are_a_change() -> None:
    def both(a, b) -> pa.Table: ...

    both.__annotations__ = {"a": pa.Table, "b": pa.Table}
    inputs = [asset(name=name, partitions=DAYS)(lambda: None) for name in "ab"]
    world = World(*inputs, asset(partitions=DAYS)(both)).build()
    a, b = world.facts.assets["a"].data, world.facts.assets["b"].data
    b += np.uint64(7)
    world.build("both")
    a[0], b[0] = b[0].copy(), a[0].copy()
    assert steps(world.plan()) == {"both@2024-01-01": "must"}


def test_a_later_start_of_the_calendar_changes_nothing() -> None:
    """Digests follow what a partition is, not where it stands."""
    early = World(landing, clean).build()
    later = daily("2024-01-04")
    moved = World(
        source(name="landing", partitions=later)(lambda: None),
        asset(name="clean", partitions=later, inputs={"landing": "landing"})(lambda landing: None),
    )
    for name in ("landing", "clean"):
        old, new = early.facts.assets[name], moved.facts.assets[name]
        for column in ("id", "data", "digest", "code"):
            getattr(new, column)[:] = getattr(old, column)[3:]
    assert not moved.plan()
