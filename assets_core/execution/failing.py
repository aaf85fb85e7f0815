"""What becomes of steps that can't be published: tried again, failed, or blocked by others.

A failure belongs to its step alone; what needs it is blocked, all the way down.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from assets_core.contracts import Note
from assets_core.errors import (
    AssetsError,
    LeaseLostError,
    PlanMovedError,
    StorageError,
    UserCodeError,
    VersionReplacedError,
)
from assets_core.execution.auditing import ChecksError
from assets_core.execution.board import PlannedStep
from assets_core.execution.events import Failure, first_line, user_traceback
from assets_core.execution.execution import Execution
from assets_core.execution.leasing import Leasing
from assets_core.execution.recorder import Recorder
from assets_core.execution.task import Task
from assets_core.records import Attempt, AttemptStatus, CheckOutcome

_LOOKS_AGAIN = 3
_LOOK_AGAIN_SECONDS = 0.05


class Failing:
    """Retries, failures and what they block."""

    def __init__(self, execution: Execution, leasing: Leasing, recorder: Recorder) -> None:
        self._execution = execution
        self._leasing = leasing
        self._recorder = recorder
        self._halvings: Counter[int] = Counter()

    # ---------------------------------------------------------------------------------------
    # Trying again

    def halved(self, steps: Sequence[PlannedStep]) -> None:
        """The last attempt at these was one call, which is made in halves now: a fault of the
        others is no attempt of one's own."""
        self._halvings.update(step.position for step in steps)

    def looks_again(self, step: PlannedStep, attempt: int, error: BaseException) -> float:
        """Seconds until an attempt is made again that met an input which others had replaced, with
        what they recorded; 0 when that isn't so, or was so too often."""
        tries = attempt - self._halvings[step.position]
        if not isinstance(error, VersionReplacedError) or tries > _LOOKS_AGAIN:
            return 0.0
        self._execution.current.refresh()
        return _LOOK_AGAIN_SECONDS

    def retry_in(self, step: PlannedStep, attempt: int, error: BaseException) -> float | None:
        """Seconds until a failed attempt is made again; None when it isn't."""
        retry = self._execution.runtime.graph.assets[step.op.name].retry
        tries = attempt - self._halvings[step.position]
        if retry is None or tries > retry.max or self._execution.stopped:
            return None
        cause = error.__cause__ if isinstance(error, UserCodeError) and error.__cause__ else error
        if isinstance(error, LeaseLostError) or not retry.applies(cause):
            return None
        return retry.wait(tries)

    def failed(self, step: PlannedStep, task: Task, error: BaseException, began: int) -> None:
        """An attempt failed: make it again later, or fail its step."""
        self._execution.left_behind = True
        error = self.explained(task, error)
        soon = self.looks_again(step, task.attempt, error)
        if soon:
            self._execution.again(step, soon)
            return
        wait = self.retry_in(step, task.attempt, error)
        if wait is None:
            self.fail(step, task.attempt, error, began)
            return
        self._note(step, task.attempt, "retried", error, began)
        told = f"{first_line(error)} (again in {wait:.1f} s)"
        self._execution.tell(step, "retrying", told)
        self._execution.again(step, wait)

    def explained(self, task: Task, failure: BaseException) -> BaseException:
        """A failure to store, or its reason: another process took the lease and swept up."""
        slots = {(t.asset, t.partition, t.token) for t in task.targets.values()}
        return self.reason_of(failure, slots)

    def reason_of(self, failure: BaseException, slots: set[tuple[str, str, int]]) -> BaseException:
        """`explained` for what was to be published: asset, partition and token of each output."""
        if not isinstance(failure, StorageError):
            return failure
        try:
            held = self._execution.store.held(self._execution.run)
        except AssetsError:
            return failure
        if slots <= {(one.asset, one.partition, one.token) for one in held}:
            return failure
        asset, partition, _ = min(slots)
        lost = LeaseLostError(
            "Another run took this partition over; nothing of ours was published.",
            facts={"partition": f"{asset}@{partition}", "met": first_line(failure)},
            hint="Run again: what the other run built is kept when it is still right.",
        )
        lost.__cause__ = failure
        return lost

    # ---------------------------------------------------------------------------------------
    # Failing

    def fail(self, step: PlannedStep, attempt: int, error: BaseException, began: int) -> None:
        """A step failed for good."""
        status: AttemptStatus = "failed"
        if isinstance(error, LeaseLostError | PlanMovedError):
            status = "refused"
        self._note(step, attempt, status, error, began)
        self._leasing.let_go(step)
        key, message = step.key, first_line(error)
        code = error.exit_code if isinstance(error, AssetsError) else 1
        execution = self._execution
        with execution.lock:
            for asset in step.op.outputs:
                execution.totals.add(asset, "failed")
            execution.totals.failures.append(
                Failure(step.op.name, key, message, str(error), attempt, code)
            )
        execution.tell(step, "failed", message)
        self._block_readers(step, f"{step.op.name}@{key} failed")
        execution.decided(step)
        if isinstance(error, PlanMovedError):
            execution.stop("the code was changed after this run was planned")
        self._stop_after_failures()

    def _stop_after_failures(self) -> None:
        most = self._execution.options.max_failures
        if most and len(self._execution.totals.failures) >= most:
            self._execution.stop(
                "a step failed, and the first was to stop it"
                if most == 1
                else f"{most} steps failed, as many as --max-failures allows"
            )

    def _note(
        self,
        step: PlannedStep,
        attempt: int,
        status: AttemptStatus,
        error: BaseException,
        began: int,
    ) -> None:
        checks = error.checks if isinstance(error, ChecksError) else ()
        told, trace = str(error), user_traceback(error)
        self.note([(step, attempt)], status, began, told, traceback=trace, checks=checks)

    def note(
        self,
        attempts: Sequence[tuple[PlannedStep, int]],
        status: AttemptStatus,
        began: int,
        error: str,
        *,
        traceback: str = "",
        checks: tuple[CheckOutcome, ...] = (),
    ) -> None:
        """Record attempts (each by its number) that did not publish."""
        finished = time.time_ns() // 1000
        notes = tuple(
            Attempt(
                run=self._execution.run,
                environment=self._execution.environment,
                asset=asset,
                partition=step.key,
                attempt=attempt,
                status=status,
                started=began,
                finished=finished,
                error=error,
                traceback=traceback,
                checks=checks,
            )
            for step, attempt in attempts
            for asset in step.op.outputs
        )
        self._recorder.submit_quietly(Note(notes))

    # ---------------------------------------------------------------------------------------
    # Blocking

    def hold_back(self, step: PlannedStep, why: str) -> None:
        """A step can't run after all: it and what needs it are blocked."""
        self._blocked(step, why)
        self._block_readers(step, f"{step.op.name}@{step.key} is blocked")
        self._execution.decided(step)

    def _block_readers(self, step: PlannedStep, cause: str) -> None:
        with self._execution.lock:
            blocked, woken = self._execution.board.block_readers(step)
            if woken:
                self._execution.lock.notify(woken)
        for reader in blocked:
            self._blocked(reader, cause)

    def _blocked(self, step: PlannedStep, reason: str) -> None:
        self._leasing.let_go(step)
        key, totals = step.key, self._execution.totals
        with self._execution.lock:
            for asset in step.op.outputs:
                totals.add(asset, "blocked")
                totals.blocked.append((asset, key, reason))
        self._execution.tell(step, "blocked", reason)

    # ---------------------------------------------------------------------------------------
    # What can't run from the beginning

    def count_unseen(self) -> None:
        """A source partition that could not be looked at failed, as a step does."""
        at, notes = time.time_ns() // 1000, []
        totals = self._execution.totals
        for source, key, error in self._execution.plan.unseen():
            totals.add(source, "failed")
            totals.failures.append(Failure(source, key, first_line(error), str(error), 1))
            notes.append(
                Attempt(
                    run=self._execution.run,
                    environment=self._execution.environment,
                    asset=source,
                    partition=key,
                    attempt=1,
                    status="failed",
                    started=at,
                    finished=at,
                    error=str(error),
                    traceback=user_traceback(error),
                )
            )
        if notes:
            self._recorder.submit_quietly(Note(tuple(notes)))
            self._stop_after_failures()

    def count_waiting(self) -> None:
        """What waits for partitions that are missing is blocked."""
        totals = self._execution.totals
        unseen = {(source, key) for source, key, _ in self._execution.plan.unseen()}
        for waiting in self._execution.plan.waiting():
            totals.add(waiting.asset, "blocked")
            failed = next((slot for slot in waiting.missing if slot in unseen), None)
            cause = waiting.told
            if failed is not None:
                cause = f"{failed[0]}@{failed[1]} could not be observed"
            totals.blocked.append((waiting.asset, waiting.partition, cause))
