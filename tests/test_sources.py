"""Looking at sources: an error concerns what reads it, and what is gone is said."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from assets_core import Definitions, Partition, Project, asset, daily, source

DAYS = daily("2024-01-01", "2024-01-04")
NOW = datetime(2024, 1, 10, tzinfo=UTC)


class Landing:
    """A folder of one file a day, some of which can't be looked at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broken: set[str] = set()
        for day in ("2024-01-01", "2024-01-02", "2024-01-03"):
            (folder / day).write_text(f"rows of {day}")

    def find(self, key: str) -> Path:
        if key in self.broken:
            raise RuntimeError(f"no connection for {key}")
        return self.folder / key


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    folder = tmp_path / "landing"
    folder.mkdir()
    return Landing(folder)


@pytest.fixture
def project(tmp_path: Path, landing: Landing) -> Project:
    def landed(partition: Partition) -> Path:
        return landing.find(partition.key)

    def readings(landed: Path) -> list[dict[str, str]]:
        return [{"text": landed.read_text()}]

    def report(readings) -> list[dict[str, int]]:  # type: ignore[no-untyped-def]
        return [{"n": 1}]

    def unrelated() -> list[dict[str, int]]:
        return [{"n": 1}]

    made = [
        source(partitions=DAYS)(landed),
        asset(partitions=DAYS)(readings),
        asset(partitions=DAYS)(report),
        asset(unrelated),
    ]
    return Project(Definitions(made), root=tmp_path / "project")


def test_an_error_of_a_source_stops_only_what_reads_it(project: Project, landing: Landing) -> None:
    landing.broken = {"2024-01-02"}
    result = project.materialize(now=NOW)
    assert result.counts["done"] == 2 + 2 + 1
    assert result.by_asset["readings"]["blocked"] == 1
    assert result.by_asset["report"]["blocked"] == 1
    assert result.by_asset["unrelated"]["done"] == 1


def test_an_error_of_a_source_is_told_and_fails_the_run(project: Project, landing: Landing) -> None:
    landing.broken = {"2024-01-02"}
    result = project.materialize(now=NOW)
    assert result.exit_code == 1
    (failure,) = result.failures
    assert (failure.asset, failure.partition) == ("landed", "2024-01-02")
    assert "no connection for 2024-01-02" in failure.error
    reasons = {asset: reason for asset, _, reason in result.blocked}
    assert reasons["readings"] == "landed@2024-01-02 could not be observed"
    (attempt,) = project.state.attempts(asset="landed")
    assert "no connection" in attempt.traceback


def test_what_was_built_of_a_source_that_fails_now_is_not_called_fresh(
    project: Project, landing: Landing
) -> None:
    project.materialize(now=NOW).raise_for_status()
    landing.broken = {"2024-01-03"}
    plan = project.plan(now=NOW)
    assert {(w.asset, w.partition) for w in plan.waiting()} == {
        ("readings", "2024-01-03"),
        ("report", "2024-01-03"),
    }
    assert not plan.batches
    assert not plan.idle


def test_an_error_of_a_source_that_nobody_reads_fails_the_run(
    project: Project, landing: Landing
) -> None:
    landing.broken = {"2024-01-02"}
    result = project.materialize("landed", now=NOW)
    assert result.exit_code == 1


def test_a_plan_shows_the_error_of_a_source_and_what_it_blocks(
    project: Project, landing: Landing
) -> None:
    landing.broken = {"2024-01-02"}
    plan = project.plan(now=NOW)
    assert "no connection for 2024-01-02" in str(plan)
    assert "waits for landed@2024-01-02" in str(plan)
    (unseen,) = plan.to_dict()["unseen"]
    assert (unseen["asset"], unseen["partition"]) == ("landed", "2024-01-02")


def test_a_status_shows_the_error_of_a_source(project: Project, landing: Landing) -> None:
    landing.broken = {"2024-01-02"}
    status = project.status(now=NOW)
    assert "no connection for 2024-01-02" in str(status)
    assert status["readings"].keys("blocked") == ["2024-01-02"]


def test_a_source_that_works_again_is_forgiven(project: Project, landing: Landing) -> None:
    landing.broken = {"2024-01-02"}
    project.materialize(now=NOW)
    landing.broken = set()
    assert project.materialize(now=NOW).exit_code == 0
    assert project.status(now=NOW).healthy
    assert "failed" not in str(project.status(now=NOW))


def test_a_source_partition_that_vanished_is_said_and_its_readers_stay_fresh(
    project: Project, landing: Landing
) -> None:
    project.materialize(now=NOW).raise_for_status()
    (landing.folder / "2024-01-02").unlink()
    plan, status = project.plan(now=NOW), project.status(now=NOW)
    assert not plan.batches
    (told,) = [line.split() for line in str(plan).splitlines() if line.startswith("landed")]
    assert told[1:4] == ["2024-01-02", "(1)", "gone"]
    assert plan.to_dict()["gone"] == [{"asset": "landed", "partition": "2024-01-02"}]
    assert "gone     landed 2024-01-02" in str(status)
    assert status["landed"].to_dict()["gone"] == [["2024-01-02", "2024-01-02"]]
    assert status["readings"].keys("fresh") == ["2024-01-01", "2024-01-02", "2024-01-03"]


def test_a_partition_that_was_never_there_is_not_called_gone(
    project: Project, landing: Landing
) -> None:
    (landing.folder / "2024-01-02").unlink()
    assert not project.plan(now=NOW).observations.gone


def test_an_exit_in_a_source_is_an_error_of_that_partition(
    project: Project, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(key: str) -> Path:
        raise SystemExit(0)

    monkeypatch.setattr(landing, "find", leave)
    result = project.materialize("+readings", now=NOW)
    assert result.exit_code == 1
    assert {"SystemExit: 0" in failure.error for failure in result.failures} == {True}
