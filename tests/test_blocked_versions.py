"""What is blocked counts as missing, though an older version serves: in plan, run and status."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pytest

from assets_core import (
    Definitions,
    Partition,
    Project,
    all_partitions,
    asset,
    require,
    source,
    static,
)

LANDED: set[str] = set()


def definitions(keys: list[str], version: str, policy: str = "all") -> Definitions:
    places = static(keys)

    @source(partitions=places)
    def landing(partition: Partition) -> pa.Table | None:
        return pa.table({"v": [partition.key]}) if partition.key in LANDED else None

    @asset(version=version)
    def mid(landing: Annotated[pa.Table, all_partitions()]) -> pa.Table:
        return landing

    @asset(version=version)
    def out(mid: Annotated[pa.Table, require(policy)]) -> pa.Table:
        return mid

    @asset(version="1")
    def steady(mid: pa.Table) -> pa.Table:
        return mid

    return Definitions([landing, mid, out, steady])


@pytest.fixture
def blocked(tmp_path: Path) -> Callable[..., Project]:
    """A project whose ``mid`` was built once and can't be built again: a key is not there."""
    LANDED.clear()
    LANDED.update({"1", "2"})
    with Project(definitions(["1", "2"], "1"), root=tmp_path) as first:
        assert first.materialize().counts["done"] == 3

    def again(policy: str = "all") -> Project:
        return Project(definitions(["1", "2", "3"], "2", policy), root=tmp_path)

    return again


def test_what_reads_a_blocked_version_waits_in_plan_run_and_status(
    blocked: Callable[..., Project],
) -> None:
    with blocked() as project:
        plan = project.plan()
        assert (plan.must, plan.may) == (0, 0)
        assert {w.asset for w in plan.waiting()} == {"mid", "out", "steady"}
        result = project.materialize()
        assert (result.counts["blocked"], result.counts["done"]) == (3, 0)
        assert {row.asset: row.state("all") for row in project.status().rows[1:]} == {
            "mid": "blocked",
            "out": "blocked",
            "steady": "blocked",
        }
        assert len(project.history("out").facts) == 1


def test_it_is_built_when_what_was_missing_comes(blocked: Callable[..., Project]) -> None:
    LANDED.add("3")
    with blocked() as project:
        assert project.materialize().counts["done"] == 3
        assert project.read("out").num_rows == 3


def test_another_policy_counts_it_as_missing_too(blocked: Callable[..., Project]) -> None:
    with blocked("any") as project:
        assert "out" in {w.asset for w in project.plan().waiting()}
