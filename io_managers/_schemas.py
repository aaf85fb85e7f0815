"""What two versions of a table have in common: schemas merged without loss, rows cast to them.

Both kinds of store use it: files when a range of partitions is read, DuckDB also when its one
table must take a new column or a wider type.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from assets_core.errors import OutputError, StorageError, UsageError
from assets_core.tabular.common_types import common_type


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
