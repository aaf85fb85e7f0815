"""Laws 5 and 6: what readers get, and what other partitions are spared."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from assets_core.contracts import (
    IOManager,
)
from assets_core.errors import (
    MissingDataError,
    StorageError,
    UsageError,
    VersionReplacedError,
)
from assets_core.testing.making import publish, release, rows, target


class ReadingLaws:
    """A receipt gives exactly its version; other versions and partitions stay."""

    def test_open_follows_the_receipts_order(self, manager: IOManager) -> None:
        receipts = [publish(manager, target(f"p{i}"), rows(i, i + 100)) for i in range(5)]
        wanted = [receipts[i] for i in (3, 0, 4, 1, 2)]
        found = manager.open(wanted).read_all()
        assert found.column("id").to_pylist() == [3, 103, 0, 100, 4, 104, 1, 101, 2, 102]

    def test_many_versions_are_one_scan_in_order(self, manager: IOManager) -> None:
        receipts = [publish(manager, target(f"p{i:02}"), rows(i, i + 100)) for i in range(40)]
        wanted = receipts[::-1]
        expected = [value for i in reversed(range(40)) for value in (i, i + 100)]
        assert manager.open(wanted).read_all().column("id").to_pylist() == expected
        assert manager.read(wanted).column("id").to_pylist() == expected

    def test_columns_are_chosen_in_the_callers_order(self, manager: IOManager) -> None:
        receipt = publish(manager, target(), rows(1, 2))
        for found in (
            manager.read([receipt], ["name", "id"]),
            manager.open([receipt], ["name", "id"]).read_all(),
        ):
            assert found.column_names == ["name", "id"]
            assert found.column("id").to_pylist() == [1, 2]

    def test_no_columns_still_count_the_rows(self, manager: IOManager) -> None:
        receipt = publish(manager, target(), rows(1, 2, 3))
        assert manager.read([receipt], []).num_rows == 3

    def test_an_unknown_column_is_named(self, manager: IOManager) -> None:
        receipt = publish(manager, target(), rows(1))
        with pytest.raises(UsageError, match="'nmae'") as caught:
            manager.read([receipt], ["nmae"])
        assert "'name'" in caught.value.hint

    def test_a_column_added_later_is_null_before(self, manager: IOManager) -> None:
        old = publish(manager, target("p1"), pa.table({"a": [1]}))
        new = publish(manager, target("p2"), pa.table({"a": [2], "b": ["x"]}))
        found = manager.read([old, new])
        assert found.to_pylist() == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]

    def test_a_column_dropped_later_is_null_after(self, manager: IOManager) -> None:
        old = publish(manager, target("p1"), pa.table({"a": [1], "b": ["x"]}))
        new = publish(manager, target("p2"), pa.table({"a": [2]}))
        assert manager.read([new, old], ["b"]).to_pylist() == [{"b": None}, {"b": "x"}]
        assert manager.read([new]).column_names == ["a"]

    def test_integers_are_widened(self, manager: IOManager) -> None:
        old = publish(manager, target("p1"), pa.table({"a": pa.array([1], pa.int32())}))
        new = publish(manager, target("p2"), pa.table({"a": pa.array([2**40], pa.int64())}))
        assert manager.read([old, new]).column("a").to_pylist() == [1, 2**40]
        assert manager.read([old]).schema.field("a").type == pa.int32()

    def test_a_column_may_change_to_a_type_of_another_kind(self, manager: IOManager) -> None:
        """Whether it is meant is decided before (``--allow-schema-change``)."""
        old = publish(manager, target("p1"), pa.table({"a": [1, None]}))
        new = publish(manager, target("p2"), pa.table({"a": ["x", None]}))
        assert manager.read([old]).to_pylist() == [{"a": 1}, {"a": None}]
        assert manager.read([old]).schema.field("a").type == pa.int64()
        assert manager.read([new]).to_pylist() == [{"a": "x"}, {"a": None}]

    def test_it_may_change_back(self, manager: IOManager) -> None:
        text = publish(manager, target("p1"), pa.table({"a": ["x", "007"]}))
        number = publish(manager, target("p2"), pa.table({"a": [7]}))
        assert manager.read([text])["a"].to_pylist() == ["x", "007"]
        assert manager.read([number])["a"].to_pylist() == [7]

    def test_types_of_different_kinds_are_not_read_together(self, manager: IOManager) -> None:
        old = publish(manager, target("p1"), pa.table({"a": [1]}))
        new = publish(manager, target("p2"), pa.table({"a": ["x"]}))
        with pytest.raises(StorageError, match="'a'") as caught:
            manager.read([old, new])
        assert "Build the older partitions again" in caught.value.hint

    def test_a_type_changed_everywhere_is_read_together(self, manager: IOManager) -> None:
        for key in ("p1", "p2"):
            publish(manager, target(key), pa.table({"a": ["x"]}))
        first = publish(manager, target("p1", 2), pa.table({"a": [1]}))
        second = publish(manager, target("p2", 2), pa.table({"a": [2]}))
        assert manager.read([first, second])["a"].to_pylist() == [1, 2]

    def test_a_version_that_is_gone_is_missing(self, manager: IOManager) -> None:
        staged = manager.stage(target(), rows(1))
        receipt = release(manager, staged)
        gone = replace(receipt, location=receipt.location.replace(staged.target.attempt, "never"))
        with pytest.raises(StorageError) as caught:
            manager.read([replace(gone, location=gone.location + "0") if gone == receipt else gone])
        assert isinstance(caught.value, MissingDataError | VersionReplacedError)
        assert caught.value.hint

    def test_an_older_version_is_kept_or_said_to_be_replaced(self, manager: IOManager) -> None:
        old = publish(manager, target(token=1), rows(1))
        publish(manager, target(token=2), rows(2))
        try:
            assert manager.read([old]).equals(rows(1))
        except VersionReplacedError as error:
            assert manager.transactional
            assert error.hint  # noqa: PT017 -- either outcome is lawful

    def test_a_reader_that_has_begun_sees_one_version(self, manager: IOManager) -> None:
        receipt = publish(manager, target(token=1), rows(*range(1_000)))
        reader = manager.open([receipt])
        first = reader.read_next_batch()
        publish(manager, target(token=2), rows(-1))
        rest = [batch for batch in reader]  # noqa: C416 -- read while the new one is there
        assert sum(batch.num_rows for batch in [first, *rest]) == 1_000

    def test_verify_accepts_what_is_whole(self, manager: IOManager) -> None:
        staged = manager.stage_rejects(manager.stage(target(), rows(1)), rows(9))
        manager.verify(release(manager, staged))
