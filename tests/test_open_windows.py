"""Windows that are still open: built only when asked, marked, and stale once they have closed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pytest

from assets_core import Definitions, Partition, Project, asset, daily, monthly, product, source
from assets_core.partitions import all_partitions, latest
from assets_core.planning.digests import WAS_OPEN

START = daily("2024-01-01")
FOURTH = datetime(2024, 1, 4, 12, tzinfo=UTC)
FIFTH = datetime(2024, 1, 5, 12, tzinfo=UTC)
FEBRUARY = datetime(2024, 2, 1, 12, tzinfo=UTC)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    @asset(partitions=START)
    def day(partition: Partition) -> pa.Table:
        return pa.table({"day": [partition.key]})

    @asset(partitions=monthly("2024-01"))
    def month(day: pa.Table) -> pa.Table:
        return day

    @asset
    def total(day: Annotated[pa.Table, all_partitions()]) -> pa.Table:
        return day

    @asset
    def newest(day: Annotated[pa.Table, latest()]) -> pa.Table:
        return day

    with Project(Definitions([day, month, total, newest]), root=tmp_path) as made:
        yield made


def days(project: Project, name: str, partition: str | None = None) -> list[str]:
    return sorted(project.load(name, partition=partition)["day"].to_pylist())


def keys(*numbers: int) -> list[str]:
    return [f"2024-01-{number:02}" for number in numbers]


def test_an_open_month_is_built_of_closed_and_open_days(project: Project) -> None:
    project.materialize(include_open=True, now=FOURTH).raise_for_status()
    assert days(project, "month", "2024-01") == keys(1, 2, 3, 4)


def test_what_has_no_window_never_reads_an_open_one(project: Project) -> None:
    project.materialize(include_open=True, now=FOURTH).raise_for_status()
    assert days(project, "total") == keys(1, 2, 3)
    assert days(project, "newest") == keys(3)
    assert not project.plan(now=FOURTH)


def test_an_open_window_that_is_built_again_at_once_is_fresh(project: Project) -> None:
    project.materialize(include_open=True, now=FOURTH).raise_for_status()
    assert not project.plan(include_open=True, now=FOURTH)


def test_a_window_that_has_closed_is_stale_by_itself(project: Project) -> None:
    project.materialize(include_open=True, now=FOURTH).raise_for_status()
    plan = project.plan("day", "2024-01-04", now=FIFTH)
    (step,) = plan.steps()
    assert [reason.kind for reason in step.reasons] == ["closed"]


def test_status_says_of_what_is_stale_that_its_window_was_open(tmp_path: Path) -> None:
    # Recorded times are the clock's: a window that has not closed when this is built.
    noon = datetime.now(UTC).replace(hour=12) + timedelta(days=2)
    later = noon + timedelta(days=1)
    days = daily(noon.date(), later.date())
    landed = [1]

    @source(partitions=days)
    def landing(partition: Partition) -> pa.Table:
        return pa.table({"amount": landed})

    @asset(partitions=days)
    def sales(landing: pa.Table) -> pa.Table:
        return landing

    with Project(Definitions([landing, sales]), root=tmp_path) as project:
        project.materialize(include_open=True, now=noon).raise_for_status()
        landed.append(2)
        status = project.status(now=later)
        assert status["sales"].to_dict()["was_open"] == [[str(noon.date())] * 2]
        assert WAS_OPEN in str(status)
        assert WAS_OPEN in status._repr_html_()
        project.materialize(now=later).raise_for_status()
        landed.append(3)
        row = project.status(now=later)["sales"]
        assert (row.to_dict()["was_open"], row.counts["stale"]) == ([], 1)


def test_a_month_that_has_closed_is_rebuilt_of_all_its_days(project: Project) -> None:
    project.materialize(include_open=True, now=FOURTH).raise_for_status()
    project.materialize(now=FEBRUARY).raise_for_status()
    assert days(project, "month", "2024-01") == keys(*range(1, 32))
    assert not project.plan(now=FEBRUARY)


def test_a_window_built_while_open_is_called_incomplete_until_it_is_built_again(
    project: Project,
) -> None:
    project.materialize(include_open=True, now=FOURTH).raise_for_status()
    lineage = project.lineage("month", "2024-01")
    assert lineage.node.incomplete
    assert lineage.node.verified
    assert "incomplete" in str(lineage)
    assert not project.lineage("day", "2024-01-03").node.incomplete
    assert "incomplete" in project.history("day", "2024-01-04").entries[0].message
    project.materialize(now=FEBRUARY).raise_for_status()
    assert not project.lineage("month", "2024-01").node.incomplete


def test_an_open_window_is_not_planned_unless_asked(project: Project) -> None:
    project.materialize(now=FOURTH).raise_for_status()
    plan = project.plan(include_open=True, now=FOURTH)
    assert {(step.asset, step.partition) for step in plan.steps()} == {
        ("day", "2024-01-04"),
        ("month", "2024-01"),
    }


def test_what_is_invalidated_below_is_what_reads_it_and_no_open_window(project: Project) -> None:
    project.materialize(include_open=True, now=FOURTH).raise_for_status()
    project.invalidate("day", "2024-01-01..2024-01-03", reason="wrong", now=FOURTH)
    plan = project.plan("day", include_open=True, now=FOURTH)
    assert [step.partition for step in plan.steps()] == keys(1, 2, 3)


def test_an_open_window_is_invalidated_with_what_it_reads(project: Project) -> None:
    project.materialize(include_open=True, now=FOURTH).raise_for_status()
    project.invalidate("day", "2024-01-04", reason="wrong", downstream=True, now=FOURTH)
    plan = project.plan(include_open=True, now=FOURTH)
    told = {(step.asset, step.partition): step.reasons[0].kind for step in plan.steps()}
    assert told == {("day", "2024-01-04"): "invalidated", ("month", "2024-01"): "invalidated"}


def test_only_the_first_of_two_time_dimensions_has_an_open_window(tmp_path: Path) -> None:
    @asset(partitions=product(day=START, month=monthly("2024-01")))
    def forecast(partition: Partition) -> pa.Table:
        return pa.table({"day": [partition.key]})

    early = datetime(2024, 2, 1, 12, tzinfo=UTC)
    with Project(Definitions([forecast]), root=tmp_path) as project:
        project.materialize(include_open=True, now=early).raise_for_status()
        built = project.status(include_open=True, now=early)["forecast"].keys("fresh")
        assert built == [f"{day}|2024-01" for day in [*keys(*range(1, 32)), "2024-02-01"]]
        assert project.lineage("forecast", "2024-02-01|2024-01").node.incomplete
        stale = project.plan(partitions="day=2024-02-01,month=2024-01", now=FEBRUARY.replace(day=2))
        assert [step.partition for step in stale.steps()] == ["2024-02-01|2024-01"]
