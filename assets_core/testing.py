"""The laws of an IO manager as tests that anyone can run on one of their own.

Subclass :class:`IOManagerContract`, give it a ``manager`` fixture and collect it with pytest::

    class TestMyStore(IOManagerContract):
        @pytest.fixture
        def manager(self, tmp_path):
            store = MyStore("data")
            store.bind("mine", tmp_path)
            return store

The only module of the package that imports pytest.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from assets_core.contracts import ConcealingIOManager, IOManager, Staged, Target
from assets_core.errors import (
    AssetsError,
    LeaseLostError,
    MissingDataError,
    OutputError,
    StorageError,
    UsageError,
    VersionReplacedError,
)
from assets_core.execute import bulk
from assets_core.partitions import safe_path_part
from assets_core.records import Receipt

__all__ = ["HOSTILE_NAMES", "IOManagerContract", "publish", "rows", "target"]

HOSTILE_NAMES = (
    "..",
    "../..",
    "../../etc/passwd",
    "/absolute",
    ".hidden",
    "_underscore",
    "a/b",
    "a%2Fb",
    "a\\b",
    "a'b",
    'a"b',
    "a;DROP TABLE fences;--",
    "a b",
    "a.b",
    "a.1.run.attempt",
    "%s%d{}",
    "*",
    "?",
    "CON",
    "naïve",
    "日本",
    "а",
    "a",
    "A",
    "x" * 299,
    "x" * 298 + "y",
)
"""Keys and asset names that have broken stores: each must be kept safely and distinctly."""

_attempts = itertools.count(1)


def target(
    partition: str = "2024-01-01",
    token: int = 1,
    *,
    asset: str = "orders",
    run: str = "run00000001",
    environment: str = "prod",
) -> Target:
    """What a new attempt writes to; no two are the same attempt."""
    return Target(
        asset=asset,
        partition=partition,
        path_parts=(f"date={safe_path_part(partition)}",),
        token=token,
        run=run,
        attempt=f"a{next(_attempts)}",
        environment=environment,
        stamp={"code": "c0de", "digest": "d1ge57"},
    )


def publish(manager: IOManager, where: Target, table: pa.Table, fact: str = "fact") -> Receipt:
    """Stage, audit, publish and expose, as a run does."""
    staged = manager.stage(where, table)
    manager.audit(staged).read_all()
    return _release(manager, staged, fact)


def _release(manager: IOManager, staged: Staged, fact: str = "fact") -> Receipt:
    receipt = manager.publish(staged, fact)
    if not manager.transactional:
        where = staged.target
        manager.expose(where.environment, where.asset, where.path_parts, receipt)
        manager.flush()
    return receipt


def rows(*values: int) -> pa.Table:
    """A small table that tells itself from others."""
    return pa.table(
        {
            "id": pa.array(values, pa.int64()),
            "name": pa.array([f"row {value}" for value in values], pa.string()),
        }
    )


class _UsersError(Exception):
    """What a user's generator may raise."""


class IOManagerContract:
    """Every law of :class:`assets_core.contracts.IOManager`, one test for each fact."""

    keeps_files = True
    """Whether ``stage`` takes a ``Path``; a store that doesn't must refuse with OutputError."""

    @pytest.fixture
    def manager(self, tmp_path: Path) -> IOManager:
        """A bound manager with nothing in it: override this."""
        raise NotImplementedError

    # ------------------------------------------------------------------------ protocol

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
        assert manager.read([_release(manager, copy)]).equals(rows(1, 2))

    # ------------------------------------------------------------------------ law 1: stage

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
        receipt = _release(manager, manager.stage(target(), reader))
        assert manager.read([receipt]).equals(rows(*range(20)))

    def test_many_row_groups_come_back_in_order(self, manager: IOManager) -> None:
        large = pa.table({"id": pa.array(range(300_000), pa.int64())})
        reader = large.to_reader(max_chunksize=10_000)
        receipt = _release(manager, manager.stage(target(), reader))
        assert manager.read([receipt]).equals(large)

    def test_a_users_exception_passes_unchanged(self, manager: IOManager) -> None:
        error = _UsersError("boom")
        with pytest.raises(_UsersError) as caught:
            manager.stage(target(), _failing(error))
        assert caught.value is error

    def test_a_users_oserror_is_not_taken_for_the_stores(self, manager: IOManager) -> None:
        error = FileNotFoundError(2, "the user's own file", "input.csv")
        with pytest.raises(FileNotFoundError) as caught:
            manager.stage(target(), _failing(error))
        assert caught.value is error

    def test_a_failed_stage_leaves_nothing_behind(self, manager: IOManager) -> None:
        with pytest.raises(_UsersError):
            manager.stage(target(run="runthatfails"), _failing(_UsersError()))
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

    # ------------------------------------------------------------------------ law 2: audit

    def test_audit_gives_the_staged_rows(self, manager: IOManager) -> None:
        staged = manager.stage(target(), rows(3, 1, 2))
        assert manager.audit(staged).read_all().equals(rows(3, 1, 2))

    def test_audit_can_be_repeated(self, manager: IOManager) -> None:
        staged = manager.stage(target(), rows(1))
        assert manager.audit(staged).read_all().equals(manager.audit(staged).read_all())

    # ------------------------------------------------------------------------ law 3: publish

    def test_a_publish_is_what_readers_see(self, manager: IOManager) -> None:
        receipt = publish(manager, target(), rows(1, 2))
        assert manager.read([receipt]).equals(rows(1, 2))
        assert [found.receipt for found in manager.scan() if found.visible] == [receipt]

    def test_a_receipt_says_what_was_staged(self, manager: IOManager) -> None:
        staged = manager.stage(target(token=7), rows(1, 2))
        receipt = manager.publish(staged, "")
        assert (receipt.token, receipt.rows, receipt.kind) == (7, 2, "table")
        # What a fact records before the publish must hold after it.
        assert (receipt.location, receipt.bytes) == (staged.location, staged.bytes)

    def test_a_lower_or_equal_token_publishes_nothing(self, manager: IOManager) -> None:
        newest = publish(manager, target(token=5), rows(5))
        if not manager.transactional:  # the state store is the fence of a catalog store
            assert manager.fences("prod", "orders", ["2024-01-01"]) == []
            return
        for token in (4, 5):
            late = manager.stage(target(token=token), rows(0))
            with pytest.raises(LeaseLostError):
                manager.publish(late, "late")
        assert manager.read([newest]).equals(rows(5))
        assert manager.fences("prod", "orders", ["2024-01-01"])[0].token == 5

    def test_what_is_fenced_off_can_not_be_published(self, manager: IOManager) -> None:
        newest = publish(manager, target("k", 3), rows(1))
        late = manager.stage(target("k", 7), rows(2))
        for _ in range(2):
            manager.fence_off("prod", "orders", {"k": 7, "never": 2})
        assert manager.read([newest]).equals(rows(1))
        if not manager.transactional:
            return  # the state store is the fence of a catalog store
        with pytest.raises(LeaseLostError):
            manager.publish(late, "late")
        with pytest.raises(LeaseLostError):
            manager.publish(manager.stage(target("never", 2), rows(3)), "late")
        assert manager.read([newest]).equals(rows(1))
        assert manager.read([publish(manager, target("k", 8), rows(4))]).equals(rows(4))

    def test_the_fact_lies_in_the_fence_row(self, manager: IOManager) -> None:
        publish(manager, target("k", 3), rows(1), fact='{"the": "fact ü"}')
        found = manager.fences("prod", "orders", ["k", "other"])
        if not manager.transactional:
            assert found == []
            return
        assert [(f.partition, f.token, f.run, f.fact) for f in found] == [
            ("k", 3, "run00000001", '{"the": "fact ü"}')
        ]

    def test_what_was_discarded_can_not_be_published(self, manager: IOManager) -> None:
        staged = manager.stage(target(), rows(1))
        manager.discard(staged)
        with pytest.raises(MissingDataError):
            manager.publish(staged, "")

    # ------------------------------------------------------------------------ law 4: idempotence

    def test_publishing_twice_is_harmless(self, manager: IOManager) -> None:
        staged = manager.stage(target(), rows(1, 2))
        first = _release(manager, staged)
        assert _release(manager, staged) == first
        assert manager.read([first]).equals(rows(1, 2))

    def test_exposing_twice_is_harmless(self, manager: IOManager) -> None:
        where = target()
        receipt = publish(manager, where, rows(1))
        for _ in range(2):
            manager.expose(where.environment, where.asset, where.path_parts, receipt)
        assert manager.read([receipt]).equals(rows(1))

    # ------------------------------------------------------------------------ law 5: open

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
        receipt = _release(manager, staged)
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
        manager.verify(_release(manager, staged))

    # ------------------------------------------------------------------------ law 6: neighbours

    def test_an_empty_table_overwrites_to_empty(self, manager: IOManager) -> None:
        publish(manager, target(token=1), rows(1, 2))
        receipt = publish(manager, target(token=2), rows())
        found = manager.read([receipt])
        assert (found.num_rows, found.column_names) == (0, ["id", "name"])

    def test_an_empty_stream_overwrites_to_empty(self, manager: IOManager) -> None:
        reader = pa.RecordBatchReader.from_batches(rows().schema, [])
        receipt = _release(manager, manager.stage(target(), reader))
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
            with pytest.raises(StorageError):
                manager.read([old])
            staged = manager.stage(target(token=1), rows(1))
            with pytest.raises(LeaseLostError):
                manager.publish(staged, "fact")
        again = publish(manager, target(token=3), rows(3))
        assert manager.read([again]).equals(rows(3))

    def test_what_is_concealed_leaves_the_view_and_comes_back(self, manager: IOManager) -> None:
        if not isinstance(manager, ConcealingIOManager):
            return  # a store without an outside view has nothing to conceal
        mine, other = publish(manager, target(), rows(1)), publish(manager, target("o"), rows(7))
        where = target()
        for _ in range(2):
            manager.conceal(where.environment, where.asset, where.path_parts)
        manager.flush()
        assert {found.partition for found in manager.scan() if found.visible} == {"o"}
        assert manager.read([mine, other]).num_rows == 2
        manager.expose(where.environment, where.asset, where.path_parts, mine)
        assert {found.partition for found in manager.scan() if found.visible} == {
            "o",
            where.partition,
        }

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

    # ------------------------------------------------------------------------ law 7: discard

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

    # ------------------------------------------------------------------------ law 8: names

    def test_hostile_keys_are_stored_distinctly(self, manager: IOManager) -> None:
        receipts = [
            publish(manager, target(key, asset="hostile"), rows(i))
            for i, key in enumerate(HOSTILE_NAMES)
        ]
        found = manager.read(receipts).column("id").to_pylist()
        assert found == list(range(len(HOSTILE_NAMES)))
        keys = {f.partition for f in manager.scan() if f.visible}
        assert keys == set(HOSTILE_NAMES)

    def test_hostile_asset_names_are_stored_distinctly(self, manager: IOManager) -> None:
        receipts = [
            publish(manager, target(asset=name), rows(i)) for i, name in enumerate(HOSTILE_NAMES)
        ]
        for i, receipt in enumerate(receipts):
            assert manager.read([receipt]).equals(rows(i))

    def test_hostile_environments_are_stored_distinctly(self, manager: IOManager) -> None:
        receipts = [
            publish(manager, target(environment=name), rows(i))
            for i, name in enumerate(HOSTILE_NAMES)
        ]
        for i, receipt in enumerate(receipts):
            assert manager.read([receipt]).equals(rows(i))

    # ------------------------------------------------------------------------ rejects

    def test_rejects_live_beside_their_version(self, manager: IOManager) -> None:
        bad = pa.table({"raw": ["??", None], "reason": ["no id", "no name"]})
        staged = manager.stage_rejects(manager.stage(target(), rows(1)), bad)
        receipt = _release(manager, staged)
        assert receipt.rejected == 2
        found = manager.open_rejects(receipt)
        assert found is not None
        assert found.equals(bad)
        assert manager.read([receipt]).equals(rows(1))

    def test_rejects_go_with_the_version_they_came_from(self, manager: IOManager) -> None:
        staged = manager.stage_rejects(manager.stage(target(token=1), rows(1)), rows(9))
        _release(manager, staged)
        receipt = publish(manager, target(token=2), rows(1))
        assert receipt.rejected == 0
        assert manager.open_rejects(receipt) is None

    def test_rejects_of_any_columns_find_room(self, manager: IOManager) -> None:
        for token, bad in enumerate(([1], ["x"], [[1.5]]), start=1):
            table = pa.table({"value": bad, "reason": ["odd"]})
            staged = manager.stage_rejects(manager.stage(target(token=token), rows(1)), table)
            found = manager.open_rejects(_release(manager, staged))
            assert found is not None
            assert found.column("reason").to_pylist() == ["odd"]

    # ------------------------------------------------------------------------ files

    def test_a_file_is_kept_byte_for_byte(self, manager: IOManager, tmp_path: Path) -> None:
        source = tmp_path / "report ü.tar.gz"
        source.write_bytes(bytes(range(256)) * 100)
        if not self.keeps_files:
            with pytest.raises(OutputError):
                manager.stage(target(), source)
            return
        receipt = _release(manager, manager.stage(target(), source))
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

    # ------------------------------------------------------------------------ recovery

    def test_sweep_removes_what_a_run_left_staged(self, manager: IOManager) -> None:
        publish(manager, target("done", run="otherrun01"), rows(1))
        manager.stage(target("a", run="deadrun0001"), rows(2))
        staged = manager.stage(target("b", run="deadrun0001"), rows(3))
        manager.stage_rejects(staged, rows(9))
        assert manager.sweep("deadrun0001", []) == 2
        assert {found.partition for found in manager.scan()} == {"done"}

    def test_sweep_leaves_what_was_published(self, manager: IOManager) -> None:
        staged = manager.stage_rejects(manager.stage(target(run="deadrun0001"), rows(1)), rows(9))
        receipt = _release(manager, staged)
        assert manager.sweep("deadrun0001", [receipt.location, receipt.rejects]) == 0
        assert manager.read([receipt]).equals(rows(1))
        assert manager.open_rejects(receipt) is not None

    def test_sweep_leaves_runs_of_a_similar_name(self, manager: IOManager) -> None:
        staged = manager.stage(target(run="run000000012"), rows(1))
        assert manager.sweep("run00000001", []) == 0
        assert manager.audit(staged).read_all().equals(rows(1))

    def test_scan_tells_what_state_is_rebuilt_from(self, manager: IOManager) -> None:
        where = target("k|ü", token=4)
        staged = manager.stage_rejects(manager.stage(where, rows(1, 2)), rows(9))
        receipt = _release(manager, staged)
        (found,) = manager.scan()
        assert found.receipt == receipt
        assert (found.asset, found.partition, found.run) == ("orders", "k|ü", "run00000001")
        assert (found.environment, found.path_parts) == ("prod", where.path_parts)
        assert dict(found.stamp) == {"code": "c0de", "digest": "d1ge57"}
        assert found.visible

    # ------------------------------------------------------------------------ threads

    def test_threads_publish_side_by_side(self, manager: IOManager) -> None:
        def work(number: int) -> Receipt:
            return publish(manager, target(f"p{number}"), rows(number, number + 100))

        with ThreadPoolExecutor(8) as pool:
            receipts = list(pool.map(work, range(32)))
        expected = [value for i in range(32) for value in (i, i + 100)]
        assert manager.read(receipts).column("id").to_pylist() == expected

    def test_readers_see_whole_versions_while_others_publish(self, manager: IOManager) -> None:
        newest = [publish(manager, target(token=1), _uniform(1))]

        def write() -> None:
            for token in range(2, 12):
                receipt = publish(manager, target(token=token), _uniform(token))
                newest.append(receipt)

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            while not writing.done():
                _read_whole(manager, newest[-1:])
            writing.result()
        assert _read_whole(manager, newest[-1:]) == 11

    # ------------------------------------------------------------------------ many at once
    # Held by every store: one without methods of its own (`RangeIOManager`) is asked one by one.

    def _stage_many(self, manager: IOManager, token: int = 1, **tables: pa.Table) -> list[Staged]:
        targets = [target(key, token) for key in tables]
        return bulk.stage_many(manager, targets, list(tables.values()))

    def _publish_many(self, manager: IOManager, staged: Sequence[Staged]) -> list[Receipt]:
        results = bulk.publish_many(manager, staged, [s.target.partition for s in staged])
        receipts = [one for one in results if isinstance(one, Receipt)]
        assert len(receipts) == len(results), results
        if not manager.transactional:
            for one, receipt in zip(staged, receipts, strict=True):
                where = one.target
                manager.expose(where.environment, where.asset, where.path_parts, receipt)
            manager.flush()
        return receipts

    def test_many_come_back_each_as_it_was_written(self, manager: IOManager) -> None:
        staged = self._stage_many(manager, a=rows(2, 1), b=rows(), c=rows(3))
        assert [t.to_pylist() for t in bulk.audit_many(manager, staged)] == [
            t.to_pylist() for t in (rows(2, 1), rows(), rows(3))
        ]
        receipts = self._publish_many(manager, staged)
        assert [
            manager.read([r]).equals(t)
            for r, t in zip(receipts, (rows(2, 1), rows(), rows(3)), strict=True)
        ] == [True] * 3

    def test_many_receipts_are_what_one_by_one_would_give(self, manager: IOManager) -> None:
        staged = self._stage_many(manager, a=rows(1, 2), b=rows(3))
        assert [(s.rows, s.target.partition) for s in staged] == [(2, "a"), (1, "b")]
        receipts = self._publish_many(manager, staged)
        assert [(r.rows, r.token, r.kind) for r in receipts] == [(2, 1, "table"), (1, 1, "table")]

    def test_many_staged_are_not_visible(self, manager: IOManager) -> None:
        old = publish(manager, target("a"), rows(1))
        self._stage_many(manager, token=2, a=rows(2), b=rows(3))
        assert manager.read([old]).equals(rows(1))

    def test_many_overwrite_and_leave_others_alone(self, manager: IOManager) -> None:
        self._publish_many(manager, self._stage_many(manager, a=rows(1), b=rows(2), c=rows(3)))
        other = publish(manager, target("z"), rows(9))
        newer = self._publish_many(manager, self._stage_many(manager, 2, a=rows(), c=rows(7, 8)))
        assert [manager.read([r]).to_pylist() for r in newer] == [[], rows(7, 8).to_pylist()]
        assert manager.read([other]).equals(rows(9))

    def test_publishing_many_twice_is_harmless(self, manager: IOManager) -> None:
        staged = self._stage_many(manager, a=rows(1), b=rows(2, 3))
        first = self._publish_many(manager, staged)
        assert self._publish_many(manager, staged) == first
        assert manager.read(first).num_rows == 3

    def test_a_lost_lease_leaves_the_others_in_force(self, manager: IOManager) -> None:
        newest = publish(manager, target("b", token=5), rows(5))
        staged = self._stage_many(manager, 2, a=rows(1), b=rows(2), c=rows(3))
        results = bulk.publish_many(manager, staged, ["", "", ""])
        # The state store is the fence of a catalog store.
        lost = [False, manager.transactional, False]
        assert [isinstance(one, LeaseLostError) for one in results] == lost
        assert manager.read([newest]).equals(rows(5))
        published = [one for one in results if isinstance(one, Receipt)]
        assert manager.read(published).num_rows == lost.count(False)

    def test_what_is_fenced_off_is_refused_among_many(self, manager: IOManager) -> None:
        staged = self._stage_many(manager, 2, a=rows(1), b=rows(2))
        manager.fence_off("prod", "orders", {"a": 2})
        results = bulk.publish_many(manager, staged, ["", ""])
        refused = [manager.transactional, False]
        assert [isinstance(one, LeaseLostError) for one in results] == refused

    def test_the_facts_of_many_lie_in_their_fence_rows(self, manager: IOManager) -> None:
        for token in (1, 2):  # a new fence row, and one that is there
            self._publish_many(manager, self._stage_many(manager, token, a=rows(1), b=rows(2)))
            fences = manager.fences("prod", "orders", ["a", "b"])
            kept = [("a", token), ("b", token)] if manager.transactional else []
            assert [(f.fact, f.token) for f in fences] == kept

    def test_one_of_many_can_be_discarded(self, manager: IOManager) -> None:
        staged = self._stage_many(manager, a=rows(1), b=rows(2), c=rows(3))
        manager.discard(staged[1])
        receipts = self._publish_many(manager, [staged[0], staged[2]])
        assert manager.read(receipts).equals(rows(1, 3))

    def test_discarding_many_is_harmless_when_repeated(self, manager: IOManager) -> None:
        staged = self._stage_many(manager, a=rows(1), b=rows(2))
        bulk.discard_many(manager, staged)
        bulk.discard_many(manager, staged)
        assert manager.sweep(staged[0].target.run, []) == 0

    def test_what_is_left_of_many_is_swept(self, manager: IOManager) -> None:
        staged = self._stage_many(manager, a=rows(1), b=rows(2))
        assert manager.sweep(staged[0].target.run, []) > 0
        assert manager.sweep(staged[0].target.run, []) == 0

    def test_many_keep_their_rejects(self, manager: IOManager) -> None:
        for token in (1, 2):
            staged = self._stage_many(manager, token, a=rows(1), b=rows(2))
            staged[1] = manager.stage_rejects(staged[1], rows(7, 8))
            receipts = self._publish_many(manager, staged)
            assert [receipt.rejected for receipt in receipts] == [0, 2]
            assert manager.open_rejects(receipts[0]) is None
            rejects = manager.open_rejects(receipts[1])
            assert rejects is not None
            assert rejects.equals(rows(7, 8))

    def test_many_may_change_a_columns_type(self, manager: IOManager) -> None:
        self._publish_many(manager, self._stage_many(manager, a=rows(1), b=rows(2)))
        texts = [pa.table({"id": ["x"], "name": ["y"]}), pa.table({"id": ["z"], "name": ["y"]})]
        staged = self._stage_many(manager, 2, a=texts[0], b=texts[1])
        receipts = self._publish_many(manager, staged)
        assert manager.read(receipts)["id"].to_pylist() == ["x", "z"]

    def test_hostile_keys_are_told_apart_among_many(self, manager: IOManager) -> None:
        tables = {name: rows(i) for i, name in enumerate(HOSTILE_NAMES)}
        receipts = self._publish_many(manager, self._stage_many(manager, **tables))
        for name, receipt in zip(tables, receipts, strict=True):
            assert manager.read([receipt]).equals(tables[name])

    def test_close_can_be_repeated_and_followed_by_use(self, manager: IOManager) -> None:
        receipt = publish(manager, target(), rows(1))
        manager.close()
        manager.close()
        assert manager.read([receipt]).equals(rows(1))


def _failing(error: Exception) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        yield from rows(*range(1_000)).to_batches()
        raise error

    return pa.RecordBatchReader.from_batches(rows().schema, batches())


def _uniform(token: int) -> pa.Table:
    """A version whose every row says which version it is."""
    return pa.table({"token": pa.array([token] * 500, pa.int64())})


def _read_whole(manager: IOManager, receipts: Sequence[Receipt]) -> int | None:
    """The one version that was read; None when it was replaced before the read began."""
    try:
        found = manager.read(receipts).column("token").to_pylist()
    except VersionReplacedError:
        return None
    except AssetsError as error:
        raise AssertionError(f"a reader met {error}") from error
    assert len(found) == 500
    assert len(set(found)) == 1
    return int(found[0])
