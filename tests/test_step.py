"""One attempt at one step: what it judges, and what it leaves behind when it fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from assets_core import checks
from assets_core.declare.decorators import asset
from assets_core.declare.definitions import Definitions
from assets_core.declare.policies import Retry
from assets_core.errors import LeaseLostError, StorageError
from assets_core.execution.events import StepEvent
from assets_core.project import Project
from assets_core.testing import rows
from io_managers import ParquetFiles


class Forgetful(ParquetFiles):
    """Stores the first row only."""

    def stage(self, target: Any, data: Any) -> Any:
        return super().stage(target, data.slice(0, 1))


def make(root: Path, manager: Any, **options: Any) -> Project:
    @asset(**options)
    def orders() -> pa.Table:
        return rows(1, 2, 3)

    return Project(Definitions([orders], io_managers={"default": manager}), root=root)


def test_what_is_judged_is_what_lies_on_the_store(tmp_path: Path) -> None:
    with make(tmp_path, Forgetful("data"), checks=[checks.row_count(min=3)]) as project:
        assert project.materialize().counts["failed"] == 1


@pytest.fixture
def left_when_told(tmp_path: Path) -> tuple[list[str], Callable[[StepEvent], None]]:
    """What of a version lies on the store at the moment a failure is told: before the run's end,
    which would sweep it."""
    left: list[str] = []

    def told(event: StepEvent) -> None:
        if event.kind == "failed":
            left.append("told")
            left.extend(file.name for file in (tmp_path / "data").rglob("*.pq"))

    return left, told


def test_a_step_that_fails_a_check_removes_what_it_staged(
    tmp_path: Path, left_when_told: tuple[list[str], Callable[[StepEvent], None]]
) -> None:
    left, told = left_when_told
    with make(tmp_path, ParquetFiles("data"), checks=[checks.row_count(min=9)]) as project:
        project.materialize(on_event=told)
    assert left == ["told"]


def test_a_step_that_fails_to_publish_removes_what_it_staged(
    tmp_path: Path,
    left_when_told: tuple[list[str], Callable[[StepEvent], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise StorageError("The disk is in trouble.")

    left, told = left_when_told
    with make(tmp_path, ParquetFiles("data")) as project:
        monkeypatch.setattr(project.io["default"], "publish", fails)
        project.materialize(on_event=told)
    assert left == ["told"]


class Failing(ParquetFiles):
    """Publishes nothing, and notes which attempts wanted to."""

    def __init__(self, error: Exception) -> None:
        super().__init__("data")
        self.error = error
        self.attempts: list[str] = []

    def publish(self, staged: Any, fact: str) -> Any:
        self.attempts.append(staged.target.attempt)
        raise self.error


def test_each_attempt_stages_under_a_name_of_its_own(tmp_path: Path) -> None:
    manager = Failing(StorageError("The disk is in trouble."))
    with make(tmp_path, manager, retry=Retry(2, delay=0)) as project:
        project.materialize()
    assert len(set(manager.attempts)) == 3


def test_an_attempt_that_lost_its_lease_is_not_tried_again(tmp_path: Path) -> None:
    """The partition is another run's now."""
    manager = Failing(LeaseLostError("Another run took it over."))
    with make(tmp_path, manager, retry=Retry(2, delay=0)) as project:
        assert project.materialize().exit_code == 3
    assert len(manager.attempts) == 1
