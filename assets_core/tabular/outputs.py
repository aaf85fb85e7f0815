"""What a function returned, as Arrow; what can't be taken is refused with advice.

An iterator of data is streamed: it never has to fit in memory, and every item must have the
columns of the first.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets_core.errors import OutputError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
from assets_core.tabular.forms import is_any_of

BATCH_ROWS = 100_000
"""Rows per record batch where we choose it."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a function returned: a whole ``table``, a streaming ``reader``, a ``path``, or nothing.

    At most one of them is set. Schemas carry no metadata of their own.
    """

    table: pa.Table | None = None
    reader: pa.RecordBatchReader | None = None
    path: Path | None = None
    _stream: BatchStream | None = field(default=None, repr=False, compare=False)

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
        return BatchStream(reader, reader.schema.remove_metadata(), what).output()
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
    if is_any_of(value, ("polars", "LazyFrame")):
        value = value.collect()
    if is_any_of(value, ("polars", "DataFrame")):
        return value.to_arrow()
    if is_any_of(value, ("pandas", "DataFrame")):
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
    if is_any_of(value, ("duckdb", "DuckDBPyRelation")):
        return value.to_arrow_reader(BATCH_ROWS)
    if is_any_of(value, ("pyarrow", "Dataset")):
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
    return BatchStream(chained, table.schema, what, source=items).output()


class BatchStream:
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


def _refused(value: Any, what: str) -> OutputError:
    return _bad(
        what,
        f"is {_shown(value)}, which is not tabular.",
        _advice_for(value)
        + "Return an Arrow table, batch or reader, a polars or pandas data frame, a DuckDB "
        "relation, an iterator of these, a pathlib.Path, or None.",
    )


def _advice_for(value: Any) -> str:
    if isinstance(value, (str, bytes)):
        return "If it is a file's name, return pathlib.Path(…). "
    if isinstance(value, dict):
        return "If it holds columns, return pyarrow.table(…). "
    if inspect.isawaitable(value) or hasattr(value, "__anext__"):
        return "Asynchronous functions can't be assets; write an ordinary function. "
    return ""


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
