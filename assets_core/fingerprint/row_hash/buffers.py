"""Arrow's buffers as numpy arrays, without a copy; validity bitmaps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from assets_core.fingerprint.row_hash.mixing import Fill, Mask, Words


def values_of(array: Any, index: int, dtype: np.dtype[Any], count: int, per_row: int = 1) -> Any:
    """The buffer's items from the array's own first row on; zeros where there is no buffer."""
    buffer = array.buffers()[index]
    if buffer is None or not buffer.size:
        return np.zeros(count, dtype)
    return np.frombuffer(buffer, dtype, count, array.offset * per_row * dtype.itemsize)


def bits_of(buffer: pa.Buffer, start: int, count: int) -> Mask:
    """Bits ``start`` to ``start + count`` of a bitmap."""
    first = start >> 3
    packed = np.frombuffer(buffer, np.uint8, ((start + count + 7) >> 3) - first, first)
    bits = np.unpackbits(packed, bitorder="little")
    return bits[start & 7 : (start & 7) + count].view(np.bool_)


class Nulls:
    """An array's validity bitmap, unpacked a chunk at a time."""

    __slots__ = ("buffer", "offset")

    def __init__(self, array: Any) -> None:
        self.buffer = array.buffers()[0]
        self.offset = array.offset

    def mask(self, start: int, count: int, out: Words) -> Mask | None:
        """The nulls of these rows, whose words (garbage until now) become 0."""
        nulls = ~bits_of(self.buffer, self.offset + start, count)
        if not nulls.any():
            return None
        out[nulls] = 0
        return nulls


def with_nulls(array: Any, fill: Callable[[int, int, Words], None]) -> Fill:
    if array.null_count == 0:
        return fill
    nulls = Nulls(array)

    def masked(start: int, count: int, out: Words) -> Mask | None:
        fill(start, count, out)
        return nulls.mask(start, count, out)

    return masked
