"""One framed, tagged hash of plain values.

Nothing is ever hashed by joining strings: each value is written with a tag for its kind and the
length of what follows, so two different structures never have the same bytes. Rows of tables are
hashed in ``row_hash``, code in ``versions``; how versions add up to input digests is in ``sums``.
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
from typing import TYPE_CHECKING, Any
from uuid import UUID

from assets_core.errors import AssetsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Words = NDArray[np.uint64]

DIGEST_BYTES = 16
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
