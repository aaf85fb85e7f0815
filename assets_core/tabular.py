"""The one place where values become Arrow, and Arrow becomes what a function asked for.

Types of polars, pandas and DuckDB are recognised by name, so none of them is imported before a
user's function did. What a store makes of the Arrow types is the store's matter.
"""

from __future__ import annotations

import inspect
import os
import tempfile
import typing
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any

from assets_core.errors import OutputError, UsageError

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

BATCH_ROWS = 100_000
"""Rows per record batch where we choose it."""

_HELD_BYTES = 64 << 20
"""A DuckDB relation over more than this is put into a temporary table, which can spill."""

# --------------------------------------------------------------------------------------------
# What a function can ask for


@dataclass(frozen=True, slots=True)
class Form:
    """What an annotation asks for.

    ``kind`` is one of ``table reader batch dataset polars lazy pandas duckdb path paths``;
    ``optional`` when it allows None, ``keyed`` when it is a dict of these by partition key.
    """

    kind: str
    optional: bool = False
    keyed: bool = False


_KINDS = {
    ("pyarrow", "Table"): "table",
    ("pyarrow", "RecordBatchReader"): "reader",
    ("pyarrow", "RecordBatch"): "batch",
    ("pyarrow", "Dataset"): "dataset",
    ("polars", "DataFrame"): "polars",
    ("polars", "LazyFrame"): "lazy",
    ("pandas", "DataFrame"): "pandas",
    ("duckdb", "DuckDBPyRelation"): "duckdb",
}


def can_supply(annotation: Any) -> bool:
    """Whether a value can be handed to a parameter that is annotated so."""
    return form_of(annotation) is not None


def describe_supported() -> str:
    """The annotations that can be supplied, in words."""
    return (
        "pyarrow.Table (also when there is no annotation), pyarrow.RecordBatchReader, "
        "pyarrow.RecordBatch, pyarrow.dataset.Dataset, polars.DataFrame, polars.LazyFrame, "
        "pandas.DataFrame, duckdb.DuckDBPyRelation, pathlib.Path, list[Path], "
        "dict[str, any of these] by partition key, or one of these | None"
    )


def form_of(annotation: Any) -> Form | None:
    """What ``annotation`` asks for; None when it can't be supplied."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return form_of(typing.get_args(annotation)[0])
    if origin in (typing.Union, UnionType):
        return _optional(typing.get_args(annotation))
    if origin is dict:
        return _keyed(typing.get_args(annotation))
    if origin is list:
        return Form("paths") if typing.get_args(annotation) == (Path,) else None
    kind = _plain_kind(annotation)
    return Form(kind) if kind else None


def _optional(members: tuple[Any, ...]) -> Form | None:
    others = [member for member in members if member is not NoneType]
    if len(others) != 1 or len(others) == len(members):
        return None
    form = form_of(others[0])
    return form and Form(form.kind, optional=True, keyed=form.keyed)


def _keyed(members: tuple[Any, ...]) -> Form | None:
    key, value = members
    form = form_of(value)
    if key is not str or form is None or form.keyed or form.kind == "paths":
        return None
    return Form(form.kind, keyed=True)


def _plain_kind(annotation: Any) -> str | None:
    if annotation is Any or annotation is inspect.Parameter.empty:
        return "table"
    if annotation is Path:
        return "path"
    if not isinstance(annotation, type):
        return None
    return _KINDS.get(_named(annotation))


def _named(kind: type) -> tuple[str, str]:
    """Root package and name of a class: where in the package it lives changes with releases."""
    return kind.__module__.partition(".")[0].lstrip("_"), kind.__qualname__


def _is(value: object, *names: tuple[str, str]) -> bool:
    """Whether ``value`` is of a class (or a subclass of one) that is named so."""
    return any(_named(kind) in names for kind in type(value).__mro__)


# --------------------------------------------------------------------------------------------
# From Arrow


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
    stream = _Stream((batch for part in (first, rest) for batch in part), schema, "the input")
    return stream.output()


def load_into(
    connection: duckdb.DuckDBPyConnection, rows: Output, name: str = ""
) -> duckdb.DuckDBPyRelation:
    """Stream rows into a temporary table of the connection; an error of theirs stays as it was."""
    name = name or f"rows_{next(_numbers)}"
    incoming = f"incoming_{next(_numbers)}"
    connection.register(incoming, rows.reader)
    try:
        with rows.consuming():
            connection.execute(f'CREATE TEMP TABLE "{name}" AS SELECT * FROM "{incoming}"')
    finally:
        connection.unregister(incoming)
    return connection.table(name)


def _counted() -> Iterator[int]:
    number = 0
    while True:
        yield (number := number + 1)


_numbers = _counted()


def duckdb_cursor() -> duckdb.DuckDBPyConnection:
    """A connection of one's own to this process's database in memory, in UTC.

    Spills into the system's folder for temporary files, never into the working directory.
    """
    return quiet(_database(os.getpid()).cursor())


def quiet(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """The connection, kept from drawing a progress bar on stdout, as it does in notebooks."""
    return connection.execute("SET enable_progress_bar = false")


@cache
def _database(process: int) -> duckdb.DuckDBPyConnection:
    """One per process: a forked child must not use its parent's, whose threads it lacks."""
    import duckdb

    spill = Path(tempfile.gettempdir()) / f"assets-duckdb-{process}"
    database = duckdb.connect(":memory:", config={"temp_directory": str(spill)})
    database.execute("SET GLOBAL TimeZone = 'UTC'")
    return database


# --------------------------------------------------------------------------------------------
# To Arrow


@dataclass(frozen=True, slots=True)
class Output:
    """What a function returned: a whole ``table``, a streaming ``reader``, a ``path``, or nothing.

    At most one of them is set. Schemas carry no metadata of their own.
    """

    table: pa.Table | None = None
    reader: pa.RecordBatchReader | None = None
    path: Path | None = None
    _stream: _Stream | None = field(default=None, repr=False, compare=False)

    @contextmanager
    def consuming(self) -> Iterator[None]:
        """Wrap what consumes ``reader``: the stream is closed at the end, come what may, and an
        exception that the user's iterator raised leaves here as it was raised.

        Read from Python it does so anyway; an engine that reads through C (DuckDB, polars) turns
        it into an error of its own.
        """
        try:
            yield
        except BaseException as error:
            raised = self._stream.raised if self._stream is not None else None
            if raised is None or raised is error:
                raise
            raise raised from None
        finally:
            if self._stream is not None:
                self._stream.close()


NOTHING = Output()


def to_reader(value: Any, *, what: str) -> Output:
    """What a function returned, as Arrow.

    Takes Arrow tables, batches and readers; whatever exports an Arrow stream or array (polars,
    pandas, DuckDB relations, …); a polars LazyFrame; an iterator or list of any of these, which
    streams and whose first item sets the schema; a list of rows as dicts; a `Path`; None.
    ``what`` names the origin in errors ("asset 'readings'").

    A pandas index is kept as columns when it has names, dropped when it has none and holds whole
    numbers (row positions), and refused otherwise.

    The first item of an iterator is drawn here: what it raises, and what a lazy query raises,
    comes out unchanged. Raises OutputError for everything that is not tabular, has no or
    duplicate columns, or changes its schema midway.
    """
    if value is None:
        return NOTHING
    if isinstance(value, Path):
        return Output(path=value)
    table = _table_of(value, what)
    if table is not None:
        return Output(table=_plain_table(table, what))
    reader = _reader_of(value, what)
    if reader is not None:
        _check_columns(reader.schema, what)
        return _Stream(reader, reader.schema.remove_metadata(), what).output()
    if _is_iterator(value):
        return _streamed(iter(value), what)
    raise _refused(value, what)


def _is_iterator(value: Any) -> bool:
    return isinstance(value, (list, tuple, Iterator))


def _table_of(value: Any, what: str) -> pa.Table | None:
    """Values that lie whole in memory."""
    import pyarrow as pa

    if isinstance(value, pa.Table):
        return value
    if isinstance(value, pa.RecordBatch):
        return pa.Table.from_batches([value])
    if _is(value, ("polars", "LazyFrame")):
        value = value.collect()
    if _is(value, ("polars", "DataFrame")):
        return value.to_arrow()
    if _is(value, ("pandas", "DataFrame")):
        return _from_pandas(value, what)
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return _from_rows(value, what)
    if hasattr(value, "__arrow_c_array__") and not hasattr(value, "__arrow_c_stream__"):
        with _refusing(value, what):
            return pa.Table.from_batches([pa.record_batch(value)])
    return None


def _reader_of(value: Any, what: str) -> pa.RecordBatchReader | None:
    """Values that can be read batch by batch."""
    import pyarrow as pa

    if isinstance(value, pa.RecordBatchReader):
        return value
    if _is(value, ("duckdb", "DuckDBPyRelation")):
        return value.to_arrow_reader(BATCH_ROWS)
    if _is(value, ("pyarrow", "Dataset")):
        return value.scanner().to_reader()
    if hasattr(value, "__arrow_c_stream__"):
        with _refusing(value, what):
            return pa.RecordBatchReader.from_stream(value)
    return None


@contextmanager
def _refusing(value: Any, what: str) -> Iterator[None]:
    """Something speaks Arrow and isn't a table: a single column, for one."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, TypeError) as error:
        raise _refused(value, what) from error


def _from_pandas(frame: pd.DataFrame, what: str) -> pa.Table:
    import pyarrow as pa

    odd = [label for label in frame.columns if not isinstance(label, str)]
    if odd:
        raise _bad(
            what,
            f"has a column that is not named by text: {odd[0]!r}.",
            "Set frame.columns to names before returning it.",
        )
    with _unconvertible(what):
        return pa.Table.from_pandas(frame, preserve_index=_keeps_index(frame, what))


def _keeps_index(frame: pd.DataFrame, what: str) -> bool:
    """Whether the index becomes columns; see `to_reader` for the rule."""
    index = frame.index
    named = [name for name in index.names if name is not None]
    if not named:
        if index.nlevels == 1 and index.dtype.kind in "iu":
            return False
        if len(index) == 0:
            return False
    taken = [name for name in named if name in frame.columns]
    if taken:
        raise _bad(
            what,
            f"has an index and a column of the same name: {taken[0]!r}.",
            "Drop the index with reset_index(drop=True), or rename one of them.",
        )
    if len(named) == index.nlevels and all(isinstance(name, str) for name in named):
        return True
    raise _bad(
        what,
        f"is a data frame whose index ({index.dtype}) has no name, so it can't become a column.",
        "Name it (frame.index.name = 'time'), or drop it with reset_index(drop=True).",
    )


def _from_rows(rows: list[dict[Any, Any]], what: str) -> pa.Table:
    import pyarrow as pa

    names = dict.fromkeys(name for row in rows for name in row)
    odd = [name for name in names if not isinstance(name, str)]
    if odd:
        raise _bad(what, f"has a key that is not text: {odd[0]!r}.", "Name columns by text.")
    with _unconvertible(what):
        return pa.table({name: [row.get(name) for row in rows] for name in names})


@contextmanager
def _unconvertible(what: str) -> Iterator[None]:
    """Python values of one column that have no common Arrow type."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        reason = " ".join(str(part) for part in error.args)
        raise _bad(
            what,
            f"holds values that don't fit one column type: {reason}",
            "Give each column values of one type.",
        ) from error


def _plain_table(table: pa.Table, what: str) -> pa.Table:
    schema = table.schema
    _check_columns(schema, what)
    return table.replace_schema_metadata(None) if schema.metadata else table


def is_nothing(value: Any) -> bool:
    """Whether a value holds neither rows nor columns: None, ``[]``, ``{}``, an empty data frame."""
    if value is None or (isinstance(value, list | tuple | dict) and not value):
        return True
    if getattr(value, "shape", None) == (0, 0):  # a table, or a data frame
        return True
    if isinstance(value, list | tuple):
        return all(map(is_nothing, value))
    if hasattr(value, "collect_schema"):  # polars; one that is lazy has its columns for asking
        return False
    names = getattr(getattr(value, "schema", None), "names", None)
    return isinstance(names, list) and not names and not getattr(value, "num_rows", 0)


def _check_columns(schema: pa.Schema, what: str) -> None:
    names = schema.names
    if not names:
        raise _bad(
            what, "has no columns.", "Return the columns even when there are no rows for them."
        )
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise _bad(
            what,
            f"has several columns of the same name: {', '.join(map(repr, twice))}.",
            "Rename or drop all but one of them.",
        )


# --------------------------------------------------------------------------------------------
# Streams


def _streamed(items: Iterator[Any], what: str) -> Output:
    """The stream of an iterator of batches, tables or data frames."""
    try:
        first = next(items)
    except StopIteration:
        raise _bad(
            what,
            "is an iterator that gave nothing, so its columns are unknown.",
            "For a partition without rows, yield an empty batch or return an empty table.",
        ) from None
    table = _item_table(first, what)
    chained = (item for part in ((table,), items) for item in part)
    return _Stream(chained, table.schema, what, source=items).output()


class _Stream:
    """Batches of one schema out of an iterator; keeps what the iterator raised.

    pyarrow does not compare the batches of a reader with the reader's schema; this does.
    """

    def __init__(
        self, items: Iterable[Any], schema: pa.Schema, what: str, *, source: Any = None
    ) -> None:
        self.raised: BaseException | None = None
        self._items = items
        self._schema = schema
        self._what = what
        self._source = items if source is None else source

    def output(self) -> Output:
        import pyarrow as pa

        reader = pa.RecordBatchReader.from_batches(self._schema, self._batches())
        return Output(reader=reader, _stream=self)

    def close(self) -> None:
        """Let the user's generator run its ``finally`` now; nothing happens when it has ended."""
        close = getattr(self._source, "close", None)
        if close is not None:
            close()

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            for number, item in enumerate(self._items, 1):
                for batch in self._of(item):
                    yield self._conform(batch, number)
        except GeneratorExit:
            raise
        except BaseException as error:
            self.raised = error
            raise

    def _of(self, item: Any) -> Iterable[pa.RecordBatch]:
        import pyarrow as pa

        if isinstance(item, pa.RecordBatch):
            return (item,)
        batches: list[pa.RecordBatch] = _item_table(item, self._what).to_batches()
        return batches

    def _conform(self, batch: pa.RecordBatch, number: int) -> pa.RecordBatch:
        schema = batch.schema
        if schema.equals(self._schema):
            return batch.replace_schema_metadata(None) if schema.metadata else batch
        return self._adapted(batch, number)

    def _adapted(self, batch: pa.RecordBatch, number: int) -> pa.RecordBatch:
        """Nothing but nulls fits every type; nullability alone is no difference in the rows."""
        import pyarrow as pa

        if batch.schema.names != self._schema.names:
            raise self._differs(batch.schema, number)
        columns = []
        for column, wanted in zip(batch.columns, self._schema, strict=True):
            same = column.type == wanted.type
            if not (same or pa.types.is_null(column.type)) or (
                column.null_count and not wanted.nullable
            ):
                raise self._differs(batch.schema, number)
            columns.append(column if same else pa.nulls(len(column), wanted.type))
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _differs(self, schema: pa.Schema, number: int) -> OutputError:
        first, other = set(self._schema), set(schema)
        return _bad(
            self._what,
            "changes its schema midway.",
            "Give every batch the columns and types of the first.",
            {
                "first": _fields(f for f in self._schema if f not in other)
                or _fields(self._schema),
                f"item {number}": _fields(f for f in schema if f not in first) or _fields(schema),
            },
        )


def _fields(fields: Iterable[pa.Field]) -> str:
    return ", ".join(f"{f.name}: {f.type}" + ("" if f.nullable else " not null") for f in fields)


def _item_table(item: Any, what: str) -> pa.Table:
    """One item of a stream as a table."""
    table = _table_of(item, what)
    if table is None:
        reader = _reader_of(item, what)
        if reader is None:
            raise _bad(
                what,
                f"is an iterator that gave {_shown(item)}.",
                "Yield record batches, tables or data frames.",
            )
        table = reader.read_all()
    return _plain_table(table, what)


# --------------------------------------------------------------------------------------------
# Refusals


def _refused(value: Any, what: str) -> OutputError:
    return _bad(
        what,
        f"is {_shown(value)}, which is not tabular.",
        _ADVICE.get(_advice_for(value), "")
        + "Return an Arrow table, batch or reader, a polars or pandas data frame, a DuckDB "
        "relation, an iterator of these, a pathlib.Path, or None.",
    )


_ADVICE = {
    "text": "If it is a file's name, return pathlib.Path(…). ",
    "dict": "If it holds columns, return pyarrow.table(…). ",
    "async": "Asynchronous functions can't be assets; write an ordinary function. ",
    "type": "",
}


def _advice_for(value: Any) -> str:
    if isinstance(value, (str, bytes)):
        return "text"
    if isinstance(value, dict):
        return "dict"
    return "async" if inspect.isawaitable(value) or hasattr(value, "__anext__") else "type"


def _shown(value: Any) -> str:
    kind = type(value)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__.partition('.')[0]}.{name}"
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _bad(
    what: str, happened: str, hint: str, facts: dict[str, object] | None = None
) -> OutputError:
    return OutputError(f"The output of {what} {happened}", facts=facts, hint=hint)
