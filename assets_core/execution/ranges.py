"""One call for several partitions: load their inputs as one, call, tell the rows apart, audit each.

Like ``step``, which does it for one: nothing that a reader can see is touched, nothing is
published. A result is whole in memory while it is told apart, a stream too; fewer partitions to
a call (``Batch.max_partitions``) need less.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from assets_core.contracts import IOManager, Staged, Target
from assets_core.declare.asset import Asset
from assets_core.errors import AssetsError, OutputError
from assets_core.execution import bulk
from assets_core.execution.auditing import (
    admit_schema,
    count_rejects,
    judge,
    refuse_unkept,
    scan,
)
from assets_core.execution.calling import call, plain_metadata, stamped, traced, users_errors
from assets_core.execution.context import Context, stacked
from assets_core.execution.inputs import load_inputs
from assets_core.execution.range_splitting import split
from assets_core.execution.schemas import schema_text
from assets_core.execution.step import run_step
from assets_core.execution.task import (
    AnyOutcome,
    AnyTask,
    Outcome,
    RangeOutcome,
    RangeTask,
    Runtime,
    StagedOutput,
)
from assets_core.faults import reach
from assets_core.partitions import Partitions

if TYPE_CHECKING:
    import pyarrow as pa


def run_any(runtime: Runtime, task: AnyTask) -> AnyOutcome:
    """Run one attempt at a step, or at several in one call."""
    return run_range(runtime, task) if isinstance(task, RangeTask) else run_step(runtime, task)


def run_range(runtime: Runtime, task: RangeTask) -> RangeOutcome:
    """Run one call up to the point of publishing.

    Raises what fails the call as a whole, as `run_step` does; then nothing is left staged.
    """
    op = runtime.graph.op_of[task.op]
    partitions = task.partitions
    started = time.time_ns() // 1000
    with contextlib.ExitStack() as held:
        values = load_inputs(runtime, op, task.inputs, held)
        reach("execute.loaded")
        loaded = time.time_ns() // 1000
        context = _context(runtime, task, partitions)
        with traced(runtime, op, values) as reads:
            results = call(runtime, op, partitions, values, context)
            reach("execute.called")
            called = time.time_ns() // 1000
            tasks = tuple(stamped(one, reads.so_far()) for one in task.tasks)
            made = replace(task, tasks=tasks)
            each = _make_all(runtime, made, partitions, results, context)
    metadata = plain_metadata(context.metadata)
    for outcome in each:
        if isinstance(outcome, Outcome):
            outcome.started, outcome.loaded, outcome.called = started, loaded, called
            outcome.metadata = metadata
            outcome.traced = reads.found
    return RangeOutcome(each)


def _context(runtime: Runtime, task: RangeTask, partitions: Partitions) -> Context:
    return Context(
        asset=task.op,
        partition=partitions.first if len(partitions) == 1 else None,
        partitions=partitions,
        run_id=task.run,
        attempt=task.attempt,
        resources=runtime.resources,
    )


def _make_all(
    runtime: Runtime,
    task: RangeTask,
    partitions: Partitions,
    results: dict[str, Any],
    context: Context,
) -> list[Outcome | AssetsError]:
    each: list[Outcome | AssetsError] = [Outcome() for _ in task.tasks]
    staged: list[tuple[IOManager, list[Staged]]] = []
    try:
        for name, value in results.items():
            maker = _RangeMaker(runtime, runtime.graph.assets[name], task, partitions, context)
            staged.append((maker.manager, maker.stage(value)))
            maker.audit(staged[-1][1], each)
        refuse_unkept(runtime.graph.op_of[task.op], context)
    except BaseException:
        for manager, leftovers in staged:
            bulk.discard_many(manager, leftovers)
        raise
    reach("audit.done")
    return each


@dataclass
class _RangeMaker:
    """Stages and audits one output of all partitions."""

    runtime: Runtime
    asset: Asset
    task: RangeTask
    partitions: Partitions
    context: Context
    rejects: list[pa.Table] | None = None

    @property
    def manager(self) -> IOManager:
        return self.runtime.io[self.asset.io]

    @property
    def targets(self) -> list[Target]:
        return [task.targets[self.asset.name] for task in self.task.tasks]

    def stage(self, value: Any) -> list[Staged]:
        """Lay each partition's rows down; rejects follow with the audit."""
        table = self._table(value)
        admit_schema(self.runtime, self.asset, self.task.tasks[0].schemas, table.schema)
        tables = split(self.asset, self.partitions, table, "the result")
        self.rejects = self._rejects()
        return bulk.stage_many(self.manager, self.targets, tables)

    def _table(self, value: Any) -> pa.Table:
        from assets_core.tabular.outputs import to_reader

        with users_errors(self.asset, self.partitions.key):
            output = to_reader(value, what=f"asset {self.asset.name!r}")
            if output.table is not None:
                return output.table
            if output.reader is not None:
                with output.consuming():
                    return output.reader.read_all()
        what = "None" if output.path is None else f"the path {str(output.path)!r}"
        raise OutputError(
            f"The function returned {what} for {len(self.partitions)} partitions.",
            facts={"asset": self.asset.name, "partitions": self.partitions.key},
            hint="With batch= it returns the rows of all of them, told apart by "
            f"{self.asset.partition_column!r}.",
        )

    def _rejects(self) -> list[pa.Table] | None:
        rejected = self.context.rejected.pop(self.asset.name, None)
        if not rejected:
            return None
        return split(self.asset, self.partitions, stacked(rejected), "the rejected rows")

    def audit(self, staged: list[Staged], each: list[Outcome | AssetsError]) -> None:
        """Read back what lies on the store; fingerprint and check each partition by itself."""
        for at, table in enumerate(bulk.audit_many(self.manager, staged)):
            outcome = each[at]
            if not isinstance(outcome, Outcome):
                continue
            try:
                outcome.made[self.asset.name] = self._audit(at, staged, table)
            except AssetsError as error:
                # Its own rows, its own fault: the others don't wait for it.
                each[at] = error
        self._let_go(staged, each)

    def _audit(self, at: int, staged: list[Staged], table: pa.Table) -> StagedOutput:
        partition = self.partitions[at]
        staged[at] = self._with_rejects(at, staged[at])
        version, outcomes = scan(self.asset, partition, table.schema, table.to_batches(), None)
        judge(self.asset, partition, outcomes)
        return StagedOutput(staged[at], version, schema_text(table.schema), outcomes)

    def _with_rejects(self, at: int, staged: Staged) -> Staged:
        rows = self.rejects[at] if self.rejects is not None else None
        if rows is None or not rows.num_rows:
            return staged
        count_rejects(self.asset, self.partitions[at], rows, staged.rows)
        return self.manager.stage_rejects(staged, rows)

    def _let_go(self, staged: list[Staged], each: Sequence[Outcome | AssetsError]) -> None:
        """What was laid down of partitions that failed is of no use; the others' stays."""
        failed = [
            one for one, got in zip(staged, each, strict=True) if not isinstance(got, Outcome)
        ]
        if len(failed) == len(staged):
            bulk.discard_many(self.manager, failed)
            return
        for one in failed:
            # A store that is in trouble is swept at the end of the run.
            with contextlib.suppress(OSError, AssetsError):
                self.manager.discard(one)
