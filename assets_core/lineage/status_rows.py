"""Makes a status: staleness, facts and failed attempts go in, a code per partition comes out.

Pure and columnar. Nothing is decided here that `staleness` does not decide.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from assets_core.graph import Graph, Input, Op
from assets_core.lineage.status import (
    BLOCKED,
    FAILED,
    FRESH,
    MISSING,
    NOT_SEEN,
    OBSERVED,
    STALE,
    WITHDRAWN,
    AssetStatus,
    Status,
)
from assets_core.partitions import KeySpace
from assets_core.planning.digests import Digests, incomplete_among
from assets_core.planning.facts import Facts
from assets_core.planning.missing_inputs import (
    MissingInput,
    expected_of,
    is_enough,
    short_of,
)
from assets_core.planning.observations import Observations
from assets_core.planning.resolved_graph import ResolvedGraph
from assets_core.planning.staleness import INPUT, Assessment
from assets_core.records import Attempt, Invalidation
from assets_core.wording import (
    first_line,
)


def make_status(
    graph: Graph,
    facts: Facts,
    assessments: Mapping[str, Assessment],
    failed: Mapping[str, Mapping[str, Attempt]],
    chosen: Collection[str],
    *,
    now: datetime,
    observed: bool = False,
    observations: Observations | None = None,
    digests: Digests | None = None,
) -> Status:
    """The state of every partition of the chosen assets.

    ``assessments`` are those of all ops (by first output), ``failed`` maps asset → partition →
    newest failed attempt that nothing recorded since has healed. ``observed`` says that sources
    have just been looked at, ``observations`` (which implies it) what came of that: only then does
    a source's partition that is not seen block anything.
    """
    wanted = set(chosen)
    digests = digests or Digests(ResolvedGraph(graph, facts.spaces), facts)
    maker = _Maker(graph, facts, assessments, failed, digests, observed or observations is not None)
    maker.observations = observations or Observations()
    rows = []
    for op in graph.ops:
        codes = maker.op(op)
        rows += [maker.row(name, codes[name]) for name in op.outputs if name in wanted]
    return Status(now, tuple(rows))


@dataclass(slots=True)
class _Maker:
    """Goes through the ops, upstream first, and keeps which partitions can't run."""

    graph: Graph
    facts: Facts
    assessments: Mapping[str, Assessment]
    failed: Mapping[str, Mapping[str, Attempt]]
    digests: Digests
    observed: bool
    stuck: dict[str, np.ndarray] = field(default_factory=dict)
    observations: Observations = field(default_factory=Observations)

    @property
    def resolved(self) -> ResolvedGraph:
        """The graph's edges between the key spaces."""
        return self.digests.resolved

    def op(self, op: Op) -> dict[str, np.ndarray]:
        """The codes of each output of an op."""
        if self.graph.assets[op.name].kind == "source":
            return {name: self._source(name) for name in op.outputs}
        found = self.assessments[op.name]
        stale = found.stale
        failed = stale & self._failed(op)
        absent = found.absent if self.observed else self._too_early(op)
        stuck = failed | (stale & (absent | self._upstream_stuck(op)))
        self._along_own_past(op, stale, stuck)
        self.stuck[op.name] = stuck
        codes = {name: self._codes(name, stale, failed, stuck) for name in op.outputs}
        if found.withdrawn is not None:
            for name in op.outputs:
                codes[name][found.withdrawn & ~self.facts.assets[name].there] = WITHDRAWN
        return codes

    def _source(self, name: str) -> np.ndarray:
        own = self.facts.assets[name]
        codes = np.where(own.there, OBSERVED, NOT_SEEN).astype(np.uint8)
        codes[own.withdrawn] = WITHDRAWN
        return codes

    def _withdrawn(self, read: Input) -> np.ndarray | None:
        return self.assessments[self.graph.op_of[read.asset].name].withdrawn

    def _codes(
        self, name: str, stale: np.ndarray, failed: np.ndarray, stuck: np.ndarray
    ) -> np.ndarray:
        codes = np.full(len(stale), FRESH, np.uint8)
        codes[stale] = STALE
        codes[~self.facts.assets[name].there] = MISSING
        codes[stuck] = BLOCKED
        codes[failed] = FAILED
        return codes

    def _failed(self, op: Op) -> np.ndarray:
        """Which partitions have a failed attempt, of any output."""
        mask = np.zeros(self.facts.spaces[op.name].n, bool)
        for name in op.outputs:
            keys = list(self.failed.get(name, ()))
            if keys:
                at = self.facts.spaces[name].ordinals(keys)
                mask[at[at >= 0]] = True
        return mask

    def _too_early(self, op: Op) -> np.ndarray:
        """Which partitions map to upstream windows that have not closed."""
        mask = np.zeros(self.facts.spaces[op.name].n, bool)
        for read in op.inputs:
            short = self.resolved.edge(op, read).short
            if short is not None:
                mask |= short
        return mask

    def _upstream_stuck(self, op: Op) -> np.ndarray:
        mask = np.zeros(self.facts.spaces[op.name].n, bool)
        for read in op.inputs:
            if read.asset not in op.outputs and (gone := self._gone(read)).any():
                edge, space = self.resolved.edge(op, read), self.facts.spaces[read.asset]
                mask |= short_of(read, edge, gone, space, self._withdrawn(read))
        return mask

    def _gone(self, read: Input) -> np.ndarray:
        """Which upstream partitions do not come, bool."""
        stuck = self.stuck.get(self.graph.op_of[read.asset].name)
        if stuck is not None:
            return stuck
        missing: np.ndarray = ~self.facts.assets[read.asset].there
        if (withdrawn := self._withdrawn(read)) is not None:
            missing &= ~withdrawn
        missing |= self._unseen(read.asset)
        return missing if self.observed else np.zeros(len(missing), bool)

    def _unseen(self, name: str) -> np.ndarray:
        """Which partitions of a source could not be looked at, bool."""
        mask = np.zeros(self.facts.spaces[name].n, bool)
        mask[list(self.observations.errors.get(name, ()))] = True
        return mask

    def _waits(self, name: str, blocked: np.ndarray) -> Iterator[MissingInput]:
        """What the blocked partitions of an asset wait for, all of them together, by input."""
        op = self.graph.op_of[name]
        for read in op.inputs if blocked.any() else ():
            edge, space = self.resolved.edge(op, read), self.facts.spaces[read.asset]
            gone = self._gone(read)
            # One seen before is not done without: nobody knows what it holds now.
            unsure = self._unseen(read.asset) & self.facts.assets[read.asset].there
            withdrawn = self._withdrawn(read)
            short = blocked & (short_of(read, edge, gone, space, withdrawn) | edge.any(unsure))
            expected = edge.cover(short)
            if withdrawn is not None:
                expected &= ~withdrawn
            at = np.flatnonzero(expected & gone)
            if edge.short is not None and (edge.short & blocked).any():
                yield MissingInput(read.asset, at[:0], 0, space)
            if len(at):
                n, policy = int(expected.sum()), read.require
                alone = short.sum() == 1  # the need of several is not one number
                needs = (policy.needed(n), str(policy)) if alone else ()
                yield MissingInput(read.asset, at, n, space, *needs)

    def _along_own_past(self, op: Op, stale: np.ndarray, stuck: np.ndarray) -> None:
        """An op that reads its own past is stuck after its first stuck partition."""
        for read in op.inputs:
            if read.asset not in op.outputs or not stuck.any():
                continue
            edge, space = self.resolved.edge(op, read), self.facts.spaces[read.asset]
            for ordinal in np.flatnonzero(stale & ~stuck).tolist():
                at = expected_of(edge.upstream(ordinal), self._withdrawn(read))
                gone = stuck[at]
                if gone.any() and (read.require.is_all or not is_enough(read, at, gone, space)):
                    stuck[ordinal] = True

    def row(self, name: str, codes: np.ndarray) -> AssetStatus:
        """One asset's row."""
        own, space = self.facts.assets[name], self.facts.spaces[name]
        built = self.graph.assets[name].kind != "source"
        return AssetStatus(
            asset=name,
            kind="asset" if built else "source",
            space=space,
            codes=codes,
            failures=self._attempts(name, space, codes == FAILED),
            fresh_failures=self._attempts(name, space, codes == FRESH),
            landed=int(own.finished.max(initial=0)),
            rows=int(own.rows.sum()),
            unseen={
                space.key(i): first_line(str(error))
                for i, error in self.observations.errors.get(name, {}).items()
            },
            gone=np.array(self.observations.gone.get(name, ()), np.int64),
            held_back=self.observations.held_back.get(name, ""),
            invalidated=tuple(self._invalidated(name)),
            waits=tuple(self._waits(name, codes == BLOCKED)),
            incomplete=space.closed + np.flatnonzero(own.there[space.closed :] & built),
            was_open=self._was_open(name, codes) if built else None,
        )

    def _was_open(self, name: str, codes: np.ndarray) -> np.ndarray:
        """What is stale since its window was open when it was built."""
        op, space = self.graph.op_of[name], self.facts.spaces[name]
        moved = (self.assessments[op.name].reasons & INPUT) != 0
        at, ends = np.flatnonzero(moved & (codes == STALE)), space.ends()
        at = at[at < space.closed]
        if not len(at) or ends is None:
            return at[:0]
        alone = self.digests.only_closed(op, name, at)
        # Where what it read has moved, too, only its record tells.
        early = self.facts.assets[name].finished[at] < ends[at] * 1_000_000
        others = incomplete_among(self.facts, name, at[early & ~alone])
        return np.sort(np.concatenate([at[alone], others]))

    def _invalidated(self, name: str) -> Iterator[tuple[Invalidation, np.ndarray]]:
        """The invalidations in force, oldest first, with what they hold for."""
        column, ids = self.facts.invalidated(name), self.facts.assets[name].id
        if column is None:
            return
        held = (ids != 0) & (ids < column)
        for number in np.unique(column[held]).tolist():
            at = np.flatnonzero(held & (column == number))
            yield self.facts.invalidations[name][number], at

    def _attempts(self, name: str, space: KeySpace, mask: np.ndarray) -> dict[str, Attempt]:
        """The failed attempts of these partitions, in the order of their keys."""
        failures = self.failed.get(name, {})
        at = space.ordinals(list(failures)) if failures else ()
        found = {int(i): attempt for i, attempt in zip(at, failures.values(), strict=True)}
        return {space.key(i): found[i] for i in sorted(found) if i >= 0 and mask[i]}
