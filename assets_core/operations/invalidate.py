"""Declaring what is recorded stale, by somebody's name and for a reason."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from assets_core.errors import UsageError
from assets_core.operations.agreement import require_agreement
from assets_core.operations.arguments import (
    Select,
    checked_reason,
    instant,
    partition_selection,
    user_name,
)
from assets_core.operations.recover import recover
from assets_core.wording import one_line

if TYPE_CHECKING:
    from datetime import datetime

    from assets_core.graph import Graph
    from assets_core.operations.invalidation_marks import Invalidated
    from assets_core.workspace.workspace import Workspace


def invalidate(
    workspace: Workspace,
    select: Select,
    partitions: Any = None,
    *,
    reason: str,
    downstream: bool = False,
    by: str = "",
    dry_run: bool = False,
    now: datetime | None = None,
) -> Invalidated:
    """Declare recorded partitions of the selection stale, whatever they were built from.

    With ``downstream`` also all that reads them, through any number of assets: it is built
    again even where its inputs come out equal. It holds until a build that begins afterwards,
    or `accept`. ``by`` is the user's name unless given; with ``dry_run`` nothing is recorded.

    Raises UsageError for an empty reason and for sources, UnknownAssetError, PartitionError.
    """
    from assets_core.operations.invalidation_marks import Invalidated, find_marks
    from assets_core.planning.resolved_graph import ResolvedGraph

    require_agreement(workspace)
    recover(workspace)
    at, graph = instant(workspace, now), workspace.graph
    chosen = graph.select(select)
    why = checked_reason(reason)
    refuse_sources(graph, chosen)
    # With the windows that are open: they may have been built, and what covers all that has closed
    # must not be taken for everything.
    spaces = workspace.spaces(at, include_open=True)
    selection = partition_selection(partitions, chosen, spaces)
    facts, resolved = workspace.facts(spaces), ResolvedGraph(graph, spaces)
    marks, missing = find_marks(graph, facts, resolved, chosen, selection, downstream=downstream)
    found = Invalidated(why, one_line(by) or user_name(), marks, missing)
    if marks and not dry_run:
        workspace.state.transact(found.operations(workspace.environment, time.time_ns() // 1000))
    return found


def refuse_sources(graph: Graph, chosen: Iterable[str]) -> None:
    """Raise UsageError when a source is among them."""
    sources = [name for name in chosen if graph.assets[name].kind == "source"]
    if not sources:
        return
    named = ", ".join(repr(name) for name in sources)
    one = len(sources) == 1
    raise UsageError(
        f"{named} {'is a source' if one else 'are sources'}: what others make is observed, never "
        "built, so there is nothing to invalidate.",
        hint=f"Look at it again with: assets observe {sources[0]} --all. To have what reads it "
        f"built again, select that, or leave the source out with '!{sources[0]}'.",
    )
