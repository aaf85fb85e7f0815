"""Calling what users wrote: their function or query, with what it reads besides its inputs noted.

What its result is made of, and whether it may be published, is not looked at here.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets_core.declare.asset import Asset
from assets_core.errors import AssetsError, OutputError, UserCodeError
from assets_core.execution.context import Context
from assets_core.execution.query import run_query
from assets_core.execution.task import Runtime, Task
from assets_core.fingerprint.trace import Trace
from assets_core.fingerprint.tracing import tracing, unheard
from assets_core.graph import Op
from assets_core.partitions import Partitions
from assets_core.records import Code, with_reads

if TYPE_CHECKING:
    from assets_core.fingerprint.contents import Contents

_warned: set[str] = set()


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
    with tracing(contents.watch, handed_over(values), _roots(runtime, op, asset)) as trace:
        reads.so_far = lambda: _told_so_far(contents, trace)
        yield reads
    reads.found = tuple(contents.of(trace))
    if trace.environment and not asset.reads_env and op.name not in _warned:
        _warned.add(op.name)
        logging.getLogger("assets_core").warning(
            "%s reads all environment variables at once; name those that matter with reads_env=.",
            op.name,
        )


def _roots(runtime: Runtime, op: Op, asset: Asset) -> list[object]:
    """What a step's code begins with: whatever it finds in memory is reached from there."""
    return [asset.function, *(runtime.resources.values() if op.signature.context else ())]


def _told_so_far(contents: Contents, trace: Trace) -> tuple[tuple[str, str, str], ...]:
    with unheard():
        trace.recall()
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
