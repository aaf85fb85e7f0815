"""What is recorded is on disk before, many at a time; what can't be forced is not recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from assets_core import Definitions, Project, asset, static
from assets_core.contracts import Publish
from assets_core.errors import StorageError
from assets_core.records import Receipt
from assets_core.testing import rows
from io_managers import ParquetFiles

KEYS = [f"k{number:02}" for number in range(20)]


def make(root: Path) -> Project:
    @asset(partitions=static(KEYS))
    def orders() -> pa.Table:
        return rows(1)

    managers = {"default": ParquetFiles("data")}
    return Project(Definitions([orders], io_managers=managers), root=root)


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_version_is_forced_before_its_record_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    forced: set[str] = set()
    recorded: list[str] = []
    with make(tmp_path) as project:
        manager, state = project.io["default"], project.state
        force, transact = manager.force, state.transact  # type: ignore[attr-defined]  # Parquet has it

        def spying_force(receipts: Sequence[Receipt]) -> Any:
            errors = force(receipts)
            forced.update(receipt.location for receipt in receipts)
            return errors

        def spying_transact(operations: Sequence[Any]) -> list[Any]:
            places = [o.fact.receipt.location for o in operations if isinstance(o, Publish)]
            assert forced.issuperset(places)
            recorded.extend(places)
            return transact(operations)

        monkeypatch.setattr(manager, "force", spying_force)
        monkeypatch.setattr(state, "transact", spying_transact)
        assert project.materialize(jobs=jobs).counts["done"] == len(KEYS)
    assert sorted(recorded) == sorted(forced)


def test_what_can_not_be_forced_fails_alone_and_is_not_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make(tmp_path) as project:
        manager = project.io["default"]
        force = manager.force  # type: ignore[attr-defined]  # Parquet has it

        def fails_for_one(receipts: Sequence[Receipt]) -> Any:
            lost = StorageError("Input/output error")
            errors = force(receipts)
            pairs = zip(receipts, errors, strict=True)
            return [lost if "/k07." in receipt.location else error for receipt, error in pairs]

        monkeypatch.setattr(manager, "force", fails_for_one)
        result = project.materialize(jobs=2)
        assert (result.counts["done"], result.counts["failed"]) == (len(KEYS) - 1, 1)
        assert [failure.partition for failure in result.failures] == ["k07"]
        recorded = {fact.partition for fact in project.state.materializations("prod", "orders")}
        assert recorded == {key for key in KEYS if key != "k07"}
        monkeypatch.undo()
        assert project.materialize().counts["done"] == 1, "only that one is still to be built"
