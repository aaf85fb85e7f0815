"""Running steps where the run itself is: in the thread of the worker that asks."""

from __future__ import annotations

from assets_core.execution.ranges import run_any
from assets_core.execution.task import AnyOutcome, AnyTask, Runtime


class ThreadExecutor:
    """The default: no start-up, nothing travels; what holds Python's lock waits for one another."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def run(self, task: AnyTask) -> AnyOutcome:
        """Run one attempt in this thread."""
        return run_any(self._runtime, task)

    def stop(self) -> None:
        """Nothing: a thread can't be ended; what it makes is not published any more."""
