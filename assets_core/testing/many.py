"""Laws 9 to 11: many partitions at once."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from assets_core.contracts import (
    IOManager,
    Staged,
)
from assets_core.errors import (
    LeaseLostError,
)
from assets_core.execution import bulk
from assets_core.records import Receipt
from assets_core.testing.making import HOSTILE_NAMES, publish, rows, target


class RangeLaws:
    """Many partitions in one go are each as if handled alone."""

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

    def test_versions_of_several_assets_are_published_together(self, manager: IOManager) -> None:
        if not manager.transactional:
            return
        lost = publish(manager, target("a", 5, asset="lost"), rows(5))
        staged = [
            manager.stage_rejects(manager.stage(target("a", asset="one"), rows(1)), rows(9)),
            manager.stage(target("a", 5, asset="lost"), rows(0)),
            manager.stage(target("b", asset="one"), rows(2)),
            manager.stage(target("a", asset="two"), pa.table({"other": [1.5]})),
        ]
        results = bulk.publish_many(manager, staged, ["", "", "", ""])
        assert [isinstance(each, Receipt) for each in results] == [True, False, True, True]
        assert isinstance(results[1], LeaseLostError)
        first, second, third = (each for each in results if isinstance(each, Receipt))
        assert manager.read([first, second]).equals(rows(1, 2))
        assert manager.read([third]).equals(pa.table({"other": [1.5]}))
        assert manager.read([lost]).equals(rows(5))
        rejects = manager.open_rejects(first)
        assert rejects is not None
        assert rejects.equals(rows(9))

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
