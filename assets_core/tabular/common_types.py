"""Which types of a column go together: the narrowest one that both fit, without loss.

One rule for what a schema policy lets through and for what stores read as one table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.types as pt


def common_type(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    """The narrowest type that both fit, or None. An integer joins a float as float64, which is
    exact up to 2**53: casts are checked, so a greater one is an error and never rounded."""
    if a == b or pt.is_null(b):
        return a
    if pt.is_null(a):
        return b
    if pt.is_dictionary(a) or pt.is_dictionary(b):
        return common_type(_plain(a), _plain(b))
    for rule in _RULES:
        if (kind := rule(a, b)) is not None:
            return kind
    return None


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pt.is_dictionary(kind) else kind


def _numbers(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if pt.is_integer(a) and pt.is_integer(b):
        return _integers(a, b)
    if pt.is_floating(a) and pt.is_floating(b):
        return a if a.bit_width > b.bit_width else b
    if (
        {pt.is_integer(a), pt.is_integer(b)}
        == {pt.is_floating(a), pt.is_floating(b)}
        == {
            True,
            False,
        }
    ):
        return pa.float64()
    return None


_SIGNED = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}


def _integers(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if pt.is_signed_integer(a) == pt.is_signed_integer(b):
        return a if a.bit_width > b.bit_width else b
    signed, unsigned = (a, b) if pt.is_signed_integer(a) else (b, a)
    return _SIGNED.get(max(signed.bit_width, unsigned.bit_width * 2))


def _decimals(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    (wholes_a, scale_a), (wholes_b, scale_b) = _digits(a), _digits(b)
    if not (pt.is_decimal(a) or pt.is_decimal(b)) or wholes_a < 0 or wholes_b < 0:
        return None
    scale = max(scale_a, scale_b)
    precision = max(wholes_a, wholes_b) + scale
    if precision <= 38:
        return pa.decimal128(precision, scale)
    return pa.decimal256(precision, scale) if precision <= 76 else None


def _digits(kind: pa.DataType) -> tuple[int, int]:
    """Digits before and after the point; (-1, 0) of what is no exact number."""
    if pt.is_decimal(kind):
        return kind.precision - kind.scale, kind.scale
    if pt.is_integer(kind):
        return {8: 3, 16: 5, 32: 10, 64: 20}[kind.bit_width], 0
    return -1, 0


def _is_text(kind: pa.DataType) -> bool:
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    variable = pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_binary_view(kind)
    return bool(variable or pt.is_fixed_size_binary(kind))


def _texts(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if _is_text(a) and _is_text(b):
        large = pt.is_large_string(a) or pt.is_large_string(b)
        return pa.large_string() if large else pa.string()
    if _is_bytes(a) and _is_bytes(b):
        large = pt.is_large_binary(a) or pt.is_large_binary(b)
        return pa.large_binary() if large else pa.binary()
    return None


_UNITS = ("s", "ms", "us", "ns")


def _finest(a: pa.DataType, b: pa.DataType) -> str:
    return _UNITS[max(_UNITS.index(a.unit), _UNITS.index(b.unit))]


def _times(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if pt.is_timestamp(a) and pt.is_timestamp(b) and (a.tz is None) == (b.tz is None):
        return pa.timestamp(_finest(a, b), a.tz if a.tz == b.tz else "UTC")
    if pt.is_duration(a) and pt.is_duration(b):
        return pa.duration(_finest(a, b))
    if pt.is_time(a) and pt.is_time(b):
        unit = _finest(a, b)
        return pa.time32(unit) if unit in {"s", "ms"} else pa.time64(unit)
    if pt.is_date(a) and pt.is_date(b):
        return pa.date32()
    return None


def _is_list(kind: pa.DataType) -> bool:
    plain = pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind)
    return bool(plain or pt.is_list_view(kind) or pt.is_large_list_view(kind))


def _nested(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if _is_list(a) and _is_list(b):
        kind = common_type(a.value_type, b.value_type)
        return None if kind is None else pa.list_(kind)
    if pt.is_map(a) and pt.is_map(b):
        key, item = common_type(a.key_type, b.key_type), common_type(a.item_type, b.item_type)
        return None if key is None or item is None else pa.map_(key, item)
    if pt.is_struct(a) and pt.is_struct(b):
        return _structs(a, b)
    return None


def _structs(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    merged = {field.name: field for field in a}
    for field in b:
        known = merged.get(field.name)
        kind = field.type if known is None else common_type(known.type, field.type)
        if kind is None:
            return None
        merged[field.name] = pa.field(field.name, kind)
    return pa.struct(list(merged.values()))


_RULES: tuple[Callable[[Any, Any], Any], ...] = (_numbers, _decimals, _texts, _times, _nested)
