"""Which asset partitions an invalidation marks: those named, and all that reads them.

What reads a marked partition is found through the same mappings as staleness. What marks do is
said in `planning.staleness`; recording them is for `invalidate`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assets_core.contracts import Invalidate
from assets_core.graph import Graph, Op
from assets_core.partitions import KeySpace, PartitionSelection, to_ranges
from assets_core.planning.facts import Facts
from assets_core.planning.resolved_graph import ResolvedGraph
from assets_core.records import Invalidation
from assets_core.wording import count, key_pairs, ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """Partitions of one asset: ``covered`` (bool by ordinal) are all that is declared stale,
    ``ordinals`` those of them that something is recorded of. ``origin`` as of `Invalidation`.
    """

    asset: str
    space: KeySpace
    covered: Mask
    ordinals: np.ndarray
    origin: str = ""

    @property
    def where(self) -> str:
        """The recorded ones, consecutive ones as ranges."""
        return ranges(self.ordinals, self.space)

    def __str__(self) -> str:
        below = f", downstream of {self.origin}" if self.origin else ""
        return f"{self.asset} {self.where} ({len(self.ordinals):,}{below})"

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values; ``partitions`` are inclusive ranges of keys."""
        return {
            "asset": self.asset,
            "partitions": [list(pair) for pair in key_pairs(self.ordinals, self.space)],
            "count": len(self.ordinals),
            "downstream_of": self.origin,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Invalidated:
    """What was declared stale (or would be), by whom and why.

    ``missing`` asset partitions of the selection were never built: they are missing anyway.
    """

    reason: str
    by: str
    marks: tuple[Mark, ...]
    missing: int

    def __len__(self) -> int:
        return sum(len(mark.ordinals) for mark in self.marks)

    def operations(self, environment: str, at: int) -> list[Invalidate]:
        """What records it in the state store, as declared at this instant (µs)."""
        return [
            Invalidate(
                Invalidation(
                    environment,
                    mark.asset,
                    to_ranges(mark.space, mark.covered),
                    self.reason,
                    self.by,
                    at,
                    mark.origin,
                ),
                mark.space,
            )
            for mark in self.marks
        ]

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values."""
        return {
            "reason": self.reason,
            "by": self.by,
            "count": len(self),
            "missing": self.missing,
            "invalidated": [mark.to_dict() for mark in self.marks],
        }

    def __repr__(self) -> str:
        return f"<Invalidated {count(len(self), 'asset partition')} by {self.by}: {self.reason}>"

    def __str__(self) -> str:
        lines = [f"Invalidated {count(len(self), 'asset partition')} by {self.by}: {self.reason}"]
        return "\n".join([*lines, *(f"  {mark}" for mark in self.marks)])


def find_marks(
    graph: Graph,
    facts: Facts,
    resolved: ResolvedGraph,
    chosen: Collection[str],
    selection: PartitionSelection | None,
    *,
    downstream: bool,
) -> tuple[tuple[Mark, ...], int]:
    """What a selection marks, upstream first, and how many of it were never built.

    With ``downstream`` also all that reads a marked partition that is recorded, however far down.
    """
    found = _Marked(graph, facts, resolved)
    missing = 0
    for op in graph.ops:
        if downstream:
            found.add_below(op)
        for name in op.outputs:
            if name in chosen:
                space = facts.spaces[name]
                mask = selection.mask(space) if selection else np.ones(space.n, bool)
                never = mask & ~facts.assets[name].there
                missing += int(never[: space.closed].sum())
                found.add(name, mask)
        if downstream:
            found.add_own_past(op)
    return tuple(found.marks()), missing


class _Marked:
    """What is marked so far, by asset: all that is covered, and what of it began elsewhere."""

    def __init__(self, graph: Graph, facts: Facts, resolved: ResolvedGraph) -> None:
        self.graph = graph
        self.facts = facts
        self.resolved = resolved
        self.covered: dict[str, Mask] = {}
        self.origins: dict[str, str] = {}

    def marks(self) -> Iterator[Mark]:
        """One for each asset that something marked is recorded of, upstream first."""
        for name in self.graph.order:
            recorded = np.flatnonzero(self.recorded(name))
            if len(recorded):
                space, origin = self.facts.spaces[name], self.origins.get(name, "")
                yield Mark(name, space, self.covered[name], recorded, origin)

    def recorded(self, name: str) -> Mask:
        """What of an asset is marked and recorded: only that can have been read."""
        own: Mask = self.facts.assets[name].there
        return own & self.covered[name] if name in self.covered else np.zeros(len(own), bool)

    def add(self, name: str, mask: Mask, origin: str = "") -> None:
        """Mark more of an asset. ``origin`` is empty for what was named itself."""
        known = self.covered.get(name)
        self.covered[name] = mask if known is None else known | mask
        if not origin:
            self.origins.pop(name, None)
        elif known is None:  # what was named itself stays so
            self.origins[name] = origin

    def add_below(self, op: Op) -> None:
        """Mark what reads marked partitions of other assets."""
        for read in op.inputs:
            if read.asset in op.outputs or read.asset not in self.covered:
                continue
            mask = self.resolved.edge(op, read).any(self.recorded(read.asset))
            if mask.any():
                for name in op.outputs:
                    self.add(name, mask, self.origins.get(read.asset) or read.asset)

    def add_own_past(self, op: Op) -> None:
        """Carry marks forward where an op reads what itself made before."""
        past = [(r.asset, self.resolved.edge(op, r)) for r in op.inputs if r.asset in op.outputs]
        marked = {name: self.recorded(name) for name in op.outputs}
        n = self.facts.spaces[op.name].n
        if not past or not any(mask.any() for mask in marked.values()):
            return
        hit = np.zeros(n, bool)
        for ordinal in range(min(int(m.argmax()) for m in marked.values() if m.any()), n):
            if any(marked[name][edge.upstream(ordinal)].any() for name, edge in past):
                hit[ordinal] = True
                for name in op.outputs:
                    marked[name][ordinal] = self.facts.assets[name].has(ordinal)
        for name in op.outputs if hit.any() else ():
            self.add(name, hit, self.origins.get(name) or op.name)
