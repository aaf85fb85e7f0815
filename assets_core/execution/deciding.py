"""Whether a leased step has to be built, now that all that it reads is decided."""

from __future__ import annotations

import time
from collections.abc import Iterator

from assets_core.errors import AssetsError
from assets_core.execution.board import PlannedStep
from assets_core.execution.execution import Execution
from assets_core.execution.failing import Failing
from assets_core.execution.preparing import Build, Preparing
from assets_core.execution.recording import Recording
from assets_core.execution.rows import Rows
from assets_core.execution.withdrawing import Withdrawing
from assets_core.graph import Input
from assets_core.partitions import Edge
from assets_core.planning.missing_inputs import MissingInput, is_enough
from assets_core.planning.staleness import FORCED, WITHDRAWN
from assets_core.records import Version


class Deciding:
    """Releases what is fresh, blocks what lacks something, withdraws what is to be withdrawn."""

    def __init__(
        self,
        execution: Execution,
        preparing: Preparing,
        recording: Recording,
        failing: Failing,
        withdrawing: Withdrawing,
    ) -> None:
        self._execution = execution
        self._preparing = preparing
        self._recording = recording
        self._failing = failing
        self._withdrawing = withdrawing
        self._waiting = {b.op.name: Rows(b.ordinals) for b in execution.plan.waiting_batches}

    def build(self, step: PlannedStep) -> Build | None:
        """The next attempt at a step; None when it is done with and was not to be built."""
        if not self._can_be_built(step):
            return None
        with self._execution.lock:
            digested = self._execution.current.digest(step.op, step.ordinal)
            if self._is_stale(step, digested[0]):
                self._execution.board.take(step)
                return self._preparing.build(step, digested)
        self._recording.release(step)
        return None

    def needs_build(self, step: PlannedStep) -> bool:
        """Whether a step is to be built; if not, it is done with."""
        if not self._can_be_built(step):
            return False
        digest, _ = self._execution.current.digest(step.op, step.ordinal)
        if self._is_stale(step, digest):
            return True
        self._recording.release(step)
        return False

    def _is_stale(self, step: PlannedStep, digest: Version) -> bool:
        if step.reasons & FORCED:
            return True
        return self._execution.current.is_stale(step.op, step.ordinal, digest)

    def _can_be_built(self, step: PlannedStep) -> bool:
        if step.reasons & WITHDRAWN:
            self._withdrawing.run(step)
            return False
        return self._has_enough(step)

    def _has_enough(self, step: PlannedStep) -> bool:
        """Whether enough of each input is there; blocks the step when it isn't.

        Asked where an input may be incomplete: a failure up there has blocked the readers of
        everything at once.
        """
        steps = step.steps
        if not steps.lenient and (steps.early is None or not steps.early[step.row]):
            return True
        try:
            missing = [str(one) for one in self._missing_inputs(step)]
        except AssetsError as error:  # a function of the user's own was asked
            self._failing.fail(step, 1, error, time.time_ns() // 1000)
            return False
        if missing:
            self._failing.hold_back(step, f"waits for {'; '.join(missing)}")
        return not missing

    def _missing_inputs(self, step: PlannedStep) -> Iterator[MissingInput]:
        for read, edge in step.steps.edges:
            missing = self._missing_input(read, edge, step.ordinal)
            if missing is not None:
                yield missing

    def _missing_input(self, read: Input, edge: Edge, ordinal: int) -> MissingInput | None:
        """What is missing of an input, if it is too much.

        What failed in this run counts as missing, though an older version may be there.
        """
        plan, current = self._execution.plan, self._execution.current
        name = plan.graph.op_of[read.asset].name
        at = plan.expected(read, edge.upstream(ordinal))
        with self._execution.lock:
            gone = ~current.there_at(read.asset, at)
            upstream = self._execution.board.by_op.get(name)
            if upstream is not None:
                gone |= upstream.lost_at(at)
        waiting, unobservable = self._waiting.get(name), plan.unobservable.get(name)
        if waiting is not None:
            gone |= waiting.match(at)[0]
        if unobservable is not None:
            gone |= unobservable[at]
        if not gone.any() or is_enough(read, at, gone, current.spaces[read.asset]):
            return None
        return plan.missing_input(read, at[gone], len(at))
