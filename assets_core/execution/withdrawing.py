"""Takes a partition out that nothing is left to build from: a step that builds nothing.

A withdrawal is leased, fenced and recorded as a publish is; its record has no data version. What
is withdrawn, and why, is decided by ``staleness``.
"""

from __future__ import annotations

import time

from assets_core.contracts import Staged, Target
from assets_core.execution.board import PlannedStep
from assets_core.execution.execution import Execution
from assets_core.execution.fact_json import fact_to_json
from assets_core.execution.failing import Failing
from assets_core.execution.preparing import Build, Preparing
from assets_core.execution.recording import Recording
from assets_core.records import NO_VERSION, WITHDRAWN_FOR, Materialization, Receipt


class Withdrawing:
    """Runs the steps that take their partition out."""

    def __init__(
        self,
        execution: Execution,
        preparing: Preparing,
        recording: Recording,
        failing: Failing,
    ) -> None:
        self._execution = execution
        self._preparing = preparing
        self._recording = recording
        self._failing = failing

    def run(self, step: PlannedStep) -> None:
        """Withdraw a leased step's partition, or hold it back when there is something to read."""
        self._execution.current.refresh()  # rare, and what came back must not be taken out
        if not self._nothing_left(step):
            why = "what it reads is there again since the plan was made; plan again"
            self._failing.hold_back(step, why)
            return
        build = self._preparing.build(step, inputs=False)
        self._execution.tell(step, "started")
        began = time.time_ns() // 1000
        facts: list[Materialization] = []
        try:
            for asset, target in build.task.targets.items():
                facts.append(self._taken_out(step, target, self._fact(asset, build, began)))
        except Exception as error:  # noqa: BLE001 - any failure belongs to its step alone
            self._keep(facts)
            self._failing.failed(step, build.task, error, began)
            return
        self._recording.record([(build, facts)])

    def _nothing_left(self, step: PlannedStep) -> bool:
        """Whether some input maps to partitions of which none has data any more."""
        current = self._execution.current
        with self._execution.lock:
            for read, edge in step.steps.edges:
                at, own = edge.upstream(step.ordinal), read.asset in step.op.outputs
                if len(at) and not (own or current.there_at(read.asset, at).any()):
                    return True
        return False

    def _keep(self, facts: list[Materialization]) -> None:
        self._recording.keep(
            [fact for fact in facts if self._execution.manager_of(fact.asset).transactional]
        )

    def _fact(self, asset: str, build: Build, began: int) -> Materialization:
        step, task = build.step, build.task
        reason = self._execution.plan.explain(step.op.name, step.ordinal, step.reasons)[0]
        token = task.targets[asset].token
        return Materialization(
            environment=self._execution.environment,
            asset=asset,
            partition=task.partition.key,
            code=self._execution.codes[asset],
            input_digest=build.digest,
            data_version=NO_VERSION,
            receipt=Receipt(self._execution.runtime.graph.assets[asset].io, "none", "", token),
            started=began,
            finished=time.time_ns() // 1000,
            run=self._execution.run,
            token=token,
            attempt=task.attempt,
            kind="withdrawn",
            inputs=build.reads,
            metadata={WITHDRAWN_FOR: {"by": "", "reason": reason.detail}},
        )

    def _taken_out(
        self, step: PlannedStep, target: Target, fact: Materialization
    ) -> Materialization:
        """Let a transactional store remove what it shows; a catalog's view follows the record."""
        asset, ordinal = fact.asset, step.ordinal
        current, manager = self._execution.current, self._execution.manager_of(asset)
        if not manager.transactional or not current.has(asset, ordinal):
            return fact
        if current.receipt(asset, ordinal).kind == "none":
            return fact  # an asset that writes by itself: what it wrote is not ours to remove
        manager.publish(Staged(target, "none", ""), fact_to_json(fact))
        return fact
