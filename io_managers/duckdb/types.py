"""Which Arrow columns DuckDB keeps, as what, and how they come back.

Three forms of a schema: the *given* one; the *logical* one, which readers get back (views,
dictionaries and extensions become plain columns); and the *physical* one, which DuckDB stores
without loss in every supported release.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from assets_core.errors import OutputError, PartitionError, StorageError
from assets_core.partitions import quote_identifier
from assets_core.tabular.common_types import common_type
from io_managers import _schemas

PARTITION = "_partition"
_STORE = "DuckDB"


def logical(schema: pa.Schema) -> pa.Schema:
    """What readers get back. Raises OutputError for a column that can't be kept or named."""
    _schemas.check_names(schema, fold_case=True)
    fields = []
    for field in schema:
        if field.name.casefold() == PARTITION:
            raise OutputError(
                f"A column may not be called {field.name!r}.",
                hint="DuckDB tables keep each row's partition under that name: rename the column.",
            )
        _check_name(field.name)
        fields.append(pa.field(field.name, _logical(field.type, field)))
    return pa.schema(fields)


def _check_name(name: str) -> None:
    """Refuse a name that would not be found again under its canonical form."""
    try:
        if quote_identifier(name) == '"' + name.replace('"', '""') + '"':
            return
        why = "it is not in Unicode's normal form NFC"
    except PartitionError as error:
        why = error.message
    raise OutputError(
        f"DuckDB can't store a column called {name!r}.",
        facts={"reason": why},
        hint="Rename the column (strip spaces, name what has no name).",
    )


def _logical(kind: pa.DataType, field: pa.Field) -> pa.DataType:
    """``kind`` as it comes back; ``field`` is only named in the error."""
    if isinstance(kind, pa.BaseExtensionType):
        return _logical(kind.storage_type, field)
    if pt.is_dictionary(kind):
        return _logical(kind.value_type, field)
    if pt.is_struct(kind) and kind.num_fields:
        return pa.struct([pa.field(f.name, _logical(f.type, field)) for f in kind])
    if pt.is_map(kind):
        return pa.map_(_logical(kind.key_type, field), _logical(kind.item_type, field))
    if pt.is_fixed_size_list(kind):
        return pa.list_(_logical(kind.value_type, field), kind.list_size)
    if pt.is_list(kind) or pt.is_large_list(kind) or _is_list_view(kind):
        return pa.list_(_logical(kind.value_type, field))
    if pt.is_decimal(kind):
        return _decimal(kind, field)
    if (plain := _plain(kind)) is not None:
        return plain
    if _is_kept(kind):
        return kind
    raise _schemas.unstorable(field.name, field.type, _STORE)


def _is_list_view(kind: pa.DataType) -> bool:
    return bool(pt.is_list_view(kind) or pt.is_large_list_view(kind))


def _decimal(kind: Any, field: pa.Field) -> pa.DataType:
    if kind.precision > 38 or not 0 <= kind.scale <= kind.precision:
        why = "it has decimals of at most 38 digits"
        raise _schemas.unstorable(field.name, field.type, _STORE, why)
    return pa.decimal128(kind.precision, kind.scale)


def _plain(kind: pa.DataType) -> pa.DataType | None:
    """The plain type with the same values, for a type that is only another form of one."""
    if pt.is_float16(kind):
        return pa.float32()
    if pt.is_date64(kind):
        return pa.date32()
    if pt.is_string_view(kind):
        return pa.string()
    if pt.is_binary_view(kind):
        return pa.binary()
    return None


def _is_kept(kind: pa.DataType) -> bool:
    number = pt.is_integer(kind) or pt.is_floating(kind) or pt.is_boolean(kind)
    text = pt.is_string(kind) or pt.is_large_string(kind)
    raw = pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind)
    when = pt.is_timestamp(kind) or pt.is_date(kind) or pt.is_time(kind) or pt.is_duration(kind)
    return bool(number or text or raw or when or pt.is_null(kind))


def physical(schema: pa.Schema) -> pa.Schema:
    """The columns DuckDB keeps for a logical schema. A column of nulls needs none."""
    return pa.schema(
        [pa.field(f.name, _physical(f.type)) for f in schema if not pt.is_null(f.type)]
    )


def _physical(kind: pa.DataType) -> pa.DataType:
    if pt.is_struct(kind):
        return pa.struct([pa.field(f.name, _physical(f.type)) for f in kind])
    if pt.is_map(kind):
        return pa.map_(_physical(kind.key_type), _physical(kind.item_type))
    if pt.is_fixed_size_list(kind):
        return pa.list_(_physical(kind.value_type), kind.list_size)
    if pt.is_list(kind):
        return pa.list_(_physical(kind.value_type))
    if pt.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp("us", "UTC")  # DuckDB keeps the instant; the zone is the schema's
    if pt.is_duration(kind):
        return pa.int64()  # microseconds: an INTERVAL does not come back as a duration
    return pa.int32() if pt.is_null(kind) else kind  # 1.5 has no type for nested nulls


def is_kept_as_read(schema: pa.Schema) -> bool:
    """Whether DuckDB's own columns hold what readers get, up to the name of a time zone."""
    return all(_same_but_zone(f.type, _physical(f.type)) for f in schema)


def _same_but_zone(logical: Any, kept: pa.DataType) -> bool:
    if pt.is_null(logical):
        return False
    if pt.is_timestamp(logical) and logical.tz is not None:
        return bool(logical.unit == "us")
    return bool(logical == kept)


def to_physical(table: pa.Table, given: pa.Schema, stored: pa.Schema) -> pa.Table:
    """Rows as DuckDB keeps them. OutputError where a value would change."""
    columns = []
    for field in stored:
        column = table.column(given.get_field_index(field.name))
        try:
            columns.append(_cast_in(column, field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            why = str(error).splitlines()[0]
            raise _schemas.unstorable(field.name, column.type, _STORE, why) from error
    return pa.table(columns, schema=stored)


def _cast_in(column: Any, kind: pa.DataType) -> Any:
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([c.storage for c in column.chunks], column.type.storage_type)
    if pt.is_duration(column.type):
        column = column.cast(pa.duration("us"))
    return column if column.type == kind else column.cast(kind)


def readable(schema: pa.Schema) -> pa.Schema:
    """A logical schema as rows can have it: inside lists and structs nothing is without type."""
    return pa.schema(
        [f if pt.is_null(f.type) else pa.field(f.name, _typed(f.type)) for f in schema]
    )


def _typed(kind: pa.DataType) -> pa.DataType:
    if pt.is_struct(kind):
        return pa.struct([pa.field(f.name, _typed(f.type)) for f in kind])
    if pt.is_map(kind):
        return pa.map_(_typed(kind.key_type), _typed(kind.item_type))
    if pt.is_fixed_size_list(kind):
        return pa.list_(_typed(kind.value_type), kind.list_size)
    if pt.is_list(kind):
        return pa.list_(_typed(kind.value_type))
    return pa.int32() if pt.is_null(kind) else kind


def to_logical(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """DuckDB's rows as a readable schema; a column that DuckDB does not keep is null."""
    if not len(schema):
        return table.select([])
    columns = [_cast_out(table, field) for field in schema]
    return pa.table(columns, schema=schema)


def _cast_out(table: pa.Table, field: pa.Field) -> Any:
    if pt.is_null(field.type):
        return pa.nulls(len(table), field.type)
    column = table.column(field.name)
    if column.type == field.type:
        return column
    try:
        if pt.is_duration(field.type):
            column = column.cast(pa.duration("us"))
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise StorageError(
            f"Column {field.name!r} can't be read as it was written.",
            facts={"from": column.type, "to": field.type, "reason": str(error).splitlines()[0]},
            hint="Was its type changed by another program? Build the partition again.",
        ) from error


common = common_type


def merged(known: pa.Schema, new: pa.Schema, table: str) -> pa.Schema:
    """The logical schema of a table that takes ``new`` rows. OutputError where it can't."""
    try:
        both = _schemas.merge([known, new])
    except StorageError as error:
        raise OutputError(
            f"The new rows don't fit table {table}.",
            facts={"problem": error.message, **error.facts},
            hint="Return the type the table has, or give the asset a new name; "
            "widening (int32 to int64, a new column) goes by itself.",
        ) from error
    _schemas.check_names(both, fold_case=True)
    return both
