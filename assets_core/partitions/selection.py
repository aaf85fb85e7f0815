"""Selections of partitions, as people write them: keys, ranges, dates, dimensions.

A text is taken apart when it is parsed and read when a key space is there, because only the
space says what is one of its keys: an exact key wins, whatever else it looks like.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from assets_core.errors import PartitionError
from assets_core.partitions.calendars import CALENDARS
from assets_core.partitions.definitions import KeySpace
from assets_core.partitions.keys import SEPARATOR, visible
from assets_core.partitions.named_values import ValueSpace
from assets_core.partitions.products import ProductSpace
from assets_core.partitions.time_windows import TimeSpace
from assets_core.partitions.times import stretch_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
from assets_core.partitions.terms import RANGE, Term, mask_of_key, widen

_TIME_NAMES = frozenset({"hour", "time", *(c.dimension for c in CALENDARS.values())})
"""Names that mean the time dimension of a space, whatever that is called."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """Terms by dimension, all of which must hold (``""``: a single term for the whole key)."""

    groups: tuple[tuple[str, tuple[Term, ...]], ...]

    def __str__(self) -> str:
        return ",".join(
            f"{name}={term.text}" if name else term.text for name, term in self.conditions()
        )

    def conditions(self) -> Iterator[tuple[str, Term]]:
        """Every term with its dimension."""
        for name, terms in self.groups:
            for term in terms:
                yield name, term

    def mask(self, space: KeySpace) -> Mask | None:
        """What it selects; None when it says nothing about such a space."""
        import numpy as np

        found = [self._group(space, name, terms) for name, terms in self.groups]
        said = [mask for mask in found if mask is not None]
        return reduce(np.logical_and, said) if said else None

    @staticmethod
    def _group(space: KeySpace, name: str, terms: tuple[Term, ...]) -> Mask | None:
        import numpy as np

        at = -1 if not name else _dimension(space, name, terms)
        if at is None:
            return None
        part = space if at < 0 else space.parts()[at][1]
        said = [mask for term in terms if (mask := term.mask(part)) is not None]
        if not said:
            return None
        own = reduce(np.logical_or, said)
        return widen(space, at, own) if at >= 0 and isinstance(space, ProductSpace) else own


def _dimension(space: KeySpace, name: str, terms: tuple[Term, ...]) -> int | None:
    """Which dimension of a space is meant by a name; None when it has no such."""
    parts = space.parts()
    for i, (known, _) in enumerate(parts):
        if known == name:
            return i
    if name in _TIME_NAMES or all(term.is_time for term in terms):
        return next((i for i, (_, p) in enumerate(parts) if isinstance(p, TimeSpace)), None)
    return None


@dataclass(frozen=True, slots=True)
class Text:
    """What was written in one piece: a key as it stands, or else the alternatives it spells."""

    raw: str
    alternatives: tuple[Alternative, ...]

    def mask(self, space: KeySpace) -> Mask | None:
        """What it selects; None when it says nothing about such a space."""
        import numpy as np

        one = mask_of_key(space, self.raw)
        if one is not None:
            return one
        said = [mask for each in self.alternatives if (mask := each.mask(space)) is not None]
        return reduce(np.logical_or, said) if said else None


@dataclass(frozen=True, slots=True)
class PartitionSelection:
    """A union of what was written."""

    texts: tuple[Text, ...]

    def __str__(self) -> str:
        return " or ".join(text.raw for text in self.texts)

    def mask(self, space: KeySpace) -> Mask:
        """The partitions of a space that are selected, bool.

        A logical date selects the windows that overlap it. It says nothing about an asset
        without time, nor does a dimension about one that lacks it: all partitions of that are
        selected then.
        """
        import numpy as np

        found = np.zeros(space.n, bool)
        for text in self.texts:
            own = text.mask(space)
            if own is None:
                return np.ones(space.n, bool)
            found |= own
        return found

    def check(self, spaces: Iterable[KeySpace]) -> None:
        """Raise PartitionError when a part of it selects nothing in any of the spaces."""
        distinct = list({id(space): space for space in spaces}.values())
        for text in self.texts:
            if any(space.find(text.raw) >= 0 for space in distinct):
                continue
            if not text.alternatives:
                raise _nothing(text.raw, text.raw, distinct)
            _check_forms(text, distinct)
            for alternative in text.alternatives:
                _check(alternative, distinct)


def _check_forms(text: Text, spaces: list[KeySpace]) -> None:
    """Refuse ``date=A,B``: a dimension is named and beside it a key is not."""
    items = [item.strip() for item in text.raw.split(",") if item.strip()]
    named = [item for item in items if _named(item) is not None]
    plain = [item for item in items if _named(item) is None]
    keys = any(space.find(item) >= 0 for space in spaces for item in named)
    if not named or not plain or keys:
        return
    name = named[0].partition("=")[0].strip()
    raise PartitionError(
        f"{text.raw!r} mixes dimensions with plain keys.",
        facts={"dimensions": ", ".join(named), "keys": ", ".join(plain)},
        hint=f"Name the dimension each time ({name}=A,{name}=B), or give the keys by an option "
        "of their own.",
    )


def _check_direction(term: Term, spaces: list[KeySpace]) -> None:
    """Refuse a range that runs backwards, by name."""
    low, high = term.ends
    if not low or not high or low == high:
        return
    turned = Term(f"{high}{RANGE}{low}")
    if any(mask.any() for s in spaces if (mask := turned.mask(s)) is not None):
        raise PartitionError(
            f"The range {term.text!r} runs backwards: {low!r} comes after {high!r}.",
            hint=f"Write {turned.text}.",
        )


def _check(alternative: Alternative, spaces: list[KeySpace]) -> None:
    said = [mask for space in spaces if (mask := alternative.mask(space)) is not None]
    if any(mask.any() for mask in said):
        return
    conditions = list(alternative.conditions())
    # Where nothing has time, a date says nothing, and nothing is wrong with it.
    if all(term.is_all or (term.is_time and not said) for _, term in conditions):
        return
    for name, term in conditions:
        if name:
            parts = _parts_named(name, term, spaces)
            _check_direction(term, parts)
            if not any(mask.any() for p in parts if (mask := term.mask(p)) is not None):
                raise _nothing(str(alternative), _culprit(term, parts), parts)
        elif not term.is_all:
            _check_direction(term, spaces)
            raise _nothing(str(alternative), _culprit(term, spaces), spaces)
    raise PartitionError(f"No partition matches {str(alternative)!r}.")


def _parts_named(name: str, term: Term, spaces: list[KeySpace]) -> list[KeySpace]:
    found = [
        space.parts()[at][1]
        for space in spaces
        if (at := _dimension(space, name, (term,))) is not None
    ]
    if found:
        return found
    known = sorted({known for space in spaces for known, _ in space.parts()})
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"Did you mean {close[0]!r}? " if close else ""
    raise PartitionError(
        f"No selected asset has a dimension {name!r}.",
        hint=f"{meant}There are: {', '.join(known) or 'none'}.",
    )


def _culprit(term: Term, spaces: list[KeySpace]) -> str:
    """The end of a range that selects nothing; the key itself when it is no range."""
    low, high = term.ends
    for end in (low, high):
        masks = [Term(end).mask(space) for space in spaces] if end else []
        if end and not any(mask is not None and mask.any() for mask in masks):
            return end
    return low or high


def _nothing(text: str, key: str, spaces: list[KeySpace]) -> PartitionError:
    """Why a key selects nothing, told by the space that it was most likely meant for."""
    message = f"No partition matches {text!r}."
    space = _meant(key, spaces)
    if space is None:
        return PartitionError(message)
    error = space.unknown(key)
    if error.message != f"There is no partition {key!r}.":
        message += f" {error.message}"
    hint = error.hint
    if "=" in text and not hint:
        hint = "Dimensions are written date=2024-01-01,station=EWR."
    return PartitionError(message, facts=error.facts, hint=hint)


def _meant(key: str, spaces: list[KeySpace]) -> KeySpace | None:
    parts = [part for space in spaces for _, part in space.parts()]
    timed = [part for part in parts if isinstance(part, TimeSpace)]
    named = [part for part in parts if isinstance(part, ValueSpace)]
    if SEPARATOR in key:
        products = [space for space in spaces if isinstance(space, ProductSpace)]
        return next(iter([*products, *timed, *named]), None)
    if stretch_of(key) is not None and timed:
        return timed[0]
    near = (p for p in named if difflib.get_close_matches(key, p.values[:2000], n=1, cutoff=0.5))
    return next(near, next(iter([*timed, *named, *spaces]), None))


def parse_selection(texts: str | Sequence[str] | PartitionSelection) -> PartitionSelection:
    """Read what people write into a selection.

    ``K`` is a key or a logical date of any granularity, ``A..B`` a range with both ends (either
    may be left out), ``*`` all; ``A,B`` or a list is a union. ``date=A..B,station=EWR`` names
    dimensions: all of them must hold, and values of one dimension are alternatives.

    Raises PartitionError for a text that is empty or has invisible characters; what selects
    nothing is found by `PartitionSelection.check`.
    """
    if isinstance(texts, PartitionSelection):
        return texts
    given: Iterable[object] = [texts] if isinstance(texts, str) else _several(texts)
    found = tuple(_text(text) for text in given)
    if not found:
        raise PartitionError("An empty selection of partitions.", hint="Write '2024-01-01'.")
    return PartitionSelection(found)


def _several(texts: object) -> Iterable[object]:
    return texts if isinstance(texts, Iterable) else [texts]


def _text(text: object) -> Text:
    if not isinstance(text, str):
        raise PartitionError(
            f"{text!r:.60} selects no partitions: it is not text.", hint="Write '2024-01-01'."
        )
    items = [visible(item.strip()) for item in text.split(",") if item.strip()]
    if not text.strip():
        raise PartitionError("An empty selection of partitions.", hint="Write '2024-01-01'.")
    named = [_named(item) for item in items]
    if items and all(named):
        return Text(_composed(text), (Alternative(_grouped(n for n in named if n is not None)),))
    plain = tuple(Alternative((("", (Term(item),)),)) for item in items)
    return Text(_composed(text), plain)


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


def _named(item: str) -> tuple[str, Term] | None:
    name, sign, value = (part.strip() for part in item.partition("="))
    return (name, Term(value)) if sign and value and name.isidentifier() else None


def _grouped(named: Iterable[tuple[str, Term]]) -> tuple[tuple[str, tuple[Term, ...]], ...]:
    groups: dict[str, tuple[Term, ...]] = {}
    for name, term in named:
        groups[name] = (*groups.get(name, ()), term)
    return tuple(groups.items())
