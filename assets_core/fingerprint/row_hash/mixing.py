"""The arithmetic of ``rows1``: its constants, and how the bits of words are mixed.

Frozen: a change makes every stored data version look changed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets_core.fingerprint.sums import MASK64, mix64

Words = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]

Fill = Callable[[int, int, Words], Mask | None]
"""``fill(start, count, out)`` writes the words of these rows, 0 where null; gives the nulls."""

Memo = dict[int, tuple[Any, Words, Mask | None]]
"""Hashed dictionaries by their column, so that the batches of a stream hash each one once."""

Open = Callable[[Any, Memo], Fill]
"""Turns an Arrow array into a Fill; compiled once per type."""

_SEED = 0x6A09E667F3BCC908
_FIRST = np.uint64(0x9E3779B97F4A7C15)
_SECOND = np.uint64(0xBF58476D1CE4E5B9)
LENGTH = np.uint64(0xD6E8FEB86659FD93)
BLOCK = 4_096  # elements of nested values and dictionaries that are hashed in one pass
LONG = 1024  # bytes; longer values are hashed by blake2b, one by one
SHIFT_HALF = np.uint64(32)


def _odd_constants(first: int, count: int) -> list[int]:
    return [mix64((_SEED + i) & MASK64) | 1 for i in range(first, first + count)]


WORD_FACTORS = [np.uint64(k) for k in _odd_constants(1 << 32, LONG // 8)]
WORD_FACTORS_ARRAY = np.array(WORD_FACTORS)


@lru_cache(maxsize=4096)
def factors(slot: int) -> Words:
    """The odd factors of a slot in both lanes (two slots a column: its words, its nulls)."""
    return np.array(_odd_constants(2 * slot, 2), np.uint64)[:, None]


def spread(words: Words) -> None:
    """In place, a bijection with ``spread(0) == 0`` that moves low bits up and high bits down."""
    np.multiply(words, _FIRST, out=words)
    words.byteswap(inplace=True)


def scramble(words: Words) -> None:
    """In place, a stronger bijection, for words that are then added to each other."""
    spread(words)
    np.multiply(words, _SECOND, out=words)
    np.bitwise_xor(words, words >> SHIFT_HALF, out=words)
