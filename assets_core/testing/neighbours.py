"""Law 6: what a publish leaves alone; rejects, files."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pyarrow as pa
import pytest

from assets_core.contracts import (
    IOManager,
    Staged,
)
from assets_core.errors import (
    LeaseLostError,
    OutputError,
    StorageError,
    UsageError,
)
from assets_core.testing.making import publish, release, rows, target


class NeighbourLaws:
    """An empty publish is empty; nobody else notices."""

    keeps_files = True
    """Whether ``stage`` takes a ``Path``; a store that doesn't must refuse with OutputError."""

    def test_an_empty_table_overwrites_to_empty(self, manager: IOManager) -> None:
        publish(manager, target(token=1), rows(1, 2))
        receipt = publish(manager, target(token=2), rows())
        found = manager.read([receipt])
        assert (found.num_rows, found.column_names) == (0, ["id", "name"])

    def test_an_empty_stream_overwrites_to_empty(self, manager: IOManager) -> None:
        reader = pa.RecordBatchReader.from_batches(rows().schema, [])
        receipt = release(manager, manager.stage(target(), reader))
        assert manager.open([receipt]).read_all().equals(rows())

    def test_a_table_without_columns_is_kept(self, manager: IOManager) -> None:
        receipt = publish(manager, target(), pa.table({}))
        assert manager.read([receipt]).num_rows == 0

    def test_a_publish_of_nothing_leaves_no_rows(self, manager: IOManager) -> None:
        old = publish(manager, target(token=1), rows(1, 2))
        other = publish(manager, target("other"), rows(7))
        for _ in range(2):
            manager.publish(Staged(target(token=2), "none", ""), "withdrawn")
        assert manager.read([other]).equals(rows(7))
        if manager.transactional:
            with contextlib.suppress(StorageError):  # a store with history may still have it
                assert manager.read([old]).equals(rows(1, 2))
            staged = manager.stage(target(token=1), rows(1))
            with pytest.raises(LeaseLostError):
                manager.publish(staged, "fact")
        again = publish(manager, target(token=3), rows(3))
        assert manager.read([again]).equals(rows(3))

    def test_other_partitions_do_not_change(self, manager: IOManager) -> None:
        other = publish(manager, target("other"), rows(7, 8))
        for token in (1, 2, 3):
            publish(manager, target("mine", token), rows(*range(token)))
        assert manager.read([other]).equals(rows(7, 8))

    def test_other_assets_do_not_change(self, manager: IOManager) -> None:
        other = publish(manager, target(asset="other"), rows(7))
        publish(manager, target(asset="mine"), rows(1))
        assert manager.read([other]).equals(rows(7))

    def test_environments_are_apart(self, manager: IOManager) -> None:
        prod = publish(manager, target(token=5), rows(1))
        dev = publish(manager, target(token=1, environment="dev-alice"), rows(2))
        assert manager.read([prod]).equals(rows(1))
        assert manager.read([dev]).equals(rows(2))

    def test_rejects_live_beside_their_version(self, manager: IOManager) -> None:
        bad = pa.table({"raw": ["??", None], "reason": ["no id", "no name"]})
        staged = manager.stage_rejects(manager.stage(target(), rows(1)), bad)
        receipt = release(manager, staged)
        assert receipt.rejected == 2
        found = manager.open_rejects(receipt)
        assert found is not None
        assert found.equals(bad)
        assert manager.read([receipt]).equals(rows(1))

    def test_rejects_go_with_the_version_they_came_from(self, manager: IOManager) -> None:
        staged = manager.stage_rejects(manager.stage(target(token=1), rows(1)), rows(9))
        release(manager, staged)
        receipt = publish(manager, target(token=2), rows(1))
        assert receipt.rejected == 0
        assert manager.open_rejects(receipt) is None

    def test_rejects_of_any_columns_find_room(self, manager: IOManager) -> None:
        for token, bad in enumerate(([1], ["x"], [[1.5]]), start=1):
            table = pa.table({"value": bad, "reason": ["odd"]})
            staged = manager.stage_rejects(manager.stage(target(token=token), rows(1)), table)
            found = manager.open_rejects(release(manager, staged))
            assert found is not None
            assert found.column("reason").to_pylist() == ["odd"]

    def test_a_file_is_kept_byte_for_byte(self, manager: IOManager, tmp_path: Path) -> None:
        source = tmp_path / "report ü.tar.gz"
        source.write_bytes(bytes(range(256)) * 100)
        if not self.keeps_files:
            with pytest.raises(OutputError):
                manager.stage(target(), source)
            return
        receipt = release(manager, manager.stage(target(), source))
        source.unlink()
        assert receipt.kind == "file"
        assert manager.path(receipt).read_bytes() == bytes(range(256)) * 100
        assert manager.path(receipt).name.endswith(".tar.gz")
        with pytest.raises(UsageError):
            manager.read([receipt])

    def test_a_path_without_a_file_is_refused(self, manager: IOManager, tmp_path: Path) -> None:
        with pytest.raises(OutputError):
            manager.stage(target(), tmp_path / "never.csv")

    def test_an_asset_that_writes_by_itself_has_no_rows(self, manager: IOManager) -> None:
        receipt = manager.publish(Staged(target(), "none", ""), "fact")
        assert receipt.kind == "none"
        with pytest.raises(UsageError):
            manager.read([receipt])
