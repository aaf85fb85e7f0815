"""How much of an input must be there: all, any, a fraction, or what a function says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pytest
from cli.shop import forget_definitions
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_core import (
    Asset,
    Batch,
    Definitions,
    Group,
    Partition,
    Partitions,
    Project,
    asset,
    daily,
    lag,
    last,
    monthly,
    product,
    require,
    source,
    sql_asset,
    static,
)
from assets_core.declare.asset import Reference
from assets_core.errors import DefinitionError, PlanMovedError, UserCodeError
from assets_core.graph import Graph
from assets_core.planning.digests import Digests
from assets_core.planning.facts import Facts
from assets_core.planning.plan import make_plan
from assets_core.planning.resolved_graph import ResolvedGraph
from io_managers.memory import Memory

DAYS = daily("2024-01-01", "2024-01-11")
MONTHS = monthly("2024-01", "2024-02")
NOW = datetime(2024, 3, 1, tzinfo=UTC)
KEYS = [f"2024-01-{day:02}" for day in range(1, 11)]

Open = Callable[..., Project]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Projects over one folder; each call sees what the last one recorded."""
    made: list[Project] = []
    stored = Memory()

    def open_project(*assets: Any) -> Project:
        if made:
            made[-1].close()
        made.append(Project(Definitions(assets, io_managers={"default": stored}), root=tmp_path))
        return made[-1]

    yield open_project
    for project in made:
        project.close()


class Landed:
    """A source of days, of which some have landed."""

    def __init__(self, *keys: str) -> None:
        self.rows = dict.fromkeys(keys, 1)
        self.source = source(name="landing", partitions=DAYS)(self.find)

    def find(self, partition: Partition) -> pa.Table | None:
        if partition.key not in self.rows:
            return None
        return pa.table({"day": [partition.key], "n": [self.rows[partition.key]]})


def month_of(policy: Any, *, partitions: Any = MONTHS, **options: Any) -> Asset:
    @asset(name="month", partitions=partitions, require=policy, **options)
    def month(landing: pa.Table) -> pa.Table:
        return landing

    return month


def days_in(project: Project, name: str = "month", partition: str = "2024-01") -> list[str]:
    return sorted(project.load(name, partition=partition)["day"].to_pylist())


# What is read, what is recorded, and when it is stale again ----------------------------------


def test_a_fraction_builds_of_what_is_there(opened: Open) -> None:
    landed = Landed(*KEYS[:9])
    project = opened(landed.source, month_of(0.9))
    project.materialize(now=NOW).raise_for_status()
    assert days_in(project) == KEYS[:9]


def test_one_too_few_waits_and_says_so(opened: Open) -> None:
    project = opened(Landed(*KEYS[:8]).source, month_of(0.9))
    result = project.materialize(now=NOW)
    told = "waits for 2 of 10 of landing (needs 9): 2024-01-09..2024-01-10"
    assert (result.exit_code, result.blocked) == (4, (("month", "2024-01", told),))


def test_without_a_policy_one_missing_day_is_waited_for(opened: Open) -> None:
    project = opened(Landed(*KEYS[1:]).source, month_of(None))
    (waiting,) = project.plan(now=NOW).waiting()
    assert waiting.told == "waits for 1 of 10 of landing: 2024-01-01"


def test_any_wants_one(opened: Open) -> None:
    landed = Landed()
    project = opened(landed.source, month_of("any"))
    assert project.materialize(now=NOW).exit_code == 4
    landed.rows[KEYS[4]] = 1
    project.materialize(now=NOW).raise_for_status()
    assert days_in(project) == [KEYS[4]]


def test_a_function_sees_what_is_there_and_what_is_expected(opened: Open) -> None:
    asked = []

    def but_the_last(present: Sequence[str], expected: Sequence[str]) -> bool:
        asked.append((tuple(present), tuple(expected)))
        return set(present) >= set(expected[:-1])

    project = opened(Landed(*KEYS[:9]).source, month_of(but_the_last))
    project.materialize(now=NOW).raise_for_status()
    assert set(asked) == {(tuple(KEYS[:9]), tuple(KEYS))}
    assert days_in(project) == KEYS[:9]


def test_what_lands_later_makes_it_stale_by_itself(opened: Open) -> None:
    landed = Landed(*KEYS[:9])
    project = opened(landed.source, month_of(0.9))
    project.materialize(now=NOW)
    assert not project.plan(now=NOW)
    landed.rows[KEYS[9]] = 1
    (step,) = project.plan(now=NOW).steps()
    assert [reason.detail for reason in step.reasons] == [
        "late data in landing[2024-01-10], which was not there"
    ]
    project.materialize(now=NOW)
    assert days_in(project) == KEYS
    assert not project.plan(now=NOW)


def test_lineage_names_what_was_read_and_nothing_else(opened: Open) -> None:
    project = opened(Landed(*(key for key in KEYS if key != KEYS[3])).source, month_of(0.9))
    project.materialize(now=NOW)
    (read,) = project.state.materializations("prod", "month", "2024-01")[0].inputs
    assert (read.ranges, read.count) == (((KEYS[0], KEYS[2]), (KEYS[4], KEYS[9])), 9)
    assert project.lineage("month", "2024-01").node.verified
    late = project.lineage("landing", KEYS[3], downstream=True)
    assert not any(late.links.values())


def test_what_is_not_there_and_does_not_come_makes_nothing_run(opened: Open) -> None:
    @asset(partitions=DAYS)
    def clean(landing: pa.Table) -> pa.Table:
        return landing

    @asset(partitions=MONTHS, require="any")
    def month(clean: pa.Table) -> pa.Table:
        return clean

    project = opened(Landed(*KEYS[:9]).source, clean, month)
    project.materialize(now=NOW)
    plan = project.plan(now=NOW)
    assert [(w.asset, w.partition) for w in plan.waiting()] == [("clean", KEYS[9])]
    assert not list(plan.steps())


def test_a_changed_policy_rebuilds_nothing(opened: Open) -> None:
    landed = Landed(*KEYS)
    opened(landed.source, month_of(0.9)).materialize(now=NOW)
    assert not opened(landed.source, month_of("all")).plan(now=NOW)


DECLARED = """
from typing import Annotated
import pyarrow as pa
from assets_core import (Partition, daily, last, monthly, require)
from assets_core import asset

@asset(partitions=daily("2024-01-01"))
def days(partition: Partition) -> pa.Table: ...

def enough(present, expected): return len(present) > LEAST

@asset(partitions=monthly("2024-01"), require=POLICY)
def by_option(days: pa.Table) -> pa.Table: ...

@asset(partitions=monthly("2024-01"))
def by_marker(days: Annotated[pa.Table, require(POLICY)]) -> pa.Table: ...

@asset(partitions=monthly("2024-01"))
def by_rule(days: Annotated[pa.Table, require(enough)]) -> pa.Table: ...

@asset(partitions=daily("2024-01-01"))
def by_method(d: Annotated[pa.Table, days.last(2).require(POLICY)]) -> pa.Table: ...
"""


def test_a_policy_is_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for policy in ("'any'", "0.9"):
        text = DECLARED.replace("POLICY", policy).replace("LEAST", str(len(found)))
        (tmp_path / "policies.py").write_text(text, encoding="utf-8")
        forget_definitions("policies")
        with Project.load("policies", root=tmp_path) as project:
            found.append({asset: code.hex for asset, code in project.codes.items()})
    forget_definitions("policies")
    assert found[0] == found[1]


def test_a_query_reads_what_is_there(opened: Open) -> None:
    @asset(partitions=DAYS)
    def days(landing: pa.Table) -> pa.Table:
        return landing

    total = sql_asset(
        "total", "SELECT count(*) AS n FROM days", partitions=MONTHS, require=0.5, depends_on=[]
    )
    project = opened(Landed(*KEYS[:7]).source, days, total)
    project.materialize(now=NOW)
    assert project.load("total", partition="2024-01")["n"].to_pylist() == [7]


def test_one_input_can_have_its_own_policy(opened: Open) -> None:
    landed, other = Landed(*KEYS[:1]), Landed(*KEYS[:9])
    second = source(name="second", partitions=DAYS)(other.find)

    @asset(partitions=MONTHS, require=0.9)
    def month(
        landing: Annotated[pa.Table, require("any")], second: dict[str, pa.Table]
    ) -> pa.Table:
        assert list(second) == KEYS[:9]
        return landing

    project = opened(landed.source, second, month)
    project.materialize(now=NOW).raise_for_status()
    assert days_in(project) == KEYS[:1]


def test_a_call_for_many_hands_over_what_is_there(opened: Open) -> None:
    calls = []

    @asset(partitions=DAYS, batch=Batch(max_partitions=10), require="any", partition_column="day")
    def trend(landing: Annotated[pa.Table, last(2)], partitions: Partitions) -> pa.Table:
        calls.append(landing["day"].to_pylist())
        return pa.table({"day": list(partitions.keys)})

    landed = Landed(*(key for i, key in enumerate(KEYS) if i != 4))
    project = opened(landed.source, trend)
    project.materialize(now=NOW).raise_for_status()
    assert calls == [[key for i, key in enumerate(KEYS) if i != 4]]
    reads = {
        m.partition: m.inputs[0].count for m in project.state.materializations("prod", "trend")
    }
    assert (reads[KEYS[3]], reads[KEYS[4]], reads[KEYS[5]], reads[KEYS[6]]) == (2, 1, 1, 2)


# A failure in the same run --------------------------------------------------------------------


class Chain:
    """Days that may fail, a month that reads them under a policy, and what reads the month."""

    def __init__(self, opened: Open, policy: Any, year_policy: Any = "all") -> None:
        self.failing: set[str] = set()
        self.value = 1

        @asset(partitions=DAYS)
        def days(partition: Partition) -> pa.Table:
            if partition.key in self.failing:
                raise ValueError("no luck")
            return pa.table({"day": [partition.key], "v": [self.value]})

        @asset(partitions=MONTHS, require=policy)
        def month(days: pa.Table) -> pa.Table:
            return days

        @asset(require=year_policy)
        def year(month: pa.Table | None) -> pa.Table:
            return pa.table({"n": [0 if month is None else month.num_rows]})

        self.open = lambda version="1": opened(
            Asset("days", function=days.function, partitions=DAYS, version=version), month, year
        )


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_failure_blocks_what_needs_everything(opened: Open, jobs: int) -> None:
    chain = Chain(opened, "all")
    chain.failing = {KEYS[2]}
    result = chain.open().materialize(now=NOW, jobs=jobs)
    assert [(a, why) for a, _, why in result.blocked] == [
        ("month", f"days@{KEYS[2]} failed"),
        ("year", f"days@{KEYS[2]} failed"),
    ]


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_failure_is_done_without_where_the_policy_holds(opened: Open, jobs: int) -> None:
    chain = Chain(opened, 0.9)
    chain.failing = {KEYS[2]}
    project = chain.open()
    result = project.materialize(now=NOW, jobs=jobs)
    assert (result.exit_code, result.counts["failed"], result.blocked) == (1, 1, ())
    assert days_in(project) == [key for key in KEYS if key != KEYS[2]]
    chain.failing = set()
    plan = project.plan(now=NOW)
    assert [str(step) for step in plan.steps()] == [f"days@{KEYS[2]}", "month@2024-01", "year@all"]
    project.materialize(now=NOW).raise_for_status()
    assert days_in(project) == KEYS


@pytest.mark.parametrize("jobs", [1, 3])
def test_too_many_failures_block_it_and_what_follows(opened: Open, jobs: int) -> None:
    chain = Chain(opened, 0.9)
    chain.failing = {KEYS[2], KEYS[5]}
    result = chain.open().materialize(now=NOW, jobs=jobs)
    assert result.blocked == (
        ("month", "2024-01", f"waits for 2 of 10 of days (needs 9): {KEYS[2]}, {KEYS[5]}"),
        ("year", "all", "month@2024-01 is blocked"),
    )


def test_status_does_not_call_blocked_what_does_without_a_failure(opened: Open) -> None:
    chain = Chain(opened, 0.9)
    chain.failing = {KEYS[2]}
    project = chain.open()
    project.materialize(now=NOW)
    status = project.status(now=NOW)
    assert (status["days"].counts["failed"], status["month"].counts["stale"]) == (1, 1)


def test_status_says_of_what_too_much_failed(opened: Open) -> None:
    chain = Chain(opened, 0.9)
    chain.failing = {KEYS[2], KEYS[5]}
    project = chain.open()
    project.materialize(now=NOW)
    status = project.status(now=NOW)
    assert (status["month"].counts["blocked"], status["year"].counts["blocked"]) == (1, 1)
    told = f"waits for 2 of 10 of days (needs 9): {KEYS[2]}, {KEYS[5]}"
    assert status["month"].waiting == told


def test_what_is_blocked_is_done_without_too(opened: Open) -> None:
    chain = Chain(opened, "all", lambda present, expected: True)
    chain.failing = {KEYS[2]}
    project = chain.open()
    result = project.materialize(now=NOW)
    assert [(asset, why) for asset, _, why in result.blocked] == [
        ("month", f"days@{KEYS[2]} failed")
    ]
    assert project.load("year")["n"].to_pylist() == [0]


def test_a_failed_day_counts_as_missing_though_its_old_version_is_read(opened: Open) -> None:
    chain = Chain(opened, 0.9)
    chain.open().materialize(now=NOW).raise_for_status()
    chain.failing, chain.value = {KEYS[2]}, 2
    project = chain.open("2")
    project.materialize(now=NOW)
    values = project.load("month", partition="2024-01")["v"].to_pylist()
    assert sorted(values) == [1] + [2] * 9
    chain.failing |= {KEYS[3]}
    chain.value = 3
    result = chain.open("3").materialize(now=NOW)
    assert result.blocked[0][:2] == ("month", "2024-01")


def test_a_function_that_fails_fails_its_step_alone(opened: Open) -> None:
    def broken(present: Sequence[str], expected: Sequence[str]) -> bool:
        raise KeyError("country")

    chain = Chain(opened, broken)
    chain.failing = {KEYS[2]}
    result = chain.open().materialize(now=NOW)
    failed = {f.asset: f.error for f in result.failures}
    assert failed["month"] == ("The function 'broken' given to require raised KeyError: 'country'.")
    assert result.counts["done"] == 9


def test_a_call_for_many_does_without_what_failed(opened: Open) -> None:
    calls: list[tuple[list[str], list[str]]] = []

    @asset(partitions=DAYS)
    def days(partition: Partition) -> pa.Table:
        if partition.key in KEYS[4:6]:
            raise ValueError("no luck")
        return pa.table({"day": [partition.key]})

    @asset(partitions=DAYS, batch=Batch(max_partitions=10), require="any", partition_column="day")
    def trend(days: Annotated[pa.Table, last(2)], partitions: Partitions) -> pa.Table:
        calls.append((list(partitions.keys), days["day"].to_pylist()))
        return pa.table({"day": list(partitions.keys)})

    result = opened(days, trend).materialize(now=NOW)
    # How many calls it takes depends on which days are ready first.
    assert sorted(key for keys, _ in calls for key in keys) == [*KEYS[:5], *KEYS[6:]]
    there = [*KEYS[:4], *KEYS[6:]]
    for keys, read in calls:
        ends = [KEYS.index(key) for key in keys]
        windows = {one for end in ends for one in KEYS[max(end - 1, 0) : end + 1]}
        assert read == sorted(windows.intersection(there))
    told = f"waits for days {KEYS[4]}..{KEYS[5]}"
    assert result.blocked == (("trend", KEYS[5], told),)


@pytest.mark.slow
def test_worker_processes_are_handed_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "by_process.py").write_text(
        DECLARED.replace("POLICY", "0.5")
        .replace('daily("2024-01-01")', 'daily("2024-01-01", end="2024-01-04")')
        .replace('monthly("2024-01"', 'monthly("2024-01", end="2024-02"')
        .replace("LEAST", "0")
        .replace("days(partition: Partition) -> pa.Table: ...", DAYS_THAT_FAIL)
        .replace("-> pa.Table: ...", "-> pa.Table: return days"),
        encoding="utf-8",
    )
    code = (
        "from assets_core import Project\n"
        "if __name__ == '__main__':\n"
        "    with Project.load('by_process') as project:\n"
        "        project.materialize('+by_marker', executor='process', jobs=2)\n"
        "        print(project.load('by_marker', partition='2024-01')['day'].to_pylist())\n"
    )
    (tmp_path / "main.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "main.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[1]}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "['2024-01-01', '2024-01-03']", done.stderr


DAYS_THAT_FAIL = """days(partition: Partition) -> pa.Table:
    if partition.key == "2024-01-02":
        raise ValueError("no luck")
    return pa.table({"day": [partition.key]})
"""


def test_a_stored_plan_is_refused_when_what_was_missing_has_come(
    opened: Open, tmp_path: Path
) -> None:
    landed = Landed(*KEYS[:9])
    project = opened(landed.source, month_of(0.9))
    project.store_plan(project.plan(now=NOW), tmp_path / "plan.json")
    assert len(project.replay(tmp_path / "plan.json").plan) == 1
    landed.rows[KEYS[9]] = 1
    with pytest.raises(PlanMovedError, match="landing"):
        project.replay(tmp_path / "plan.json")


def test_a_function_that_fails_while_planning_names_the_asset(opened: Open) -> None:
    def broken(present: Sequence[str], expected: Sequence[str]) -> bool:
        raise KeyError("country")

    project = opened(Landed(KEYS[0]).source, month_of(broken))
    with pytest.raises(UserCodeError, match="raised KeyError") as caught:
        project.plan(now=NOW)
    assert caught.value.facts["asset"] == "month"


# Sources that can't be looked at --------------------------------------------------------------


def test_a_source_partition_never_seen_that_can_not_be_looked_at_is_missing(opened: Open) -> None:
    landed = Landed(*KEYS)

    def find(partition: Partition) -> pa.Table | None:
        if partition.key == KEYS[4]:
            raise OSError("stale file handle")
        return landed.find(partition)

    project = opened(source(name="landing", partitions=DAYS)(find), month_of(0.9))
    result = project.materialize(now=NOW)
    assert (result.exit_code, result.counts["done"]) == (1, 1)
    assert days_in(project) == [key for key in KEYS if key != KEYS[4]]


def test_one_seen_before_that_can_not_be_looked_at_blocks_under_any_policy(opened: Open) -> None:
    landed, broken = Landed(*KEYS), set[str]()

    def find(partition: Partition) -> pa.Table | None:
        if partition.key in broken:
            raise OSError("stale file handle")
        return landed.find(partition)

    project = opened(source(name="landing", partitions=DAYS)(find), month_of("any"))
    project.materialize(now=NOW).raise_for_status()
    broken.add(KEYS[4])
    landed.rows[KEYS[0]] = 2
    result = project.materialize(now=NOW)
    cause = f"landing@{KEYS[4]} could not be observed"
    assert result.blocked == (("month", "2024-01", cause),)


# Refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "hint"),
    [
        (0.0, "above 0 and at most at 1.0"),
        (1.5, "above 0 and at most at 1.0"),
        (-0.1, "above 0 and at most at 1.0"),
        (float("nan"), "above 0 and at most at 1.0"),
        (90, "above 0 and at most at 1.0"),
        ("anny", "Did you mean 'any'?"),
        ("ALL", "Did you mean 'all'?"),
        ("most", "Write 'all', 'any', a fraction"),
        (True, "Write 'all', 'any', a fraction"),
        (None, "Write 'all', 'any', a fraction"),
        (list, "Write 'all', 'any', a fraction"),
        (lambda: True, "def enough(present, expected)"),
        (lambda present: True, "def enough(present, expected)"),
    ],
)
def test_nonsense_is_refused_with_what_to_write(policy: Any, hint: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        require(policy)
    assert hint in caught.value.hint


def test_nonsense_in_an_option_is_refused_when_declared() -> None:
    with pytest.raises(DefinitionError, match=r"require=1\.5 is not known"):
        month_of(1.5)


def test_a_source_has_no_policy() -> None:
    declared: Any = source(name="landing", partitions=DAYS, require="any")
    with pytest.raises(DefinitionError, match="a source reads nothing"):
        Graph.build([declared(lambda partition: None)])


def test_a_group_gives_its_policy_to_assets_alone() -> None:
    group = Group("iot", partitions=DAYS, require="any")
    landing = group.source(name="landing")(lambda: None)
    total = group.asset(name="total")(lambda landing: None)
    (read,) = Graph.build([landing, total]).op_of["total"].inputs
    assert (str(read.require), landing.required) == ("any", None)


@pytest.mark.parametrize("said", [None, "yes", 1])
def test_a_function_that_does_not_say_yes_or_no_is_told_so(said: Any) -> None:
    with pytest.raises(UserCodeError, match="not True or False"):
        require(lambda present, expected: said).holds(["a"], ["a", "b"])


@pytest.mark.parametrize(
    ("share", "expected", "least"),
    [(0.9, 30, 27), (0.9, 10, 9), (0.9, 9, 9), (0.1, 3, 1), (1.0, 31, 31), (0.07, 100, 7)],
)
def test_a_fraction_is_rounded_up(share: float, expected: int, least: int) -> None:
    assert require(share).needed(expected) == least


# The planner's columns against one partition at a time --------------------------------------------

_PLACES = static(["x", "y"], name="place")
_BOTH = product(date=DAYS, place=_PLACES)
_KINDS = {"days": DAYS, "both": _BOTH, "month": MONTHS, "places": _PLACES}


def _not_the_first(present: Sequence[str], expected: Sequence[str]) -> bool:
    return set(expected[1:]) <= set(present)


_POLICIES = ["all", "any", 0.5, 0.9, _not_the_first]


def enough(policy: Any, present: list[str], expected: list[str]) -> bool:
    """A policy in the plainest words."""
    if policy == "all" or len(present) == len(expected):
        return len(present) == len(expected)
    if policy == "any":
        return len(present) > 0
    if callable(policy):
        return policy(present, expected)
    return len(present) >= 1 and 1000 * len(present) >= round(1000 * policy) * len(expected)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Graph, dict[str, list[tuple[str, Any]]]]:
    """A source and a few assets with policies; the policies of each asset's inputs in order."""
    assets = [Asset("s", "source", lambda: None, partitions=draw(st.sampled_from([DAYS, _BOTH])))]
    policies: dict[str, list[tuple[str, Any]]] = {}
    for i in range(draw(st.integers(1, 4))):
        name, kind = f"a{i}", draw(st.sampled_from(list(_KINDS)))
        ups = draw(st.lists(st.sampled_from(assets), min_size=1, max_size=2, unique=True))
        ups = [up for up in ups if (up.partitions is not _PLACES) or kind in ("both", "places")]
        ups = [up for up in ups if kind != "places" or up.partitions in (_PLACES, _BOTH)]
        policies[name], inputs = [], {}
        for number, up in enumerate(ups):
            policy = draw(st.sampled_from(_POLICIES))
            inputs[f"p{number}"] = Reference(up.name).require(policy)
            policies[name].append((up.name, policy))
        for back in draw(st.sampled_from([(), (), (1,), (1, 2)] if kind == "days" else [()])):
            policy = draw(st.sampled_from(_POLICIES))
            inputs[f"own{back}"] = Reference(name, lag(back), require(policy))
            policies[name].append((name, policy))
        assets.append(Asset(name, function=_takes(inputs), inputs=inputs, partitions=_KINDS[kind]))
    return Graph.build(assets), policies


def _takes(inputs: dict[str, Any]) -> Any:
    made: Any = eval(f"lambda {', '.join(inputs)}: None")
    made.__annotations__ = dict.fromkeys(inputs, pa.Table)
    return made


@settings(max_examples=25)
@given(graphs(), st.data())
def test_columns_say_what_one_partition_at_a_time_says(made: Any, data: st.DataObject) -> None:
    _compare(*made, data)


@pytest.mark.slow
@settings(max_examples=500)
@given(graphs(), st.data())
def test_columns_say_so_of_many_graphs(made: Any, data: st.DataObject) -> None:
    _compare(*made, data)


def _compare(graph: Graph, policies: dict[str, list[tuple[str, Any]]], data: st.DataObject) -> None:
    spaces = {a.partitions: a.partitions.resolve(NOW) for a in graph.assets.values()}
    facts = Facts.empty({name: spaces[a.partitions] for name, a in graph.assets.items()})
    facts.codes = {1: "old"}
    resolved = ResolvedGraph(graph, facts.spaces)
    there: dict[str, np.ndarray] = {}
    for name in graph.order:
        own, n = facts.assets[name], facts.spaces[name].n
        there[name] = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
        own.id[there[name]] = 1
        own.code[:] = 1
        own.data[there[name]] = np.random.default_rng(1).integers(1, 1 << 60, (n, 2))[there[name]]
    for name in graph.order:
        facts.assets[name].digest[:] = Digests(resolved, facts).column(graph.op_of[name])
        # Some were built of something else: these must run.
        wrong = np.array(data.draw(st.lists(st.booleans(), min_size=1, max_size=5)), bool)
        facts.assets[name].digest[: len(wrong)][wrong[: facts.spaces[name].n]] += np.uint64(1)
    chosen = data.draw(st.none() | st.sets(st.sampled_from(list(policies)), min_size=1))
    plan = make_plan(graph, facts, dict.fromkeys(graph.assets, "old"), now=NOW, assets=chosen)
    expected = _one_at_a_time(graph, policies, facts, resolved, chosen)
    runs = {(b.op.name, int(i)) for b in plan.batches for i in b.ordinals}
    waits = {(b.op.name, int(i)) for b in plan.waiting_batches for i in b.ordinals}
    assert (runs, waits) == expected


def _one_at_a_time(
    graph: Graph, policies: Any, facts: Facts, resolved: ResolvedGraph, chosen: set[str] | None
) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
    """What runs and what waits, by the plainest rules, one partition after the other."""
    runs, waits = set[tuple[str, int]](), set[tuple[str, int]]()
    digests = Digests(resolved, facts)
    for op in graph.ops:
        name = op.name
        if name == "s" or (chosen is not None and name not in chosen):
            continue
        for i in range(facts.spaces[name].n):
            stale = not facts.assets[name].id[i]
            stale |= tuple(facts.assets[name].digest[i].tolist()) != digests.one(op, i)[0]
            blocked = False
            for read, (up, policy) in zip(op.inputs, policies[name], strict=True):
                at = resolved.edge(op, read).upstream(i).tolist()
                keys = facts.spaces[up].keys(at)
                # What waits itself is missing, though an older version of it may be there.
                came = [
                    j
                    for j in at
                    if (up, j) in runs or (facts.assets[up].id[j] and (up, j) not in waits)
                ]
                stale |= any((up, j) in runs for j in at)
                if policy == "all":
                    stale |= any((up, j) in waits for j in at)
                present = [k for k, j in zip(keys, at, strict=True) if j in came]
                blocked |= not enough(policy, present, keys)
            if stale:
                (waits if blocked else runs).add((name, i))
    return runs, waits
