"""Graphs: a box for each asset, an arrow for each input."""

from __future__ import annotations

from collections.abc import Collection

from assets_core.display import svg
from assets_core.display.layout import Box, draw
from assets_core.graph import Graph
from assets_core.wording import count


def graph_html(graph: Graph) -> str:
    """The graph: a box per asset, with its kind and partitions."""
    boxes = []
    for name in graph.order:
        asset = graph.assets[name]
        word = {"source": "observed", "sql": "may", "python": "fresh"}[asset.kind]
        boxes.append(Box(name, name, f"{asset.kind} · {asset.partitions.kind}", word))
    drawn = draw(boxes, edges_among(graph, graph.assets), label="graph of assets")
    return svg.block(svg.heading(_graph_title(graph)), drawn)


def _graph_title(graph: Graph) -> str:
    sources = sum(asset.kind == "source" for asset in graph.assets.values())
    parts = [count(len(graph.assets) - sources, "asset")]
    if sources:
        parts.append(count(sources, "source"))
    return ", ".join(parts)


def edges_among(graph: Graph, shown: Collection[str]) -> list[tuple[str, str]]:
    """The edges between the assets that are shown, as (upstream, downstream)."""
    return [
        (upstream, name)
        for name in graph.order
        if name in shown
        for upstream in graph.op_of[name].upstream
        if upstream in shown
    ]
