"""Recording what lies in the stores and the state store does not know.

Data, code versions and input digests come back, so that nothing is built again that is still
right; lineage, attempts, runs and invalidations of before do not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from assets_core.contracts import Found, Invalidate, IOManager, Publish
from assets_core.errors import StorageError
from assets_core.execution.fact_json import rolled_forward
from assets_core.execution.schemas import schema_text
from assets_core.fingerprint.data_version import file_version, unique_version
from assets_core.fingerprint.hashing import UnhashableError
from assets_core.partitions import from_ranges, to_ranges
from assets_core.records import Code, Materialization, Version, version_from_hex

if TYPE_CHECKING:
    from assets_core.execution.task import Runtime
    from assets_core.workspace.workspace import Workspace

_GROUP = 200


def record(workspace: Workspace, versions: Iterable[tuple[IOManager, Found]]) -> dict[str, int]:
    """Record these versions as what is current; how many were, and how many damaged
    ones were left out."""
    runtime, store = workspace.runtime, workspace.state
    counts = {"recorded": 0, "damaged": 0}
    pending: list[Publish] = []
    since = store.snapshot(workspace.environment, ()).revision
    for manager, found in versions:
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
    _invalidate_again(workspace, since)
    return counts


def _invalidate_again(workspace: Workspace, since: int) -> None:
    """What was recorded after ``since`` and built before it was declared stale stays so: the id
    that it got now says nothing about when that was."""
    facts = workspace.facts()
    for name, known in facts.invalidations.items():
        own, space = facts.assets[name], facts.spaces[name]
        fresh = own.id > since
        for number, one in sorted(known.items()):
            covered = from_ranges(space, one.ranges)
            old = fresh & covered & (own.finished < one.at) & (own.id > number)
            if old.any():
                again = replace(one, ranges=to_ranges(space, old), id=0)
                workspace.state.transact([Invalidate(again, space)])


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
    from assets_core.fingerprint.row_hash.hasher import data_version

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
