"""Words of bytes and text, eight bytes at a time over all rows of a chunk."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa

from assets_core.fingerprint.row_hash.buffers import Nulls, values_of, with_nulls
from assets_core.fingerprint.row_hash.mixing import (
    LENGTH,
    LONG,
    WORD_FACTORS,
    WORD_FACTORS_ARRAY,
    Fill,
    Ints,
    Mask,
    Memo,
    Words,
    spread,
)


class _Bytes:
    """A buffer that 8-byte words are gathered from, at any byte position.

    Each comes out of the two aligned words that it lies across: numpy gathers aligned words five
    times as fast as others, and the second one is the first of the word that follows.
    """

    __slots__ = ("data", "tail", "words")

    def __init__(self, buffer: pa.Buffer | None) -> None:
        size = 0 if buffer is None else buffer.size
        self.data = np.frombuffer(buffer, np.uint8) if buffer and size else np.zeros(0, np.uint8)
        data = self.data.copy() if buffer and buffer.address % 8 else self.data
        whole = size >> 3 << 3
        self.words: Words = data[:whole].view("<u8")
        self.tail = int.from_bytes(data[whole:].tobytes(), "little")

    def gather(self, at: Ints, within: bool) -> Words:
        """These aligned words; anything at all for those that lie beyond the end of the buffer."""
        if within:
            return self.words.take(at)
        if not len(self.words):
            return np.full(len(at), self.tail, np.uint64)
        found = self.words.take(at, mode="clip")
        found[at == len(self.words)] = self.tail
        return found

    def hash_into(self, starts: Ints, lengths: Ints, out: Words) -> None:
        """The word of each value; ``starts`` and ``lengths`` in bytes."""
        np.multiply(lengths.view(np.uint64), LENGTH, out=out)
        longest = int(lengths.max())
        if longest > LONG:
            self._hash_long(starts, lengths, out)
            lengths = np.where(lengths > LONG, 0, lengths)
            longest = int(lengths.max())
        if longest:
            self._hash_words(starts, lengths, longest, out)

    def _hash_words(self, starts: Ints, lengths: Ints, longest: int, out: Words) -> None:
        """Word by word over all rows; over the few that are left once most have ended."""
        count = (longest + 7) >> 3
        within = (int(starts.max()) >> 3) + count < len(self.words)
        at, down = starts >> 3, ((starts & 7) << 3).view(np.uint64)
        up, ends = 64 - down, lengths << 3
        low = self.gather(at, within)
        rows: Ints | None = None
        for index in range(count):
            if index and index & (index - 1) == 0:
                some = lengths > index << 3
                left = np.count_nonzero(some)
                if left <= 8:
                    selected = np.flatnonzero(some) if rows is None else rows[some]
                    self._hash_few(starts[some], lengths[some], index, selected, out)
                    return
                if left * 2 < len(lengths):
                    rows = np.flatnonzero(some) if rows is None else rows[some]
                    starts, lengths, at, low = starts[some], lengths[some], at[some], low[some]
                    down, up, ends = down[some], up[some], ends[some]
            high = self.gather(at + (index + 1), within)
            word = (low >> down) | (high << up)
            _cut(word, ends, (index + 1) << 6)
            spread(word)
            np.multiply(word, WORD_FACTORS[index], out=word)
            if rows is None:
                np.add(out, word, out=out)
            else:
                out[rows] += word
            low = high

    def _hash_few(self, starts: Ints, lengths: Ints, index: int, rows: Ints, out: Words) -> None:
        """The words from ``index`` on, value by value, each along its length."""
        for start, length, row in zip(
            starts.tolist(), lengths.tolist(), rows.tolist(), strict=True
        ):
            count = (length + 7) >> 3
            words = np.zeros(count, "<u8")
            words.view(np.uint8)[:length] = self.data[start : start + length]
            words[-1] <<= np.uint64((count * 8 - length) * 8)
            words = words[index:]
            spread(words)
            np.multiply(words, WORD_FACTORS_ARRAY[index:count], out=words)
            out[row : row + 1] += np.add.reduce(words, keepdims=True)

    def _hash_long(self, starts: Ints, lengths: Ints, out: Words) -> None:
        for row in np.flatnonzero(lengths > LONG).tolist():
            start = int(starts[row])
            content = self.data[start : start + int(lengths[row])]
            word = np.frombuffer(blake2b(content.data, digest_size=8).digest(), "<u8")
            out[row : row + 1] += word  # as arrays: numpy warns when single words wrap


def _cut(word: Words, ends: Ints, end: int) -> None:
    """Push what lies beyond a value's end (in bits) out of its word, which goes up to ``end``."""
    beyond = end - ends
    np.maximum(beyond, 0, out=beyond)
    np.left_shift(word, beyond.view(np.uint64), out=word)  # by 64 or more: nothing is left


def open_bytes(dtype: np.dtype[Any], array: Any, _memo: Memo) -> Fill:
    offsets = values_of(array, 1, dtype, len(array) + 1)
    data = _Bytes(array.buffers()[2])

    def fill(start: int, count: int, out: Words) -> None:
        bounds = offsets[start : start + count + 1].astype(np.int64)
        data.hash_into(bounds[:-1], np.diff(bounds), out)

    return with_nulls(array, fill)


def open_fixed_bytes(width: int, array: Any, _memo: Memo) -> Fill:
    data, offset = _Bytes(array.buffers()[1]), array.offset

    def fill(start: int, count: int, out: Words) -> None:
        first = offset + start
        starts = np.arange(first * width, (first + count) * width, width) if width else None
        if starts is None or not len(data.data):
            out[:] = 0
        else:
            data.hash_into(starts, np.full(count, width), out)

    return with_nulls(array, fill)


def open_view(array: Any, _memo: Memo) -> Fill:
    """Views hold up to 12 bytes inline, otherwise a prefix, a buffer's number and an offset."""
    views = values_of(array, 1, np.dtype("<i4"), 4 * len(array), 4).reshape(-1, 4)
    inline = _Bytes(array.buffers()[1])
    buffers = [_Bytes(buffer) for buffer in array.buffers()[2:]]
    nulls = Nulls(array) if array.null_count else None
    base = array.offset

    def fill(start: int, count: int, out: Words) -> Mask | None:
        part = views[start : start + count]
        lengths = part[:, 0].astype(np.int64)
        # What lies under a null is garbage, and would send us beyond the buffers.
        missing = None if nulls is None else nulls.mask(start, count, lengths.view(np.uint64))
        starts = np.arange(base + start, base + start + count) * 16 + 4
        short = lengths <= 12
        inline.hash_into(starts, np.where(short, lengths, 0), out)
        if not short.all():
            _hash_views(buffers, part, np.flatnonzero(~short), out)
        if missing is not None:
            out[missing] = 0
        return missing

    return fill


def _hash_views(buffers: list[_Bytes], views: Any, rows: Ints, out: Words) -> None:
    which = views[rows, 2]
    for number in np.unique(which).tolist():
        chosen = rows[which == number]
        words = np.empty(len(chosen), np.uint64)
        lengths, starts = views[chosen, 0].astype(np.int64), views[chosen, 3].astype(np.int64)
        buffers[number].hash_into(starts, lengths, words)
        out[chosen] = words
