"""Takes a partition out that nothing is left to build from: the engine's step that builds nothing.

A withdrawal is leased, fenced and recorded as a publish is; its record has no data version. What
is withdrawn, and why, is decided by ``staleness``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from assets_core.contracts import ConcealingIOManager, Staged, Target
from assets_core.errors import StorageError
from assets_core.execute.facts import fact_to_json
from assets_core.execute.step import Outcome
from assets_core.records import NO_VERSION, WITHDRAWN_FOR, InputRead, Materialization, Receipt

if TYPE_CHECKING:
    from assets_core.execute.engine import Engine, OpState
    from assets_core.execute.step import Task
    from assets_core.records import Version


class Withdrawing:
    """The engine's hand for steps that take their partition out."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, state: OpState, ordinal: int) -> None:
        """Withdraw a leased step's partition, or hold it back when there is something to read."""
        engine = self._engine
        engine._refresh()  # rare, and what came back meanwhile must not be taken out
        if not self._nothing_left(state, ordinal):
            why = "what it reads is there again since the plan was made; plan again"
            engine._hold_back(state, ordinal, why)
            return
        with engine._lock:
            digest, sums = engine._digests.one(state.op, ordinal)
            task = engine._task(state, ordinal, digest, inputs=False)
            reads = engine._reads(state, ordinal, sums)
        engine._tell(state, ordinal, "started")
        outcome = Outcome(metadata=self._told(state, ordinal), started=time.time_ns() // 1000)
        facts: list[Materialization] = []
        try:
            for asset, target in task.targets.items():
                fact = self._fact(asset, task, outcome, digest, reads)
                facts.append(self._taken_out(asset, ordinal, target, fact))
        except Exception as error:  # noqa: BLE001 - any failure belongs to its step alone
            engine._keep_published(facts)
            engine.left_behind = True
            engine._failed(state, ordinal, task, engine._explained(task, error), outcome.started)
            return
        engine._commit(state, ordinal, facts, outcome)

    def _nothing_left(self, state: OpState, ordinal: int) -> bool:
        """Whether some input maps to partitions of which none has data any more."""
        engine = self._engine
        with engine._lock:
            for read, edge in state.edges:
                at, own = edge.upstream(ordinal), read.asset in state.op.outputs
                there = engine._facts.assets[read.asset].there_at(at)
                if len(at) and not (own or there.any()):
                    return True
        return False

    def _told(self, state: OpState, ordinal: int) -> dict[str, object]:
        bits = int(state.reasons[ordinal])
        reason = self._engine.plan.explain(state.op.name, ordinal, bits)[0]
        return {WITHDRAWN_FOR: {"by": "", "reason": reason.detail}}

    def _fact(
        self,
        asset: str,
        task: Task,
        outcome: Outcome,
        digest: Version,
        reads: tuple[InputRead, ...],
    ) -> Materialization:
        engine = self._engine
        token = task.targets[asset].token
        return Materialization(
            environment=engine.plan.environment,
            asset=asset,
            partition=task.partition.key,
            code=engine.codes[asset],
            input_digest=digest,
            data_version=NO_VERSION,
            receipt=Receipt(engine.runtime.graph.assets[asset].io, "none", "", token),
            started=outcome.started,
            finished=time.time_ns() // 1000,
            run=engine.run,
            token=token,
            attempt=task.attempt,
            kind="withdrawn",
            inputs=reads,
            metadata=outcome.metadata,
        )

    def _taken_out(
        self, asset: str, ordinal: int, target: Target, fact: Materialization
    ) -> Materialization:
        """Let a transactional store remove what it shows; a catalog's view follows the record."""
        engine = self._engine
        own = engine._facts.assets[asset]
        manager = engine.runtime.io[engine.runtime.graph.assets[asset].io]
        if not manager.transactional or not own.has(ordinal):
            return fact
        if engine._receipt(int(own.id[ordinal])).kind == "none":
            return fact  # an asset that writes by itself: what it wrote is not ours to remove
        manager.publish(Staged(target, "none", ""), fact_to_json(fact))
        return fact

    def conceal(self, fact: Materialization) -> None:
        """A recorded withdrawal leaves the outside view."""
        engine = self._engine
        manager = engine.runtime.io[fact.receipt.store]
        if manager.transactional or not isinstance(manager, ConcealingIOManager):
            return
        declared = engine.runtime.graph.assets[fact.asset]
        parts = declared.partitions.path_parts(fact.partition)
        try:
            manager.conceal(fact.environment, fact.asset, parts)
        except StorageError:
            # It is recorded, so it is done; the view is mended at the end, or the run fails.
            engine._unexposed.setdefault(fact.asset, set()).add(fact.partition)
