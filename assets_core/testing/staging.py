"""Laws 1, 2 and 7: staging, auditing, discarding."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pytest

from assets_core.contracts import (
    ForcingIOManager,
    IOManager,
)
from assets_core.errors import (
    OutputError,
    StorageError,
)
from assets_core.testing.making import (
    UsersError,
    failing,
    publish,
    release,
    rows,
    target,
)


class StagingLaws:
    """What is staged, nobody sees; it is read back as it lies, and can be taken away."""

    def test_it_is_an_io_manager(self, manager: IOManager) -> None:
        assert isinstance(manager, IOManager)

    def test_identity_is_plain_values_and_stable(self, manager: IOManager) -> None:
        first = manager.identity()
        publish(manager, target(), rows(1))
        assert manager.identity() == first
        assert all(isinstance(part, str | int | float | bool | None) for part in first)

    def test_it_survives_pickling_with_its_name(self, manager: IOManager) -> None:
        copy = pickle.loads(pickle.dumps(manager))
        assert copy.identity() == manager.identity()

    def test_a_staged_version_is_picklable(self, manager: IOManager) -> None:
        staged = manager.stage(target(), rows(1, 2))
        copy = pickle.loads(pickle.dumps(staged))
        assert manager.read([release(manager, copy)]).equals(rows(1, 2))

    def test_nothing_staged_is_visible_through_an_older_receipt(self, manager: IOManager) -> None:
        old = publish(manager, target(token=1), rows(1))
        manager.stage(target(token=2), rows(2))
        assert manager.read([old]).equals(rows(1))

    def test_a_staged_version_is_not_the_visible_one(self, manager: IOManager) -> None:
        manager.stage(target(token=2), rows(2))
        assert not [found for found in manager.scan() if found.visible]

    def test_two_attempts_of_one_partition_do_not_touch(self, manager: IOManager) -> None:
        first = manager.stage(target(token=1), rows(1))
        second = manager.stage(target(token=1), rows(2))
        assert manager.audit(first).read_all().equals(rows(1))
        assert manager.audit(second).read_all().equals(rows(2))

    def test_staged_rows_and_bytes_are_counted(self, manager: IOManager) -> None:
        staged = manager.stage(target(), rows(1, 2, 3))
        assert (staged.kind, staged.rows) == ("table", 3)
        assert staged.bytes > 0

    def test_a_stream_is_stored_like_a_table(self, manager: IOManager) -> None:
        batches = [batch for value in range(20) for batch in rows(value).to_batches()]
        reader = pa.RecordBatchReader.from_batches(rows(0).schema, batches)
        receipt = release(manager, manager.stage(target(), reader))
        assert manager.read([receipt]).equals(rows(*range(20)))

    def test_many_row_groups_come_back_in_order(self, manager: IOManager) -> None:
        large = pa.table({"id": pa.array(range(300_000), pa.int64())})
        reader = large.to_reader(max_chunksize=10_000)
        receipt = release(manager, manager.stage(target(), reader))
        assert manager.read([receipt]).equals(large)

    def test_a_users_exception_passes_unchanged(self, manager: IOManager) -> None:
        error = UsersError("boom")
        with pytest.raises(UsersError) as caught:
            manager.stage(target(), failing(error))
        assert caught.value is error

    def test_a_users_oserror_is_not_taken_for_the_stores(self, manager: IOManager) -> None:
        error = FileNotFoundError(2, "the user's own file", "input.csv")
        with pytest.raises(FileNotFoundError) as caught:
            manager.stage(target(), failing(error))
        assert caught.value is error

    def test_a_failed_stage_leaves_nothing_behind(self, manager: IOManager) -> None:
        with pytest.raises(UsersError):
            manager.stage(target(run="runthatfails"), failing(UsersError()))
        assert list(manager.scan()) == []
        assert manager.sweep("runthatfails", []) == 0

    def test_columns_of_one_name_are_refused(self, manager: IOManager) -> None:
        twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
        with pytest.raises(OutputError, match="'a'"):
            manager.stage(target(), twice)

    def test_frame_metadata_is_not_kept(self, manager: IOManager) -> None:
        table = rows(1).replace_schema_metadata({"pandas": "{}"})
        receipt = publish(manager, target(), table)
        assert not manager.read([receipt]).schema.metadata

    def test_what_is_laid_and_forced_is_what_staging_gives(self, manager: IOManager) -> None:
        if not isinstance(manager, ForcingIOManager):
            return  # every version is made durable by itself
        staged = manager.lay(target(), rows(1, 2))
        assert manager.audit(staged).read_all().equals(rows(1, 2))
        receipt = release(manager, staged)
        again = pickle.loads(pickle.dumps(manager))  # whoever forces may be another process
        assert again.force([receipt]) == [None]
        assert again.read([receipt]).equals(rows(1, 2))

    def test_what_is_gone_can_not_be_forced_and_the_rest_can(self, manager: IOManager) -> None:
        if not isinstance(manager, ForcingIOManager):
            return
        kept, gone = (manager.lay(target(key), rows(1)) for key in ("a", "b"))
        receipts = [release(manager, kept), release(manager, gone)]
        manager.discard(gone)
        fine, failed = manager.force(receipts)
        assert fine is None or gone.durable
        assert isinstance(failed, StorageError) or gone.durable

    def test_audit_gives_the_staged_rows(self, manager: IOManager) -> None:
        staged = manager.stage(target(), rows(3, 1, 2))
        assert manager.audit(staged).read_all().equals(rows(3, 1, 2))

    def test_audit_can_be_repeated(self, manager: IOManager) -> None:
        staged = manager.stage(target(), rows(1))
        assert manager.audit(staged).read_all().equals(manager.audit(staged).read_all())

    def test_discard_is_harmless_when_repeated(self, manager: IOManager) -> None:
        old = publish(manager, target(token=1), rows(1))
        staged = manager.stage_rejects(manager.stage(target(token=2), rows(2)), rows(9))
        manager.discard(staged)
        manager.discard(staged)
        assert manager.read([old]).equals(rows(1))

    def test_discard_of_nothing_is_harmless(self, manager: IOManager) -> None:
        staged = manager.stage(target(), rows(1))
        manager.discard(staged)
        assert list(manager.scan()) == []
