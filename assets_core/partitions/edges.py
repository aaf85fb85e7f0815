"""Which upstream ordinals each downstream ordinal reads: intervals, or lists where they must be.

An edge is a mapping resolved between two key spaces; everything that planning and executing ask
of it is arithmetic on whole columns, or on two integers.
"""

from __future__ import annotations

from functools import cached_property
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
