"""Sets of partitions as ranges of keys, and back, also when the key space has changed since.

A range of windows is two keys; names are listed one by one, so that a set stays the same set when
values are added, removed or put in another order. Of a product it is the windows of each
combination of names. No range at all stands for everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from assets_core.partitions.definitions import KeySpace
from assets_core.partitions.keys import SEPARATOR
from assets_core.partitions.products import ProductSpace
from assets_core.partitions.time_windows import TimeSpace
from assets_core.partitions.times import instants_named

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

KeyRanges = Sequence[tuple[str, str]]
"""Inclusive ranges of keys."""


def to_ranges(space: KeySpace, mask: Mask) -> tuple[tuple[str, str], ...]:
    """A set of partitions (bool by ordinal, at least one) as inclusive ranges of keys."""
    import numpy as np

    if mask.all():
        return ()
    at = _time_stride(space)
    if not at:
        return tuple((key, key) for key in space.keys(np.flatnonzero(mask)))
    grid = np.zeros((space.n // at + 2, at), np.int8)
    grid[1:-1] = mask.reshape(-1, at)
    turns = np.diff(grid, axis=0).T  # a row for each combination of names, along time
    (name, first), (_, after) = np.nonzero(turns == 1), np.nonzero(turns == -1)
    lasts = space.keys((after - 1) * at + name)
    return tuple(zip(space.keys(first * at + name), lasts, strict=True))


def spans(space: KeySpace, runs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Runs of ordinals, cut so that a selection takes the two keys of each as the same set.

    Of a product a selection is a box, the range of each dimension by itself: a run that goes over
    the end of a dimension is up to two boxes more for each dimension.
    """
    if not isinstance(space, ProductSpace):
        return list(runs)
    strides = [space.strides[i] for i in space.order[:-1]]
    return [box for first, last in runs for box in _boxes(first, last, strides)]


def _boxes(first: int, last: int, strides: Sequence[int]) -> Iterator[tuple[int, int]]:
    if not strides:
        yield first, last
        return
    stride, inner = strides[0], strides[1:]
    whole, after = -(-first // stride), (last + 1) // stride
    if whole > after:
        yield from _boxes(first, last, inner)
        return
    if first < whole * stride:
        yield from _boxes(first, whole * stride - 1, inner)
    if whole < after:
        yield whole * stride, after * stride - 1
    if after * stride <= last:
        yield from _boxes(after * stride, last, inner)


def keys_to_ranges(space: KeySpace, ordinals: Iterable[int]) -> tuple[tuple[str, str], ...]:
    """Inclusive key pairs of the runs of consecutive ordinals."""
    runs: list[list[int]] = []
    for ordinal in ordinals:
        if runs and ordinal == runs[-1][1] + 1:
            runs[-1][1] = ordinal
        else:
            runs.append([ordinal, ordinal])
    return tuple((space.key(a), space.key(b)) for a, b in runs)


def from_ranges(space: KeySpace, ranges: KeyRanges) -> Mask:
    """The partitions of a space that ranges of keys cover, bool by ordinal.

    Windows whose definition has changed are covered where they overlap what was meant.
    """
    import numpy as np

    mask = np.zeros(space.n, bool)
    for place in places(space, ranges):
        mask[place] = True
    return mask


def places(space: KeySpace, ranges: KeyRanges) -> Iterator[Any]:
    """The same as indexes into a column: slices, or ordinals."""
    if not ranges:
        yield slice(None)
        return
    at = space.ordinals([key for pair in ranges for key in pair]).reshape(-1, 2).tolist()
    stride = _time_stride(space)
    for (first, last), (lo, hi) in zip(ranges, at, strict=True):
        if first == last or not stride:
            yield from (slice(o, o + 1) for o in {lo, hi} if o >= 0)
        elif 0 <= lo <= hi and (hi - lo) % stride == 0:
            yield slice(lo, hi + 1, stride)
        else:
            yield _overlapping(space, first, last)


def _time_stride(space: KeySpace) -> int:
    """How far apart neighbours in time lie; 0 in a space without time."""
    if isinstance(space, ProductSpace):
        timed = [i for i in space.order if isinstance(space.spaces[i], TimeSpace)]
        return space.strides[timed[0]] if timed and space.n else 0
    return int(isinstance(space, TimeSpace))


def _overlapping(space: KeySpace, first: str, last: str) -> Mask:
    """A range of windows of which an end has left the space."""
    import numpy as np

    if isinstance(space, ProductSpace):
        return _of_product(space, first.split(SEPARATOR), last.split(SEPARATOR))
    mask = np.zeros(space.n, bool)
    if not isinstance(space, TimeSpace):
        mask[[o for o in space.ordinals([first, last]).tolist() if o >= 0]] = True
        return mask
    own = space.definition
    low, high = (
        instants_named(key, own.granularity, own.timezone, own.offset) for key in (first, last)
    )
    if low is None or high is None:
        return mask
    return (space.ends() > low[0]) & (space.starts() < high[1])


def _of_product(space: ProductSpace, first: list[str], last: list[str]) -> Mask:
    import numpy as np

    if not len(first) == len(last) == len(space.spaces):
        return np.zeros(space.n, bool)
    mask, at = np.ones(space.n, bool), np.arange(space.n)
    for part, stride, low, high in zip(space.spaces, space.strides, first, last, strict=True):
        mask &= from_ranges(part, [(low, high)])[at // stride % max(part.n, 1)]
    return mask
