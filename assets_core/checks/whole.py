"""Checks that need all rows at a time: uniqueness and SQL, and where those rows are kept.

Few rows are held as they go by. Many are read again from where they are staged, into a DuckDB
file of their own, so that memory stays bounded whatever the size of the partition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from assets_core.checks.base import Evaluator
from assets_core.checks.declared import CheckResult, SqlCheck, Unique
from assets_core.checks.ordering import UnfitError, decoded, null_mask
from assets_core.checks.words import (
    SAMPLES,
    SHOWN_TEXT,
    listed,
    of_rows,
    plain_value,
    python_value,
    shortened,
)

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa

    from assets_core.partitions import Partition

Reopen = Callable[[], "pa.RecordBatchReader"]

_HELD_BYTES = 64 << 20
"""Rows are held up to this."""

_LARGE_SETTINGS = {"memory_limit": "256MB", "threads": "2", "preserve_insertion_order": "false"}
"""DuckDB for more than that: it spills to disk."""


class Whole:
    """All rows, or the columns of them that are needed: held while few, else read again."""

    def __init__(
        self,
        schema: pa.Schema,
        needed: Sequence[tuple[str, ...] | None],
        reopen: Reopen | None,
    ) -> None:
        self.reopen = reopen
        self._schema = schema
        self._names = _union(needed)
        self._held: list[pa.RecordBatch] | None = []
        self._bytes = 0
        self._table: pa.Table | None = None
        self._large: _Large | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Hold the next batch, unless there are too many already."""
        if self._held is None:
            return
        part = batch if self._names is None else batch.select(self._names)
        self._held.append(part)
        self._bytes += part.nbytes
        if self._bytes > _HELD_BYTES and self.reopen is not None:
            self._held = None

    def __enter__(self) -> Whole:
        return self

    def __exit__(self, *_: object) -> None:
        if self._large is not None:
            self._large.close()

    def table(self) -> pa.Table | None:
        """The rows when they are held; None when there were too many."""
        import pyarrow as pa

        if self._table is None and self._held is not None:
            schema = self._schema
            if self._names is not None:
                schema = pa.schema([schema.field(name) for name in self._names])
            self._table = pa.Table.from_batches(self._held, schema)
        return self._table

    def reread(self) -> pa.RecordBatchReader:
        """The rows, read again from where they are staged."""
        assert self.reopen is not None, "without it all rows are held"
        return self.reopen()

    def large(self) -> duckdb.DuckDBPyConnection:
        """A connection in which ``this`` is the rows, on disk."""
        if self._large is None:
            self._large = _Large(self.reread(), self._names)
        return self._large.connection


def _union(needed: Sequence[tuple[str, ...] | None]) -> list[str] | None:
    names: dict[str, None] = {}
    for each in needed:
        if each is None:
            return None
        names.update(dict.fromkeys(each))
    return list(names)


class _Large:
    """Rows in a DuckDB file of their own, removed when closed."""

    def __init__(self, reader: pa.RecordBatchReader, names: list[str] | None) -> None:
        import tempfile

        import duckdb

        from assets_core.tabular import quiet

        self._folder = tempfile.TemporaryDirectory(prefix="assets-checks-")
        self.connection: duckdb.DuckDBPyConnection
        try:
            settings: dict[str, str | bool | int | float | list[str]] = {
                **_LARGE_SETTINGS,
                "temp_directory": f"{self._folder.name}/spill",
            }
            path = f"{self._folder.name}/rows.duckdb"
            self.connection = quiet(duckdb.connect(path, config=settings))
            _load(self.connection, reader, names)
        except duckdb.Error as error:
            self.close()
            raise UnfitError(f"DuckDB can't take the rows: {str(error).strip()}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        connection = getattr(self, "connection", None)
        if connection is not None:
            connection.close()
        self._folder.cleanup()


def _load(
    connection: duckdb.DuckDBPyConnection, reader: pa.RecordBatchReader, names: list[str] | None
) -> None:
    from assets_core.tabular import load_into, to_reader

    wanted = reader.schema.names if names is None else names
    with reader:
        rows = to_reader((batch.select(wanted) for batch in reader), what="the staged rows")
        load_into(connection, rows, "this")


# --------------------------------------------------------------------------------------------
# Uniqueness

Repeats = tuple[int, list[tuple[Any, int]]]
"""How many rows repeat an earlier one, and up to five of the values with how often they occur."""


class UniqueEvaluator(Evaluator):
    """Exact: by dense codes of the rows that are held, by DuckDB's GROUP BY for more."""

    check: Unique
    streams = False

    def needed(self) -> tuple[str, ...]:
        return self.check.columns

    def finish(self) -> CheckResult:
        assert self.staged.whole is not None
        repeated, examples = self._repeats()
        if not repeated:
            return self.passed()
        value, times = examples[0]
        verb = "repeats" if repeated == 1 else "repeat"
        return self.failed(
            f"{of_rows(repeated, self.staged.rows)} {verb} an earlier "
            f"{listed(self.check.columns, 'and')}, such as "
            f"{shortened(str(plain_value(value)), 80)} ({times:,} times)",
            rows=repeated,
            sample=[value for value, _ in examples],
        )

    def _repeats(self) -> Repeats:
        import pyarrow as pa

        whole, columns = self.staged.whole, self.check.columns
        assert whole is not None
        table = whole.table()
        if table is None:
            return _grouped(whole.large(), columns)
        try:
            return repeats(table.select(list(columns)))
        except pa.ArrowNotImplementedError:  # lists and structs have no codes
            return _grouped_in_memory(table, columns)


def repeats(table: pa.Table) -> Repeats:
    """By dense codes: codes are equal where values are, so this is exact.

    Raises ArrowNotImplementedError for columns that can't be dictionary encoded.
    """
    import numpy as np

    codes, known = _row_codes(table)
    kept = codes[known]
    counts = np.bincount(kept)
    repeated = len(kept) - int(np.count_nonzero(counts))
    if not repeated:
        return 0, []
    often = np.argsort(-counts, kind="stable")[:SAMPLES]
    return repeated, [
        (_values_at(table, int(np.argmax((codes == code) & known))), int(counts[code]))
        for code in often
        if counts[code] > 1
    ]


def _row_codes(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """A whole number for each row, equal for equal rows; and which rows are without a null."""
    import numpy as np

    codes, known = _codes(table.column(0))
    for column in table.columns[1:]:
        more, also_known = _codes(column)
        known = known & also_known
        # Both are below the number of rows, so the product fits 64 bits.
        pairs = codes * (int(more.max(initial=0)) + 1) + more
        codes = np.unique(pairs, return_inverse=True)[1]
    return codes, known


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np
    import pyarrow as pa

    whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        raise pa.ArrowNotImplementedError("more text than one array can hold")
    plain = decoded(whole)
    if pa.types.is_floating(plain.type):
        plain = _one_zero(plain)
    indices = plain.dictionary_encode().indices
    if not indices.null_count:
        return indices.to_numpy().astype(np.int64), np.ones(len(indices), bool)
    return indices.fill_null(0).to_numpy().astype(np.int64), ~null_mask(indices)


def _one_zero(values: pa.Array) -> pa.Array:
    """0.0 for -0.0: the one value that has two representations that Arrow tells apart."""
    import pyarrow as pa

    mask = null_mask(values) if values.null_count else None
    numbers = values.to_numpy(zero_copy_only=False)
    return pa.array(numbers + numbers.dtype.type(0), values.type, mask=mask)


def _values_at(table: pa.Table, row: int) -> Any:
    values = [python_value(column[row]) for column in table.columns]
    return values[0] if len(values) == 1 else values


def _grouped_in_memory(table: pa.Table, columns: Sequence[str]) -> Repeats:
    from assets_core.tabular import duckdb_cursor

    with duckdb_cursor() as connection:
        connection.register("this", table)
        return _grouped(connection, columns)


def _grouped(connection: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> Repeats:
    import duckdb

    try:
        found = connection.sql(_grouping(columns)).to_arrow_table()
    except duckdb.Error as error:
        raise UnfitError(f"DuckDB can't compare the rows: {str(error).strip()}") from error
    if not found.num_rows:
        return 0, []
    *_, times, repeated = found.columns
    keys = found.select(list(range(len(columns))))
    examples = [(_values_at(keys, row), count) for row, count in enumerate(times.to_pylist())]
    return repeated[0].as_py(), examples


def _grouping(columns: Sequence[str]) -> str:
    # Keys are named by their place: a column may be called anything.
    keys = ", ".join(f"{_quoted(name)} AS k{at}" for at, name in enumerate(columns))
    known = " AND ".join(f"{_quoted(name)} IS NOT NULL" for name in columns)
    return (
        f"WITH rows AS (SELECT {keys} FROM this WHERE {known}), "
        "repeated AS MATERIALIZED "
        "(SELECT *, count(*) AS times FROM rows GROUP BY ALL HAVING count(*) > 1) "
        "SELECT *, (SELECT sum(times - 1)::BIGINT FROM repeated) FROM repeated "
        f"ORDER BY times DESC LIMIT {SAMPLES}"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# --------------------------------------------------------------------------------------------
# SQL


class SqlEvaluator(Evaluator):
    """Runs the query in DuckDB; see `assets_core.checks.sql` for what its result means."""

    check: SqlCheck
    streams = False

    def finish(self) -> CheckResult:
        import duckdb

        assert self.staged.whole is not None
        with _connected(self.staged.whole) as connection:
            try:
                _set_zone(connection, self.staged.partition)
                parameters = self._parameters(connection)
                return self._judged(connection.sql(self.check.query, params=parameters))
            except duckdb.Error as error:
                return self.failed(f"the query failed: {str(error).strip()}")

    def _parameters(self, connection: duckdb.DuckDBPyConnection) -> dict[str, Any] | None:
        statements = connection.extract_statements(self.check.query)
        if len(statements) != 1 or statements[0].type.name != "SELECT":
            raise UnfitError("the query must be a single SELECT")
        partition = self.staged.partition
        values = {
            f"partition_{part}": getattr(partition, part, None) for part in ("key", "start", "end")
        }
        unknown = sorted(statements[0].named_parameters - values.keys())
        if unknown:
            known = ", ".join(f"${name}" for name in values)
            raise UnfitError(f"the query binds an unknown ${unknown[0]}; there are {known}")
        return {name: values[name] for name in statements[0].named_parameters} or None

    def _judged(self, result: duckdb.DuckDBPyRelation) -> CheckResult:
        is_verdict = len(result.columns) == 1 and str(result.types[0]) == "BOOLEAN"
        count, first = _counted(result)
        if not count:
            return self.passed()
        if is_verdict and count == 1:
            return self._verdict(next(iter(first[0].values())))
        shown = ", ".join(f"{name}={plain_value(value)}" for name, value in first[0].items())
        returned = "1 row" if count == 1 else f"{count:,} rows"
        return self.failed(
            f"the query returned {returned}, first {shortened(shown, SHOWN_TEXT)}",
            rows=count,
            sample=first,
        )

    def _verdict(self, value: bool | None) -> CheckResult:
        if value is None:
            return self.failed(
                "the query returned NULL (an aggregate over no rows?); "
                "say with coalesce(…, true) what that means"
            )
        return self.passed() if value else self.failed("the query returned false")


def _counted(result: duckdb.DuckDBPyRelation) -> tuple[int, list[dict[str, Any]]]:
    """The number of rows of a relation and the first five, without holding them all."""
    from assets_core.tabular import BATCH_ROWS

    count = 0
    first: list[dict[str, Any]] = []
    for batch in result.to_arrow_reader(BATCH_ROWS):
        for row in range(min(SAMPLES - len(first), batch.num_rows)):
            values = [python_value(column[row]) for column in batch.columns]
            first.append(dict(zip(batch.schema.names, values, strict=True)))
        count += batch.num_rows
    return count, first


@contextmanager
def _connected(whole: Whole) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in which ``this`` is the rows."""
    from assets_core.tabular import duckdb_cursor

    table = whole.table()
    if table is None:
        yield whole.large()
        return
    with duckdb_cursor() as connection:
        connection.register("this", table)
        yield connection


def _set_zone(connection: duckdb.DuckDBPyConnection, partition: Partition | None) -> None:
    start = getattr(partition, "start", None)
    zone = getattr(getattr(start, "tzinfo", None), "key", None) or "UTC"
    quoted = zone.replace("'", "''")
    connection.execute(f"SET TimeZone = '{quoted}'")
