"""What happened to an asset or a partition, and which versions were built from which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from assets_core.errors import PartitionError
from assets_core.operations.arguments import recorded_key, split_reference

if TYPE_CHECKING:
    from assets_core.declare.asset import Asset
    from assets_core.lineage.history import History
    from assets_core.lineage.lineage import Lineage
    from assets_core.partitions import KeySpace
    from assets_core.records import Invalidation
    from assets_core.workspace.workspace import Workspace


def history(
    workspace: Workspace,
    asset: str | Asset,
    partition: str | None = None,
    *,
    limit: int | None = None,
) -> History:
    """The recorded materializations and failed attempts, newest first.

    The partition may be part of the name: ``"orders@2024-01-01"``.
    """
    from assets_core.lineage.history import History

    asset_name, wanted = split_reference(asset, partition)
    name = workspace.graph.asset(asset_name).name
    key = None if wanted is None else recorded_key(workspace, name, wanted)
    state, environment = workspace.state, workspace.environment
    facts = state.materializations(environment, name, key, limit=limit)
    attempts = state.attempts(environment=environment, asset=name, partition=key, limit=limit)
    marks = state.invalidations(environment, name)
    if key is not None and marks:
        marks = _covering(workspace.spaces(include_open=True)[name], key, marks)
    since = _promised_since(workspace, name)
    return History(name, key, tuple(facts), tuple(attempts), tuple(marks[:limit]), since)


def _promised_since(workspace: Workspace, name: str) -> int:
    from assets_core.lineage.freshness import declared_since

    asset = workspace.graph.assets[name]
    if asset.freshness is None:
        return 0
    declared = declared_since(asset.freshness, asset.partitions.zone_name)
    return declared or workspace.state.promised_since(workspace.environment, name)


def _covering(space: KeySpace, key: str, marks: Sequence[Invalidation]) -> list[Invalidation]:
    """Those that declared this partition stale; it may have left the key space."""
    from assets_core.partitions import from_ranges

    at = int(space.ordinals([key])[0])
    return [
        one
        for one in marks
        if (key, key) in (one.ranges or [(key, key)])
        or (at >= 0 and from_ranges(space, one.ranges)[at])
    ]


def lineage(
    workspace: Workspace,
    asset: str | Asset,
    partition: str | None = None,
    *,
    downstream: bool = False,
    depth: int | None = None,
) -> Lineage:
    """Exactly which upstream partitions and versions a partition was built from.

    ``downstream`` turns it around: which current partitions read it. ``"asset@partition"``
    may be given as one text.
    """
    from assets_core.lineage.walks import downstream_of, upstream_of
    from assets_core.workspace.ledger import StoreLedger

    name, key = split_reference(asset, partition)
    workspace.graph.asset(name)
    spaces = workspace.spaces(include_open=True)
    if key is None:
        if spaces[name].n != 1:
            raise PartitionError(
                f"Lineage is asked of one partition of {name!r}.",
                hint=f"For example: assets lineage {name}@{_newest(spaces[name])}",
            )
        key = spaces[name].key(0)
    key = recorded_key(workspace, name, key)
    ledger = StoreLedger(workspace.state, workspace.environment, workspace.graph, spaces)
    walk = downstream_of if downstream else upstream_of
    return walk(ledger, name, key, depth=depth)


def _newest(space: KeySpace) -> str:
    return space.key(space.n - 1) if space.n else "PARTITION"
