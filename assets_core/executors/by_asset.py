"""One run, several executors: some assets' steps elsewhere than those of all others."""

from __future__ import annotations

from collections.abc import Mapping

from assets_core.contracts import Executor
from assets_core.execution.task import AnyOutcome, AnyTask


class ExecutorByAsset:
    """``special`` by the name of the op, ``default`` for all others."""

    def __init__(
        self,
        default: Executor[AnyTask, AnyOutcome],
        special: Mapping[str, Executor[AnyTask, AnyOutcome]],
    ) -> None:
        self._default = default
        self._special = special

    def run(self, task: AnyTask) -> AnyOutcome:
        """Run one attempt where its asset's steps run."""
        return self._special.get(task.op, self._default).run(task)

    def stop(self) -> None:
        """Stop all of them."""
        for executor in {id(one): one for one in (*self._special.values(), self._default)}.values():
            executor.stop()
