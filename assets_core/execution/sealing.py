"""What records stand on is made to stand in one go, right before they are committed.

Versions that are laid down are forced to disk, and versions that a transactional store is to swap
in are published by one transaction of it: as many as are about to be recorded together.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from assets_core.contracts import (
    ForcingIOManager,
    IOManager,
    Operation,
    Publish,
    RangeIOManager,
    Staged,
)
from assets_core.errors import AssetsError
from assets_core.execution import bulk
from assets_core.records import Receipt

_MOST_BYTES = 4 << 20
"""Of a version that waits for others: of larger ones the swap itself is what takes long, and the
thread that commits has leases to keep alive."""


@dataclass(frozen=True, slots=True)
class Unsealed:
    """Why a record was not committed: what it stands on could not be made."""

    error: Exception


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A version that is published with others, and the fact that its store keeps."""

    staged: Staged
    fact: str


class Sealing:
    """Versions that are not what they are recorded as yet, by store and location."""

    def __init__(self, stores: Mapping[str, IOManager]) -> None:
        self._stores = stores
        self._laid: set[tuple[str, str]] = set()
        self._waiting: dict[tuple[str, str], _Waiting] = {}
        self._lock = threading.Lock()

    def publish(self, store: str, staged: Staged, receipt: Receipt, fact: str) -> Receipt:
        """The receipt of a version that is about to be recorded. A small one of a store that can
        take many is published when it is; ``receipt`` is what it will have."""
        manager = self._stores[store]
        small = staged.kind == "table" and staged.bytes <= _MOST_BYTES and not staged.together
        if manager.transactional and small and isinstance(manager, RangeIOManager):
            with self._lock:
                self._waiting[store, receipt.location] = _Waiting(staged, fact)
            return receipt
        published = manager.publish(staged, fact)
        if not staged.durable:
            with self._lock:
                self._laid.add((store, published.location))
        return published

    def seal(self, operations: Sequence[Operation]) -> dict[int, Unsealed]:
        """Make what these operations will point to; those that must not be committed, by their
        place, and why."""
        laid: dict[str, list[tuple[int, Receipt]]] = {}
        waiting: dict[str, list[tuple[int, _Waiting]]] = {}
        with self._lock:
            for at, operation in enumerate(operations):
                if isinstance(operation, Publish):
                    receipt = operation.fact.receipt
                    place = (receipt.store, receipt.location)
                    if place in self._laid:
                        self._laid.discard(place)
                        laid.setdefault(receipt.store, []).append((at, receipt))
                    elif place in self._waiting:
                        one = self._waiting.pop(place)
                        waiting.setdefault(receipt.store, []).append((at, one))
        failed: dict[int, Unsealed] = {}
        for store, versions in laid.items():
            forcing = cast("ForcingIOManager", self._stores[store])
            errors = forcing.force([receipt for _, receipt in versions])
            for (at, _), error in zip(versions, errors, strict=True):
                if error is not None:
                    failed[at] = Unsealed(error)
        for store, together in waiting.items():
            manager = self._stores[store]
            results = _published(manager, [one for _, one in together])
            for (at, one), result in zip(together, results, strict=True):
                if not isinstance(result, Receipt):
                    failed[at] = Unsealed(result)
                    # A store that is in trouble is swept at the end, or by the next command.
                    with contextlib.suppress(OSError, AssetsError):
                        manager.discard(one.staged)
        return failed


def _published(manager: IOManager, waiting: Sequence[_Waiting]) -> Sequence[Receipt | Exception]:
    """By one transaction; when that fails, one by one, so that each fails for itself alone."""
    try:
        return bulk.publish_many(
            manager, [one.staged for one in waiting], [one.fact for one in waiting]
        )
    except Exception as error:  # noqa: BLE001 - belongs to the steps, not to the thread that commits
        if len(waiting) == 1:
            return [error]
        return [_alone(manager.publish, one) for one in waiting]


def _alone(publish: Callable[[Staged, str], Receipt], one: _Waiting) -> Receipt | Exception:
    try:
        return publish(one.staged, one.fact)
    except Exception as error:  # noqa: BLE001 - see above
        return error


__all__ = ["Sealing", "Unsealed"]
