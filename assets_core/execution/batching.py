"""Takes neighbouring ready partitions of a batch op into one call, publishes each by itself.

Here is which ready steps go together, and what a failing call does. A call never waits for a
partition that isn't ready, but steps that are ready go before a call that isn't full.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Sequence

from assets_core.contracts import Executor
from assets_core.declare.policies import Batch
from assets_core.errors import AssetsError, DiskFullError, LeaseLostError, PlanMovedError
from assets_core.execution import capture
from assets_core.execution.attempting import Attempting
from assets_core.execution.board import OpProgress, PlannedStep
from assets_core.execution.deciding import Deciding
from assets_core.execution.events import first_line
from assets_core.execution.execution import Execution
from assets_core.execution.failing import Failing
from assets_core.execution.leasing import Leasing
from assets_core.execution.neighbours import Neighbours
from assets_core.execution.preparing import Build, Preparing
from assets_core.execution.publishing import Publishing
from assets_core.execution.task import (
    AnyOutcome,
    AnyTask,
    Outcome,
    RangeOutcome,
    RangeTask,
)
from assets_core.partitions import Edge


class Batching:
    """Steps that are taken together."""

    def __init__(
        self,
        execution: Execution,
        leasing: Leasing,
        preparing: Preparing,
        deciding: Deciding,
        publishing: Publishing,
        failing: Failing,
        attempting: Attempting,
        executor: Executor[AnyTask, AnyOutcome],
    ) -> None:
        self._execution = execution
        self._board = execution.board
        self._leasing = leasing
        self._preparing = preparing
        self._deciding = deciding
        self._publishing = publishing
        self._failing = failing
        self._attempting = attempting
        self._executor = executor
        self._held: list[int] = []
        self._calls: dict[int, list[PlannedStep]] = {}
        self._lines: dict[int, Neighbours] = {}
        for steps in self._board.ops:
            batch = execution.runtime.graph.assets[steps.op.name].batch
            if batch is not None and batch.max_partitions > 1 and steps.space.n > 1:
                self._lines[steps.index] = Neighbours.of(batch, steps.space)

    # ---------------------------------------------------------------------------------------
    # Which steps go together (under the execution's lock)

    def takes(self, position: int) -> bool:
        """Whether the step belongs to a batch op."""
        return self._board.of_op(position) in self._lines

    def passes(self, position: int) -> bool:
        """Whether a position that came up is not for now: taken with others, or set aside."""
        line = self._lines.get(self._board.of_op(position))
        if line is None or position in self._calls:
            return False
        step = self._board.step(position)
        if not step.is_ready:
            return True
        if len(line.ready(step.ordinal, step.steps)) == line.batch.max_partitions:
            return False
        heapq.heappush(self._held, position)
        return True

    def overdue(self) -> int:
        """A step that was set aside, now that nothing else is ready; -1 when there is none.

        What is being committed may make its neighbours ready the next moment.
        """
        while self._held and not self._execution.committing:
            position = heapq.heappop(self._held)
            if self._board.step(position).is_ready:
                return position
        return -1

    # ---------------------------------------------------------------------------------------
    # Running

    def run(self, step: PlannedStep) -> None:
        """Lease and build a ready step with its ready neighbours."""
        with self._execution.lock:
            taken = self._calls.pop(step.position, None)
            if taken is None:
                if not step.is_ready:
                    return  # another worker took it with its neighbours
                ready = self._line(step.steps).ready(step.ordinal, step.steps)
                taken = self._board.steps_of(step.steps, ready)
            for each in taken:
                self._board.take(each)
        for call in self._stale(self._leasing.take_all(taken)):
            self._build(call)

    def _line(self, steps: OpProgress) -> Neighbours:
        return self._lines[steps.index]

    def _stale(self, steps: Sequence[PlannedStep]) -> Iterator[list[PlannedStep]]:
        """Runs of neighbours that need to be built; the fresh are released.

        One that some input has nothing for is built alone: it is told so, as it always is.
        """
        calls: list[list[PlannedStep]] = []
        for step in steps:
            if self._execution.stopped:
                return
            if not self._deciding.needs_build(step):
                continue
            before = calls[-1][-1] if calls else None
            stride = self._line(step.steps).stride
            follows = before is not None and before.ordinal == step.ordinal - stride
            if before is not None and follows and self._joins(step) and self._joins(before):
                calls[-1].append(step)
            else:
                calls.append([step])
        yield from calls

    def _joins(self, step: PlannedStep) -> bool:
        there_at = self._execution.current.there_at
        return all(
            _reads_something(edge, step.ordinal)
            and there_at(read.asset, edge.upstream(step.ordinal)).any()
            for read, edge in step.steps.edges
            if read.data
        )

    def _build(self, steps: Sequence[PlannedStep]) -> None:
        """One call; when it fails as a whole, one for each half of them."""
        if self._execution.stopped or self._execution.abandoned:
            return
        if len(steps) == 1:
            self._attempting.run(steps[0])
            return
        with self._execution.lock:  # what is recorded as read is what is handed over
            builds = [self._preparing.build(step, inputs=False) for step in steps]
            inputs = self._preparing.inputs_of(steps)
        task = RangeTask(steps[0].op.name, tuple(build.task for build in builds), inputs)
        began = time.time_ns() // 1000
        for step in steps:
            self._execution.tell(step, "started")
        error = self._attempt(builds, task)
        if error is not None and not self._execution.abandoned:
            self._execution.left_behind = True
            self._failed(builds, error, began)

    def _attempt(self, builds: Sequence[Build], task: RangeTask) -> Exception | None:
        """Call, and publish what came of it; what failed the call as a whole."""
        outcome, failure = self._called(task)
        if outcome is None or self._execution.abandoned:
            return failure
        failure = self._spoilt(self._batch(builds), outcome)
        if failure is None:
            try:
                self._publish(builds, outcome)
                return None
            except Exception as error:  # noqa: BLE001 - a failed publish fails its call alone
                failure = error
        self._publishing.discard_many(one for one in outcome.each if isinstance(one, Outcome))
        return failure

    def _called(self, task: RangeTask) -> tuple[RangeOutcome | None, Exception | None]:
        outcome: RangeOutcome | None = None
        failure: Exception | None = None
        with capture.attempt(self._execution.runtime.output_bytes) as lines:
            try:
                found = self._executor.run(task)
                assert isinstance(found, RangeOutcome)
                outcome = found
            except Exception as error:  # noqa: BLE001 - any failure belongs to its call alone
                failure = error
        if self._execution.log is not None:
            attempts = {one.partition.key: one.attempt for one in task.tasks}
            self._execution.log.append_shared(task.op, attempts, lines.finish())
        return outcome, failure

    def _batch(self, builds: Sequence[Build]) -> Batch:
        return self._line(builds[0].step.steps).batch

    def _spoilt(self, batch: Batch, outcome: RangeOutcome) -> AssetsError | None:
        """The error of one partition that fails them all, where the asset wants that."""
        if batch.on_failure != "fail":
            return None
        return next((one for one in outcome.each if isinstance(one, AssetsError)), None)

    def _publish(self, builds: Sequence[Build], outcome: RangeOutcome) -> None:
        """Publish and record each partition that came out well; fail the others alone."""
        each = list(zip(builds, outcome.each, strict=True))
        good = [(build, one) for build, one in each if isinstance(one, Outcome)]
        unpublished = self._publishing.publish_many(good, len(builds)) if good else []
        began = {id(build): one.started for build, one in good}
        now = time.time_ns() // 1000
        failed = [(build, one) for build, one in each if isinstance(one, AssetsError)]
        for build, error in (*unpublished, *failed):
            self._failing.failed(build.step, build.task, error, began.get(id(build), now))

    # ---------------------------------------------------------------------------------------
    # Failing

    def _failed(self, builds: Sequence[Build], error: Exception, began: int) -> None:
        """The call failed as a whole: try it again, try its halves, or fail all of it."""
        if self._execution.stopped:
            return  # whose fault it was is not known, and will not be found out
        first = builds[0]
        soon = self._failing.looks_again(first.step, first.task.attempt, error)
        if soon:
            self._call_again(builds, soon)
            return
        if self._batch(builds).on_failure == "halve" and not isinstance(
            error, DiskFullError | LeaseLostError | PlanMovedError
        ):
            self._halve(builds, error, began)
            return
        wait = self._failing.retry_in(first.step, first.task.attempt, error)
        if wait is not None:
            self._note(builds, error, began, f"again in {wait:.1f} s")
            self._call_again(builds, wait)
            return
        for build in builds:
            cause = self._failing.explained(build.task, error)
            self._failing.fail(build.step, build.task.attempt, cause, began)

    def _halve(self, builds: Sequence[Build], error: Exception, began: int) -> None:
        self._note(builds, error, began, "halved")
        steps = [build.step for build in builds]
        self._failing.halved(steps)
        middle = (len(steps) + 1) // 2
        for half in (steps[:middle], steps[middle:]):
            # Another run may have moved something meanwhile: look again at what is stale.
            for call in self._stale(half):
                self._build(call)

    def _call_again(self, builds: Sequence[Build], seconds: float) -> None:
        """The same partitions in one call, later; until then they stay taken."""
        first = builds[0].step
        with self._execution.lock:
            self._calls[first.position] = [build.step for build in builds]
        self._execution.later(first, seconds)

    def _note(self, builds: Sequence[Build], error: Exception, began: int, what: str) -> None:
        """An attempt of each partition, by one line: the failure's own text is told at its end."""
        message = f"{first_line(error)} (one call for {len(builds):,} partitions, {what})"
        attempts = [(build.step, build.task.attempt) for build in builds]
        self._failing.note(attempts, "retried", began, message)
        self._execution.tell(builds[0].step, "retrying", message)


def _reads_something(edge: Edge, ordinal: int) -> bool:
    bounds = edge.bounds(ordinal)
    return bounds[1] > bounds[0] if bounds is not None else len(edge.upstream(ordinal)) > 0
