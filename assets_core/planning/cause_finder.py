"""Finds the root causes of a plan.

Pure and columnar: a cause is a bit, and bits flow through the edges along whole columns, so a plan
of a million steps is attributed without looking at one of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from assets_core.graph import Input, Op
from assets_core.partitions import Edge
from assets_core.planning.causes import OTHERS, Cause, Causes
from assets_core.planning.columns import OpSteps, PlanColumns
from assets_core.planning.digests import WAS_OPEN
from assets_core.planning.reasons import IS_WITHDRAWN, READS, Reason
from assets_core.planning.staleness import CODE, FORCED, INPUT, INVALIDATED, MISSING, WITHDRAWN
from assets_core.wording import one_line

MOST = 64
"""So many causes are told apart, one bit each; all that are found after them share the last bit."""

_AMBIGUOUS = 24
"""So many partitions of an asset are asked which of several inputs moved; others count for all."""

CauseKey = tuple[str, str]
"""What makes two causes one: a kind, and the words that tell it."""


def find_causes(plan: PlanColumns) -> Causes:
    """The root causes of a plan, and how much follows from each."""
    finder = _Finder(plan)
    finder.run()
    found = sorted(finder.causes.values(), key=lambda cause: (cause.kind == OTHERS, -cause.size))
    return Causes(plan, tuple(found), finder.own, tuple(finder.causes.values()))


class _Finder:
    """One pass over the ops of a plan, upstream first."""

    def __init__(self, plan: PlanColumns) -> None:
        self.plan = plan
        self.causes: dict[CauseKey, Cause] = {}
        self.own: dict[str, np.ndarray] = {}
        self._bit: dict[CauseKey, int] = {}
        self._columns: dict[str, np.ndarray] = {}
        self._kinds: dict[tuple[str, str], Reason] = {}
        self._readers: dict[str, int] = {}

    def run(self) -> None:
        planned = {batch.op.name: batch for batch in self.plan.batches}
        waiting = {batch.op.name: batch for batch in self.plan.waiting_batches}
        ops = [op for op in self.plan.graph.ops if op.name in planned or op.name in waiting]
        for op in ops:
            for name in {self.plan.graph.op_of[read].name for read in op.upstream}:
                self._readers[name] = self._readers.get(name, 0) + 1
        for op in ops:
            self._op(op, planned.get(op.name), waiting.get(op.name))

    def _op(self, op: Op, batch: OpSteps | None, waiting: OpSteps | None) -> None:
        bits = np.zeros(self.plan.facts.spaces[op.name].n, np.uint64)
        stale = np.zeros(len(bits), bool)
        for part in (batch, waiting):
            if part is not None:
                stale[part.ordinals] = True
                bits[part.ordinals] = self._own(part, counted=part is batch)
        carried = self._carried(op)
        if carried is not None:
            bits |= np.where(stale, carried, np.uint64(0))
        for edge in self._past(op):
            _scan(edge, bits, stale)
        if batch is not None:
            self._count(bits[batch.ordinals[batch.reasons == 0]], len(op.outputs), "may")
        if waiting is not None:
            self._count(bits[waiting.ordinals], len(op.outputs), "blocked")
        if self._readers.get(op.name) and bits.any():
            self._columns[op.name] = bits

    def _carried(self, op: Op) -> np.ndarray | None:
        """The bits of all that each partition reads; columns nobody needs any more are let go."""
        total: np.ndarray | None = None
        for read in op.inputs:
            if read.asset in op.outputs:
                continue
            column = self._columns.get(self.plan.graph.op_of[read.asset].name)
            if column is not None:
                part = self.plan.resolved.edge(op, read).over(column, np.bitwise_or)
                total = part if total is None else total | part
        for name in {self.plan.graph.op_of[read].name for read in op.upstream}:
            self._readers[name] -= 1
            if not self._readers[name]:
                self._columns.pop(name, None)
        return total

    def _past(self, op: Op) -> Iterator[Edge]:
        for read in op.inputs:
            if read.asset in op.outputs:
                yield self.plan.resolved.edge(op, read)

    def _count(self, bits: np.ndarray, outputs: int, what: str) -> None:
        present = int(np.bitwise_or.reduce(bits)) if len(bits) else 0
        for i, cause in enumerate(self.causes.values()):
            if present >> i & 1:
                number = int(((bits >> np.uint64(i)) & np.uint64(1)).sum()) * outputs
                setattr(cause, what, getattr(cause, what) + number)

    # Causes of a batch's own -------------------------------------------------------------------

    def _own(self, batch: OpSteps, *, counted: bool) -> np.ndarray:
        """The bits of the causes that the partitions of a batch have themselves."""
        total = np.zeros(len(batch.ordinals), np.uint64)
        if not batch.reasons.any():
            if counted:
                self.own.update(dict.fromkeys(batch.op.outputs, total))
            return total
        for asset in batch.op.outputs:
            bits = np.zeros(len(batch.ordinals), np.uint64)
            for key, mask in self._found(batch, asset):
                bits[mask] |= np.uint64(1 << self._number(key))
                self._note(key, asset, batch.ordinals[mask])
            if counted:
                self.own[asset] = bits
            total |= bits
        if counted:
            self._count(total, len(batch.op.outputs), "must")
        return total

    def _number(self, key: CauseKey) -> int:
        if key not in self._bit:
            if len(self.causes) < MOST:
                self._bit[key] = len(self.causes)
                self.causes[key] = Cause(*key)
                if len(self.causes) == MOST:
                    self.causes[key].kind, self.causes[key].subject = OTHERS, ""
            else:
                self._bit[key] = MOST - 1
        return self._bit[key]

    def _note(self, key: CauseKey, asset: str, ordinals: np.ndarray) -> None:
        cause = list(self.causes.values())[self._number(key)]
        if asset not in cause.assets:
            cause.assets.append(asset)
        cause.members.append((asset, ordinals))

    def _found(self, batch: OpSteps, asset: str) -> Iterator[tuple[CauseKey, np.ndarray]]:
        """Each cause of one output with the partitions that have it, bool of the batch's."""
        own, bits = self.plan.facts.assets[asset], batch.reasons
        there = own.there_at(batch.ordinals)
        plain = (
            (("forced", ""), (bits & FORCED) != 0),
            ((IS_WITHDRAWN, ""), (bits & WITHDRAWN) != 0),
        )
        gone = ((bits & MISSING) != 0) & ~there
        again = gone & (own.id[batch.ordinals] != 0)
        missing = (
            (("missing", ""), gone & ~again),
            (("missing", "withdrawn before"), again),
        )
        for key, mask in (*plain, *missing):
            if mask.any():
                yield key, mask
        yield from self._invalidations(batch, asset, ((bits & INVALIDATED) != 0) & there)
        yield from self._codes(batch, asset, ((bits & CODE) != 0) & there)
        moved = ((bits & INPUT) != 0) & there
        if moved.any():
            yield from self._inputs(batch, asset, moved)

    def _invalidations(
        self, batch: OpSteps, asset: str, mask: np.ndarray
    ) -> Iterator[tuple[CauseKey, np.ndarray]]:
        facts = self.plan.facts
        column = facts.invalidated(asset)
        if column is None or not mask.any():
            return
        newest, ids = column[batch.ordinals], facts.assets[asset].id[batch.ordinals]
        mask = mask & (ids < newest)  # of outputs made together perhaps only another one's is not
        for number in np.unique(newest[mask]).tolist():
            known = facts.invalidations[asset][number]
            yield ("invalidated", one_line(str(known))), mask & (newest == number)

    def _codes(
        self, batch: OpSteps, asset: str, changed: np.ndarray
    ) -> Iterator[tuple[CauseKey, np.ndarray]]:
        codes = self.plan.facts.assets[asset].code[batch.ordinals]
        for code in np.unique(codes[changed]).tolist():
            alike = changed & (codes == code)
            first = int(batch.ordinals[np.flatnonzero(alike)[0]])
            for reason in self.plan.explain(asset, first, CODE):
                yield (reason.kind, reason.detail), alike

    def _inputs(
        self, batch: OpSteps, asset: str, moved: np.ndarray
    ) -> Iterator[tuple[CauseKey, np.ndarray]]:
        """Which inputs moved: those recorded since the partition was built."""
        if self.plan.facts.spaces[asset].ends() is not None:
            closed = moved & self.plan.digests.only_closed(batch.op, asset, batch.ordinals)
            if closed.any():
                yield ("closed", WAS_OPEN), closed
                moved = moved & ~closed
        own = self.plan.facts.assets[asset].id[batch.ordinals]
        newer: dict[str, np.ndarray] = {}
        for read in batch.op.inputs:
            since = self._newest(batch.op, read)[batch.ordinals] > own
            newer[read.asset] = newer.get(read.asset, False) | (since & moved)
        several = np.add.reduce([mask.astype(np.int64) for mask in newer.values()]) if newer else 0
        # Where nothing was recorded since, other partitions are read: all for the same cause.
        none = moved & (several == 0)
        first = np.flatnonzero(none)[:_AMBIGUOUS]
        for key, mask in self._asked(batch, asset, first):
            yield key, mask | (none & ~_among(first, none))
        few = np.flatnonzero(moved & (several > 1))[:_AMBIGUOUS]
        yield from self._asked(batch, asset, few)
        told = ~_among(few, none)
        for upstream, mask in newer.items():
            if (mask & told).any():
                yield self._kind(upstream), mask & told

    def _newest(self, op: Op, read: Input) -> np.ndarray:
        ids = self.plan.facts.assets[read.asset].id
        return self.plan.resolved.edge(op, read).over(ids, np.maximum)

    def _asked(
        self, batch: OpSteps, asset: str, few: np.ndarray
    ) -> Iterator[tuple[CauseKey, np.ndarray]]:
        """What a few partitions themselves say of which of their inputs moved."""
        found: dict[CauseKey, np.ndarray] = {}
        for at in few.tolist():
            for reason in self.plan.explain(asset, int(batch.ordinals[at]), INPUT):
                found.setdefault(_key(reason), np.zeros(len(batch.ordinals), bool))[at] = True
        yield from found.items()

    def _kind(self, upstream: str) -> CauseKey:
        is_source = self.plan.graph.assets[upstream].kind == "source"
        return ("late data" if is_source else "input changed", upstream)


def _key(reason: Reason) -> CauseKey:
    """What a reason of an input's counts for."""
    if reason.kind == READS and reason.asset:
        return READS, f"reads other partitions of {reason.asset}"
    words = reason.detail if reason.kind in (READS, "closed") else ""
    return reason.kind, reason.asset or words


def _among(few: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Where a few positions are, bool, as long as a mask."""
    found = np.zeros(len(mask), bool)
    found[few] = True
    return found


def _scan(edge: Edge, bits: np.ndarray, stale: np.ndarray) -> None:
    """Carry bits forward along an op's own past, in order of partitions."""
    if not bits.any():
        return
    if type(edge) is Edge:
        own = np.arange(len(bits))
        one_before = (edge.hi == own) & (edge.lo == np.maximum(own - 1, 0))
        if one_before[stale].all():
            _sweep(bits, stale)
            return
    listed = bits.tolist()
    for i in np.flatnonzero(stale).tolist():
        bounds = edge.bounds(i)
        past = range(*bounds) if bounds is not None else edge.upstream(i).tolist()
        for j in past:
            listed[i] |= listed[j]
    bits[:] = listed


def _sweep(bits: np.ndarray, stale: np.ndarray) -> None:
    """The same where each reads exactly the one before: a running OR over unbroken stretches."""
    at = np.flatnonzero(stale)
    for stretch in np.split(at, np.flatnonzero(np.diff(at) != 1) + 1):
        bits[stretch] = np.bitwise_or.accumulate(bits[stretch])
