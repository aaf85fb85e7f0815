"""How partitions stand now: fresh, stale, missing, failed, blocked; in time or late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assets_core.operations.arguments import Select, instant
from assets_core.operations.observe import gather
from assets_core.operations.recover import recover

if TYPE_CHECKING:
    from datetime import datetime

    from assets_core.lineage.freshness import FreshnessReport
    from assets_core.lineage.status import Status
    from assets_core.workspace.workspace import Workspace


def status(
    workspace: Workspace,
    select: Select = None,
    *,
    include_open: bool = False,
    now: datetime | None = None,
) -> Status:
    """The state of every partition of the selection: fresh, stale, missing, failed, blocked.

    Sources are observed first, as for a plan. ``include_open`` also tells of windows that are
    open, and which of these were built all the same.
    """
    from assets_core.lineage.status_rows import make_status
    from assets_core.planning.digests import Digests
    from assets_core.planning.staleness import assess

    recover(workspace)
    at, graph = instant(workspace, now), workspace.graph
    chosen = graph.select(select)
    found = gather(workspace, graph.order, None, at, include_open=include_open)
    facts, observations = found.facts, found.observations
    codes = {name: code.hex for name, code in workspace.codes.items()}
    digests = Digests(found.resolved, facts)
    stale = assess(graph, facts, codes, digests=digests, observations=observations)
    failed = workspace.state.failed(workspace.environment)
    return make_status(
        graph, facts, stale, failed, chosen, now=at, observations=observations, digests=digests
    )


def freshness(
    workspace: Workspace, select: Select = None, *, now: datetime | None = None
) -> FreshnessReport:
    """How each partition under a freshness promise stands: pass, warn, late or not due."""
    from assets_core.lineage.freshness import make_report

    at = instant(workspace, now)
    chosen = workspace.graph.select(select)
    return make_report(workspace.graph, workspace.facts(workspace.spaces(at)), chosen, now=at)
