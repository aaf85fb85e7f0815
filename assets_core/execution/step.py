"""One attempt at one step: load the inputs, call, stage, audit.

What happens here touches nothing that a reader can see and nothing of the state store, so it
runs in a worker thread or in a worker process alike. The caller publishes what comes back.
"""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets_core.contracts import IOManager, Query, QueryingIOManager, Staged, Target
from assets_core.declare.asset import Asset
from assets_core.errors import OutputError, StorageError
from assets_core.execution import bulk
from assets_core.execution.auditing import (
    Size,
    admit_schema,
    count_rejects,
    judge,
    refuse_unkept,
    scan,
)
from assets_core.execution.calling import call, plain_metadata, stamped, traced, users_errors
from assets_core.execution.context import Context, stacked
from assets_core.execution.inputs import load_inputs
from assets_core.execution.membership import guard_of
from assets_core.execution.query import as_query, runs_inside
from assets_core.execution.schemas import schema_text
from assets_core.execution.task import Outcome, Runtime, StagedOutput, Task
from assets_core.faults import reach
from assets_core.fingerprint.data_version import file_version, unique_version
from assets_core.graph import Op
from assets_core.partitions import Partitions

if TYPE_CHECKING:
    import pyarrow as pa

_UNANNOTATED = inspect.Signature.empty


def run_step(runtime: Runtime, task: Task) -> Outcome:
    """Run one attempt up to the point of publishing.

    Raises StepError or StorageError; UserCodeError has the user's exception as its cause.
    Whatever was staged is discarded when it raises.
    """
    op = runtime.graph.op_of[task.op]
    outcome = Outcome(started=time.time_ns() // 1000)
    with contextlib.ExitStack() as held:
        asset = runtime.graph.assets[op.name]
        inside = asset.kind == "sql" and runs_inside(asset, runtime.manager_of(op.name))
        values = load_inputs(runtime, op, task.inputs, held, asset.io if inside else "")
        reach("execute.loaded")
        outcome.loaded = time.time_ns() // 1000
        context = _context(runtime, task)
        with traced(runtime, op, values) as reads:
            results: dict[str, Any]
            if inside:
                ordered = {i.name for i in op.inputs if runtime.graph.assets[i.asset].is_ordered}
                results = {op.name: as_query(asset, values, task.partition, ordered)}
            else:
                results = call(runtime, op, Partitions((task.partition,)), values, context)
            reach("execute.called")
            outcome.called = time.time_ns() // 1000
            _make_all(runtime, op, stamped(task, reads.so_far()), results, context, outcome)
        outcome.traced = reads.found
    outcome.metadata = plain_metadata(context.metadata)
    return outcome


def _context(runtime: Runtime, task: Task) -> Context:
    return Context(
        asset=task.op,
        partition=task.partition,
        partitions=Partitions((task.partition,)),
        run_id=task.run,
        attempt=task.attempt,
        resources=runtime.resources,
    )


def _make_all(
    runtime: Runtime,
    op: Op,
    task: Task,
    results: dict[str, Any],
    context: Context,
    outcome: Outcome,
) -> None:
    staged: list[tuple[IOManager, Staged]] = []
    try:
        for name, value in results.items():
            maker = _Maker(runtime, runtime.graph.assets[name], task, context, staged.append)
            outcome.made[name] = maker.make(value, op)
        refuse_unkept(op, context)
    except BaseException:
        for manager, leftover in staged:
            # The first error is what matters; a store that is in trouble is swept later.
            with contextlib.suppress(OSError, StorageError):
                manager.discard(leftover)
        raise


@dataclass
class _Maker:
    """Stages and audits one output."""

    runtime: Runtime
    asset: Asset
    task: Task
    context: Context
    remember: Callable[[tuple[IOManager, Staged]], None]

    def make(self, value: Any, op: Op) -> StagedOutput:
        from assets_core.tabular.outputs import to_reader

        target = self.task.targets[self.asset.name]
        manager = self.runtime.io[self.asset.io]
        if isinstance(value, Query):
            return self._inside(manager, target, value)
        with users_errors(self.asset, target.partition):
            output = to_reader(value, what=f"asset {self.asset.name!r}")
        if output.path is not None:
            return self._file(manager, target, output.path)
        data = output.table if output.table is not None else output.reader
        if data is None:
            return self._nothing(target, op)
        if output.table is not None:
            self._policy(output.table.schema)
        with users_errors(self.asset, target.partition), output.consuming():
            staged = bulk.lay(manager, target, data)
        self.remember((manager, staged))
        staged = self._rejects(manager, staged)
        return self._audit(manager, staged, known=output.table is not None)

    def _inside(self, manager: IOManager, target: Target, query: Query) -> StagedOutput:
        assert isinstance(manager, QueryingIOManager)
        staged = manager.stage_query(target, query, hold=self.runtime.publishes)
        self.remember((manager, staged))
        return self._audit(manager, staged, known=False)

    def _nothing(self, target: Target, op: Op) -> StagedOutput:
        returns = op.signature.returns
        if returns not in (None, type(None)) and returns is not _UNANNOTATED:
            raise OutputError(
                "The function returned None.",
                facts={"asset": self.asset.name, "annotated": f"-> {_name(returns)}"},
                hint="Return the data; annotate '-> None' if the function writes it by itself.",
            )
        self._refuse_demands("None")
        return StagedOutput(Staged(target, "none", ""), unique_version())

    def _refuse_demands(self, returned: str) -> None:
        """What can't be judged must not pass for good."""
        asset = self.asset
        if asset.demands:
            raise OutputError(
                f"Asset {asset.name!r} has {asset.demands[0]}=, and its function returned "
                f"{returned}, which has no rows.",
                facts={"asset": asset.name},
                hint=f"Return the rows, or drop {asset.demands[0]}=.",
            )

    def _file(self, manager: IOManager, target: Target, path: Path) -> StagedOutput:
        if not path.is_file():
            raise OutputError(
                f"The returned path {str(path)!r} is not a file.",
                facts={"asset": self.asset.name},
                hint="Write one file and return its path; it is copied into the store.",
            )
        self._refuse_demands("a file")
        staged = manager.stage(target, path)
        self.remember((manager, staged))
        return StagedOutput(self._rejects(manager, staged), file_version(path))

    def _rejects(self, manager: IOManager, staged: Staged) -> Staged:
        rejected = self.context.rejected.pop(self.asset.name, None)
        if not rejected:
            return staged
        table = stacked(rejected)
        count_rejects(self.asset, self.task.partition, table, staged.rows)
        return manager.stage_rejects(staged, table)

    def _policy(self, schema: pa.Schema) -> str:
        return admit_schema(self.runtime, self.asset, self.task.schemas, schema)

    def _audit(self, manager: IOManager, staged: Staged, *, known: bool) -> StagedOutput:
        """Read back what lies on the store; fingerprint it and check it, in one scan."""
        reader = manager.audit(staged)
        # A stream's schema is known only now; a table's was looked at before it was staged.
        text = schema_text(reader.schema) if known else self._policy(reader.schema)
        asset, partition = self.asset, self.task.partition
        inside = guard_of(asset, partition, reader.schema)
        size = Size()
        version, outcomes = scan(
            asset,
            partition,
            reader.schema,
            size.of(reader),
            lambda: manager.audit(staged),
            inside,
        )
        reach("audit.done")
        judge(asset, partition, outcomes)
        # Rows that a query made in the store are seen here for the first time.
        staged = staged if staged.bytes else replace(staged, bytes=size.bytes)
        return StagedOutput(staged, version, text, outcomes)


def _name(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)
