"""Accepting takes what was looked at, and nothing that came after; it records what was there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from assets_core import Definitions, Partition, Project, asset, daily, monthly, source
from assets_core.errors import UsageError

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
