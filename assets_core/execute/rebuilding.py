"""Recording anew what lies in the stores: the state store made out of the data.

For a state store that was lost. Data, code versions and input digests come back, so that nothing
is built again that is still right; lineage, attempts, runs and invalidations of before do not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from assets_core.contracts import Found, Invalidate, IOManager, Publish
from assets_core.dataversion import data_version, file_version, unique_version
from assets_core.errors import StorageError
from assets_core.execute.facts import rolled_forward
from assets_core.execute.schemas import schema_text
from assets_core.execute.step import Runtime
from assets_core.hashing import UnhashableError
from assets_core.partitions import from_ranges, to_ranges
from assets_core.records import Code, Materialization, Version, version_from_hex

if TYPE_CHECKING:
    from assets_core.project import Project

_GROUP = 200


def rebuild(project: Project) -> dict[str, int]:
    """Record every visible version that the state store does not know; how many, and how many
    could not be read (these are left out: they will be built again)."""
    runtime, store = project.runtime, project.state
    counts = {"recorded": 0, "damaged": 0}
    pending: list[Publish] = []
    since = store.snapshot(project.environment, ()).revision
    for manager, found in _unknown(project):
        fact = _fact(runtime, manager, found)
        if fact is None:
            counts["damaged"] += 1
            continue
        pending.append(Publish(fact, lease=False))
        counts["recorded"] += 1
        if len(pending) >= _GROUP:
            store.transact(pending)
            pending = []
    if pending:
        store.transact(pending)
    _invalidate_again(project, since)
    return counts


def _invalidate_again(project: Project, since: int) -> None:
    """What was recorded after ``since`` and built before it was declared stale stays so: the id
    that it got now says nothing about when that was."""
    facts = project.facts()
    for name, known in facts.invalidations.items():
        own, space = facts.assets[name], facts.spaces[name]
        fresh = own.id > since
        for number, one in sorted(known.items()):
            covered = from_ranges(space, one.ranges)
            old = fresh & covered & (own.finished < one.at) & (own.id > number)
            if old.any():
                again = replace(one, ranges=to_ranges(space, old), id=0)
                project.state.transact([Invalidate(again, space)])


def _unknown(project: Project) -> Iterator[tuple[IOManager, Found]]:
    """The newest visible version of each partition that nothing is recorded of."""
    graph = project.graph
    known = {
        (environment, name): set(columns.keys)
        for environment in {project.environment}
        for name, columns in project.state.snapshot(environment, graph.assets).assets.items()
    }
    for store_name, manager in project.io.items():
        for found in _newest(manager.scan()):
            asset = graph.assets.get(found.asset)
            mine = asset is not None and asset.io == store_name
            recorded = known.get((found.environment, found.asset), set())
            here = found.environment == project.environment and found.partition not in recorded
            if mine and here:
                yield manager, found


def _newest(versions: Iterable[Found]) -> Iterable[Found]:
    newest: dict[tuple[str, str, str], Found] = {}
    for found in versions:
        at = (found.environment, found.asset, found.partition)
        if found.visible and (at not in newest or newest[at].receipt.token < found.receipt.token):
            newest[at] = found
    return newest.values()


def _fact(runtime: Runtime, manager: IOManager, found: Found) -> Materialization | None:
    """The fact of a version: as the store kept it, or out of its stamp and its rows."""
    if found.fact:
        return rolled_forward(found.fact, receipt=found.receipt, run="", id=0)
    try:
        version, schema = _content(runtime, manager, found)
    except StorageError:
        return None
    started = int(found.stamp.get("started", 0)) or time.time_ns() // 1000
    return Materialization(
        environment=found.environment,
        asset=found.asset,
        partition=found.partition,
        code=Code(found.stamp.get("code", "")),
        input_digest=version_from_hex(found.stamp.get("digest", "0" * 32)),
        data_version=version,
        receipt=found.receipt,
        started=started,
        finished=started,
        token=found.receipt.token,
        kind="recovered",
        schema=schema,
    )


def _content(runtime: Runtime, manager: IOManager, found: Found) -> tuple[Version, str]:
    if found.receipt.kind == "file":
        return file_version(manager.path(found.receipt)), ""
    reader = manager.open([found.receipt])
    schema = schema_text(reader.schema)
    try:
        asset = runtime.graph.assets[found.asset]
        version = data_version(
            reader, asset.exclude, ordered=asset.is_ordered, float_digits=asset.float_digits
        )
        return version, schema
    except UnhashableError:
        return unique_version(), schema
