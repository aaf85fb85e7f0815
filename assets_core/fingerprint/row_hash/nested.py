"""Words of nested values: items are scrambled with their position, then added."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from assets_core.fingerprint.row_hash.buffers import Nulls, values_of, with_nulls
from assets_core.fingerprint.row_hash.fixed_width import open_null
from assets_core.fingerprint.row_hash.mixing import (
    BLOCK,
    LENGTH,
    Fill,
    Ints,
    Mask,
    Memo,
    Open,
    Words,
    scramble,
)
from assets_core.fingerprint.sums import MASK64

_POSITION = np.uint64(0xA0761D6478BD642F)
_NULL = np.uint64(0xE7037ED1A0B428DB)


def _add_items(words: Words, nulls: Mask | None, positions: Words | np.uint64) -> None:
    """Turn the words of items, in place, into what each adds to the value that holds it."""
    np.add(words, positions, out=words)
    scramble(words)
    if nulls is not None:
        words[nulls] += _NULL


def _position(index: int) -> np.uint64:
    return np.uint64(((index + 1) * int(_POSITION)) & MASK64)


def _sum_items(fill: Fill, bounds: Ints, out: Words) -> None:
    """Add up the items of each list; item ``bounds[i]`` is the first of list ``i``."""
    np.multiply(np.diff(bounds).view(np.uint64), LENGTH, out=out)
    words = np.empty(BLOCK, np.uint64)
    sums = np.zeros(BLOCK + 1, np.uint64)
    end = int(bounds[-1])
    for low in range(int(bounds[0]), end, BLOCK):
        count = min(BLOCK, end - low)
        first = int(np.searchsorted(bounds, low, side="right")) - 1
        last = int(np.searchsorted(bounds, low + count, side="left"))
        cuts = np.clip(bounds[first : last + 1], low, low + count) - low
        part = words[:count]
        nulls = fill(low, count, part)
        origin = np.repeat(bounds[first:last], np.diff(cuts))
        at = np.arange(low + 1, low + count + 1) - origin
        _add_items(part, nulls, at.view(np.uint64) * _POSITION)
        np.cumsum(part, out=sums[1 : count + 1])
        out[first:last] += sums[cuts[1:]] - sums[cuts[:-1]]


def open_list(dtype: np.dtype[Any], opener: Open, array: Any, memo: Memo) -> Fill:
    offsets = values_of(array, 1, dtype, len(array) + 1)
    fill_items = opener(array.values, memo) if len(array.values) else open_null(None, memo)

    def fill(start: int, count: int, out: Words) -> None:
        bounds = offsets[start : start + count + 1].astype(np.int64)
        _sum_items(fill_items, bounds, out)

    return with_nulls(array, fill)


def open_list_view(opener: Open, array: Any, memo: Memo) -> Fill:
    """Views of lists may overlap and lie in any order, so they are laid out chunk by chunk."""

    def fill(start: int, count: int, out: Words) -> Mask | None:
        part = array.slice(start, count)
        flat = part.flatten()
        nulls = Nulls(part) if part.null_count else None
        sizes = np.asarray(part.sizes).astype(np.int64)
        missing = None if nulls is None else nulls.mask(0, count, sizes.view(np.uint64))
        bounds = np.concatenate(([0], np.cumsum(sizes)))
        fill_items = opener(flat, memo) if len(flat) else open_null(None, memo)
        _sum_items(fill_items, bounds, out)
        if missing is not None:
            out[missing] = 0
        return missing

    return fill


def open_fixed_list(size: int, opener: Open, array: Any, memo: Memo) -> Fill:
    fill_items = opener(array.values, memo) if len(array.values) else open_null(None, memo)
    offset = array.offset

    def fill(start: int, count: int, out: Words) -> None:
        first = offset + start
        _sum_items(fill_items, np.arange(first, first + count + 1) * size, out)

    return with_nulls(array, fill)


def open_struct(openers: list[Open], array: Any, memo: Memo) -> Fill:
    fills = [opener(array.field(i), memo) for i, opener in enumerate(openers)]

    def fill(start: int, count: int, out: Words) -> None:
        out[:] = 0
        word = np.empty(count, np.uint64)
        for index, fill_field in enumerate(fills):
            nulls = fill_field(start, count, word)
            _add_items(word, nulls, _position(index))
            np.add(out, word, out=out)

    return with_nulls(array, fill)


def open_union(kind: pa.DataType, openers: list[Open], array: Any, memo: Memo) -> Fill:
    # Not array.type_codes and array.offsets, which leave out that the array is a slice.
    codes = values_of(array, 1, np.dtype("<i1"), len(array))
    dense = kind.mode == "dense"
    offsets = values_of(array, 2, np.dtype("<i4"), len(array)).astype(np.int64) if dense else None
    fills = [opener(array.field(i), memo) for i, opener in enumerate(openers)]

    def fill(start: int, count: int, out: Words) -> None:
        part = codes[start : start + count]
        for code, fill_child in zip(kind.type_codes, fills, strict=True):
            rows = np.flatnonzero(part == code)
            if len(rows):
                at = rows + start if offsets is None else offsets[start + rows]
                out[rows] = _child_words(fill_child, at, code)

    return fill  # a union has no nulls of its own: a null is one of a child


def _child_words(fill: Fill, at: Ints, code: int) -> Words:
    """The words of a union's child at these ascending positions."""
    low, high = int(at.min()), int(at.max()) + 1
    words = np.empty(high - low, np.uint64)
    nulls = fill(low, high - low, words)
    _add_items(words, nulls, _position(code))
    return words[at - low]
