"""Deciding steps by what is committed: publishes that are recorded, and steps released as fresh.

A step is decided when its record is committed (or refused), not before. That comes about on the
recorder's thread; how commits are made is its own business.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from assets_core.contracts import Operation, Publish, Refused
from assets_core.errors import LeaseLostError
from assets_core.execution.board import PlannedStep
from assets_core.execution.events import Result, StepEvent
from assets_core.execution.execution import Execution
from assets_core.execution.failing import Failing
from assets_core.execution.leasing import Leasing
from assets_core.execution.preparing import Build
from assets_core.execution.recorder import Done, Recorder
from assets_core.execution.sealing import Unsealed
from assets_core.execution.views import OutsideViews
from assets_core.records import Materialization, is_withdrawn

MOST_UNCOMMITTED = 64
"""Steps that may wait for their commit before further ones are begun."""


class Recording:
    """Takes what was published to the state store, and what comes of that to everybody else."""

    def __init__(
        self,
        execution: Execution,
        leasing: Leasing,
        recorder: Recorder,
        failing: Failing,
        views: OutsideViews,
    ) -> None:
        self._execution = execution
        self._leasing = leasing
        self._recorder = recorder
        self._failing = failing
        self._views = views

    def release(self, step: PlannedStep) -> None:
        """A step turned out to be fresh."""
        self._leasing.let_go(step)
        with self._execution.lock:
            for asset in step.op.outputs:
                self._execution.totals.add(asset, "released")
        self._execution.tell(step, "released")
        self._execution.decided(step)

    def record(self, made: Sequence[tuple[Build, list[Materialization]]]) -> None:
        """Queue the facts of these steps; each step is decided when all of its are committed."""
        if not made:
            return
        with self._execution.lock:
            self._execution.committing += len(made)
        queued: list[tuple[Operation, Done]] = []
        for build, facts in made:
            done = partial(self._heard, build, facts, {})
            queued += [(Publish(fact), partial(done, at)) for at, fact in enumerate(facts)]
        self._recorder.submit_many(queued)

    def keep(self, facts: Sequence[Materialization]) -> None:
        """One output failed to publish after others did: what shows in a store by itself is
        recorded, whatever becomes of the step."""
        for fact in facts:
            self._recorder.call(Publish(fact))
        if facts:
            self._execution.current.refresh()

    # ---------------------------------------------------------------------------------------
    # On the recorder's thread

    def _heard(
        self,
        build: Build,
        facts: Sequence[Materialization],
        results: dict[int, Any],
        at: int,
        result: Any,
    ) -> None:
        """One fact's commit is through; the step's, when all of them are."""
        results[at] = result
        if len(results) < len(facts):
            return
        try:
            self._decide(build, [(fact, results[i]) for i, fact in enumerate(facts)])
        finally:
            self._committed()

    def _decide(self, build: Build, results: Sequence[tuple[Materialization, Any]]) -> None:
        step = build.step
        for fact, result in results:
            if isinstance(result, Unsealed):
                if len(results) > 1:  # of its other outputs some may be recorded
                    self._execution.current.refresh()
                self._failing.failed(step, build.task, result.error, fact.started)
                return
            if isinstance(result, BaseException):
                self._execution.broken(result)
                return
            if isinstance(result, Refused):
                self._refused(step, fact, result)
                return
        self._leasing.forget(step)
        for fact, result in results:
            self._views.follow(fact, result.id)
            self._execution.current.apply(step.ordinal, fact, result.id)
            self._count(fact)
        self._execution.decided(step)

    def _committed(self) -> None:
        execution = self._execution
        with execution.lock:
            execution.committing -= 1
            if execution.stopped or execution.board.left == 0:
                execution.wake_all()
            elif execution.committing == MOST_UNCOMMITTED - 1:
                execution.lock.notify_all()
            elif not execution.committing:
                # A call that was to grow is made as it is once nothing more can join it.
                execution.lock.notify()

    def _refused(self, step: PlannedStep, fact: Materialization, refusal: Refused) -> None:
        error = LeaseLostError(
            "Another run took this partition over; nothing of ours was published.",
            facts={
                "partition": f"{fact.asset}@{fact.partition}",
                "our token": fact.token,
                "token now": refusal.token,
                "held by": refusal.holder or "nobody",
            },
            hint="Run again: what the other run built is kept when it is still right.",
        )
        self._leasing.forget(step)
        self._execution.left_behind = True
        self._failing.fail(step, fact.attempt, error, fact.started)

    def _count(self, fact: Materialization) -> None:
        warned = tuple(f"{c.name}: {c.message}" for c in fact.checks if not c.passed)
        kind: Result = "unchanged" if fact.kind == "unchanged" else "done"
        rows, rejected = fact.receipt.rows, fact.receipt.rejected
        totals = self._execution.totals
        with self._execution.lock:
            totals.rows += rows
            totals.rejected += rejected
            totals.warnings += len(warned)
            totals.add(fact.asset, kind)
        self._execution.tell_event(
            StepEvent(
                kind,
                fact.asset,
                fact.partition,
                (fact.finished - fact.started) / 1e6,
                rows,
                rejected,
                message="withdrawn" if is_withdrawn(fact) else "",
                warnings=warned,
            )
        )
