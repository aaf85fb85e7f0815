"""The keys of assets' partitions, and registering those of dynamic definitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from assets_core.errors import UsageError
from assets_core.operations.arguments import asset_name

if TYPE_CHECKING:
    from assets_core.declare.asset import Asset
    from assets_core.workspace.workspace import Workspace


def partitions(
    workspace: Workspace, asset: str | Asset, *, include_open: bool = False
) -> list[str]:
    """The keys of an asset's partitions, in order."""
    name = workspace.graph.asset(asset_name(asset)).name
    return workspace.spaces(include_open=include_open)[name].keys()


def add_partitions(workspace: Workspace, name: str, keys: Sequence[str]) -> int:
    """Register partitions of a ``dynamic(name)`` definition; how many were new."""
    from assets_core.partitions import canonical_key

    _require_dynamic(workspace, name)
    return workspace.state.add_keys(name, [canonical_key(key) for key in keys])


def remove_partitions(workspace: Workspace, name: str, keys: Sequence[str]) -> int:
    """Remove registered partitions; how many there were. Their data and history stay."""
    from assets_core.partitions import canonical_key

    _require_dynamic(workspace, name)
    return workspace.state.remove_keys(name, [canonical_key(key) for key in keys])


def _require_dynamic(workspace: Workspace, name: str) -> None:
    known = {n for a in workspace.graph.assets.values() for n in a.partitions.dynamic_names}
    if name not in known:
        shown = ", ".join(sorted(known)) or "none; declare partitions=dynamic('…')"
        raise UsageError(
            f"No asset is partitioned by dynamic({name!r}).", hint=f"There are: {shown}."
        )
