"""Accepting takes what was looked at, and nothing that came after; it records what was there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from assets_core import Definitions, Partition, Project, asset, daily, monthly, source
from assets_core.errors import UsageError
from assets_core.records import Code

DAYS = daily("2024-01-01", end="2024-01-04")
LANDED: dict[str, int] = {}


@source(partitions=DAYS)
def landing(partition: Partition) -> pa.Table | None:
    amount = LANDED.get(partition.key)
    return None if amount is None else pa.table({"amount": [amount]})


def definitions(version: str) -> Definitions:
    @asset(partitions=DAYS, version=version)
    def sales(landing: pa.Table) -> pa.Table:
        return landing

    @asset(partitions=monthly("2024-01", end="2024-02"), require="any", version=version)
    def month(landing: pa.Table) -> pa.Table:
        return landing

    return Definitions([landing, sales, month])


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[str], Project]]:
    """A project of another code version each time; the first and the second day have landed."""
    LANDED.clear()
    LANDED.update({"2024-01-01": 1, "2024-01-02": 2})
    made: list[Project] = []

    def open_project(version: str) -> Project:
        made.append(Project(definitions(version), root=tmp_path))
        return made[-1]

    open_project("1").materialize()
    yield open_project
    for project in made:
        project.close()


def test_what_moves_after_the_plan_is_not_accepted(opened: Callable[[str], Project]) -> None:
    project = opened("2")
    plan = project.plan("sales", "2024-01-01..2024-01-02")
    LANDED["2024-01-02"] = 3
    project.observe()
    assert len(project.accept(plan=plan)) == 2
    (step,) = project.plan("sales", "2024-01-01..2024-01-02").steps()
    assert (step.partition, step.reasons[0].kind) == ("2024-01-02", "late data")


def test_what_was_built_after_the_plan_is_not_accepted(opened: Callable[[str], Project]) -> None:
    project = opened("2")
    plan = project.plan("sales", "2024-01-02")
    LANDED["2024-01-02"] = 3
    project.materialize("sales", "2024-01-02").raise_for_status()
    with pytest.raises(UsageError, match="sales@2024-01-02 was built meanwhile"):
        project.accept(plan=plan)
    assert project.load("sales", "2024-01-02")["amount"].to_pylist() == [3]


def test_lineage_of_what_was_accepted_names_what_was_there(
    opened: Callable[[str], Project],
) -> None:
    project = opened("2")
    assert ("month", "2024-01") in project.accept("month")
    lineage = project.lineage("month", "2024-01")
    (read,) = lineage.inputs
    assert [key for _, key, _ in read.nodes] == ["2024-01-01", "2024-01-02"]
    assert lineage.node.verified


def grown(limit: int) -> Definitions:
    @asset(partitions=DAYS)
    def sales(landing: pa.Table) -> pa.Table:
        return landing.slice(0, limit)

    @asset(partitions=DAYS)
    def twice(sales: pa.Table) -> pa.Table:
        return pa.concat_tables([sales, sales])

    return Definitions([landing, sales, twice])


@pytest.fixture
def upgraded(tmp_path: Path) -> Iterator[Project]:
    """A project whose first two days were built when fingerprints had an older form."""
    LANDED.clear()
    LANDED.update({"2024-01-01": 1, "2024-01-02": 2})
    with Project(grown(1), root=tmp_path) as older:
        older.__dict__["codes"] = {
            name: Code(f"{at:032x}", {f"function {name}": "0"})
            for at, name in enumerate(["landing", "sales", "twice"])
        }
        older.materialize()
    with Project(grown(1), root=tmp_path) as project:
        yield project


def test_what_went_stale_by_better_fingerprints_says_so(upgraded: Project) -> None:
    plan = upgraded.plan()
    assert (plan.must, plan.may) == (4, 0)
    assert {r.kind for step in plan.steps() for r in step.reasons} == {"fingerprint upgraded"}
    assert "assets accept --upgraded" in str(plan)


def test_accepting_what_was_upgraded_makes_it_fresh_and_is_recorded(upgraded: Project) -> None:
    assert len(upgraded.accept(upgraded=True)) == 4
    assert not upgraded.plan()
    assert upgraded.runs()[0].command == "assets accept --upgraded"
    assert upgraded.history("sales", "2024-01-01").facts[0].kind == "accepted"


def test_what_is_stale_for_another_reason_too_is_not_upgraded(upgraded: Project) -> None:
    LANDED["2024-01-02"] = 3
    accepted = upgraded.accept(upgraded=True)
    assert ("sales", "2024-01-02") not in accepted
    assert ("sales", "2024-01-01") in accepted
    assert [step.partition for step in upgraded.plan("sales").steps()] == ["2024-01-02"]


def test_a_change_of_code_after_the_upgrade_is_no_upgrade(
    upgraded: Project, tmp_path: Path
) -> None:
    upgraded.accept(upgraded=True)
    with Project(grown(2), root=tmp_path) as changed:
        assert changed.accept("sales", upgraded=True) == []
        assert changed.plan("sales").must == 2
