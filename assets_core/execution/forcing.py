"""What is recorded is durable before: versions of one commit are forced to disk in one go."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import cast

from assets_core.contracts import ForcingIOManager, IOManager, Operation, Publish, Staged
from assets_core.errors import StorageError
from assets_core.records import Receipt


class Forcing:
    """Versions that are laid down and not durable yet, by store and location."""

    def __init__(self, stores: Mapping[str, IOManager]) -> None:
        self._stores = stores
        self._laid: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def note(self, staged: Staged, receipt: Receipt) -> None:
        """A version is about to be recorded."""
        if not staged.durable:
            with self._lock:
                self._laid.add((receipt.store, receipt.location))

    def force(self, operations: Sequence[Operation]) -> dict[int, StorageError]:
        """Make durable what these operations will point to; those that must not be committed, by
        their place, and why."""
        waiting: dict[str, list[tuple[int, Receipt]]] = {}
        with self._lock:
            for at, operation in enumerate(operations):
                if isinstance(operation, Publish):
                    receipt = operation.fact.receipt
                    if (receipt.store, receipt.location) in self._laid:
                        self._laid.discard((receipt.store, receipt.location))
                        waiting.setdefault(receipt.store, []).append((at, receipt))
        failed: dict[int, StorageError] = {}
        for store, laid in waiting.items():
            manager = cast("ForcingIOManager", self._stores[store])
            errors = manager.force([receipt for _, receipt in laid])
            pairs = zip(laid, errors, strict=True)
            failed |= {at: error for (at, _), error in pairs if error is not None}
        return failed
