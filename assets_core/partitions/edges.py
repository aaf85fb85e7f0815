"""Which upstream ordinals each downstream ordinal reads: intervals, or lists where they must be.

An edge is a mapping resolved between two key spaces; everything that planning and executing ask
of it is arithmetic on whole columns, or on two integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property, partial
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Bounds = tuple[int, int]
_FEW = 4


class Edge:
    """The base: intervals ``[lo[i], hi[i])`` of upstream ordinals, int64 arrays of n_down.

    ``short`` (bool, or None) marks downstream partitions that map to upstream windows which do
    not exist yet. ``lo`` must not decrease and ``hi`` must not decrease for `downstream` to be
    an interval; `Lists` is for everything else.
    """

    def __init__(
        self, lo: np.ndarray, hi: np.ndarray, n_up: int, short: np.ndarray | None = None
    ) -> None:
        import numpy as np

        self.lo = lo
        self.hi = np.maximum(hi, lo)
        self.n_down = len(lo)
        self.n_up = n_up
        self.short = short if short is not None and short.any() else None
        self._lo: list[int] | None = None
        self._hi: list[int] = []

    @cached_property
    def is_identity(self) -> bool:
        """Whether partition i reads exactly partition i."""
        import numpy as np

        own = np.arange(self.n_down)
        return self.n_up >= self.n_down and bool(
            (self.lo == own).all() and (self.hi == own + 1).all()
        )

    # Whole columns -------------------------------------------------------------------------

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Per downstream partition, the wrapping sum of its upstream rows: uint64, (n, …)."""
        import numpy as np

        if self.is_identity:
            return values[: self.n_down]
        if values.ndim == 2 and values.shape[1] <= _FEW:
            # Many times quicker than along rows of two.
            found = np.empty((self.n_down, values.shape[1]), values.dtype)
            for k in range(values.shape[1]):
                found[:, k] = Edge.sum(self, values[:, k])
            return found
        total = np.zeros((len(values) + 1, *values.shape[1:]), values.dtype)
        np.cumsum(values, axis=0, dtype=values.dtype, out=total[1:])
        return np.asarray(total[self.hi] - total[self.lo])

    def count(self, mask: np.ndarray) -> np.ndarray:
        """Per downstream partition, how many of its upstream ones are marked, int64."""
        import numpy as np

        if self.is_identity:
            return mask[: self.n_down].astype(np.int64)
        total = np.zeros(len(mask) + 1, np.int64)
        np.cumsum(mask, out=total[1:])
        found: np.ndarray = total[self.hi] - total[self.lo]
        return found

    def any(self, mask: np.ndarray) -> np.ndarray:
        """Per downstream partition, whether any of its upstream ones is marked, bool."""
        if self.is_identity:
            return mask[: self.n_down]
        return self.count(mask) > 0

    def over(self, values: np.ndarray, combine: np.ufunc) -> np.ndarray:
        """Per downstream partition, its upstream values combined; zero where it reads none.

        ``combine`` must not mind a value twice (``np.bitwise_or``, ``np.maximum``): an interval is
        two halves that overlap, out of a table of stretches of 1, 2, 4, … values.
        """
        import numpy as np

        if self.is_identity:
            return values[: self.n_down]
        width = self.hi - self.lo
        found = np.zeros((self.n_down, *values.shape[1:]), values.dtype)
        stretch, size, widest = values, 1, int(width.max(initial=0))
        while size <= widest:
            at = np.flatnonzero((width >= size) & (width < 2 * size))
            found[at] = combine(stretch[self.lo[at]], stretch[self.hi[at] - size])
            if 2 * size <= widest:
                stretch = combine(stretch[:-size], stretch[size:])
            size *= 2
        return found

    def cover(self, mask: np.ndarray) -> np.ndarray:
        """Which upstream partitions the marked downstream ones read, bool of (n_up, …)."""
        import numpy as np

        change = np.zeros((self.n_up + 1, *mask.shape[1:]), np.int64)
        np.add.at(change, self.lo, mask.astype(np.int64))
        np.subtract.at(change, self.hi, mask.astype(np.int64))
        return np.cumsum(change[:-1], axis=0) > 0

    # One partition -------------------------------------------------------------------------

    def bounds(self, ordinal: int) -> Bounds | None:
        """The interval of one downstream partition; None when it is not an interval."""
        if self._lo is None:
            self._hi = self.hi.tolist()
            self._lo = self.lo.tolist()
        return self._lo[ordinal], self._hi[ordinal]

    def upstream(self, ordinal: int) -> np.ndarray:
        """The upstream ordinals of one downstream partition, int64."""
        import numpy as np

        bounds = self.bounds(ordinal)
        assert bounds is not None
        return np.arange(*bounds)

    @cached_property
    def _reverse(self) -> tuple[list[int], list[int]]:
        """Which downstream interval reads each upstream partition.

        Empty intervals read nothing: they are taken out before the search and put back after.
        """
        import numpy as np

        real = np.flatnonzero(self.hi > self.lo)
        at = np.arange(self.n_up)
        first = np.searchsorted(self.hi[real], at, side="right")
        after = np.searchsorted(self.lo[real], at, side="right")
        padded = np.append(real, self.n_down)
        low = padded[first]
        high = np.where(after > first, padded[np.maximum(after - 1, 0)] + 1, low)
        return low.tolist(), high.tolist()

    def reverse_bounds(self, ordinal: int) -> Bounds | None:
        """The interval of downstream partitions that read one upstream; None: no interval."""
        low, high = self._reverse
        return low[ordinal], high[ordinal]

    def downstream(self, ordinal: int) -> np.ndarray:
        """The downstream ordinals that read one upstream partition, int64."""
        import numpy as np

        bounds = self.reverse_bounds(ordinal)
        assert bounds is not None
        return np.arange(*bounds)


class Lists(Edge):
    """Upstream ordinals as a list per partition: ``indices[offsets[i]:offsets[i + 1]]``."""

    def __init__(
        self,
        offsets: np.ndarray,
        indices: np.ndarray,
        n_up: int,
        short: np.ndarray | None = None,
    ) -> None:
        self.offsets = offsets
        self.indices = indices
        super().__init__(offsets[:-1], offsets[1:], n_up, short)

    @property
    def is_identity(self) -> bool:
        return False

    def sum(self, values: np.ndarray) -> np.ndarray:
        return super().sum(values[self.indices])

    def count(self, mask: np.ndarray) -> np.ndarray:
        return super().count(mask[self.indices])

    def over(self, values: np.ndarray, combine: np.ufunc) -> np.ndarray:
        return super().over(values[self.indices], combine)

    def cover(self, mask: np.ndarray) -> np.ndarray:
        import numpy as np

        found = np.zeros((self.n_up, *mask.shape[1:]), bool)
        np.logical_or.at(found, self.indices, np.repeat(mask, np.diff(self.offsets), axis=0))
        return found

    def bounds(self, ordinal: int) -> Bounds | None:
        del ordinal
        return None

    def upstream(self, ordinal: int) -> np.ndarray:
        return self.indices[self.offsets[ordinal] : self.offsets[ordinal + 1]]

    @cached_property
    def _transposed(self) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        rows = np.repeat(np.arange(self.n_down), np.diff(self.offsets))
        order = np.argsort(self.indices, kind="stable")
        counts = np.bincount(self.indices, minlength=self.n_up)
        return np.concatenate(([0], np.cumsum(counts))), rows[order]

    def reverse_bounds(self, ordinal: int) -> Bounds | None:
        del ordinal
        return None

    def downstream(self, ordinal: int) -> np.ndarray:
        offsets, rows = self._transposed
        return rows[offsets[ordinal] : offsets[ordinal + 1]]


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


def from_lists(lists: list[Any], n_up: int, short: np.ndarray | None = None) -> Edge:
    """An edge out of one list of upstream ordinals per downstream partition."""
    import numpy as np

    offsets = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(one) for one in lists], out=offsets[1:])
    flat = [int(i) for one in lists for i in one]
    return Lists(offsets, np.array(flat, np.int64), n_up, short)


def empty(n_down: int, n_up: int, short: np.ndarray | None = None) -> Edge:
    """Nothing reads anything."""
    import numpy as np

    zeros = np.zeros(n_down, np.int64)
    return Edge(zeros, zeros, n_up, short)


def everything(n_down: int, n_up: int) -> Edge:
    """Everything reads everything."""
    import numpy as np

    return Edge(np.zeros(n_down, np.int64), np.full(n_down, n_up, np.int64), n_up)


def monotone(edge: Edge) -> Edge:
    """The same edge with intervals only if they never step back; otherwise as lists."""
    import numpy as np

    if isinstance(edge, Lists):
        return edge
    real = edge.hi > edge.lo
    lo, hi = edge.lo[real], edge.hi[real]
    if not len(lo) or ((np.diff(lo) >= 0).all() and (np.diff(hi) >= 0).all()):
        return edge
    return as_lists(edge)


def as_lists(edge: Edge) -> Lists:
    """An edge of intervals as lists."""
    import numpy as np

    if isinstance(edge, Lists):
        return edge
    widths = edge.hi - edge.lo
    offsets = np.concatenate(([0], np.cumsum(widths)))
    within = np.arange(int(offsets[-1])) - np.repeat(offsets[:-1], widths)
    return Lists(offsets, np.repeat(edge.lo, widths) + within, edge.n_up, edge.short)
