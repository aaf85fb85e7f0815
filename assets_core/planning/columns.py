"""A plan as columns: which partitions of each op run or wait, and what they lack.

`plan` makes it, and tells it step by step; `causes`, `why` and `cost` read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from assets_core.graph import Graph, Input, Op
from assets_core.planning.digests import Digests
from assets_core.planning.facts import Facts
from assets_core.planning.missing_inputs import MissingInput, expected_of, is_enough
from assets_core.planning.observations import Observations
from assets_core.planning.reasons import Reason, explain
from assets_core.planning.resolved_graph import ResolvedGraph
from assets_core.planning.staleness import assess


@dataclass(frozen=True, slots=True)
class OpSteps:
    """The steps of one op, as columns: ``ordinals`` int64, ``reasons`` uint8 (0: may only)."""

    op: Op
    ordinals: np.ndarray
    reasons: np.ndarray

    @property
    def asset_partitions(self) -> int:
        """How many asset partitions: a step makes one of each output."""
        return len(self.ordinals) * len(self.op.outputs)

    def where(self, mask: np.ndarray) -> OpSteps:
        """Those of the steps that a mask (bool, aligned) keeps."""
        return OpSteps(self.op, self.ordinals[mask], self.reasons[mask])


@dataclass(frozen=True, slots=True)
class PlanColumns:
    """What would run. Batches are in topological order of their ops; see `steps`.

    ``revision`` is the log position that the facts were read at, ``now`` the instant that decided
    which windows have closed. ``note`` is what a run of it is marked with. ``chosen`` are the
    partitions of each op that were selected (bool by ordinal); of an op not in it, all.
    ``withdrawn`` are those that are neither there nor expected, as of `find_withdrawn`.
    """

    environment: str
    now: datetime
    revision: int
    batches: tuple[OpSteps, ...]
    waiting_batches: tuple[OpSteps, ...]
    graph: Graph = field(repr=False)
    facts: Facts = field(repr=False)
    digests: Digests = field(repr=False)
    codes: Mapping[str, str] = field(repr=False)
    parts: Mapping[str, Mapping[str, str]] = field(repr=False)
    selected: tuple[str, ...] = ()
    forced: bool = False
    observations: Observations = field(default_factory=Observations, repr=False)
    unobservable: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    note: str = ""
    chosen: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    withdrawn: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def resolved(self) -> ResolvedGraph:
        """The graph's edges between the key spaces."""
        return self.digests.resolved

    @property
    def made_along(self) -> dict[str, tuple[str, ...]]:
        """Assets in the plan that were not selected → those selected that one function makes
        together with them: it can't make one without the others."""
        chosen = set(self.selected)
        ops = [batch.op for batch in (*self.batches, *self.waiting_batches)]
        return {
            name: tuple(other for other in op.outputs if other in chosen)
            for op in ops
            for name in op.outputs
            if name not in chosen
        }

    @property
    def must(self) -> int:
        """How many asset partitions will run."""
        return sum(int((b.reasons != 0).sum()) * len(b.op.outputs) for b in self.batches)

    @property
    def may(self) -> int:
        """How many run only if something upstream really changes."""
        return sum(int((b.reasons == 0).sum()) * len(b.op.outputs) for b in self.batches)

    @property
    def size(self) -> int:
        """How many times a function or query is called at most."""
        return sum(len(b.ordinals) for b in self.batches)

    def __len__(self) -> int:
        return self.must + self.may

    def __bool__(self) -> bool:
        return bool(self.batches)

    def explain(self, asset: str, ordinal: int, bits: int) -> tuple[Reason, ...]:
        """The reasons that the bits of a partition stand for, in words."""
        return explain(
            *(self.graph, self.digests, self.codes, self.parts),
            *(asset, ordinal, bits, self.withdrawn),
        )

    @property
    def blocked(self) -> int:
        """How many asset partitions wait for missing upstream partitions."""
        return sum(b.asset_partitions for b in self.waiting_batches)

    def missing_inputs(
        self, op: Op, ordinal: int, gone: Sequence[np.ndarray] | None = None
    ) -> Iterator[MissingInput]:
        """What a partition that waits is waiting for, by input; ``gone`` of each, where known."""
        columns = gone or [self.still_unavailable(read) for read in op.inputs]
        for read, column in zip(op.inputs, columns, strict=True):
            edge = self.resolved.edge(op, read)
            if edge.short is not None and edge.short[ordinal]:
                yield self.missing_input(read, np.zeros(0, np.int64), 0)
            at = self.expected(read, edge.upstream(ordinal))
            missing = column[at]
            if missing.any() and not self._does_without(read, at, missing):
                yield self.missing_input(read, at[missing], len(at))

    def _does_without(self, read: Input, at: np.ndarray, missing: np.ndarray) -> bool:
        if read.require.is_all:
            return False
        source = self.graph.assets[read.asset].kind == "source"
        unobservable = self.unobservable.get(self.graph.op_of[read.asset].name)
        if (
            source
            and unobservable is not None
            and self.facts.assets[read.asset].there[at[unobservable[at]]].any()
        ):
            return False
        return is_enough(read, at, missing, self.facts.spaces[read.asset])

    def expected(self, read: Input, at: np.ndarray) -> np.ndarray:
        """These partitions of what an input reads, without those that are withdrawn."""
        return expected_of(at, self.withdrawn.get(self.graph.op_of[read.asset].name))

    def missing_input(self, read: Input, missing: np.ndarray, expected: int) -> MissingInput:
        """These ordinals, missing of as many through an input."""
        policy = read.require
        space = self.facts.spaces[read.asset]
        return MissingInput(
            read.asset, missing, expected, space, policy.needed(expected), str(policy)
        )

    def still_unavailable(self, read: Input) -> np.ndarray:
        """Which partitions of what an input reads are not there and do not come by this plan,
        bool."""
        found = self.unavailable(read.asset).copy()
        upstream = self.graph.op_of[read.asset].name
        for batch in self.batches:
            if batch.op.name == upstream:
                found[batch.ordinals] = False
        return found

    def unavailable(self, asset: str) -> np.ndarray:
        """Which partitions of an asset can't be read, bool: nothing is recorded of them, they wait
        themselves, or they (or what they are built from) are of a source that could not be looked
        at."""
        found: np.ndarray = ~self.facts.assets[asset].there
        upstream = self.graph.op_of[asset].name
        if upstream in self.withdrawn:
            found &= ~self.withdrawn[upstream]
        for batch in self.waiting_batches:
            if batch.op.name == upstream:
                found[batch.ordinals] = True
        unobservable = self.unobservable.get(upstream)
        return found if unobservable is None else found | unobservable

    @property
    def idle(self) -> bool:
        """Whether there is nothing to run and nothing to tell: no step, none blocked, no error."""
        return not (self.batches or self.waiting_batches or self.observations.errors)

    def stale_outside_selection(self) -> int:
        """How many selected asset partitions are not in the plan only because something stale that
        they read, be it far up, was not selected."""
        if not self.chosen:
            return 0
        found = assess(
            self.graph, self.facts, self.codes, digests=self.digests, observations=self.observations
        )
        stale = sum(
            int((found[op.name].stale & self.chosen.get(op.name, True)).sum()) * len(op.outputs)
            for op in self.graph.ops
            if self.graph.assets[op.name].kind != "source"
        )
        return stale - self.blocked - len(self)
