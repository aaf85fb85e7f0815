"""Selections of partitions, as people write them: keys, ranges, dates, dimensions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assets_core.errors import PartitionError
from assets_core.partitions.keys import SEPARATOR, visible
from assets_core.partitions.spaces import KeySpace, ProductSpace, TimeSpace, Unpartitioned
from assets_core.partitions.windows import instants_named, stretch_of

if TYPE_CHECKING:
    import numpy as np

_RANGE = ".."
_ALL = "*"


@dataclass(frozen=True, slots=True)
class Term:
    """A key, a range of keys (either end may be open) or everything."""

    low: str
    high: str
    text: str

    @property
    def is_time(self) -> bool:
        """Whether it can be read as a stretch of time."""
        ends = [end for end in (self.low, self.high) if end]
        return bool(ends) and all(stretch_of(end) is not None for end in ends)

    def mask(self, space: KeySpace) -> np.ndarray | None:
        """The partitions it selects, bool; None when it says nothing about such a space."""
        import numpy as np

        if self.text == _ALL:
            return np.ones(space.n, bool)
        if isinstance(space.definition, Unpartitioned) and self.text != "all":
            return None
        if isinstance(space, ProductSpace) and SEPARATOR not in self.text:
            return _of_product(space, self)
        exact = self._exact(space)
        if exact is not None:
            return exact
        if isinstance(space, TimeSpace) and self.is_time:
            return self._overlapping(space)
        return None if self.is_time else np.zeros(space.n, bool)

    def _exact(self, space: KeySpace) -> np.ndarray | None:
        """By the space's own keys; None when an end is none of them."""
        import numpy as np

        low = 0 if not self.low else int(space.ordinals([self.low])[0])
        high = space.n - 1 if not self.high else int(space.ordinals([self.high])[0])
        if low < 0 or high < 0:
            return None
        if isinstance(space, ProductSpace):
            return _box(space, low, high)
        at = np.arange(space.n)
        return (at >= low) & (at <= high)

    def _overlapping(self, space: TimeSpace) -> np.ndarray:
        import numpy as np

        mask = np.ones(space.n, bool)
        if self.low:
            mask &= space.ends() > _instants(self.low, space)[0]
        if self.high:
            mask &= space.starts() < _instants(self.high, space)[1]
        return mask


def _instants(text: str, space: TimeSpace) -> tuple[int, int]:
    own = space.definition
    found = instants_named(text, own.granularity, own.timezone, own.offset)
    assert found is not None, text
    return found


def _box(space: ProductSpace, low: int, high: int) -> np.ndarray:
    """Between two keys of a product: between their keys in every dimension."""
    import numpy as np

    mask = np.ones(space.n, bool)
    at = np.arange(space.n)
    lows, highs = space.coordinates(low), space.coordinates(high)
    for one, stride, first, last in zip(space.spaces, space.strides, lows, highs, strict=True):
        own = at // stride % one.n
        mask &= (own >= first) & (own <= last)
    return mask


def _of_product(space: ProductSpace, term: Term) -> np.ndarray:
    """A bare term selects in whichever dimension knows it."""
    import numpy as np

    found = np.zeros(space.n, bool)
    for i, one in enumerate(space.spaces):
        own = term.mask(one)
        if own is not None and own.any():
            return _widen(space, i, own)
    return found


def _widen(space: ProductSpace, dimension: int, own: np.ndarray) -> np.ndarray:
    import numpy as np

    at = np.arange(space.n) // space.strides[dimension] % space.spaces[dimension].n
    return own[at]


@dataclass(frozen=True, slots=True)
class PartitionSelection:
    """A union of alternatives; each is terms by dimension (``""``: the key as a whole)."""

    alternatives: tuple[tuple[tuple[str, Term], ...], ...]

    def __str__(self) -> str:
        return " or ".join(
            ",".join(f"{name}={term.text}" if name else term.text for name, term in terms)
            for terms in self.alternatives
        )

    def mask(self, space: KeySpace) -> np.ndarray:
        """The partitions of a space that are selected, bool.

        A logical date selects the windows that overlap it; it says nothing about an asset
        without time, so all partitions of that are selected.
        """
        import numpy as np

        found = np.zeros(space.n, bool)
        for terms in self.alternatives:
            found |= _alternative(space, terms)
        return found

    def check(self, spaces: Iterable[KeySpace]) -> None:
        """Raise PartitionError when an alternative selects nothing in any of the spaces."""
        distinct = list({id(space): space for space in spaces}.values())
        for terms in self.alternatives:
            if not any(_alternative(space, terms).any() for space in distinct):
                raise _nothing(terms, distinct)


def _alternative(space: KeySpace, terms: tuple[tuple[str, Term], ...]) -> np.ndarray:
    import numpy as np

    mask = np.ones(space.n, bool)
    parts = dict(space.parts())
    for name, term in terms:
        if not name:
            own = term.mask(space)
            mask &= True if own is None else own
            continue
        part = parts.get(name)
        if part is None:
            if not term.is_time:
                continue  # says nothing about a space without that dimension
            part = next((p for p in parts.values() if isinstance(p, TimeSpace)), None)
            if part is None:
                continue
            name = next(n for n, p in parts.items() if p is part)
        own = term.mask(part)
        if own is None:
            continue
        if isinstance(space, ProductSpace):
            own = _widen(space, list(parts).index(name), own)
        mask &= own
    return mask


def _nothing(terms: tuple[tuple[str, Term], ...], spaces: list[KeySpace]) -> PartitionError:
    text = ",".join(f"{name}={term.text}" if name else term.text for name, term in terms)
    named = {name for name, _ in terms if name}
    known = {name for space in spaces for name, _ in space.parts()}
    if named and not named & known:
        return PartitionError(
            f"No asset selected has a dimension {sorted(named)[0]!r}.",
            hint=f"There are: {', '.join(sorted(known)) or 'none'}.",
        )
    timed = [space for space in spaces if space.ends() is not None] or spaces
    key = terms[0][1].low or terms[0][1].high
    if timed and key and len(terms) == 1:
        error = timed[0].unknown(key)
        return PartitionError(f"No partition matches {text!r}.", facts=error.facts, hint=error.hint)
    return PartitionError(f"No partition matches {text!r}.")


def parse_selection(texts: str | Sequence[str] | PartitionSelection) -> PartitionSelection:
    """``K``, ``A..B`` (inclusive, either end may be empty), lists of these, ``date=…,station=*``.

    Raises PartitionError for text that is none of these.
    """
    if isinstance(texts, PartitionSelection):
        return texts
    given = [texts] if isinstance(texts, str) else list(texts)
    alternatives: list[tuple[tuple[str, Term], ...]] = []
    for text in given:
        alternatives += _parse_one(text)
    if not alternatives:
        raise PartitionError("An empty selection of partitions.", hint="Write '2024-01-01'.")
    return PartitionSelection(tuple(alternatives))


def _parse_one(text: str) -> list[tuple[tuple[str, Term], ...]]:
    items = [item.strip() for item in text.split(",") if item.strip()]
    if not any("=" in item for item in items):
        return [(("", _term(item)),) for item in items]
    terms = []
    for item in items:
        name, sign, value = item.partition("=")
        if not sign or not name.isidentifier():
            raise PartitionError(
                f"{item!r} names no dimension.", hint="Write date=2024-01-01,station=EWR."
            )
        terms.append((name, _term(value)))
    return [tuple(terms)]


def _term(text: str) -> Term:
    if text == _ALL:
        return Term("", "", _ALL)
    low, dots, high = text.partition(_RANGE)
    if not dots:
        key = visible(text)
        return Term(key, key, text)
    if not low and not high:
        return Term("", "", _ALL)
    return Term(visible(low) if low else "", visible(high) if high else "", text)
