"""What two versions of a table have in common: schemas merged without loss, rows cast to them.

Both kinds of store use it: files when a range of partitions is read, DuckDB also when its one
table must take a new column or a wider type.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from assets_core.errors import OutputError, StorageError, UsageError


def without_frame_metadata(schema: pa.Schema) -> pa.Schema:
    """``schema`` without what pandas notes there: it tells of the frame's index, not of rows."""
    kept = {k: v for k, v in (schema.metadata or {}).items() if k != b"pandas"}
    return schema.with_metadata(kept or None)


def check_names(schema: pa.Schema, *, fold_case: bool = False) -> None:
    """Refuse a schema in which two columns share a name (``fold_case``: ignoring case)."""
    seen: dict[str, str] = {}
    for name in schema.names:
        key = name.casefold() if fold_case else name
        if key in seen:
            raise OutputError(
                f"Two columns are both called {name!r}.",
                facts={"columns": f"{seen[key]!r}, {name!r}"},
                hint="Rename one of them: the store keeps a column by its name.",
            )
        seen[key] = name


def unstorable(column: str, kind: pa.DataType, store: str, why: str = "") -> OutputError:
    """The error for a column whose type ``store`` can't keep."""
    facts: dict[str, object] = {"column": column, "type": kind}
    if why:
        facts["reason"] = why
    return OutputError(
        f"{store} can't store column {column!r}.",
        facts=facts,
        hint="Cast the column to another type before returning it.",
    )


# --------------------------------------------------------------------------------------------
# Merging


def merge(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """One schema that takes the rows of all: columns in order of appearance, types widened.

    Raises StorageError naming a column whose types have nothing in common.
    """
    merged: dict[str, pa.Field] = {}
    for schema in schemas:
        for field in schema:
            known = merged.get(field.name)
            merged[field.name] = field if known is None else _merge_field(known, field)
    return pa.schema(list(merged.values()))


def _merge_field(a: pa.Field, b: pa.Field) -> pa.Field:
    if a.type == b.type:
        return a
    kind = common_type(a.type, b.type)
    if kind is None:
        raise StorageError(
            f"Column {a.name!r} has types that can't be read together.",
            facts={"types": f"{a.type} and {b.type}"},
            hint="Build the older partitions again, so that all have the new type.",
        )
    return pa.field(a.name, kind)


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

# --------------------------------------------------------------------------------------------
# Rows to a schema


def select_fields(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    """The fields called ``columns``, in that order; UsageError with a suggestion for another."""
    if columns is None:
        return schema
    known = set(schema.names)
    for name in columns:
        if name not in known:
            close = difflib.get_close_matches(name, schema.names, n=1)
            raise UsageError(
                f"There is no column {name!r}.",
                facts={"columns": ", ".join(schema.names)},
                hint=f"Did you mean {close[0]!r}?" if close else "",
            )
    return pa.schema([schema.field(name) for name in columns])


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """``table`` with exactly the columns and types of ``schema``; a missing column is null.

    Casts are checked: a value that would change is a StorageError, never rounded.
    """
    if table.schema.equals(schema):
        return table
    if not len(schema):
        return table.select([])
    return pa.table([_conform_column(table, field) for field in schema], schema=schema)


def _conform_column(table: pa.Table, field: pa.Field) -> Any:
    place = table.schema.get_field_index(field.name)
    if place < 0:
        return pa.nulls(len(table), field.type)
    column = table.column(place)
    if column.type == field.type:
        return column
    try:
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise StorageError(
            f"Column {field.name!r} can't be read together with other partitions.",
            facts={"from": column.type, "to": field.type, "reason": error},
            hint="Build the older partitions again, so that all have the new type.",
        ) from error


def concat(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    """All rows under one schema; their number is kept where there is no column."""
    if len(tables) == 1:
        return conform(tables[0], schema)
    if not len(schema):
        total = sum(len(table) for table in tables)
        return pa.table({"row": pa.nulls(total)}).select([])
    return pa.concat_tables([conform(table, schema) for table in tables])


# --------------------------------------------------------------------------------------------
# Streams


def regroup(batches: Iterable[Any], rows: int, size: int) -> Iterable[pa.Table]:
    """Tables of about ``rows`` rows or ``size`` bytes, whichever comes first, out of batches.

    Tiny batches are put together, huge ones are cut; no more than one group is held.
    """
    held: list[Any] = []
    held_rows = held_bytes = 0
    for batch in batches:
        for piece in _cut(batch, rows, size):
            held.append(piece)
            held_rows += piece.num_rows
            held_bytes += piece.nbytes
            if held_rows >= rows or held_bytes >= size:
                yield pa.Table.from_batches(held)
                held, held_rows, held_bytes = [], 0, 0
    if held:
        yield pa.Table.from_batches(held)


def _cut(batch: Any, rows: int, size: int) -> Iterable[Any]:
    total = batch.num_rows
    if total <= rows and batch.nbytes <= size:
        return (batch,) if total else ()
    step = max(1, min(rows, total * size // max(1, batch.nbytes)))
    return (batch.slice(start, step) for start in range(0, total, step))
