"""Laws 3, 4 and 8: publishing, repeating, names that can not escape."""

from __future__ import annotations

import pytest

from assets_core.contracts import (
    IOManager,
)
from assets_core.errors import (
    LeaseLostError,
    MissingDataError,
)
from assets_core.testing.making import HOSTILE_NAMES, publish, release, rows, target


class PublishingLaws:
    """A publish is seen whole, once, by its token; under any name."""

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

    def test_publishing_twice_is_harmless(self, manager: IOManager) -> None:
        staged = manager.stage(target(), rows(1, 2))
        first = release(manager, staged)
        assert release(manager, staged) == first
        assert manager.read([first]).equals(rows(1, 2))

    def test_exposing_twice_is_harmless(self, manager: IOManager) -> None:
        where = target()
        receipt = publish(manager, where, rows(1))
        for _ in range(2):
            manager.expose(where.environment, where.asset, where.path_parts, receipt)
        assert manager.read([receipt]).equals(rows(1))

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
