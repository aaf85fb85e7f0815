"""Arrow data handed to a function as what it asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from assets_core.errors import UsageError

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa
from assets_core.tabular.duckdb_sessions import duckdb_cursor, load_into
from assets_core.tabular.forms import describe_supported, form_of
from assets_core.tabular.outputs import BatchStream, Output

_HELD_BYTES = 64 << 20
"""A DuckDB relation over more than this is put into a temporary table, which can spill."""


def from_reader(
    reader: pa.RecordBatchReader,
    annotation: Any,
    *,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> Any:
    """The rows of ``reader`` as what ``annotation`` asks for.

    A ``RecordBatchReader`` is passed on as it is, streaming; a DuckDB relation can be read any
    number of times and holds at most 64 MB outside DuckDB; everything else is whole in memory.
    ``connection`` is what a relation belongs to, by default one of its own whose time zone is UTC.

    Raises UsageError when rows can't become that (a ``Path``, a type that is not supported);
    whatever reading raises, unchanged.
    """
    kind = _row_kind(annotation)
    if kind == "reader":
        return reader
    if kind == "duckdb":
        return _relation(reader, connection)
    return _WHOLE[kind](reader.read_all())


def from_table(
    table: pa.Table, annotation: Any, *, connection: duckdb.DuckDBPyConnection | None = None
) -> Any:
    """A whole table as what ``annotation`` asks for; see `from_reader`."""
    kind = _row_kind(annotation)
    if kind == "reader":
        return table.to_reader()
    if kind == "duckdb":
        return (connection or duckdb_cursor()).from_arrow(table)
    return _WHOLE[kind](table)


def _row_kind(annotation: Any) -> str:
    form = form_of(annotation)
    if form is not None and not form.keyed and form.kind not in ("path", "paths"):
        return form.kind
    shown = getattr(annotation, "__qualname__", None) or str(annotation)
    raise UsageError(f"Rows can't be given as {shown}.", hint=f"Ask for {describe_supported()}.")


def _to_batch(table: pa.Table) -> pa.RecordBatch:
    import pyarrow as pa

    batches = table.combine_chunks().to_batches()
    if len(batches) == 1:
        return batches[0]
    if not batches:
        return pa.RecordBatch.from_arrays(
            [pa.array([], column.type) for column in table.schema], schema=table.schema
        )
    raise UsageError(
        "The rows do not fit into one record batch: a text column holds more than 2 GB.",
        hint="Ask for a pyarrow.Table or a pyarrow.RecordBatchReader.",
    )


def _to_dataset(table: pa.Table) -> Any:
    import pyarrow.dataset as ds

    return ds.dataset(table)


def _to_polars(table: pa.Table) -> Any:
    import polars as pl

    return pl.from_arrow(table, rechunk=False)


def _to_lazy(table: pa.Table) -> Any:
    return _to_polars(table).lazy()


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    """As ``Table.to_pandas``, but whole numbers and booleans stay so where some are null.

    NumPy has no null for them, and as floats they would lose digits beyond 2^53 and come back
    with another type; such columns get pandas' own nullable type.
    """
    holed = [
        i
        for i, column in enumerate(table.columns)
        if column.null_count and _nullable(column.type) is not None
    ]
    frame: pd.DataFrame = table.to_pandas()
    for i in holed:
        column = table.column(i)
        nullable = _nullable(column.type)
        frame.isetitem(i, column.to_pandas(types_mapper=lambda _, found=nullable: found))
    return frame


def _nullable(kind: pa.DataType) -> Any:
    """The nullable pandas type for whole numbers and booleans, None for all others."""
    import pandas as pd
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        return pd.BooleanDtype()
    if pa.types.is_integer(kind):
        return pd.api.types.pandas_dtype(str(kind).replace("i", "I", 1).replace("u", "U", 1))
    return None


_WHOLE: dict[str, Callable[[Any], Any]] = {
    "table": lambda table: table,
    "batch": _to_batch,
    "dataset": _to_dataset,
    "polars": _to_polars,
    "lazy": _to_lazy,
    "pandas": _to_pandas,
}


def _relation(
    reader: pa.RecordBatchReader, connection: duckdb.DuckDBPyConnection | None
) -> duckdb.DuckDBPyRelation:
    """A relation over the reader's rows.

    DuckDB would take the reader itself, but the second query over it would find it empty.
    """
    import pyarrow as pa

    connection = connection or duckdb_cursor()
    held, size = [], 0
    for batch in reader:
        held.append(batch)
        size += batch.nbytes
        if size > _HELD_BYTES:
            return load_into(connection, _joined(reader.schema, held, reader))
    return connection.from_arrow(pa.Table.from_batches(held, reader.schema))


def _joined(
    schema: pa.Schema, first: Iterable[pa.RecordBatch], rest: Iterable[pa.RecordBatch]
) -> Output:
    stream = BatchStream((batch for part in (first, rest) for batch in part), schema, "the input")
    return stream.output()
