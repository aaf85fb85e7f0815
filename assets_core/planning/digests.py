"""Input digests: what the versions that each partition reads add up to, as they are now.

Pure. The mark of a partition that was built while its window was open is part of its digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from assets_core.fingerprint.hashing import hash64
from assets_core.fingerprint.sums import combine, combine_one, fold_edges, fold_edges_one, mix64
from assets_core.graph import Input, Op
from assets_core.planning.facts import Facts
from assets_core.planning.resolved_graph import ResolvedGraph
from assets_core.records import NO_VERSION, InputRead, Materialization, Version


def input_tag(read: Input | InputRead) -> int:
    """What tells an input's share of a digest from another input's."""
    return hash64("input", read.name, read.asset)


_OPEN = hash64("open window")


WAS_OPEN = "its window was open when it was built"


def is_incomplete(fact: Materialization) -> bool:
    """Whether a partition was built while its window was still open.

    Its input digest is marked then, and so differs from that of the same inputs when the window
    has closed: it is stale by itself. Nothing else is recorded of it.
    """
    if fact.kind == "observed":
        return False
    return fact.input_digest == open_digest(fact.inputs)


def open_digest(reads: Iterable[InputRead]) -> Version:
    """The digest of these inputs, marked as of a window that was open."""
    folded = fold_edges_one((input_tag(read), read.digest) for read in reads)
    return combine_one(*folded, _OPEN)


def incomplete_among(facts: Facts, asset: str, ordinals: np.ndarray) -> np.ndarray:
    """Which of these were built while their window was open; their records are asked, so it is for
    few: those that were built before their window closed."""
    if facts.lookup is None:
        return ordinals[:0]
    found = (facts.lookup.current(asset, key) for key in facts.spaces[asset].keys(ordinals))
    kept: np.ndarray = ordinals[[fact is not None and is_incomplete(fact) for fact in found]]
    return kept


def rows_alone(version: Version) -> Version:
    """What of an ordered data version stands for its rows as a set."""
    return (version[0], mix64(version[0])) if version[0] else NO_VERSION


class Digests:
    """Input digests as the recorded data versions are now: whole columns, or one partition."""

    def __init__(self, resolved: ResolvedGraph, facts: Facts) -> None:
        self.resolved = resolved
        self.facts = facts
        self._shares: dict[tuple[str, bool], np.ndarray] = {}
        self._tags: dict[Input, int] = {}

    def tag(self, read: Input) -> int:
        """`input_tag`, remembered."""
        tag = self._tags.get(read)
        if tag is None:
            tag = self._tags[read] = input_tag(read)
        return tag

    def shares(self, asset: str, *, any_order: bool = False) -> np.ndarray:
        """What each partition of an asset adds to a digest that reads it, uint64 (n, 2).

        With ``any_order`` out of the first word of its version alone: that of the rows as a set.
        """
        found = self._shares.get((asset, any_order))
        if found is None:
            data = self.facts.assets[asset].data
            if any_order:
                data = np.stack([data[:, 0], mix64(data[:, 0].copy())], axis=1)
                data[data[:, 0] == 0] = 0
            found = combine(data, self.facts.spaces[asset].salts())
            self._shares[asset, any_order] = found
        return found

    def share(self, asset: str, ordinal: int, version: Version, *, any_order: bool) -> Version:
        """What one partition would add with this data version."""
        high, low = rows_alone(version) if any_order else version
        return combine_one(high, low, int(self.facts.spaces[asset].salts()[ordinal]))

    def column(self, op: Op) -> np.ndarray:
        """The input digests of all partitions of an op, uint64 (n, 2)."""
        sums = [
            (
                self.tag(i),
                self.resolved.edge(op, i).sum(self.shares(i.asset, any_order=i.any_order)),
            )
            for i in op.inputs
        ]
        space = self.facts.spaces[op.name]
        found = fold_edges(sums, space.n)
        if space.closed < space.n:
            still = found[space.closed :]
            still[:] = combine(still, np.full(len(still), _OPEN, np.uint64))
        return found

    def only_closed(self, op: Op, asset: str, ordinals: np.ndarray) -> np.ndarray:
        """Which partitions of an output were built of just this, while their window was open."""
        now, recorded = self.column(op)[ordinals], self.facts.assets[asset].digest[ordinals]
        marked = combine(now, np.full(len(now), _OPEN, np.uint64))
        same = (marked[:, 0] == recorded[:, 0]) & (marked[:, 1] == recorded[:, 1])
        found: np.ndarray = same & (ordinals < self.facts.spaces[asset].closed)
        return found

    def one(self, op: Op, ordinal: int) -> tuple[Version, list[Version]]:
        """One partition's input digest, and what each input contributed to it."""
        sums = [self.contribution(op, read, ordinal) for read in op.inputs]
        return self.fold(op, ordinal, sums), sums

    def fold(self, op: Op, ordinal: int, sums: Sequence[Version]) -> Version:
        """One partition's input digest out of what each input contributes to it."""
        tags = [self.tag(read) for read in op.inputs]
        folded = fold_edges_one(zip(tags, sums, strict=True))
        is_open = ordinal >= self.facts.spaces[op.name].closed
        return combine_one(*folded, _OPEN) if is_open else folded

    def contribution(self, op: Op, read: Input, ordinal: int) -> Version:
        """What one input contributes to one partition's digest."""
        edge = self.resolved.edge(op, read)
        shares = self.shares(read.asset, any_order=read.any_order)
        bounds = edge.bounds(ordinal)
        if bounds is None:
            rows = shares[edge.upstream(ordinal)]
        else:
            lo, hi = bounds
            if hi - lo == 1:
                one = shares[lo]
                return int(one[0]), int(one[1])
            rows = shares[lo:hi]
        if not len(rows):
            return NO_VERSION
        high, low = rows.sum(axis=0, dtype=np.uint64).tolist()
        return high, low
