"""One framed, tagged hash of plain values, and the arithmetic that adds versions to digests.

Nothing is ever hashed by joining strings: each value is written with a tag for its kind and the
length of what follows, so two different structures never have the same bytes. Rows of tables are
hashed in ``dataversion``, code in ``fingerprint``; both are built on this module.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from hashlib import blake2b
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, overload
from uuid import UUID

from assets_core.errors import AssetsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Words = NDArray[np.uint64]

DIGEST_BYTES = 16
MASK64 = 0xFFFF_FFFF_FFFF_FFFF
_MAX_DEPTH = 200

Other = Callable[[object], object]
"""Sees every object that is not of a builtin type; gives plain values to hash in its place,
NotImplemented to have it hashed as it is, or raises UnhashableError."""


class UnhashableError(AssetsError):
    """A value or column whose content has no canonical bytes."""


def digest(
    *parts: object,
    other: Other | None = None,
    text: Callable[[str], object] | None = None,
    in_order: bool = False,
) -> bytes:
    """16 bytes that stand for exactly these values, in this order.

    Takes None, bool, int, float, complex, str, bytes, tuple, list, dict, set, frozenset, Enum,
    date, time, datetime, timedelta, tzinfo, Decimal, Fraction, UUID, paths, regular expressions,
    dataclasses, pydantic models and numpy scalars and arrays, nested. Dicts and sets count in a
    canonical order, values of different kinds never agree (``1``, ``True`` and ``1.0`` are
    three), NaN equals NaN, and secrets (``SecretStr``) count by their type only.

    ``other`` may put plain values in the place of objects (see :data:`Other`). UnhashableError is
    raised for what is of no known kind, and when values nest deeper than 200 levels (a cycle).
    ``text`` may put something else in the place of a text; ``in_order`` makes the order of a dict's
    items count, as it does for code that goes through them.

    >>> digest("ab", "c") == digest("a", "bc")
    False
    """
    out = bytearray()
    _write_all(out, b"(", parts, _Writer(other, text, in_order))
    return blake2b(out, digest_size=DIGEST_BYTES).digest()


def hexdigest(*parts: object, other: Other | None = None) -> str:
    """:func:`digest` as 32 hexadecimal digits."""
    return digest(*parts, other=other).hex()


def hash64(*parts: object) -> int:
    """The first 64 bits of :func:`digest`, as an unsigned integer (tags and salts)."""
    return int.from_bytes(digest(*parts)[:8], "big")


def is_known(value: object) -> bool:
    """Whether :func:`digest` knows this kind of object; what is inside may still be unknown."""
    kind = type(value)
    return not isinstance(value, type) and (
        kind in _LEAVES
        or isinstance(value, _KNOWN)
        or is_dataclass(value)
        or hasattr(kind, "model_dump")
        or hasattr(kind, "get_secret_value")
        or (kind.__module__.startswith("numpy") and hasattr(value, "itemsize"))
    )


# --------------------------------------------------------------------------------------------
# Canonical bytes


class _Writer:
    """What the recursion carries: what the caller asked for, and the depth."""

    __slots__ = ("depth", "in_order", "other", "text")

    def __init__(
        self, other: Other | None, text: Callable[[str], object] | None, in_order: bool
    ) -> None:
        self.other = other
        self.text = text
        self.in_order = in_order
        self.depth = 0


def _frame(out: bytearray, tag: bytes, payload: bytes) -> None:
    out += tag
    out += struct.pack("<Q", len(payload))
    out += payload


def _write_all(out: bytearray, tag: bytes, items: Sequence[object], writer: _Writer) -> None:
    out += tag
    out += struct.pack("<Q", len(items))
    for item in items:
        _write(out, item, writer)


def _write(out: bytearray, value: object, writer: _Writer) -> None:
    if writer.text is not None and type(value) is str:
        value = writer.text(value)
    leaf = _LEAVES.get(type(value))
    if leaf is not None:
        tag, payload = leaf
        _frame(out, tag, payload(value))
        return
    writer.depth += 1
    if writer.depth > _MAX_DEPTH:
        raise UnhashableError(
            f"A value nests deeper than {_MAX_DEPTH} levels; it may contain itself.",
            facts={"type": _type_name(type(value))},
        )
    _write_nested(out, value, writer)
    writer.depth -= 1


def _write_nested(out: bytearray, value: object, writer: _Writer) -> None:
    kind = type(value)
    if kind is tuple:
        _write_all(out, b"(", value, writer)  # type: ignore[arg-type]  # kind says it is a tuple
    elif kind is list:
        _write_all(out, b"[", value, writer)  # type: ignore[arg-type]  # kind says it is a list
    elif kind is dict:
        _write_mapping(out, value, writer)  # type: ignore[arg-type]  # kind says it is a dict
    elif kind is set or kind is frozenset:
        tag = b"<" if kind is set else b"["
        _write_unordered(out, b"u" + tag, value, writer)  # type: ignore[arg-type]  # kind is a set
    else:
        _write_object(out, value, writer)


def _write_mapping(out: bytearray, value: Mapping[Any, Any], writer: _Writer) -> None:
    items = [(_encoded(key, writer), _encoded(item, writer)) for key, item in value.items()]
    if not writer.in_order:
        items.sort()
    out += b"{"
    out += struct.pack("<Q", len(items))
    for key, item in items:
        out += key
        out += item


def _write_unordered(
    out: bytearray, tag: bytes, value: AbstractSet[object], writer: _Writer
) -> None:
    out += tag
    out += struct.pack("<Q", len(value))
    for item in sorted(_encoded(item, writer) for item in value):
        out += item


def _encoded(value: object, writer: _Writer) -> bytes:
    out = bytearray()
    _write(out, value, writer)
    return bytes(out)


def _write_object(out: bytearray, value: object, writer: _Writer) -> None:
    if writer.other is not None:
        replacement = writer.other(value)
        if replacement is not NotImplemented:
            out += b"x"
            _write(out, replacement, writer)
            return
    parts = object_parts(value)
    if parts is None:
        raise UnhashableError(
            f"A value of type {_type_name(type(value))} can't be hashed.",
            facts={"type": _type_name(type(value))},
            hint="Use plain values: numbers, text, dates, lists, dicts, dataclasses.",
        )
    out += b"o"
    _write_all(out, b"(", parts, writer)


def object_parts(value: object) -> tuple[object, ...] | None:
    """Kind, type's name and content of an object of a known kind; None when it is not known."""
    kind = type(value)
    name = _type_name(kind)
    if isinstance(value, type):
        return None
    if isinstance(value, Enum):
        return ("enum", name, value.name, _plain_member(value))
    if hasattr(kind, "get_secret_value"):
        return ("secret", name)
    if hasattr(kind, "model_dump"):
        return ("model", name, dict(_model_fields(value)))
    if is_dataclass(value):
        return ("dataclass", name, {f.name: getattr(value, f.name) for f in fields(value)})
    if kind.__module__.startswith("numpy") and hasattr(value, "itemsize"):
        return _numpy_parts(value)
    return _standard_parts(value) or _subclass_parts(value, name)


def _plain_member(value: Enum) -> object:
    raw = value.value
    return raw if type(raw) in _LEAVES or isinstance(raw, tuple | frozenset) else None


def _model_fields(model: Any) -> Iterable[tuple[str, object]]:
    # model_dump() would need every nested value to be one that pydantic can serialise.
    for name in type(model).model_fields:
        yield name, getattr(model, name)
    yield from (getattr(model, "model_extra", None) or {}).items()


def _numpy_parts(value: Any) -> tuple[object, ...]:
    """Numpy's arrays and scalars by their bytes, its types by what they lay out."""
    if not hasattr(value, "tobytes"):
        return ("dtype", repr(value.descr))
    kind = value.dtype
    if kind.hasobject:
        return ("array", str(kind), list(value.shape), value.tolist())
    names = repr(kind.descr) if kind.names else kind.newbyteorder("<").str
    return ("array", names, list(value.shape), value.astype(kind.newbyteorder("<")).tobytes())


def _standard_parts(value: object) -> tuple[object, ...] | None:
    """The standard library's plain values that are not leaves of their own."""
    if isinstance(value, datetime):
        zone = None if value.tzinfo is None else _zone_name(value.tzinfo)
        return ("datetime", value.replace(tzinfo=None).isoformat(), value.fold, zone)
    if isinstance(value, time):
        zone = None if value.tzinfo is None else _zone_name(value.tzinfo)
        return ("time", value.replace(tzinfo=None).isoformat(), value.fold, zone)
    if isinstance(value, timedelta):
        return ("timedelta", value.days, value.seconds, value.microseconds)
    if isinstance(value, tzinfo):
        return ("zone", _zone_name(value))
    if isinstance(value, PurePath):
        return ("path", value.as_posix())
    if isinstance(value, re.Pattern):
        return ("regex", value.pattern, value.flags)
    if isinstance(value, range | slice):
        return (type(value).__name__, value.start, value.stop, value.step)
    return None


def _zone_name(zone: tzinfo) -> str:
    return str(getattr(zone, "key", None) or zone)


def _subclass_parts(value: object, name: str) -> tuple[object, ...] | None:
    """Subclasses of builtin values (named tuples, ordered dicts, numpy.float64, …)."""
    for kind in _BUILTIN:
        if isinstance(value, kind):
            return ("subclass", name, kind(value))  # type: ignore[arg-type]  # same kind
    return None


def _type_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _int_bytes(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)


def _float_bytes(value: float) -> bytes:
    return struct.pack("<d", value) if value == value else b"\x00\x00\x00\x00\x00\x00\xf8\x7f"


_BUILTIN = (bool, int, float, complex, str, bytes, tuple, list, dict, set, frozenset)
_KNOWN = (
    *(Enum, date, datetime, time, timedelta, tzinfo, PurePath, re.Pattern, range, slice),
    *_BUILTIN,
)

_LEAVES: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    type(None): (b"N", lambda _: b""),
    type(Ellipsis): (b".", lambda _: b""),
    bool: (b"?", lambda value: b"\x01" if value else b"\x00"),
    int: (b"I", _int_bytes),
    float: (b"D", _float_bytes),
    complex: (b"C", lambda value: _float_bytes(value.real) + _float_bytes(value.imag)),
    str: (b"S", lambda value: value.encode("utf-8", "surrogatepass")),
    bytes: (b"B", lambda value: value),
    bytearray: (b"b", bytes),
    memoryview: (b"m", lambda value: value.tobytes()),
    date: (b"d", lambda value: value.isoformat().encode()),
    Decimal: (b"$", lambda value: str(value).encode()),
    Fraction: (b"/", lambda value: str(value).encode()),
    UUID: (b"U", lambda value: value.bytes),
}

# --------------------------------------------------------------------------------------------
# Input digests: wrapping sums of mixed versions, by column or one by one, with equal results.

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
