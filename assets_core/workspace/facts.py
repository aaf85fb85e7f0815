"""Key spaces, and what a state store has recorded laid out in them.

Which of it is stale is for `planning`; here the store's rows become columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from assets_core.contracts import StateStore
    from assets_core.graph import Graph
    from assets_core.partitions import KeySpace
    from assets_core.planning.facts import Facts


def has_dynamic_keys(graph: Graph) -> bool:
    """Whether key spaces depend on what was registered in the state store."""
    return any(asset.partitions.is_dynamic for asset in graph.assets.values())


def key_spaces(
    graph: Graph,
    now: datetime,
    dynamic_keys: Mapping[str, Sequence[str]],
    *,
    include_open: bool = False,
) -> dict[str, KeySpace]:
    """Each asset's key space at ``now``; assets of one definition share one."""
    made: dict[Any, KeySpace] = {}
    for asset in graph.assets.values():
        definition = asset.partitions
        if definition not in made:
            made[definition] = definition.resolve(
                now, dynamic=dynamic_keys, include_open=include_open
            )
    return {name: made[asset.partitions] for name, asset in graph.assets.items()}


def recorded_facts(
    state: StateStore, environment: str, graph: Graph, spaces: Mapping[str, KeySpace]
) -> Facts:
    """The current facts of every asset; through the packed snapshot where the store keeps one."""
    from assets_core.partitions import safe_path_part
    from assets_core.planning.facts import Facts
    from assets_core.workspace.ledger import StoreLookup

    lookup = StoreLookup(state, environment, spaces)
    path = state.beside(f"facts-{safe_path_part(environment)}.bin")
    if path is None:
        return Facts.of(state.snapshot(environment, graph.assets), spaces, lookup)
    from assets_core.state.packed import PackedFacts

    return PackedFacts(path, state, environment).facts(spaces, lookup)
