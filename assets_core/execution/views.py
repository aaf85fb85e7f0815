"""What the world outside reads: views of catalog stores, swapped to what was recorded.

A view follows its record. One that could not be swapped is told at the end of the run, and brought
in line then.
"""

from __future__ import annotations

from assets_core.contracts import ConcealingIOManager
from assets_core.errors import StorageError
from assets_core.execution.execution import Execution
from assets_core.records import Materialization, is_withdrawn


class OutsideViews:
    """The views of what a run records."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._recorded: set[int] = set()
        self._behind: dict[str, set[str]] = {}

    def follow(self, fact: Materialization, recorded: int) -> None:
        """Show what was recorded under this id."""
        self._recorded.add(recorded)
        manager = self._execution.runtime.io[fact.receipt.store]
        if manager.transactional:
            return
        asset = self._execution.runtime.graph.assets[fact.asset]
        parts = asset.partitions.path_parts(fact.partition)
        try:
            if is_withdrawn(fact):
                if isinstance(manager, ConcealingIOManager):
                    manager.conceal(fact.environment, fact.asset, parts)
            elif fact.receipt.kind != "none" and is_new(fact):
                manager.expose(fact.environment, fact.asset, parts, fact.receipt)
        except StorageError:
            # It is recorded, so it is done; the view is mended at the end, or the run fails.
            self._behind.setdefault(fact.asset, set()).add(fact.partition)

    def outdated(self) -> dict[str, set[str]]:
        """Partitions whose outside view may not show their pointer, by asset: those that could
        not be swapped, and those that others recorded while this run was at work.

        Between our record and our swap another run can have done both.
        """
        places = {name: set(keys) for name, keys in self._behind.items()}
        if not self._recorded:
            return places
        execution = self._execution
        names = [name for steps in execution.board.ops for name in steps.op.outputs]
        began = execution.plan.facts.revision
        tail = execution.store.snapshot(execution.environment, names, since=began)
        for name, columns in tail.assets.items():
            others = [
                key
                for key, recorded in zip(columns.keys, columns.id.tolist(), strict=True)
                if recorded not in self._recorded
            ]
            if others:
                places.setdefault(name, set()).update(others)
        return places


def is_new(fact: Materialization) -> bool:
    """Whether the receipt is this build's own, and not that of the version which stayed."""
    return fact.receipt.token == fact.token
