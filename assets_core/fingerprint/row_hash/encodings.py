"""Words of encoded columns, which are those of the plain ones: dictionaries, runs, extensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from assets_core.fingerprint.row_hash.buffers import Nulls, values_of
from assets_core.fingerprint.row_hash.mixing import BLOCK, Fill, Mask, Memo, Open, Words


def open_extension(opener: Open, array: Any, memo: Memo) -> Fill:
    return opener(array.storage, memo)


@dataclass(frozen=True, slots=True, eq=False)
class DictionaryOpener:
    """Hashes the dictionary once, then gathers. An object, as its identity keys the memo."""

    opener: Open

    def __call__(self, array: Any, memo: Memo) -> Fill:
        words, missing = self._hashed(array.dictionary, memo)
        indices = array.indices
        width = np.dtype(f"<{'i' if pa.types.is_signed_integer(indices.type) else 'u'}"
                         f"{indices.type.bit_width // 8}")  # fmt: skip
        keys = values_of(indices, 1, width, len(indices))
        nulls = Nulls(indices) if indices.null_count else None

        def fill(start: int, count: int, out: Words) -> Mask | None:
            at = keys[start : start + count].astype(np.intp)
            if nulls is not None:
                nulls.mask(start, count, at.view(np.uint64))
            return _gather(words, missing, at, nulls, start, out)

        return fill

    def _hashed(self, dictionary: Any, memo: Memo) -> tuple[Words, Mask | None]:
        known = memo.get(id(self))
        if known is not None and _same_buffers(known[0], dictionary):
            return known[1], known[2]
        words, missing = _hash_all(self.opener(dictionary, memo), len(dictionary))
        # The memo keeps the dictionary, so that its addresses can't be used again meanwhile.
        memo[id(self)] = (dictionary, words, missing)
        return words, missing


def _gather(
    words: Words, missing: Mask | None, at: Any, nulls: Nulls | None, start: int, out: Words
) -> Mask | None:
    """Words at these positions; null where the position or the value there is."""
    if len(words):
        out[:] = words[at]
    found = None if missing is None else missing[at]
    own = None if nulls is None else nulls.mask(start, len(at), out)
    if found is None or own is None:
        return own if found is None else found
    both: Mask = own | found
    return both


def _same_buffers(one: Any, two: Any) -> bool:
    if len(one) != len(two) or one.offset != two.offset:
        return False
    pairs = zip(one.buffers(), two.buffers(), strict=True)
    return all((a is None and b is None) or (a and b and a.address == b.address) for a, b in pairs)


def _hash_all(fill: Fill, count: int) -> tuple[Words, Mask | None]:
    """Words and nulls of a whole array, a block at a time."""
    words = np.empty(count, np.uint64)
    missing: Mask | None = None
    for start in range(0, count, BLOCK):
        part = words[start : start + BLOCK]
        nulls = fill(start, len(part), part)
        if nulls is not None:
            missing = np.zeros(count, np.bool_) if missing is None else missing
            missing[start : start + len(part)] = nulls
    return words, missing


def open_runs(opener: Open, array: Any, memo: Memo) -> Fill:
    ends = np.asarray(array.run_ends).astype(np.int64)
    fill_values = opener(array.values, memo)
    offset = array.offset

    def fill(start: int, count: int, out: Words) -> Mask | None:
        rows = np.arange(offset + start, offset + start + count)
        runs = np.searchsorted(ends, rows, side="right")
        first = int(runs[0])
        words = np.empty(int(runs[-1]) - first + 1, np.uint64)
        nulls = fill_values(first, len(words), words)
        runs -= first
        out[:] = words[runs]
        return None if nulls is None else nulls[runs]

    return fill
