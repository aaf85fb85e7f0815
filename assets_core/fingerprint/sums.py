"""Sums of mixed 64-bit words, by column or one by one: how versions add up to input digests.

Both ways give equal results. Recorded input digests are made of these sums, so a change of any
constant makes every stored partition stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Words = NDArray[np.uint64]

MASK64 = 0xFFFF_FFFF_FFFF_FFFF
_MULTIPLY_1 = 0xBF58476D1CE4E5B9
_MULTIPLY_2 = 0x94D049BB133111EB
_SALT_HI = 0x9E3779B97F4A7C15
_SALT_LO = 0xC2B2AE3D27D4EB4F
_LANE_HI = 0x243F6A8885A308D3
_LANE_LO = 0x13198A2E03707344
_EMPTY_HI = 0xA4093822299F31D0
_EMPTY_LO = 0x082EFA98EC4E6C89
_CHUNK = 8_192  # rows of two words, 128 KiB: what one pass touches stays in the cache


@overload
def mix64(x: int) -> int: ...
@overload
def mix64(x: Words) -> Words: ...
def mix64(x: int | Words) -> int | Words:
    """The splitmix64 finalizer: a bijection of 64-bit words where each bit moves every other.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
    An int gives an int, a uint64 array a new array.
    """
    if isinstance(x, int):
        x = ((x ^ (x >> 30)) * _MULTIPLY_1) & MASK64
        x = ((x ^ (x >> 27)) * _MULTIPLY_2) & MASK64
        return x ^ (x >> 31)
    out = x.copy()
    _mix_in_place(out, x.copy())
    return out


def _mix_in_place(x: Words, scratch: Words) -> None:
    """Mix ``x``; ``scratch`` has its shape and is overwritten."""
    import numpy as np

    for shift, factor in ((30, _MULTIPLY_1), (27, _MULTIPLY_2), (31, 1)):
        np.right_shift(x, np.uint64(shift), out=scratch)
        np.bitwise_xor(x, scratch, out=x)
        if factor != 1:
            np.multiply(x, np.uint64(factor), out=x)


def combine(versions: Words, salts: Words) -> Words:
    """What each data version adds to a digest when it stands at the position of its salt.

    ``versions`` is uint64 of shape (n, 2), ``salts`` uint64 of shape (n,); gives shape (n, 2).
    The two columns are independent lanes. A missing version (both words zero) adds exactly zero.
    Sums of the results wrap modulo 2^64, so running sums can be subtracted from each other.
    """
    import numpy as np

    out = np.empty((len(versions), 2), np.uint64)
    scratch, constants = np.empty((_CHUNK, 2), np.uint64), _tiled(_CONSTANTS, len(versions))
    for start in range(0, len(versions), _CHUNK):
        part, x = versions[start : start + _CHUNK], out[start : start + _CHUNK]
        for lane, factor in enumerate(_FACTORS):
            np.multiply(salts[start : start + _CHUNK], np.uint64(factor), out=x[:, lane])
        np.add(x, constants[: len(part)], out=x)
        np.add(x, part, out=x)
        _mix_in_place(x, scratch[: len(part)])
        missing = (part[:, 0] | part[:, 1]) == 0
        if missing.any():
            x[missing] = 0
    return out


_FACTORS = (_SALT_HI, _SALT_LO)
_CONSTANTS = (_LANE_HI, _LANE_LO)


def _tiled(pair: tuple[int, int], rows: int) -> Words:
    """The pair in each of a chunk's rows: numpy is slow at broadcasting along rows of two."""
    import numpy as np

    return np.tile(np.array(pair, np.uint64), (min(rows, _CHUNK), 1))


def combine_one(hi: int, lo: int, salt: int) -> tuple[int, int]:
    """:func:`combine` of one version, in plain integers."""
    if not hi and not lo:
        return 0, 0
    return (
        mix64((hi + salt * _SALT_HI + _LANE_HI) & MASK64),
        mix64((lo + salt * _SALT_LO + _LANE_LO) & MASK64),
    )


def fold_edges(sums: Sequence[tuple[int, Words]], count: int | None = None) -> Words:
    """One input digest for each partition, out of what each input summed to.

    ``sums`` holds, for each input, the 64-bit hash of its name (``hash64(name)``) and the wrapped
    sums of :func:`combine`, uint64 of shape (n, 2). Gives uint64 of shape (n, 2). The order of
    the list does not matter; two inputs that exchange their data do. Without inputs it is a
    constant that is not zero, for ``count`` partitions (1 when not given).
    """
    import numpy as np

    rows = len(sums[0][1]) if sums else (1 if count is None else count)
    out = np.empty((rows, 2), np.uint64)
    out[:] = (_EMPTY_HI, _EMPTY_LO)
    lane, scratch = np.empty((_CHUNK, 2), np.uint64), np.empty((_CHUNK, 2), np.uint64)
    for tag, values in sums:
        salts = _tiled(_edge_salts(int(tag)), rows)
        for start in range(0, rows, _CHUNK):
            part = values[start : start + _CHUNK]
            x = lane[: len(part)]
            np.add(part, salts[: len(part)], out=x)
            _mix_in_place(x, scratch[: len(part)])
            out[start : start + len(part)] += x
    return out


def fold_edges_one(sums: Iterable[tuple[int, tuple[int, int]]]) -> tuple[int, int]:
    """:func:`fold_edges` for one partition, in plain integers."""
    hi, lo = _EMPTY_HI, _EMPTY_LO
    for tag, (sum_hi, sum_lo) in sums:
        salt_hi, salt_lo = _edge_salts(tag)
        hi += mix64((sum_hi + salt_hi) & MASK64)
        lo += mix64((sum_lo + salt_lo) & MASK64)
    return hi & MASK64, lo & MASK64


def _edge_salts(tag: int) -> tuple[int, int]:
    return mix64((tag + _LANE_HI) & MASK64), mix64((tag ^ _LANE_LO) & MASK64)
