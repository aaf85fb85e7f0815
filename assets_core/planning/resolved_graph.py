"""The graph's edges between key spaces of one moment."""

from __future__ import annotations

from collections.abc import Mapping

from assets_core.graph import Graph, Input, Op
from assets_core.partitions import Edge, KeySpace


class ResolvedGraph:
    """The graph's edges resolved between key spaces: intervals of ordinals, each made once."""

    def __init__(self, graph: Graph, spaces: Mapping[str, KeySpace]) -> None:
        self.graph = graph
        self.spaces = spaces
        self._edges: dict[tuple[object, int, int], Edge] = {}

    def edge(self, op: Op, read: Input) -> Edge:
        """The edge of one input of an op."""
        down, up = self.spaces[op.name], self.spaces[read.asset]
        key = (read.mapping, id(down), id(up))
        edge = self._edges.get(key)
        if edge is None:
            edge = self._edges[key] = read.mapping.resolve(down, up)
        return edge
