"""From one partition of a plan upstream to the root causes of its staleness.

Pure but for the plan's lookup, which is asked of a few partitions only: a walk goes op by op on
sets of ordinals, so a graph a thousand assets deep, or a window of ten thousand, ends at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from assets_core.errors import PartitionError
from assets_core.graph import Op
from assets_core.planning.columns import OpSteps, PlanColumns
from assets_core.planning.reasons import Reason
from assets_core.planning.staleness import CODE, INPUT, INVALIDATED, MISSING, assess
from assets_core.planning.why import Change, Hop, Root, Why
from assets_core.records import is_withdrawn, version_hex
from assets_core.wording import (
    one_line,
    ranges,
)

_FEW = 64
"""So many partitions are followed one by one; more of them as a column."""

_WAITS = 5


def find_why(plan: PlanColumns, asset: str, partition: str) -> Why:
    """Why a partition must or may run, waits, or is fresh.

    Raises UnknownAssetError, and PartitionError for a key that is not in the asset's key space.
    """
    name = plan.graph.asset(asset).name
    op, space = plan.graph.op_of[name], plan.facts.spaces[name]
    if not partition:
        example = space.key(space.n - 1) if space.n else "PARTITION"
        raise PartitionError(
            f"One partition of {name!r} is explained at a time.",
            hint=f"For example: {name}@{example}",
        )
    ordinal = space.ordinal(partition)
    walk = _Walk(plan)
    status = walk.status(op, ordinal)
    hops, roots = walk.upward(op, ordinal) if status in ("must", "may", "blocked") else ([], [])
    lookup = plan.facts.lookup
    there = plan.facts.assets[name].id[ordinal] != 0
    fact = lookup.current(name, space.key(ordinal)) if lookup is not None and there else None
    return Why(
        asset=name,
        partition=space.key(ordinal),
        status=status,
        changes=tuple(walk.changes(op, name, ordinal, status)),
        hops=tuple(hops),
        roots=tuple(roots),
        built_at=fact.finished if fact is not None else 0,
        run=fact.run if fact is not None else "",
        version="" if fact is None or is_withdrawn(fact) else version_hex(fact.data_version),
    )


class _Walk:
    """One way from a partition up to where its staleness begins."""

    def __init__(self, plan: PlanColumns) -> None:
        self.plan = plan
        self.planned = {batch.op.name: batch for batch in plan.batches}
        self.waiting = {batch.op.name: batch for batch in plan.waiting_batches}

    # One partition -----------------------------------------------------------------------------

    def status(self, op: Op, ordinal: int) -> str:
        """A key of `STATUSES`."""
        if self.plan.graph.assets[op.name].kind == "source":
            return "source"
        batch = self.planned.get(op.name)
        at = _place(batch, ordinal)
        if batch is not None and at >= 0:
            return "must" if batch.reasons[at] else "may"
        if _place(self.waiting.get(op.name), ordinal) >= 0:
            return "blocked"
        if self._is_withdrawn(op, ordinal):
            return "withdrawn"
        if self._bits(op, ordinal):
            return "not selected"
        return "upstream not selected" if self._may(op, ordinal) else "fresh"

    def _is_withdrawn(self, op: Op, ordinal: int) -> bool:
        mask = self.plan.withdrawn.get(op.name)
        return mask is not None and bool(mask[ordinal])

    def _may(self, op: Op, ordinal: int) -> bool:
        """Whether a partition would be stale if all that it is built from were selected."""
        plan = self.plan
        whole = assess(
            plan.graph, plan.facts, plan.codes, digests=plan.digests, observations=plan.observations
        )
        return bool(whole[op.name].may[ordinal])

    def _bits(self, op: Op, ordinal: int) -> int:
        """What is stale of a partition by itself, of one that the plan says nothing about."""
        facts = self.plan.facts
        digest, _ = self.plan.digests.one(op, ordinal)
        bits = 0
        for name in op.outputs:
            own = facts.assets[name]
            if not own.has(ordinal):
                return 0 if self._is_withdrawn(op, ordinal) else MISSING
            if not facts.is_current(int(own.code[ordinal]), self.plan.codes[name]):
                bits |= CODE
            if tuple(own.digest[ordinal].tolist()) != digest:
                bits |= INPUT
            if facts.invalidation(name, ordinal) is not None:
                bits |= INVALIDATED
        return bits

    def changes(self, op: Op, asset: str, ordinal: int, status: str) -> Iterator[Change]:
        """The reasons of one partition itself, with what recorded the after."""
        if status == "blocked":
            yield from self._waits(op, ordinal)
        bits = self._own_bits(op, ordinal, status)
        for reason in self.plan.explain(asset, ordinal, bits) if bits else ():
            yield self._change(asset, ordinal, reason)

    def _own_bits(self, op: Op, ordinal: int, status: str) -> int:
        if status == "not selected":
            return self._bits(op, ordinal)
        batch = (self.planned if status in ("must", "may") else self.waiting).get(op.name)
        at = _place(batch, ordinal)
        return int(batch.reasons[at]) if batch is not None and at >= 0 else 0

    def _change(self, asset: str, ordinal: int, reason: Reason) -> Change:
        lookup = self.plan.facts.lookup
        told = Change(
            reason.kind, reason.detail, reason.was, reason.now, reason.asset, reason.partition
        )
        if reason.kind == "invalidated":
            known = self.plan.facts.invalidation(asset, ordinal)
            return Change(reason.kind, reason.detail, at=known.at if known is not None else 0)
        if lookup is None:
            return told
        if reason.kind in ("code changed", "config changed"):
            was = self.plan.facts.codes.get(int(self.plan.facts.assets[asset].code[ordinal]), "")
            now = {**self.plan.parts.get(asset, {}), **self.plan.facts.reads_now(was)}
            parts = _parts(lookup.code_parts(was), now)
            return Change(reason.kind, reason.detail, reason.was, reason.now, parts=parts)
        if reason.partition:
            fact = lookup.current(reason.asset, reason.partition)
            if fact is not None:
                return Change(
                    *(reason.kind, reason.detail, reason.was, reason.now),
                    *(reason.asset, reason.partition, fact.finished, fact.run),
                )
        return told

    def _waits(self, op: Op, ordinal: int) -> Iterator[Change]:
        """The upstream partitions that a blocked one lacks, by input."""
        for one in self.plan.missing_inputs(op, ordinal):
            needs = "" if one.policy == "all" else f" (needs {one.needed or one.policy})"
            number = f"{one.missing:,} of {one.expected:,} of {one.asset}{needs}"
            where = ranges(one.ordinals, one.space, most=_WAITS)
            detail = f"waits for {number}: {where}" if one.missing else f"waits for {one}"
            yield Change("waits", detail, asset=one.asset)

    # Upward ------------------------------------------------------------------------------------

    def upward(self, op: Op, ordinal: int) -> tuple[list[Hop], list[Root]]:
        """What of the plan lies upstream, nearest first, and the partitions where that begins."""
        wanted: dict[str, np.ndarray] = {op.name: np.array([ordinal])}
        hops, roots = list[Hop](), list[Root]()
        ops = list(self.plan.graph.ops)
        for current in reversed(ops[: ops.index(op) + 1]):
            own = wanted.pop(current.name, None)
            if own is None:
                continue
            own = self._with_past(current, own)
            if current is not op or len(own) > 1:
                shown = own[own != ordinal] if current is op else own
                hops.append(self._hop(current, shown))
                roots += self._roots(current, shown)
            for name, at in self._upstream(current, self._open(current, own, ordinal, op)):
                known = wanted.get(name)
                wanted[name] = at if known is None else np.union1d(known, at)
        return hops, roots

    def _open(self, op: Op, ordinals: np.ndarray, ordinal: int, start: Op) -> np.ndarray:
        """Those whose staleness comes from further up: what must run is a root by itself."""
        batch = self.planned.get(op.name)
        must = batch.ordinals[batch.reasons != 0] if batch is not None else ordinals[:0]
        keep = ~np.isin(ordinals, must)
        if op is start:
            keep |= ordinals == ordinal
        return ordinals[keep]

    def _upstream(self, op: Op, ordinals: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """The stale partitions that these read, by op."""
        if not len(ordinals):
            return
        for read in op.inputs:
            if read.asset in op.outputs:
                continue
            upstream = self.plan.graph.op_of[read.asset]
            stale = self._stale(upstream)
            if not len(stale):
                continue
            edge = self.plan.resolved.edge(op, read)
            if len(ordinals) <= _FEW:
                found = np.unique(np.concatenate([edge.upstream(i) for i in ordinals.tolist()]))
            else:
                mask = np.zeros(edge.n_down, bool)
                mask[ordinals] = True
                found = np.flatnonzero(edge.cover(mask))
            found = found[np.isin(found, stale)]
            if len(found):
                yield upstream.name, found

    def _with_past(self, op: Op, ordinals: np.ndarray) -> np.ndarray:
        """With the stale partitions of the op's own past that these come from."""
        edges = [self.plan.resolved.edge(op, r) for r in op.inputs if r.asset in op.outputs]
        if not edges:
            return ordinals
        stale, batch = set(self._stale(op).tolist()), self.planned.get(op.name)
        must = set(batch.ordinals[batch.reasons != 0].tolist()) if batch is not None else set()
        seen, left = set(ordinals.tolist()), ordinals.tolist()
        first = set(left)
        while left:
            at = left.pop()
            if at in must and at not in first:
                continue
            for edge in edges:
                bounds = edge.bounds(at)
                past: Iterable[int] = range(*bounds) if bounds else edge.upstream(at).tolist()
                for other in past:
                    if other in stale and other not in seen:
                        seen.add(other)
                        left.append(other)
        return np.array(sorted(seen))

    def _stale(self, op: Op) -> np.ndarray:
        """The partitions of an op that are in the plan or wait; of a source those not seen."""
        if self.plan.graph.assets[op.name].kind == "source":
            return np.array(sorted(self.plan.observations.errors.get(op.name, ())), np.int64)
        parts = [b.ordinals for m in (self.planned, self.waiting) if (b := m.get(op.name))]
        if len(parts) == 2:
            return np.union1d(*parts)
        return parts[0] if parts else np.zeros(0, np.int64)

    def _hop(self, op: Op, ordinals: np.ndarray) -> Hop:
        must, blocked = self._told(op, ordinals)
        where = ranges(ordinals, self.plan.facts.spaces[op.name], most=2)
        return Hop(op.name, where, len(ordinals), int(must.sum()), int(blocked.sum()))

    def _told(self, op: Op, ordinals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        batch, waiting = self.planned.get(op.name), self.waiting.get(op.name)
        none = np.zeros(len(ordinals), bool)
        must = none if batch is None else np.isin(ordinals, batch.ordinals[batch.reasons != 0])
        return must, none if waiting is None else np.isin(ordinals, waiting.ordinals)

    def _roots(self, op: Op, ordinals: np.ndarray) -> Iterator[Root]:
        if self.plan.graph.assets[op.name].kind == "source":
            errors = self.plan.observations.errors[op.name]
            change = Change("failed", one_line(str(errors[int(ordinals[0])]), 160))
            yield self._root(op, ordinals, "failed", (change,))
            return
        must, blocked = self._told(op, ordinals)
        for status, at in (("must", ordinals[must]), ("blocked", ordinals[blocked])):
            changes = tuple(self.changes(op, op.name, int(at[0]), status)) if len(at) else ()
            if changes:
                yield self._root(op, at, status, changes)

    def _root(self, op: Op, ordinals: np.ndarray, status: str, changes: tuple[Change, ...]) -> Root:
        space = self.plan.facts.spaces[op.name]
        where = ranges(ordinals, space, most=2)
        return Root(op.name, space.key(int(ordinals[0])), where, len(ordinals), status, changes)


def _place(batch: OpSteps | None, ordinal: int) -> int:
    """Where an ordinal stands in a batch; -1 when it is not in it."""
    if batch is None:
        return -1
    at = int(np.searchsorted(batch.ordinals, ordinal))
    return at if at < len(batch.ordinals) and batch.ordinals[at] == ordinal else -1


def _parts(was: Mapping[str, str], now: Mapping[str, str]) -> tuple[tuple[str, str, str], ...]:
    """The parts of two code versions that differ."""
    if not was or not now:
        return ()
    names = sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))
    return tuple((name, was.get(name, ""), now.get(name, "")) for name in names)
