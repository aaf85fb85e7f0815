"""One attempt at one step: run it where steps are run, then publish, or see to its failure."""

from __future__ import annotations

import time

from assets_core.contracts import Executor
from assets_core.execution import capture
from assets_core.execution.board import PlannedStep
from assets_core.execution.deciding import Deciding
from assets_core.execution.execution import Execution
from assets_core.execution.failing import Failing
from assets_core.execution.preparing import Build
from assets_core.execution.publishing import Publishing
from assets_core.execution.task import AnyOutcome, AnyTask, Outcome


class Attempting:
    """Steps that are taken by themselves."""

    def __init__(
        self,
        execution: Execution,
        deciding: Deciding,
        publishing: Publishing,
        failing: Failing,
        executor: Executor[AnyTask, AnyOutcome],
    ) -> None:
        self._execution = execution
        self._deciding = deciding
        self._publishing = publishing
        self._failing = failing
        self._executor = executor

    def run(self, step: PlannedStep) -> None:
        """Bring a leased step one attempt on its way."""
        build = self._deciding.build(step)
        if build is not None:
            self._attempt(build)

    def _attempt(self, build: Build) -> None:
        self._execution.tell(build.step, "started")
        began = time.time_ns() // 1000
        failure = self._made(build)
        if failure is not None and not self._execution.abandoned:
            self._failing.failed(build.step, build.task, failure, began)

    def _made(self, build: Build) -> Exception | None:
        """Call and publish; what failed."""
        outcome, failure = self._called(build)
        if outcome is None:
            return failure
        if not self._execution.abandoned:
            try:
                self._publishing.publish(build, outcome)
                return None
            except Exception as error:  # noqa: BLE001 - a failed publish fails its step alone
                failure = error
        self._publishing.discard(outcome)
        return failure

    def _called(self, build: Build) -> tuple[Outcome | None, Exception | None]:
        outcome: Outcome | None = None
        failure: Exception | None = None
        with capture.attempt(self._execution.runtime.output_bytes) as lines:
            try:
                found = self._executor.run(build.task)
                assert isinstance(found, Outcome)
                outcome = found
            except Exception as error:  # noqa: BLE001 - any failure belongs to its step alone
                failure = error
        log, task = self._execution.log, build.task
        if log is not None:
            log.append(task.op, task.partition.key, task.attempt, lines.finish())
        return outcome, failure
