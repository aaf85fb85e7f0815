"""Words of values of fixed width: numbers, times, booleans, decimals."""

from __future__ import annotations

from typing import Any

import numpy as np

from assets_core.fingerprint.row_hash.buffers import bits_of, values_of, with_nulls
from assets_core.fingerprint.row_hash.mixing import WORD_FACTORS, Fill, Mask, Memo, Words, spread

_NAN = {2: 0x7E00, 4: 0x7FC00000, 8: 0x7FF8000000000000}


def open_fixed(dtype: np.dtype[Any], array: Any, _memo: Memo) -> Fill:
    values = values_of(array, 1, dtype, len(array))
    signed = dtype.kind == "i"

    def fill(start: int, count: int, out: Words) -> None:
        target = out.view(np.int64) if signed else out
        target[:] = values[start : start + count]

    return with_nulls(array, fill)


def open_float(size: int, array: Any, _memo: Memo) -> Fill:
    values = values_of(array, 1, np.dtype(f"<f{size}"), len(array))
    raw = values.view(f"<u{size}")
    nan = np.uint64(_NAN[size])

    def fill(start: int, count: int, out: Words) -> None:
        part = values[start : start + count]
        out[:] = raw[start : start + count]
        top = part.max()
        if top != top:
            out[np.isnan(part)] = nan

    return with_nulls(array, fill)


def open_bool(array: Any, _memo: Memo) -> Fill:
    buffer, offset = array.buffers()[1], array.offset

    def fill(start: int, count: int, out: Words) -> None:
        out[:] = 0 if buffer is None else bits_of(buffer, offset + start, count)

    return with_nulls(array, fill)


def open_null(_array: Any, _memo: Memo) -> Fill:
    def fill(_start: int, count: int, out: Words) -> Mask:
        out[:] = 0
        return np.ones(count, np.bool_)

    return fill


def open_wide(words: int, array: Any, _memo: Memo) -> Fill:
    values = values_of(array, 1, np.dtype("<u8"), len(array) * words, words).reshape(-1, words)

    def fill(start: int, count: int, out: Words) -> None:
        out[:] = 0
        for index in range(words):
            word = values[start : start + count, index].copy()
            spread(word)
            np.multiply(word, WORD_FACTORS[index], out=word)
            np.add(out, word, out=out)

    return with_nulls(array, fill)
