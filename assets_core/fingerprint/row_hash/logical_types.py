"""Which Arrow types count as one: equal for types that hold equal values equally."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from assets_core.fingerprint.hashing import UnhashableError


@dataclass(frozen=True, slots=True)
class FlatType:
    """A type without children: our own name for it (Arrow may rename its own), how its values
    lie in memory, and the parameters that are part of the type."""

    name: str
    dtype: str = ""
    parameters: tuple[str, ...] = ()


_ZONE, _DIGITS = ("unit", "tz"), ("precision", "scale")
FLAT: dict[int, FlatType] = {
    getattr(pa.lib, f"Type_{name}"): flat
    for name, flat in {
        "NA": FlatType("null"),
        "BOOL": FlatType("bool"),
        "INT8": FlatType("int8", "<i1"),
        "INT16": FlatType("int16", "<i2"),
        "INT32": FlatType("int32", "<i4"),
        "INT64": FlatType("int64", "<u8"),
        "UINT8": FlatType("uint8", "<u1"),
        "UINT16": FlatType("uint16", "<u2"),
        "UINT32": FlatType("uint32", "<u4"),
        "UINT64": FlatType("uint64", "<u8"),
        "HALF_FLOAT": FlatType("float16", "<f2"),
        "FLOAT": FlatType("float32", "<f4"),
        "DOUBLE": FlatType("float64", "<f8"),
        "DATE32": FlatType("date32", "<i4"),
        "DATE64": FlatType("date64", "<u8"),
        "TIME32": FlatType("time32", "<i4", ("unit",)),
        "TIME64": FlatType("time64", "<u8", ("unit",)),
        "TIMESTAMP": FlatType("timestamp", "<u8", _ZONE),
        "DURATION": FlatType("duration", "<u8", ("unit",)),
        "INTERVAL_MONTHS": FlatType("interval_months", "<i4"),
        "INTERVAL_DAY_TIME": FlatType("interval_day_time", "<u8"),
        "INTERVAL_MONTH_DAY_NANO": FlatType("interval_month_day_nano", "2 words"),
        "DECIMAL32": FlatType("decimal32", "<i4", _DIGITS),
        "DECIMAL64": FlatType("decimal64", "<u8", _DIGITS),
        "DECIMAL128": FlatType("decimal128", "2 words", _DIGITS),
        "DECIMAL256": FlatType("decimal256", "4 words", _DIGITS),
        "FIXED_SIZE_BINARY": FlatType("fixed_size_binary", "", ("byte_width",)),
    }.items()
    if hasattr(pa.lib, f"Type_{name}")
}


def logical_field(column: pa.Field) -> object:
    """A field's type; an extension that this process does not know is found in its metadata."""
    name = (column.metadata or {}).get(b"ARROW:extension:name")
    kind = column.type
    if name is not None and not isinstance(kind, pa.BaseExtensionType):
        return ["extension", name.decode("utf-8", "replace"), _logical(kind)]
    return _logical(kind)


def _logical(kind: pa.DataType) -> object:
    """The canonical, plain form of a type: equal for types that hold equal values equally."""
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return ["extension", kind.extension_name, _logical(kind.storage_type)]
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _logical(kind.value_type)
    if is_text(kind):
        return "string"
    if is_bytes(kind):
        return "binary"
    if is_list(kind):
        return ["list", logical_field(kind.value_field)]
    if types.is_fixed_size_list(kind):
        return ["fixed_size_list", kind.list_size, logical_field(kind.value_field)]
    if types.is_map(kind):
        return ["map", logical_field(kind.key_field), logical_field(kind.item_field)]
    children = [kind.field(i) for i in range(kind.num_fields)]
    fields = [[child.name, logical_field(child)] for child in children]
    if types.is_struct(kind):
        return ["struct", fields]
    if types.is_union(kind):
        return ["union", list(kind.type_codes), fields]
    if kind.id not in FLAT:
        raise unknown_type(kind)
    return [FLAT[kind.id].name, *(getattr(kind, name) for name in FLAT[kind.id].parameters)]


def is_flat(kind: pa.DataType) -> bool:
    """Whether values lie side by side: neither nested nor encoded."""
    return kind.id in FLAT or is_text(kind) or is_bytes(kind)


def is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or is_list_view(kind))


def is_list_view(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_list_view(kind) or types.is_large_list_view(kind))


def unknown_type(kind: pa.DataType) -> UnhashableError:
    return UnhashableError(
        f"A column of type {kind} has no data version.",
        facts={"type": kind},
        hint="Leave the column out with exclude=[...], or store it as another type.",
    )
