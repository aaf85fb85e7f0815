"""The facade used wrongly: told in a sentence, and never taken for something else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from assets_core import Definitions, Partition, Project, asset, daily
from assets_core.errors import UsageError

DAYS = daily("2024-01-01", end="2024-01-03")


@asset(partitions=DAYS)
def orders(partition: Partition) -> pa.Table:
    return pa.table({"n": [1]})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(Definitions([orders]), root=tmp_path)
    made.materialize()
    return made


@pytest.mark.parametrize("wrong", ["definitions", [orders], None])
def test_a_project_is_made_of_definitions(wrong: Any) -> None:
    with pytest.raises(UsageError, match="takes Definitions"):
        Project(wrong)


CALLS: dict[str, Callable[[Any], object]] = {
    "an executor that is none": lambda p: p.materialize(executor="proces"),
    "a selection beside a plan": lambda p: p.materialize("orders", plan=p.plan()),
    "force beside a plan": lambda p: p.materialize(plan=p.plan(), force=True),
    "two partitions to read": lambda p: p.load("orders", "2024-01-01", partitions="2024-01-02"),
    "one partition in the name": lambda p: p.load("orders@2024-01-01", partitions="2024-01-02"),
    "an asset as a selection": lambda p: p.plan(orders),
    "assets as a selection": lambda p: p.plan([orders]),
    "a number as a selection": lambda p: p.plan(3),
    "a date as partitions": lambda p: p.plan(partitions=date(2024, 1, 1)),
    "dates as partitions": lambda p: p.load("orders", partitions=[date(2024, 1, 1)]),
    "a partition as partitions": lambda p: p.plan(partitions=DAYS.partition("2024-01-01")),
    "a text as now": lambda p: p.plan(now="2024-01-01"),
    "a date as now": lambda p: p.status(now=date(2024, 1, 1)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
def test_what_makes_no_sense_is_refused(
    project: Project, call: Callable[[Project], object]
) -> None:
    with pytest.raises(UsageError):
        call(project)
