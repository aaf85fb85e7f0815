"""The edge between two products: one edge for each upstream dimension."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
from assets_core.partitions.edges import Bounds, Edge


class Grid(Edge):
    """Between products: each upstream dimension follows one of the reader's, or is read by itself.

    Nothing as long as the product is ever laid out: columns are summed along one dimension after
    the other. ``axes`` hold, for each upstream dimension from slowest to fastest, its edge and
    which of the reader's dimensions it follows (None: its edge has one row); ``shape`` are the
    sizes of the reader's dimensions.
    """

    def __init__(
        self,
        axes: list[tuple[Edge, int | None]],
        shape: tuple[int, ...],
        short: np.ndarray | None = None,
    ) -> None:
        self.axes = axes
        self.shape = shape
        self.up_shape = tuple(edge.n_up for edge, _ in axes)
        self.n_down, self.n_up = prod(shape), prod(self.up_shape)
        self.short = short if short is not None and short.any() else None
        self._axis_of = {partner: k for k, (_, partner) in enumerate(axes) if partner is not None}

    @property
    def is_identity(self) -> bool:
        return [p for _, p in self.axes] == list(range(len(self.shape))) and all(
            edge.is_identity and edge.n_up == edge.n_down for edge, _ in self.axes
        )

    def sum(self, values: np.ndarray) -> np.ndarray:
        return self._folded(values, lambda edge, rows: edge.sum(rows))

    def over(self, values: np.ndarray, combine: np.ufunc) -> np.ndarray:
        return self._folded(values, lambda edge, rows: edge.over(rows, combine))

    def _folded(
        self, values: np.ndarray, fold: Callable[[Edge, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Upstream values folded along one dimension after the other."""
        import numpy as np

        if self.is_identity:
            return values
        rest = values.shape[1:]
        grid = values.reshape(*self.up_shape, *rest)
        # Dimensions that shrink come first: what is left to do is smaller then.
        for k in sorted(range(len(self.axes)), key=self._growth):
            grid = _along(grid, k, partial(fold, self.axes[k][0]))
        followed = [self._axis_of[d] for d in range(len(self.shape)) if d in self._axis_of]
        alone = [k for k in range(len(self.axes)) if self.axes[k][1] is None]
        tail = range(len(self.axes), grid.ndim)
        grid = grid.transpose(*followed, *alone, *tail)
        grid = grid.reshape(
            *(n if d in self._axis_of else 1 for d, n in enumerate(self.shape)), *rest
        )
        return np.broadcast_to(grid, (*self.shape, *rest)).reshape(self.n_down, *rest)

    def _growth(self, k: int) -> float:
        edge = self.axes[k][0]
        return edge.n_down / max(edge.n_up, 1)

    def count(self, mask: np.ndarray) -> np.ndarray:
        import numpy as np

        return self.sum(mask.astype(np.int64))

    def any(self, mask: np.ndarray) -> np.ndarray:
        return self.count(mask) > 0

    def cover(self, mask: np.ndarray) -> np.ndarray:
        import numpy as np

        ignored = tuple(d for d in range(len(self.shape)) if d not in self._axis_of)
        grid: np.ndarray = np.any(mask.reshape(self.shape), axis=ignored)
        kept = [d for d in range(len(self.shape)) if d in self._axis_of]
        grid = grid.transpose([kept.index(p) for _, p in self.axes if p is not None])
        sizes = [1 if p is None else self.shape[p] for _, p in self.axes]
        grid = grid.reshape(sizes)
        for k, (edge, _) in enumerate(self.axes):
            grid = _along(grid, k, edge.cover)
        return grid.ravel()

    def bounds(self, ordinal: int) -> Bounds | None:
        at = _coordinates(ordinal, self.shape)
        return _span((e.bounds(0 if p is None else at[p]), e.n_up) for e, p in self.axes)

    def upstream(self, ordinal: int) -> np.ndarray:
        at = _coordinates(ordinal, self.shape)
        return _outer([(e.upstream(0 if p is None else at[p]), e.n_up) for e, p in self.axes])

    def reverse_bounds(self, ordinal: int) -> Bounds | None:
        at = _coordinates(ordinal, self.up_shape)
        if not self._read_alone(at):
            return 0, 0
        return _span(
            (
                self.axes[k][0].reverse_bounds(at[k])
                if (k := self._axis_of.get(d, -1)) >= 0
                else (0, n),
                n,
            )
            for d, n in enumerate(self.shape)
        )

    def downstream(self, ordinal: int) -> np.ndarray:
        import numpy as np

        at = _coordinates(ordinal, self.up_shape)
        if not self._read_alone(at):
            return np.zeros(0, np.int64)
        rows = []
        for d, n in enumerate(self.shape):
            k = self._axis_of.get(d)
            rows.append((np.arange(n) if k is None else self.axes[k][0].downstream(at[k]), n))
        return _outer(rows)

    def _read_alone(self, at: list[int]) -> bool:
        """Whether the dimensions that follow none of the reader's hold these coordinates."""
        alone = ((edge, at[k]) for k, (edge, partner) in enumerate(self.axes) if partner is None)
        return all(len(edge.downstream(i)) for edge, i in alone)


def _along(grid: np.ndarray, axis: int, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """``change``, which works on rows, along another axis."""
    import numpy as np

    rows = np.moveaxis(grid, axis, 0)
    # The sizes are named: with an empty dimension there is nothing to infer one from.
    flat = change(np.ascontiguousarray(rows).reshape(rows.shape[0], prod(rows.shape[1:])))
    return np.moveaxis(flat.reshape(flat.shape[0], *rows.shape[1:]), 0, axis)


def _coordinates(ordinal: int, shape: tuple[int, ...]) -> list[int]:
    found = []
    for size in reversed(shape):
        ordinal, own = divmod(ordinal, size)
        found.append(own)
    return found[::-1]


def _span(parts: Iterable[tuple[Bounds | None, int]]) -> Bounds | None:
    """The interval that intervals of dimensions make: all after the first wide one are whole."""
    lo, width, wide = 0, 1, False
    for bounds, size in parts:
        if bounds is None:
            return None
        own = bounds[1] - bounds[0]
        if own <= 0:
            return 0, 0
        if wide and own != size:
            return None
        lo, width, wide = lo * size + bounds[0], width * own, wide or own != 1
    return lo, lo + width


def _outer(parts: list[tuple[np.ndarray, int]]) -> np.ndarray:
    """Ordinals of every combination of coordinates."""
    total = parts[0][0]
    for own, size in parts[1:]:
        total = (total[:, None] * size + own[None, :]).ravel()
    return total
