"""One attempt at one step: load the inputs, call, stage, audit.

What happens here touches nothing that a reader can see and nothing of the state store, so it
runs in a worker thread or in a worker process alike. The caller publishes what comes back.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets_core.asset import Asset
from assets_core.contracts import IOManager, Staged, Target
from assets_core.dataversion import file_version, unique_version
from assets_core.errors import (
    AssetsError,
    CheckFailedError,
    OutputError,
    StorageError,
    TooManyRejectsError,
    UserCodeError,
)
from assets_core.execute.context import REASON_COLUMN, Context, stacked
from assets_core.execute.inputs import InputData, load_inputs
from assets_core.execute.membership import guard_of
from assets_core.execute.query import run_query
from assets_core.execute.schemas import check_schema, schema_text
from assets_core.faults import reach
from assets_core.graph import Graph, Op
from assets_core.hashing import UnhashableError
from assets_core.partitions import Partition, Partitions
from assets_core.records import CheckOutcome, Code, Version, with_reads
from assets_core.tracing import Trace, tracing, unheard

if TYPE_CHECKING:
    import pyarrow as pa

    from assets_core.contents import Contents


@dataclass(frozen=True)
class Runtime:
    """What every step of a run shares: the graph, the stores, resources and config values.

    ``contents`` tells what else code reads; without it nothing is traced.
    """

    graph: Graph
    io: Mapping[str, IOManager]
    resources: Mapping[str, Any]
    config: Mapping[str, Any]
    environment: str = "prod"
    allow_schema_change: bool = False
    contents: Contents | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt, ready to run. Picklable.

    ``targets`` and ``schemas`` (what is published, empty when nothing is) go by output.
    """

    op: str
    partition: Partition
    path_parts: tuple[str, ...]
    attempt: int
    run: str
    targets: Mapping[str, Target]
    inputs: tuple[InputData, ...]
    schemas: Mapping[str, str]


@dataclass(slots=True)
class Made:
    """One staged and audited output."""

    staged: Staged
    version: Version
    schema: str = ""
    checks: tuple[CheckOutcome, ...] = ()


@dataclass(slots=True)
class Outcome:
    """What an attempt produced: outputs by asset, what the function noted, and what it read
    besides its inputs (kind, name and digest of each)."""

    made: dict[str, Made] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    started: int = 0
    loaded: int = 0
    called: int = 0
    traced: tuple[tuple[str, str, str], ...] = ()


class ChecksError(CheckFailedError):
    """A failed check, with the results of all checks for the record."""

    def __init__(self, message: str, checks: tuple[CheckOutcome, ...], **parts: Any) -> None:
        super().__init__(message, **parts)
        self.checks = checks


def run_step(runtime: Runtime, task: Task) -> Outcome:
    """Run one attempt up to the point of publishing.

    Raises StepError or StorageError; UserCodeError has the user's exception as its cause.
    Whatever was staged is discarded when it raises.
    """
    op = runtime.graph.op_of[task.op]
    outcome = Outcome(started=time.time_ns() // 1000)
    with contextlib.ExitStack() as held:
        values = load_inputs(runtime, op, task.inputs, held)
        reach("execute.loaded")
        outcome.loaded = time.time_ns() // 1000
        context = _context(runtime, task)
        with traced(runtime, op, values) as reads:
            results = call(runtime, op, Partitions((task.partition,)), values, context)
            reach("execute.called")
            outcome.called = time.time_ns() // 1000
            _make_all(runtime, op, stamped(task, reads.so_far()), results, context, outcome)
        outcome.traced = reads.found
    outcome.metadata = plain_metadata(context.metadata)
    return outcome


@dataclass(slots=True)
class Reads:
    """What a function was seen to read besides its inputs: kind, name and digest of each."""

    found: tuple[tuple[str, str, str], ...] = ()
    so_far: Callable[[], tuple[tuple[str, str, str], ...]] = tuple


@contextlib.contextmanager
def traced(runtime: Runtime, op: Op, values: Mapping[str, Any]) -> Iterator[Reads]:
    """Note what a function reads besides its inputs; all of it is found when it is done."""
    reads, contents = Reads(), runtime.contents
    asset = runtime.graph.assets[op.name]
    if contents is None or asset.kind == "sql" or asset.version is not None:
        yield reads
        return
    with tracing(contents.watch, handed_over(values)) as trace:
        reads.so_far = lambda: _told_so_far(contents, trace)
        yield reads
    reads.found = tuple(contents.of(trace))
    if trace.environment and not asset.reads_env and op.name not in _warned:
        _warned.add(op.name)
        logging.getLogger("assets_core").warning(
            "%s reads all environment variables at once; name those that matter with reads_env=.",
            op.name,
        )


def _told_so_far(contents: Contents, trace: Trace) -> tuple[tuple[str, str, str], ...]:
    with unheard():
        return tuple(contents.of(trace))


def stamped(task: Task, reads: Sequence[tuple[str, str, str]]) -> Task:
    """The task, with what was read so far in the stamps that its data will carry: whoever rebuilds
    a lost state store out of them must not take it for built by code alone."""
    if not reads:
        return task
    targets = {
        name: replace(
            target,
            stamp={**target.stamp, "code": with_reads(Code(target.stamp["code"]), reads).hex},
        )
        for name, target in task.targets.items()
    }
    return replace(task, targets=targets)


_warned: set[str] = set()


def handed_over(values: Mapping[str, Any]) -> list[str]:
    """The paths among a function's inputs."""
    found: list[str] = []
    for value in values.values():
        if isinstance(value, Mapping):
            value = list(value.values())
        several = value if isinstance(value, list | tuple) else (value,)
        found += [str(one.absolute()) for one in several if isinstance(one, Path)]
    return found


def plain_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata as it can be recorded: what JSON has no word for becomes text."""
    if not metadata:
        return metadata
    try:
        plain: dict[str, Any] = json.loads(json.dumps(metadata, default=str, allow_nan=False))
    except (ValueError, TypeError) as error:
        raise OutputError(
            f"context.metadata can't be recorded: {error}",
            facts={"metadata": metadata},
            hint="Use text keys and plain values; NaN and infinity have no place in JSON.",
        ) from error
    return plain


def _context(runtime: Runtime, task: Task) -> Context:
    return Context(
        asset=task.op,
        partition=task.partition,
        partitions=Partitions((task.partition,)),
        run_id=task.run,
        attempt=task.attempt,
        resources=runtime.resources,
    )


def call(
    runtime: Runtime, op: Op, partitions: Partitions, values: dict[str, Any], context: Context
) -> dict[str, Any]:
    """Call the function or query; its results by output."""
    asset = runtime.graph.assets[op.name]
    if asset.kind == "sql":
        return {op.name: run_query(asset.sql, values, partitions)}
    signature = op.signature
    if signature.partition:
        values[signature.partition] = partitions.first
    if signature.partitions:
        values[signature.partitions] = partitions
    if signature.context:
        values[signature.context] = context
    if signature.config:
        values[signature.config] = runtime.config.get(op.name)
    assert asset.function is not None
    with users_errors(asset, partitions.key):
        returned = asset.function(**values)
    return _by_output(asset, op, returned)


def _by_output(asset: Asset, op: Op, returned: Any) -> dict[str, Any]:
    if not asset.siblings:
        return {op.name: returned}
    if not isinstance(returned, Mapping) or set(returned) != set(op.outputs):
        got = sorted(returned) if isinstance(returned, Mapping) else type(returned).__name__
        raise OutputError(
            "The function of a multi_asset did not return all of its assets.",
            facts={"wanted": ", ".join(op.outputs), "returned": got},
            hint="Return a dict of asset name → data, with exactly these names.",
        )
    return {name: returned[name] for name in op.outputs}


@contextlib.contextmanager
def users_errors(asset: Asset, partition: str) -> Iterator[None]:
    """The user's exception keeps its own traceback, as the cause of ours."""
    try:
        yield
    except AssetsError:
        raise
    except (Exception, SystemExit) as error:
        # An exit, as command-line code likes to make it, ends the step and not the whole run.
        text = str(error).strip()
        first = text.splitlines()[0] if text else ""
        named = f"{type(error).__name__}: {first}" if first else type(error).__name__
        raise UserCodeError(
            named, facts={"asset": f"{asset.name}@{partition}", "declared": asset.location}
        ) from error


# --------------------------------------------------------------------------------------------
# Stage and audit


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

    def make(self, value: Any, op: Op) -> Made:
        from assets_core.tabular import to_reader

        target = self.task.targets[self.asset.name]
        manager = self.runtime.io[self.asset.io]
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
            staged = manager.stage(target, data)
        self.remember((manager, staged))
        staged = self._rejects(manager, staged)
        return self._audit(manager, staged, known=output.table is not None)

    def _nothing(self, target: Target, op: Op) -> Made:
        returns = op.signature.returns
        if returns not in (None, type(None)) and returns is not _UNANNOTATED:
            raise OutputError(
                "The function returned None.",
                facts={"asset": self.asset.name, "annotated": f"-> {_name(returns)}"},
                hint="Return the data; annotate '-> None' if the function writes it by itself.",
            )
        self._refuse_demands("None")
        return Made(Staged(target, "none", ""), unique_version())

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

    def _file(self, manager: IOManager, target: Target, path: Path) -> Made:
        if not path.is_file():
            raise OutputError(
                f"The returned path {str(path)!r} is not a file.",
                facts={"asset": self.asset.name},
                hint="Write one file and return its path; it is copied into the store.",
            )
        self._refuse_demands("a file")
        staged = manager.stage(target, path)
        self.remember((manager, staged))
        return Made(self._rejects(manager, staged), file_version(path))

    def _rejects(self, manager: IOManager, staged: Staged) -> Staged:
        rejected = self.context.rejected.pop(self.asset.name, None)
        if not rejected:
            return staged
        table = stacked(rejected)
        count_rejects(self.asset, self.task.partition, table, staged.rows)
        return manager.stage_rejects(staged, table)

    def _policy(self, schema: pa.Schema) -> str:
        return admit_schema(self.runtime, self.asset, self.task.schemas, schema)

    def _audit(self, manager: IOManager, staged: Staged, *, known: bool) -> Made:
        """Read back what lies on the store; fingerprint it and check it, in one scan."""
        reader = manager.audit(staged)
        # A stream's schema is known only now; a table's was looked at before it was staged.
        text = schema_text(reader.schema) if known else self._policy(reader.schema)
        asset, partition = self.asset, self.task.partition
        inside = guard_of(asset, partition, reader.schema)
        version, outcomes = scan(
            asset, partition, reader.schema, reader, lambda: manager.audit(staged), inside
        )
        reach("audit.done")
        judge(asset, partition, outcomes)
        return Made(staged, version, text, outcomes)


def refuse_unkept(op: Op, context: Context) -> None:
    """Refuse rejected rows that no output took along; they would be lost."""
    for name, tables in context.rejected.items():
        raise OutputError(
            f"Rows were rejected of {name!r}, which has nothing to keep them beside.",
            facts={
                "made here": ", ".join(op.outputs),
                "rejected": f"{sum(len(table) for table in tables):,} rows",
            },
            hint="Reject rows of an asset that this function returns data for, and before that "
            "data has been written.",
        )


def count_rejects(asset: Asset, partition: Partition, rows: pa.Table, kept: int) -> None:
    """Refuse more rejected rows than the asset allows, with TooManyRejectsError."""
    limit, rejected = asset.max_rejected, rows.num_rows
    fraction = rejected / (rejected + kept)
    if limit is not None and fraction > limit:
        raise TooManyRejectsError(
            f"{rejected:,} of {rejected + kept:,} rows were rejected "
            f"({fraction:.1%}), more than max_rejected={limit:.4g} allows.",
            facts={
                "asset": f"{asset.name}@{partition.key}",
                # Nothing is published, so `assets rejects` can't show these.
                **_why_rejected(rows),
            },
            hint="Mend the input or the rule, or raise max_rejected.",
        )


def admit_schema(
    runtime: Runtime, asset: Asset, schemas: Mapping[str, str], schema: pa.Schema
) -> str:
    """The schema as it is recorded, if the asset's policy lets it follow the published one."""
    text = schema_text(schema)
    published = schemas.get(asset.name, "")
    if published and published != text and not runtime.allow_schema_change:
        check_schema(asset, published, schema)
    return text


def scan(
    asset: Asset,
    partition: Partition,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    reopen: Callable[[], pa.RecordBatchReader] | None,
    inside: Callable[[pa.RecordBatch], None] | None = None,
) -> tuple[Version, tuple[CheckOutcome, ...]]:
    """One pass over what lies staged: its data version, and what the checks found."""
    from assets_core.rowhash import RowHasher

    hasher = _hasher(RowHasher, schema, asset)
    runner = _runner(asset, schema, partition, reopen)
    for batch in batches:
        if inside is not None:
            inside(batch)
        if hasher is not None:
            hasher.update(batch)
        if runner is not None:
            runner.update(batch)
    version = tuple(hasher.result()) if hasher is not None else tuple(unique_version())
    results = runner.finish() if runner is not None else ()
    outcomes = tuple(
        CheckOutcome(r.name, r.passed, r.severity, r.message, r.failed_rows) for r in results
    )
    return (version[0], version[1]), outcomes


def judge(asset: Asset, partition: Partition, outcomes: tuple[CheckOutcome, ...]) -> None:
    """Raise ChecksError when an ``error`` check failed."""
    failed = [o for o in outcomes if not o.passed and o.severity == "error"]
    if failed:
        raise ChecksError(
            f"check {failed[0].name} failed: {failed[0].message}",
            outcomes,
            facts={"asset": f"{asset.name}@{partition.key}"},
            hint="Nothing was published; the previous version still serves.",
        )


def _why_rejected(rows: pa.Table) -> dict[str, str]:
    """The commonest reasons with their numbers, and one row."""
    counted = Counter(rows[REASON_COLUMN].to_pylist()).most_common(_MOST_REASONS)
    first = rows.slice(0, 1).drop_columns([REASON_COLUMN]).to_pylist()[0]
    return {
        "reasons": ", ".join(f"{reason} ({n:,})" for reason, n in counted),
        "for example": str(first)[:_EXAMPLE_CHARACTERS],
    }


_MOST_REASONS = 5
_EXAMPLE_CHARACTERS = 300


def _hasher(kind: Any, schema: pa.Schema, asset: Asset) -> Any:
    try:
        return kind(
            schema, asset.exclude, ordered=asset.is_ordered, float_digits=asset.float_digits
        )
    except UnhashableError:
        return None


def _runner(asset: Asset, schema: pa.Schema, partition: Partition, reopen: Any) -> Any:
    if not asset.checks:
        return None
    from assets_core.checks import CheckRunner

    return CheckRunner(asset.checks, schema, partition, reopen=reopen)


def _name(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)


_UNANNOTATED = inspect.Signature.empty
