"""One term of a selection of partitions: a key, a range, a time; and which partitions it means."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from assets_core.partitions.definitions import KeySpace
from assets_core.partitions.keys import SEPARATOR
from assets_core.partitions.products import ProductSpace
from assets_core.partitions.time_windows import TimeSpace
from assets_core.partitions.times import instants_named, stretch_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]


RANGE = ".."
_ALL = "*"


@dataclass(frozen=True, slots=True)
class Term:
    """A key, a logical date, a range of either (an end may be open), or ``*``."""

    text: str

    @property
    def ends(self) -> tuple[str, str]:
        """The two ends of the range, the same for a single key; "" for an open one."""
        low, dots, high = self.text.partition(RANGE)
        if self.text == _ALL:
            return "", ""
        return (low.strip(), high.strip()) if dots else (low, low)

    @property
    def is_all(self) -> bool:
        """Whether it says: all of them."""
        return self.ends == ("", "")

    @property
    def is_time(self) -> bool:
        """Whether it can be read as a stretch of time."""
        return not self.is_all and all(stretch_of(end) for end in self.ends if end)

    def mask(self, space: KeySpace) -> Mask | None:
        """The partitions it selects, bool; None when it says nothing about such a space."""
        import numpy as np

        one = mask_of_key(space, self.text)
        if one is not None:
            return one
        if self.is_all:
            return np.ones(space.n, bool)
        if not space.parts():
            return None
        if SEPARATOR in self.text:
            return _between(space, *self.ends) if RANGE in self.text else _pieces(space, self.text)
        if isinstance(space, ProductSpace):
            return self._of_product(space)
        found = _between(space, *self.ends)
        if found is None and self.is_time:
            return self._overlapping(space) if isinstance(space, TimeSpace) else None
        return np.zeros(space.n, bool) if found is None else found

    def _of_product(self, space: ProductSpace) -> Mask:
        """In the first dimension that knows it."""
        import numpy as np

        for i, part in enumerate(space.spaces):
            own = self.mask(part)
            if own is not None and own.any():
                return widen(space, i, own)
        return np.zeros(space.n, bool)

    def _overlapping(self, space: TimeSpace) -> Mask:
        import numpy as np

        (low, high), mask = self.ends, np.ones(space.n, bool)
        if low:
            mask &= space.ends() > _instants(low, space)[0]
        if high:
            mask &= space.starts() < _instants(high, space)[1]
        return mask


def _instants(text: str, space: TimeSpace) -> tuple[int, int]:
    own = space.definition
    found = instants_named(text, own.granularity, own.timezone, own.offset)
    assert found is not None, text
    return found


def mask_of_key(space: KeySpace, key: str) -> Mask | None:
    """The partition of this very key; None when there is none."""
    import numpy as np

    at = space.find(key)
    return None if at < 0 else np.arange(space.n) == at


def _between(space: KeySpace, low: str, high: str) -> Mask | None:
    """Between two of the space's own keys; None when an end is none of them."""
    import numpy as np

    first = 0 if not low else space.find(low)
    last = space.n - 1 if not high else space.find(high)
    if first < 0 or last < 0:
        return None if SEPARATOR not in low + high else np.zeros(space.n, bool)
    if not isinstance(space, ProductSpace):
        at = np.arange(space.n)
        return (at >= first) & (at <= last)
    # Between the two keys in every dimension: a box, not a stretch of ordinals.
    mask = np.ones(space.n, bool)
    corners = zip(space.coordinates(first), space.coordinates(last), strict=True)
    for i, (a, b) in enumerate(corners):
        own = np.arange(space.spaces[i].n)
        mask &= widen(space, i, (own >= a) & (own <= b))
    return mask


def _pieces(space: KeySpace, text: str) -> Mask:
    """A product's key in another space: whatever of it that space knows."""
    import numpy as np

    terms = [Term(piece) for piece in text.split(SEPARATOR)]
    masks = [term.mask(space) for term in terms if _knows(space, term)]
    known = [mask for mask in masks if mask is not None]
    return reduce(np.logical_and, known) if known else np.zeros(space.n, bool)


def _knows(space: KeySpace, term: Term) -> bool:
    parts = [part for _, part in space.parts()]
    timed = term.is_time and any(isinstance(part, TimeSpace) for part in parts)
    return timed or any(part.find(term.text) >= 0 for part in parts)


def widen(space: ProductSpace, dimension: int, own: Mask) -> Mask:
    """A mask of one dimension, for the product."""
    import numpy as np

    at = np.arange(space.n) // space.strides[dimension] % max(space.spaces[dimension].n, 1)
    widened: Mask = own[at]
    return widened
