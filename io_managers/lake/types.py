"""Which Arrow columns an open table keeps, as what, and how they come back.

Two forms of a schema: the *logical* one, which readers through the framework get back, and the
*physical* one, which the table declares and every engine reads.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from assets_core.errors import OutputError, StorageError
from io_managers import _schemas
from io_managers.lake.names import PARTITION

NO_COLUMNS = "_row"
"""The column of a version that has none: it carries the number of rows."""

COLUMNS = b"assets.columns"
"""Where a version file notes its logical columns, if they are others than the physical ones."""


@dataclass(frozen=True, slots=True)
class Keeps:
    """What a table format has types for, besides those that all have."""

    store: str
    small_integers: bool
    times: bool

    def logical(self, schema: pa.Schema) -> pa.Schema:
        """What readers get back. Raises OutputError for a column that can't be kept or named."""
        _schemas.check_names(schema, fold_case=True)
        fields = []
        for field in schema:
            self._check_name(field.name)
            fields.append(pa.field(field.name, self._logical(field.type, field)))
        return pa.schema(fields)

    def _check_name(self, name: str) -> None:
        why = ""
        if name.casefold() in (PARTITION, NO_COLUMNS):
            why = "its tables keep something of their own under that name"
        elif not name or not name.isprintable():
            why = "it is empty, or has a character that can't be seen"
        if why:
            raise OutputError(
                f"{self.store} can't store a column called {name!r}.",
                facts={"reason": why},
                hint="Rename the column.",
            )

    def _logical(self, kind: pa.DataType, field: pa.Field) -> pa.DataType:
        if isinstance(kind, pa.BaseExtensionType):
            return self._logical(kind.storage_type, field)
        if pt.is_dictionary(kind):
            return self._logical(kind.value_type, field)
        if (inner := _map_nested(kind, lambda one: self._logical(one, field))) is not None:
            return inner
        if pt.is_decimal(kind) and not (kind.precision <= 38 and 0 <= kind.scale <= kind.precision):
            why = "it has decimals of at most 38 digits"
            raise _schemas.unstorable(field.name, field.type, self.store, why)
        if pt.is_string_view(kind):
            return pa.string()
        if pt.is_binary_view(kind):
            return pa.binary()
        nested_null = pt.is_null(kind) and kind is not field.type
        if self._plain(kind) is None or nested_null:
            raise _schemas.unstorable(field.name, field.type, self.store)
        return kind

    def physical(self, schema: pa.Schema) -> pa.Schema:
        """The columns of the table for a logical schema. A column of nulls needs none."""
        fields = [
            pa.field(f.name, self._physical(f.type)) for f in schema if not pt.is_null(f.type)
        ]
        return pa.schema(fields or [pa.field(NO_COLUMNS, pa.bool_())])

    def plain(self, schema: pa.Schema) -> pa.Schema:
        """The columns of a table or file, whatever names its reader gives to what is in lists."""
        return pa.schema([pa.field(f.name, self._physical(f.type)) for f in schema])

    def _physical(self, kind: pa.DataType) -> pa.DataType:
        inner = _map_nested(kind, self._physical)
        if inner is None:
            inner = self._plain(kind)
        elif pt.is_fixed_size_list(inner):
            inner = pa.list_(inner.value_type)
        assert inner is not None  # `logical` let it through
        return inner

    def _plain(self, kind: pa.DataType) -> pa.DataType | None:
        """The table's type for one that is not nested; None where it has none."""
        if pt.is_integer(kind):
            return self._integer(kind)
        if pt.is_decimal(kind):
            return pa.decimal128(kind.precision, kind.scale)
        if pt.is_timestamp(kind):
            return pa.timestamp("us", "UTC" if kind.tz else None)
        if pt.is_time(kind):
            return pa.time64("us") if self.times else None
        if pt.is_floating(kind):
            return pa.float64() if kind.bit_width == 64 else pa.float32()
        return next((to for known, to in _ALIKE if known(kind)), None)

    def _integer(self, kind: pa.DataType) -> pa.DataType:
        width = kind.bit_width * (1 if pt.is_signed_integer(kind) else 2)
        if width > 64:
            return pa.decimal128(20, 0)
        small = {8: pa.int8(), 16: pa.int16()} if self.small_integers else {}
        return small.get(width) or (pa.int64() if width == 64 else pa.int32())


_ALIKE = (
    (pt.is_boolean, pa.bool_()),
    (pt.is_date, pa.date32()),
    (pt.is_string, pa.string()),
    (pt.is_large_string, pa.string()),
    (pt.is_binary, pa.binary()),
    (pt.is_large_binary, pa.binary()),
    (pt.is_fixed_size_binary, pa.binary()),
    (pt.is_null, pa.string()),
)


def _map_nested(kind: pa.DataType, each: Any) -> pa.DataType | None:
    """A nested type with ``each`` applied to what is in it; None for one that is not nested."""
    if pt.is_struct(kind):
        fields = [pa.field(f.name, each(f.type)) for f in kind]
        return pa.struct(fields) if fields else None
    if pt.is_map(kind):
        return pa.map_(each(kind.key_type), each(kind.item_type))
    if pt.is_fixed_size_list(kind):
        return pa.list_(each(kind.value_type), kind.list_size)
    if pt.is_list(kind) or pt.is_large_list(kind) or _is_list_view(kind):
        return pa.list_(each(kind.value_type))
    return None


def _is_list_view(kind: pa.DataType) -> bool:
    return bool(pt.is_list_view(kind) or pt.is_large_list_view(kind))


# --------------------------------------------------------------------------------------------
# Rows


def to_physical(table: pa.Table, stored: pa.Schema, store: str) -> pa.Table:
    """Given rows as the table keeps them. OutputError where a value would change."""
    columns = []
    for field in stored:
        place = table.schema.get_field_index(field.name)
        if place < 0:
            columns.append(pa.nulls(len(table), field.type))
            continue
        column = table.column(place)
        try:
            columns.append(_plain_column(column).cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            why = str(error).splitlines()[0]
            raise _schemas.unstorable(field.name, column.type, store, why) from error
    return pa.table(columns, schema=stored)


def _plain_column(column: Any) -> Any:
    if isinstance(column.type, pa.BaseExtensionType):
        return pa.chunked_array([c.storage for c in column.chunks], column.type.storage_type)
    return column


def to_logical(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table's rows as a logical schema; a column that it does not keep is null."""
    if not len(schema):
        return table.select([])
    columns = [_cast_out(table, field) for field in schema]
    return pa.table(columns, schema=schema)


def _cast_out(table: pa.Table, field: pa.Field) -> Any:
    place = table.schema.get_field_index(field.name)
    if place < 0 or pt.is_null(field.type):
        return pa.nulls(len(table), field.type)
    column = table.column(place)
    try:
        return column if column.type == field.type else column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise StorageError(
            f"Column {field.name!r} can't be read as it was written.",
            facts={"from": column.type, "to": field.type, "reason": str(error).splitlines()[0]},
            hint="Was its type changed by another program? Build the partition again.",
        ) from error


# --------------------------------------------------------------------------------------------
# Schemas as text


def note(schema: pa.Schema) -> bytes:
    """A schema as plain letters."""
    return base64.b64encode(schema.serialize().to_pybytes())


def noted(text: bytes | str) -> pa.Schema:
    """The inverse of `note`."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


def with_note(physical: pa.Schema, logical: pa.Schema) -> pa.Schema:
    """The physical columns, with a note of the logical ones where they are others."""
    return (
        physical if physical.equals(logical) else physical.with_metadata({COLUMNS: note(logical)})
    )


def logical_of(schema: pa.Schema) -> pa.Schema:
    """The logical columns of a version file, out of its schema."""
    columns = (schema.metadata or {}).get(COLUMNS)
    return schema.remove_metadata() if columns is None else noted(columns)
