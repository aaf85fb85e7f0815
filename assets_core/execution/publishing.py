"""From what lies staged to what is published: the facts of builds, and their stores' receipts.

What has not changed is not published again. What is published is recorded by ``recording``; a
failure here is handed back to whoever made the attempt.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from assets_core.contracts import Staged
from assets_core.declare.asset import Asset
from assets_core.durations import parse_duration
from assets_core.errors import AssetsError, StorageError
from assets_core.execution import bulk
from assets_core.execution.board import PlannedStep
from assets_core.execution.execution import Execution
from assets_core.execution.fact_json import fact_to_json
from assets_core.execution.preparing import Build
from assets_core.execution.recording import Recording
from assets_core.execution.sealing import Sealing
from assets_core.execution.task import Outcome, StagedOutput, Task
from assets_core.execution.views import is_new
from assets_core.planning.staleness import CODE, FORCED
from assets_core.records import Materialization, Receipt, with_reads

Built = tuple[Build, Outcome]


@dataclass(slots=True)
class _Sealing:
    """The records of a call's partitions while they come together, by position in the call."""

    facts: list[list[Materialization]]
    errors: dict[int, AssetsError] = field(default_factory=dict)


class Publishing:
    """Publishes what attempts have made."""

    def __init__(self, execution: Execution, recording: Recording, sealing: Sealing) -> None:
        self._execution = execution
        self._sealing = sealing
        self._recording = recording

    def publish(self, build: Build, outcome: Outcome) -> None:
        """Publish all outputs of a step, and have them recorded.

        Raises what a store raised; outputs that were published before that are recorded.
        """
        self._execution.took((time.time_ns() // 1000 - outcome.started) / 1e6)
        facts: list[Materialization] = []
        try:
            for asset, output in outcome.made.items():
                facts.append(self._sealed(asset, build, outcome, output))
        except Exception:
            self._keep(facts)
            raise
        self._recording.record([(build, facts)])

    def publish_many(self, built: Sequence[Built], size: int) -> list[tuple[Build, AssetsError]]:
        """`publish` for what came of a call for ``size`` partitions; which of them failed alone,
        and why. Raises what failed all of them."""
        self._share_out(built, size)
        sealing = _Sealing([[] for _ in built])
        try:
            for asset in built[0][0].step.op.outputs:
                self._seal(asset, built, sealing)
        except Exception:
            for facts in sealing.facts:
                self._keep(facts)
            raise
        good = [at for at in range(len(built)) if at not in sealing.errors]
        self._recording.record([(built[at][0], sealing.facts[at]) for at in good])
        for at in sealing.errors:
            self._keep(sealing.facts[at])
        return [(built[at][0], error) for at, error in sealing.errors.items()]

    def _share_out(self, built: Sequence[Built], size: int) -> None:
        """What one of a call took is its share, so that sums and estimates hold."""
        now = time.time_ns() // 1000
        share = (now - built[0][1].started) // size
        for _, outcome in built:
            outcome.started = now - share
        self._execution.took(share / 1e6)

    def _keep(self, facts: Iterable[Materialization]) -> None:
        self._recording.keep(
            [f for f in facts if is_new(f) and self._execution.manager_of(f.asset).transactional]
        )

    # ---------------------------------------------------------------------------------------
    # One partition

    def _sealed(
        self, asset: str, build: Build, outcome: Outcome, output: StagedOutput
    ) -> Materialization:
        """Publish to the store, or keep the version that is there when nothing changed."""
        fact = self._fact(asset, build, outcome, output)
        if fact.receipt.kind == "none":
            return fact
        manager = self._execution.manager_of(asset)
        if self._can_stay(build.step, fact):
            manager.discard(output.staged)
            return self._as_it_was(build.step, fact)
        fact = self._told_unchanged(build.step, fact)
        told = fact_to_json(fact) if manager.transactional else ""
        receipt = self._sealing.publish(fact.receipt.store, output.staged, fact.receipt, told)
        return replace(fact, receipt=receipt)

    def _fact(
        self, asset: str, build: Build, outcome: Outcome, output: StagedOutput
    ) -> Materialization:
        staged, task = output.staged, build.task
        declared = self._execution.runtime.graph.assets[asset]
        return Materialization(
            environment=self._execution.environment,
            asset=asset,
            partition=task.partition.key,
            code=with_reads(self._execution.codes[asset], outcome.traced),
            input_digest=build.digest,
            data_version=output.version,
            receipt=Receipt(
                store=declared.io,
                kind=staged.kind,
                location=staged.location,
                token=staged.target.token,
                rows=staged.rows,
                bytes=staged.bytes,
                rejects=staged.rejects,
                rejected=staged.rejected,
            ),
            started=outcome.started,
            finished=time.time_ns() // 1000,
            run=self._execution.run,
            token=staged.target.token,
            attempt=task.attempt,
            inputs=build.reads,
            checks=output.checks,
            metadata=outcome.metadata,
            schema=output.schema,
            deadline=_deadline_of(declared, task),
        )

    # ---------------------------------------------------------------------------------------
    # Many

    def _seal(self, asset: str, built: Sequence[Built], sealing: _Sealing) -> None:
        """Publish one output of all partitions to its store; what is unchanged stays as it is."""
        manager = self._execution.manager_of(asset)
        publishing: list[tuple[int, Staged, Materialization]] = []
        leaving: list[Staged] = []
        for at, (build, outcome) in enumerate(built):
            if at in sealing.errors:
                continue
            staged = outcome.made[asset].staged
            fact = self._fact(asset, build, outcome, outcome.made[asset])
            if self._can_stay(build.step, fact):
                sealing.facts[at].append(self._as_it_was(build.step, fact))
                leaving.append(staged)
            else:
                publishing.append((at, staged, self._told_unchanged(build.step, fact)))
        texts = [fact_to_json(f) if manager.transactional else "" for _, _, f in publishing]
        each = [staged for _, staged, _ in publishing]
        results = bulk.publish_many(manager, each, texts) if publishing else []
        for (at, _, fact), result in zip(publishing, results, strict=True):
            if isinstance(result, Receipt):
                sealing.facts[at].append(replace(fact, receipt=result))
            else:
                sealing.errors[at] = result
        bulk.discard_many(manager, leaving)

    # ---------------------------------------------------------------------------------------
    # What has not changed

    def _told_unchanged(self, step: PlannedStep, fact: Materialization) -> Materialization:
        return replace(fact, kind="unchanged") if self._has_same_content(step, fact) else fact

    def _as_it_was(self, step: PlannedStep, fact: Materialization) -> Materialization:
        known = self._execution.current.receipt(fact.asset, step.ordinal)
        return replace(fact, kind="unchanged", receipt=known)

    def _has_same_content(self, step: PlannedStep, fact: Materialization) -> bool:
        """Whether the data version is the one before: nothing downstream need run.

        A step that is forced, or invalidated, is told as done: it was asked to be written again,
        and is.
        """
        current, ordinal = self._execution.current, step.ordinal
        if not current.id(fact.asset, ordinal) or step.reasons & FORCED:
            return False
        if current.is_invalidated(fact.asset, ordinal):
            return False
        return current.version(fact.asset, ordinal) == fact.data_version

    def _can_stay(self, step: PlannedStep, fact: Materialization) -> bool:
        """Whether the version that is there can stay: also what the data version leaves out
        (excluded columns, rejects) is as it was."""
        declared = self._execution.runtime.graph.assets[fact.asset]
        if declared.exclude or not self._has_same_content(step, fact):
            return False
        known = self._execution.current.receipt(fact.asset, step.ordinal)
        same_store = (known.store, known.kind) == (fact.receipt.store, fact.receipt.kind)
        if not same_store or known.rejected or fact.receipt.rejected:
            return False
        # A store that was moved to another place has the same name and none of the old versions.
        return not step.reasons & CODE or self._is_there(known)

    def _is_there(self, receipt: Receipt) -> bool:
        manager = self._execution.runtime.io[receipt.store]
        try:
            if receipt.kind == "file":
                return manager.path(receipt).is_file()
            manager.open([receipt]).close()
        except StorageError:
            return False
        return True

    # ---------------------------------------------------------------------------------------
    # What is not published

    def discard(self, outcome: Outcome) -> None:
        """Remove what an attempt staged that will not be published."""
        for asset, output in outcome.made.items():
            # A store that is in trouble is swept at the end, or by the next command.
            with contextlib.suppress(OSError, AssetsError):
                if output.staged.kind != "none":
                    self._execution.manager_of(asset).discard(output.staged)

    def discard_many(self, outcomes: Iterable[Outcome]) -> None:
        """`discard` for what came of a call."""
        by_asset: dict[str, list[Staged]] = {}
        for outcome in outcomes:
            for asset, output in outcome.made.items():
                by_asset.setdefault(asset, []).append(output.staged)
        for asset, staged in by_asset.items():
            bulk.discard_many(self._execution.manager_of(asset), staged)


def _deadline_of(asset: Asset, task: Task) -> int:
    """The freshness deadline of a partition in µs since 1970 UTC; 0 without one."""
    freshness, end = asset.freshness, task.partition.end
    if freshness is None or end is None:
        return 0
    return int((end + parse_duration(freshness.lands_within)).timestamp() * 1_000_000)
