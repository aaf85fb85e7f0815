"""Looking at sources: those that a selection reads, before it is planned, or when asked to.

How one source is looked at is in `execution.observation`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assets_core.operations.arguments import (
    Select,
    checked_jobs,
    instant,
    partition_selection,
)
from assets_core.operations.recover import recover

if TYPE_CHECKING:
    from datetime import datetime

    from assets_core.graph import Graph
    from assets_core.partitions import PartitionSelection
    from assets_core.planning.facts import Facts
    from assets_core.planning.observations import ObservationReport, Observations
    from assets_core.planning.resolved_graph import ResolvedGraph
    from assets_core.workspace.workspace import Workspace

_AT_ONCE = 8


def observe(
    workspace: Workspace,
    select: Select = None,
    partitions: Any = None,
    *,
    everything: bool = False,
    include_open: bool = False,
    jobs: int | None = None,
    on_look: Callable[[str, int], None] | None = None,
    on_total: Callable[[int], None] | None = None,
    now: datetime | None = None,
) -> ObservationReport:
    """Look at the sources of the selection, and at those that it reads; record what moved.

    Selection as for `plan`, which does the same by itself. ``everything`` looks also at
    partitions that ``closed_after`` leaves alone. ``jobs`` looks at a time where they take
    long. ``on_total`` hears how many partitions there are to look at, ``on_look`` of every so
    many that were: the source and how many.

    What could not be looked at is told by the result, not raised.
    """
    from assets_core.planning.resolved_graph import ResolvedGraph

    checked_jobs(jobs, "look at")
    recover(workspace)
    at = instant(workspace, now)
    chosen = workspace.graph.select(select)
    spaces = workspace.spaces(at, include_open=include_open)
    selection = partition_selection(partitions, chosen, spaces)
    facts, resolved = workspace.facts(spaces), ResolvedGraph(workspace.graph, spaces)
    wanted = _sources_read(workspace.graph, chosen, selection, facts, resolved)
    if on_total is not None:
        on_total(sum(map(len, wanted.values())))
    return look(workspace, wanted, facts, now=at, everything=everything, jobs=jobs, on_look=on_look)


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a plan is made from: facts that know what the sources hold now."""

    facts: Facts
    resolved: ResolvedGraph
    observations: Observations
    selection: PartitionSelection | None


def gather(
    workspace: Workspace,
    chosen: Collection[str],
    partitions: Any,
    now: datetime,
    *,
    include_open: bool,
) -> Gathered:
    """The recorded facts, after the sources that the selection reads were looked at."""
    from assets_core.planning.resolved_graph import ResolvedGraph

    spaces = workspace.spaces(now, include_open=include_open)
    selection = partition_selection(partitions, chosen, spaces)
    resolved, facts = ResolvedGraph(workspace.graph, spaces), workspace.facts(spaces)
    wanted = _sources_read(workspace.graph, chosen, selection, facts, resolved)
    observations = look(workspace, wanted, facts, now=now).observations()
    if observations.moved:
        facts = workspace.facts(spaces)
    return Gathered(facts, resolved, observations, selection)


def look(
    workspace: Workspace,
    wanted: Mapping[str, Sequence[int]],
    facts: Facts,
    *,
    now: datetime,
    everything: bool = False,
    jobs: int | None = None,
    on_look: Callable[[str, int], None] | None = None,
    lets_go: bool = True,
) -> ObservationReport:
    """Look at these ordinals of sources, and record what moved."""
    from assets_core.execution import observation
    from assets_core.planning.observations import ObservationReport

    # Looking is mostly waiting: more at a time than there are processors, unless one by one.
    own = workspace.settings.jobs
    way = observation.Way(
        now, jobs or (own if own == 1 else max(own, _AT_ONCE)), everything, lets_go, on_look
    )
    return ObservationReport(
        {
            name: observation.observe(
                workspace.runtime,
                workspace.state,
                facts,
                workspace.graph.assets[name],
                ordinals,
                way,
                workspace.codes[name],
            )
            for name, ordinals in wanted.items()
        }
    )


def _sources_read(
    graph: Graph,
    chosen: Iterable[str],
    selection: PartitionSelection | None,
    facts: Facts,
    resolved: ResolvedGraph,
) -> dict[str, list[int]]:
    """The ordinals of each source that the chosen partitions read."""
    import numpy as np

    wanted: dict[str, Any] = {}
    names = set(chosen)
    for op in graph.ops:
        if names.isdisjoint(op.outputs):
            continue
        space = facts.spaces[op.name]
        mask = selection.mask(space) if selection is not None else np.ones(space.n, bool)
        if graph.assets[op.name].kind == "source":
            wanted[op.name] = wanted.get(op.name, False) | mask
            continue
        for read in op.inputs:
            if graph.assets[read.asset].kind == "source":
                covered = resolved.edge(op, read).cover(mask)
                wanted[read.asset] = wanted.get(read.asset, False) | covered
    return {name: np.flatnonzero(mask).tolist() for name, mask in wanted.items()}
