"""Why one partition is in a plan: from it upstream to its root causes, with before and after.

Pure but for the plan's recall, which is asked of a few partitions only: a walk goes op by op on
sets of ordinals, so a graph a thousand assets deep, or a window of ten thousand, ends at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from assets_core.errors import PartitionError
from assets_core.graph import Op
from assets_core.observe import svg
from assets_core.observe.format import (
    count,
    human_time,
    iso_time,
    one_line,
    ranges,
    reference,
    table,
)
from assets_core.plan import Batch, Plan
from assets_core.records import is_withdrawn, version_hex
from assets_core.staleness import CODE, INPUT, INVALIDATED, MISSING, READS, Reason, assess

STATUSES = {
    "must": "must run",
    "may": "may run, if what it reads really comes out different",
    "blocked": "is stale, and waits",
    "fresh": "is fresh",
    "withdrawn": "is withdrawn: nothing is left of what it reads",
    "source": "is a source's: it is observed, not built",
    "not selected": "is stale, and not in this plan: it was not selected",
    "upstream not selected": "is as fresh as what it reads, of which something is stale "
    "and not selected",
}

_FEW = 64
"""So many partitions are followed one by one; more of them as a column."""

_ROOTS = 8
_HOPS = 14
_WAITS = 5
_PARTS = 12


@dataclass(frozen=True, slots=True)
class Change:
    """One reason with its before and after, and what recorded the after.

    ``at`` (µs, 0: unknown) and ``run`` (empty: an observation) are those of the upstream
    materialization that moved; ``parts`` of a code version are ``(name, was, now)``, short hashes.
    """

    kind: str
    detail: str
    was: str = ""
    now: str = ""
    asset: str = ""
    partition: str = ""
    at: int = 0
    run: str = ""
    parts: tuple[tuple[str, str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "detail": self.detail,
            "was": self.was,
            "now": self.now,
            "asset": self.asset,
            "partition": self.partition,
            "at": iso_time(self.at),
            "run": self.run,
            "parts": [{"part": p, "was": was, "now": now} for p, was, now in self.parts],
        }

    def lines(self) -> Iterator[str]:
        """The change in words, then a line for each part of the code."""
        text = self.detail if self.detail.startswith(self.kind) else f"{self.kind}: {self.detail}"
        if self.kind in ("late data", "missing", "sibling", "forced", READS):
            text = self.detail
        if self.was or self.now:
            text += f" ({self.was or 'nothing'} → {self.now or 'nothing'})"
        if self.at and self.kind == "invalidated":
            text += f", on {human_time(self.at)}"
        elif self.at:
            by = f"by run {self.run}" if self.run else "by looking at the source"
            text += f", recorded {human_time(self.at)} {by}"
        yield one_line(text)
        for name, was, now in self.parts[:_PARTS]:
            yield "  " + one_line(f"{name}: {was or 'not there'} → {now or 'gone'}")
        if len(self.parts) > _PARTS:
            yield f"  and {count(len(self.parts) - _PARTS, 'more part')}"


@dataclass(frozen=True, slots=True)
class Hop:
    """Partitions of one asset on the way up: their ranges, number, and how many must or wait."""

    asset: str
    where: str
    count: int
    must: int
    blocked: int

    @property
    def status(self) -> str:
        """``must``, ``may`` or ``blocked``; several where the partitions differ."""
        may = self.count - self.must - self.blocked
        numbers = {"must": self.must, "may": may, "blocked": self.blocked}
        used = {word: n for word, n in numbers.items() if n}
        if len(used) == 1:
            return next(iter(used))
        return ", ".join(f"{n:,} {word}" for word, n in used.items())


@dataclass(frozen=True, slots=True)
class Root:
    """A root cause: partitions of one asset that must run for reasons of their own, or that wait.

    ``changes`` are those of the first of them, ``partition``.
    """

    asset: str
    partition: str
    where: str
    count: int
    status: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Why:
    """Why a partition is in a plan, or is not.

    ``changes`` are its own reasons, ``hops`` what of the plan lies upstream of it, nearest first,
    ``roots`` where that begins. ``built_at`` (µs) and ``run`` are of what serves now, ``version``
    its data version; 0 and empty when nothing does.
    """

    asset: str
    partition: str
    status: str
    changes: tuple[Change, ...]
    hops: tuple[Hop, ...]
    roots: tuple[Root, ...]
    built_at: int = 0
    run: str = ""
    version: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "asset": self.asset,
            "partition": self.partition,
            "status": self.status,
            "built": {"at": iso_time(self.built_at), "run": self.run, "version": self.version},
            "reasons": [change.to_dict() for change in self.changes],
            "upstream": [
                {"asset": h.asset, "partitions": h.where, "count": h.count, "status": h.status}
                for h in self.hops
            ],
            "roots": [
                {
                    "asset": root.asset,
                    "partitions": root.where,
                    "count": root.count,
                    "status": root.status,
                    "example": root.partition,
                    "reasons": [change.to_dict() for change in root.changes],
                }
                for root in self.roots
            ],
        }

    def __str__(self) -> str:
        return "\n".join(why_lines(self))

    def _repr_html_(self) -> str:
        title, *rest = why_lines(self)
        return svg.block(svg.heading(title), svg.preformatted("\n".join(rest)))


def why_lines(why: Why) -> list[str]:
    """What is told, line by line; bounded, however wide or deep the graph is."""
    lines = [f"{reference(why.asset, why.partition)} {STATUSES[why.status]}"]
    if why.built_at:
        by = f" by run {why.run}" if why.run else ""
        verb = "observed" if why.status == "source" else "built"
        verb = verb if why.version else "withdrawn"
        version = f", version {why.version[:12]}" if why.version else ""
        lines.append(f"  {verb} {human_time(why.built_at)}{by}{version}")
    lines += [f"  {line}" for change in why.changes for line in change.lines()]
    lines += _hop_lines(why.hops)
    for root in why.roots[:_ROOTS]:
        lines += _root_lines(root)
    if len(why.roots) > _ROOTS:
        lines.append(f"and {count(len(why.roots) - _ROOTS, 'more root cause')}; all with --json")
    return lines


def _hop_lines(hops: tuple[Hop, ...]) -> list[str]:
    """The way up: its beginning and its end, when it is long."""
    shown = list(hops)
    cut = len(hops) - _HOPS
    if cut > 0:
        shown = [*hops[: _HOPS // 2], *hops[-(_HOPS // 2) :]]
    rows = [["←", hop.asset, f"{hop.where} ({count(hop.count)})", hop.status] for hop in shown]
    lines = [f"  {line}" for line in table((), rows)]
    if cut > 0:
        lines.insert(_HOPS // 2, f"  … {count(cut, 'more asset')} between")
    return lines


def _root_lines(root: Root) -> Iterator[str]:
    many = f" ({count(root.count)}, told of {root.partition})" if root.count > 1 else ""
    word = {"must": "must run", "blocked": "waits", "failed": "could not be looked at"}[root.status]
    yield one_line(f"root cause: {root.asset}@{root.where}{many} {word}")
    for change in root.changes:
        yield from (f"  {line}" for line in change.lines())


# --------------------------------------------------------------------------------------------
# The walk


def find_why(plan: Plan, asset: str, partition: str) -> Why:
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
    recall = plan.facts.recall
    there = plan.facts.assets[name].id[ordinal] != 0
    fact = recall.current(name, space.key(ordinal)) if recall is not None and there else None
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

    def __init__(self, plan: Plan) -> None:
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
            plan.graph, plan.facts, plan.codes, digests=plan.digests, sightings=plan.sightings
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
        recall = self.plan.facts.recall
        told = Change(
            reason.kind, reason.detail, reason.was, reason.now, reason.asset, reason.partition
        )
        if reason.kind == "invalidated":
            known = self.plan.facts.invalidation(asset, ordinal)
            return Change(reason.kind, reason.detail, at=known.at if known is not None else 0)
        if recall is None:
            return told
        if reason.kind in ("code changed", "config changed"):
            was = self.plan.facts.codes.get(int(self.plan.facts.assets[asset].code[ordinal]), "")
            now = {**self.plan.parts.get(asset, {}), **self.plan.facts.reads_now(was)}
            parts = _parts(recall.code_parts(was), now)
            return Change(reason.kind, reason.detail, reason.was, reason.now, parts=parts)
        if reason.partition:
            fact = recall.current(reason.asset, reason.partition)
            if fact is not None:
                return Change(
                    *(reason.kind, reason.detail, reason.was, reason.now),
                    *(reason.asset, reason.partition, fact.finished, fact.run),
                )
        return told

    def _waits(self, op: Op, ordinal: int) -> Iterator[Change]:
        """The upstream partitions that a blocked one lacks, by input."""
        for lack in self.plan.lacks(op, ordinal):
            needs = "" if lack.policy == "all" else f" (needs {lack.needed or lack.policy})"
            number = f"{lack.missing:,} of {lack.expected:,} of {lack.asset}{needs}"
            where = ranges(lack.ordinals, lack.space, most=_WAITS)
            detail = f"waits for {number}: {where}" if lack.missing else f"waits for {lack}"
            yield Change("waits", detail, asset=lack.asset)

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
            edge = self.plan.wiring.edge(op, read)
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
        edges = [self.plan.wiring.edge(op, r) for r in op.inputs if r.asset in op.outputs]
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
            return np.array(sorted(self.plan.sightings.errors.get(op.name, ())), np.int64)
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
            errors = self.plan.sightings.errors[op.name]
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


def _place(batch: Batch | None, ordinal: int) -> int:
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
