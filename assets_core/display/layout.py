"""Draws a graph as boxes in layers, left to right by topological depth, with curved edges.

Sugiyama's method in its plainest form: longest-path layers, invisible stations for edges that
pass several layers, a few barycentre sweeps against crossings, boxes pulled towards their
neighbours. Knows nothing of assets; colours come from a word per box.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import NamedTuple

from assets_core.display import svg
from assets_core.wording import count, one_line

MOST = 150
"""Larger graphs are not drawn: nobody can read them."""

_LABEL, _DETAIL = 30, 36
_GAP_X, _GAP_Y, _MARGIN = 44.0, 12.0, 6.0
_BOX_HEIGHT, _STATION_HEIGHT = 38.0, 6.0
_SWEEPS = 6


class Box(NamedTuple):
    """A node: its id, its name, a second line, and the word that colours it."""

    id: str
    label: str
    detail: str = ""
    word: str = ""


Arrow = tuple[str, str]


@dataclass(slots=True)
class _Spot:
    """A box, or a station of a long edge (without one), on its place."""

    layer: int
    box: Box | None = None
    x: float = 0.0
    y: float = 0.0
    before: list[_Spot] = field(default_factory=list)
    after: list[_Spot] = field(default_factory=list)

    @property
    def width(self) -> float:
        """In pixels, estimated: nothing here can measure text."""
        if self.box is None:
            return 0.0
        label = 7.4 * min(len(self.box.label), _LABEL)
        return max(label, 6.2 * min(len(self.box.detail), _DETAIL), 40.0) + 20

    @property
    def height(self) -> float:
        """In pixels."""
        return _STATION_HEIGHT if self.box is None else _BOX_HEIGHT


def draw(boxes: Sequence[Box], edges: Collection[Arrow], *, label: str) -> str:
    """An SVG of the graph; a sentence when it is too large to draw.

    Where edges make a circle (records older than a change of the graph can), one is left out.
    """
    if len(boxes) > MOST:
        return svg.note(f"{count(len(boxes), 'asset')}: too many to draw; select some of them.")
    if not boxes:
        return svg.note("Nothing to draw.")
    layers, routes = _layers(boxes, _without_circles(boxes, edges))
    _order(layers)
    width, height = _place(layers)
    shapes = [_curve(route) for route in routes]
    shapes += [_shape(spot) for layer in layers for spot in layer if spot.box is not None]
    return svg.drawing(width, height, *shapes, label=label)


def _without_circles(boxes: Iterable[Box], edges: Iterable[Arrow]) -> list[Arrow]:
    kept = sorted(set(edges))
    while True:
        try:
            _depths(boxes, kept)
        except CycleError as error:
            one, other = error.args[1][:2]
            kept.remove((one, other) if (one, other) in kept else (other, one))
        else:
            return kept


def _depths(boxes: Iterable[Box], edges: Iterable[Arrow]) -> dict[str, int]:
    above: dict[str, set[str]] = {box.id: set() for box in boxes}
    for start, end in edges:
        above[end].add(start)
    depths: dict[str, int] = {}
    for node in TopologicalSorter(above).static_order():
        depths[node] = max((depths[up] + 1 for up in above[node]), default=0)
    return depths


def _layers(
    boxes: Sequence[Box], edges: Collection[Arrow]
) -> tuple[list[list[_Spot]], list[list[_Spot]]]:
    """The spots of each layer, and each edge as the spots that it passes."""
    depths = _depths(boxes, edges)
    layers: list[list[_Spot]] = [[] for _ in range(max(depths.values()) + 1)]
    spots = {box.id: _Spot(depths[box.id], box) for box in boxes}
    for spot in spots.values():
        layers[spot.layer].append(spot)
    return layers, [_route(spots, layers, edge) for edge in edges]


def _route(spots: Mapping[str, _Spot], layers: list[list[_Spot]], edge: Arrow) -> list[_Spot]:
    start, end = spots[edge[0]], spots[edge[1]]
    stations = [_Spot(layer) for layer in range(start.layer + 1, end.layer)]
    for station in stations:
        layers[station.layer].append(station)
    route = [start, *stations, end]
    for one, other in pairwise(route):
        one.after.append(other)
        other.before.append(one)
    return route


def _order(layers: list[list[_Spot]]) -> None:
    """Order each layer by where its neighbours stand, sweeping right and left."""
    _number(layers)
    for sweep in range(_SWEEPS):
        rightwards = sweep % 2 == 0
        for layer in layers if rightwards else reversed(layers):
            means = {id(s): _mean(s, s.before if rightwards else s.after) for s in layer}
            layer.sort(key=lambda spot, means=means: means[id(spot)])  # type: ignore[misc]  # bound now
            _number([layer])


def _number(layers: Iterable[list[_Spot]]) -> None:
    for layer in layers:
        for place, spot in enumerate(layer):
            # Relative places, so that layers of different lengths compare.
            spot.y = (place + 0.5) / len(layer)


def _mean(spot: _Spot, neighbours: Sequence[_Spot]) -> float:
    if not neighbours:
        return spot.y
    return sum(other.y for other in neighbours) / len(neighbours)


def _place(layers: list[list[_Spot]]) -> tuple[float, float]:
    """Set the coordinates of all spots; the size of the whole."""
    x = _MARGIN
    for layer in layers:
        width = max(spot.width for spot in layer)
        at = 0.0
        for spot in layer:
            spot.x, spot.y = x, at
            at += spot.height + _GAP_Y
        for spot in layer:
            if spot.box is None:
                spot.x += width / 2
        x += width + _GAP_X
    for sweep in range(_SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            _settle(layer)
    top = min(spot.y for layer in layers for spot in layer)
    bottom = max(spot.y + spot.height for layer in layers for spot in layer)
    for layer in layers:
        for spot in layer:
            spot.y += _MARGIN - top
    return x - _GAP_X + _MARGIN, bottom - top + 2 * _MARGIN


def _settle(layer: list[_Spot]) -> None:
    """Pull a layer's spots towards their neighbours, keeping order and distance."""
    wanted = [_wanted(spot) for spot in layer]
    floor = float("-inf")
    for spot, y in zip(layer, wanted, strict=True):
        spot.y = max(y, floor)
        floor = spot.y + spot.height + _GAP_Y
    # Pushing only moved spots down; half of the excess goes back up for all of them.
    shift = sum(y - spot.y for spot, y in zip(layer, wanted, strict=True)) / len(layer)
    for spot in layer:
        spot.y += shift


def _wanted(spot: _Spot) -> float:
    around = [*spot.before, *spot.after]
    if not around:
        return spot.y
    return sum(s.y + s.height / 2 for s in around) / len(around) - spot.height / 2


def _curve(route: Sequence[_Spot]) -> str:
    first, last = route[0], route[-1]
    points = [(first.x + first.width, first.y + first.height / 2)]
    points += [(spot.x, spot.y + spot.height / 2) for spot in route[1:]]
    x, y = points[0]
    d = f"M{x:.1f} {y:.1f}"
    for next_x, next_y in points[1:]:
        bend = (x + next_x) / 2
        d += f"C{bend:.1f} {y:.1f} {bend:.1f} {next_y:.1f} {next_x:.1f} {next_y:.1f}"
        x, y = next_x, next_y
    assert last.box is not None
    head = f"M{x:.1f} {y:.1f}l-7 -3.5v7z"
    return svg.path(d) + svg.element("path", d=head, fill_opacity=0.6)


def _shape(spot: _Spot) -> str:
    box = spot.box
    assert box is not None
    shade = svg.colour(box.word)
    label, detail = one_line(box.label, _LABEL), one_line(box.detail, _DETAIL)
    tip = f"{box.label}: {box.detail}" if box.detail else box.label
    frame = svg.rect(
        spot.x,
        spot.y,
        spot.width,
        spot.height,
        rx=6,
        fill=shade,
        fill_opacity=0.16,
        stroke=shade,
        stroke_width=1.3,
    )
    middle = spot.x + spot.width / 2
    name = svg.text(
        middle, spot.y + (16 if detail else 23), label, text_anchor="middle", font_weight=600
    )
    more = svg.text(
        middle, spot.y + 30, detail, text_anchor="middle", font_size=10.5, fill_opacity=0.75
    )
    return svg.element("g", svg.title(tip), frame, name, more if detail else "")
