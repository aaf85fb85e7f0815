"""Which asset partitions are stale: arithmetic on columns, no loop over partitions.

Pure. `assess` compares the recorded columns with what the code and the data are now; `reasons`
tells what it found in words. Nothing here selects or orders work: see `plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from assets_core.errors import UserCodeError
from assets_core.graph import Graph, Input, Op
from assets_core.partitions import Edge, KeySpace
from assets_core.planning.digests import Digests
from assets_core.planning.facts import Facts
from assets_core.planning.missing_inputs import expected_of, is_enough, short_of
from assets_core.planning.observations import Observations
from assets_core.planning.resolved_graph import ResolvedGraph

MISSING, CODE, INPUT, FORCED, SIBLING, INVALIDATED, WITHDRAWN = 1, 2, 4, 8, 16, 32, 64
"""Why a partition must run, as bits of a reasons column. ``WITHDRAWN`` stands alone: nothing is
left to build the partition from, so the step takes out what it holds."""


@dataclass(slots=True)
class Assessment:
    """Staleness of every partition of one op, by ordinal.

    ``reasons`` uint8 bits (0: need not run by itself); ``may`` bool: something upstream of it is
    stale, so it runs if that really changes; ``absent`` bool: some upstream partition that it
    maps to has nothing recorded and will not get anything by itself; ``blind`` bool (None: none):
    a source partition that it is built from, however far up, could not be looked at;
    ``withdrawn`` as of `find_withdrawn` (None: none).
    """

    reasons: np.ndarray
    may: np.ndarray
    absent: np.ndarray
    unobservable: np.ndarray | None = None
    withdrawn: np.ndarray | None = None

    @property
    def must(self) -> np.ndarray:
        """Which partitions must run, bool."""
        found: np.ndarray = self.reasons != 0
        return found

    @property
    def stuck(self) -> np.ndarray:
        """Which partitions would run and can't, bool: whoever reads them takes them for missing,
        though an older version may be there."""
        found: np.ndarray = self.stale & self.absent
        return found

    @property
    def stale(self) -> np.ndarray:
        """Which partitions must or may run, bool."""
        found: np.ndarray = self.must | self.may
        return found


def assess(
    graph: Graph,
    facts: Facts,
    codes: Mapping[str, str],
    *,
    chosen: Callable[[str], np.ndarray | None] | None = None,
    force: bool = False,
    resume_at: int = 0,
    digests: Digests | None = None,
    observations: Observations | None = None,
) -> dict[str, Assessment]:
    """Staleness of every op (by its first asset's name), upstream first.

    ``codes`` maps each asset to its current code version. ``chosen(op)`` gives the partitions
    that can run (bool by ordinal, None for all): only these spread staleness further down, since
    what is not run changes nothing. ``force`` makes the chosen ones run whatever their state,
    save those recorded at the log position ``resume_at`` or after it (0: none). What could not be
    looked at (``observations``) may have changed, and nothing can be built from it.
    """
    digests = digests or Digests(ResolvedGraph(graph, facts.spaces), facts)
    resolved = digests.resolved
    result: dict[str, Assessment] = {}
    withdrawn = find_withdrawn(graph, resolved, facts, chosen, observations)
    there = cache(lambda name: facts.assets[name].there)
    for op in graph.ops:
        mask = chosen(op.name) if chosen is not None else None
        reasons = _reasons(op, graph, facts, codes, digests, there)
        if force and _is_built(graph, op):
            reasons[_forced(op, facts, mask, resume_at)] |= FORCED
        found = Assessment(reasons, np.zeros(len(reasons), bool), np.zeros(len(reasons), bool))
        found.withdrawn = withdrawn.get(op.name)
        if found.withdrawn is not None and _is_built(graph, op):
            reasons[found.withdrawn] = 0
            reasons[found.withdrawn & _holds_data(op, facts)] = WITHDRAWN
        if mask is not None:
            found.reasons[~mask] = 0
        errors = observations.errors.get(op.name) if observations is not None else None
        if errors:
            _mark_unobservable(found, list(errors))
        try:
            _spread(op, resolved, facts, result, found, mask, there)
        except UserCodeError as error:  # a policy of the user's own was asked
            error.facts.setdefault("asset", op.name)
            raise
        result[op.name] = found
    return result


def find_withdrawn(
    graph: Graph,
    resolved: ResolvedGraph,
    facts: Facts,
    chosen: Callable[[str], np.ndarray | None] | None = None,
    observations: Observations | None = None,
) -> dict[str, np.ndarray]:
    """Which partitions are withdrawn: neither there nor expected, bool by the op's name.

    Of a source what is recorded so. What is built follows what it reads: where all that it maps
    to through some input is withdrawn, its own past aside, nothing is left to build it from. It
    still holds what it held until it is ``chosen`` to run. Ops that have none are left out.
    """
    errors = observations.errors if observations is not None else {}
    found: dict[str, np.ndarray] = {}
    for op in graph.ops:
        if not _is_built(graph, op):
            mask = facts.assets[op.name].withdrawn
            mask[list(errors.get(op.name, ()))] = False
            if mask.any():
                found[op.name] = mask
    for op in graph.ops if found else ():
        if _is_built(graph, op):
            mask = _nothing_left(op, resolved, found)
            runs = chosen(op.name) if chosen is not None and mask.any() else None
            if runs is not None:
                mask &= runs | ~_holds_data(op, facts)
            if mask.any():
                found[op.name] = mask
    return found


def _nothing_left(
    op: Op, resolved: ResolvedGraph, withdrawn: Mapping[str, np.ndarray]
) -> np.ndarray:
    left_over = np.zeros(resolved.spaces[op.name].n, bool)
    for read in op.inputs:
        gone = withdrawn.get(resolved.graph.op_of[read.asset].name)
        if gone is None:  # also of the op's own past, which does not end what comes after it
            continue
        edge = resolved.edge(op, read)
        all_gone = edge.any(gone) & ~edge.any(~gone)
        left_over |= all_gone if edge.short is None else all_gone & ~edge.short
    return left_over


def _holds_data(op: Op, facts: Facts) -> np.ndarray:
    found: np.ndarray = np.logical_or.reduce([facts.assets[name].there for name in op.outputs])
    return found


def _forced(op: Op, facts: Facts, mask: np.ndarray | None, resume_at: int) -> np.ndarray:
    """The chosen partitions without those that were recorded since the position."""
    chosen = np.ones(facts.spaces[op.name].n, bool) if mask is None else mask
    if not resume_at:
        return chosen
    since = np.logical_and.reduce([facts.assets[name].id >= resume_at for name in op.outputs])
    left: np.ndarray = chosen & ~since
    return left


def _mark_unobservable(found: Assessment, ordinals: list[int]) -> None:
    found.unobservable = np.zeros(len(found.may), bool)
    found.unobservable[ordinals] = found.may[ordinals] = found.absent[ordinals] = True


def _is_built(graph: Graph, op: Op) -> bool:
    return graph.assets[op.name].kind != "source"


def _reasons(
    op: Op,
    graph: Graph,
    facts: Facts,
    codes: Mapping[str, str],
    digests: Digests,
    there: Callable[[str], np.ndarray],
) -> np.ndarray:
    n = facts.spaces[op.name].n
    reasons = np.zeros(n, np.uint8)
    if not _is_built(graph, op):
        return reasons
    now = digests.column(op)
    each = [_own_reasons(facts, name, codes[name], now, there(name)) for name in op.outputs]
    for own in each:
        reasons |= own
    if len(each) > 1:
        partly = np.logical_or.reduce([own == 0 for own in each]) & (reasons != 0)
        reasons[partly] |= SIBLING
    return reasons


def _own_reasons(
    facts: Facts, name: str, code: str, now: np.ndarray, there: np.ndarray
) -> np.ndarray:
    own = facts.assets[name]
    reasons = np.where(there, 0, MISSING).astype(np.uint8)
    reasons[there & ~facts.of_current_code(name, code)] |= CODE
    # Compared as pairs: any() along an axis of two is many times slower than two columns.
    moved = (own.digest[:, 0] != now[:, 0]) | (own.digest[:, 1] != now[:, 1])
    reasons[there & moved] |= INPUT
    invalidated = facts.invalidated(name)
    if invalidated is not None:
        reasons[there & (own.id < invalidated)] |= INVALIDATED
    return reasons


def _spread(
    op: Op,
    resolved: ResolvedGraph,
    facts: Facts,
    done: Mapping[str, Assessment],
    found: Assessment,
    mask: np.ndarray | None,
    has_data: Callable[[str], np.ndarray],
) -> None:
    """Set ``may`` and ``absent`` out of the upstream ops, then along the op's own past."""
    own_past: list[tuple[Input, Edge]] = []
    for read in op.inputs:
        edge = resolved.edge(op, read)
        if edge.short is not None:
            found.absent |= edge.short
        if read.asset in op.outputs:
            own_past.append((read, edge))
            continue
        upstream, there = done[resolved.graph.op_of[read.asset].name], has_data(read.asset)
        gone = (~there & ~upstream.stale) | upstream.stuck
        if upstream.withdrawn is not None:
            gone &= ~upstream.withdrawn
        if not read.require.is_all and upstream.unobservable is not None:
            gone |= upstream.unobservable
        if upstream.reasons.any() or upstream.may.any():
            # What is done without, and does not come, changes nothing.
            found.may |= edge.any(upstream.stale if read.require.is_all else upstream.stale & ~gone)
        if gone.any():
            found.absent |= short_of(read, edge, gone, facts.spaces[read.asset], upstream.withdrawn)
        if upstream.unobservable is not None:
            unseen = _unseen(resolved.graph, read, edge, upstream.unobservable, there, found.absent)
            if mask is not None:
                unseen &= mask
            found.unobservable = (
                unseen if found.unobservable is None else found.unobservable | unseen
            )
            found.absent |= unseen
            found.may |= unseen
    if mask is not None:
        found.may &= mask
    if found.withdrawn is not None:  # nothing is built, so nothing is waited for
        found.may &= ~found.withdrawn
        found.absent &= ~found.withdrawn
        found.unobservable = (
            None if found.unobservable is None else found.unobservable & ~found.withdrawn
        )
    if own_past:
        _scan(own_past, facts, found, mask)


def _unseen(
    graph: Graph,
    read: Input,
    edge: Edge,
    unobservable: np.ndarray,
    there: np.ndarray,
    absent: np.ndarray,
) -> np.ndarray:
    """Which partitions can't be built since a source could not be looked at, bool."""
    every = edge.any(unobservable)
    if read.require.is_all:
        return every.copy()
    found: np.ndarray = every & absent
    if graph.assets[read.asset].kind == "source":
        # Seen before, it is handed over; and what it holds now is what nobody can tell.
        found |= edge.any(unobservable & there)
    return found


@dataclass(slots=True)
class _Past:
    """One input through which an op reads its own past, while the scan goes along it.

    ``missing`` says of each partition whether it keeps those that read it from being built.
    """

    read: Input
    edge: Edge
    up: KeySpace
    missing: list[bool]
    withdrawn: np.ndarray | None = None

    @classmethod
    def of(cls, read: Input, edge: Edge, facts: Facts, found: Assessment) -> _Past:
        missing = (~facts.assets[read.asset].there & ~found.stale) | found.stuck
        if found.withdrawn is not None:
            missing &= ~found.withdrawn
        return cls(read, edge, facts.spaces[read.asset], missing.tolist(), found.withdrawn)

    def look(self, ordinal: int, stale: list[bool]) -> tuple[bool, bool]:
        """Whether something that a partition reads will change, and whether enough is there."""
        bounds = self.edge.bounds(ordinal)
        if bounds is not None:
            moving, gone = stale[slice(*bounds)], self.missing[slice(*bounds)]
        else:
            at = self.edge.upstream(ordinal).tolist()
            moving, gone = [stale[j] for j in at], [self.missing[j] for j in at]
        if True not in gone:
            return True in moving, True
        if self.read.require.is_all:
            return True in moving, False
        moves = any(m and not g for m, g in zip(moving, gone, strict=True))
        at = expected_of(self.edge.upstream(ordinal), self.withdrawn)
        return moves, is_enough(self.read, at, np.array(self.missing)[at], self.up)

    def waits(self, ordinal: int) -> None:
        self.missing[ordinal] = True


def _scan(
    own_past: Sequence[tuple[Input, Edge]],
    facts: Facts,
    found: Assessment,
    mask: np.ndarray | None,
) -> None:
    """Carry staleness forward along an op's own past, in order of partitions."""
    first = np.flatnonzero(found.stale | found.absent)
    if not len(first):
        return
    pasts = [_Past.of(read, edge, facts, found) for read, edge in own_past]
    stale, may, absent = found.stale.tolist(), found.may, found.absent
    for i in range(int(first[0]), len(stale)):
        if mask is not None and not mask[i]:
            continue
        if found.withdrawn is not None and found.withdrawn[i]:
            continue
        moves, enough = False, True
        for past in pasts:
            one = past.look(i, stale)
            moves, enough = moves or one[0], enough and one[1]
        if moves:
            may[i] = stale[i] = True
        if not stale[i]:
            continue
        if not enough:
            absent[i] = True
        if absent[i]:
            for past in pasts:
                past.waits(i)
