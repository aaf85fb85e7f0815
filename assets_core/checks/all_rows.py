"""Checks that need all rows at a time: uniqueness and SQL; where those are kept is in ``rows``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from assets_core.checks.declared import CheckResult, SqlCheck, Unique
from assets_core.checks.domains import UnfitError, decoded, null_mask
from assets_core.checks.evaluator import Evaluator
from assets_core.checks.wording import (
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
from assets_core.checks.rows import AllRows

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
    from assets_core.tabular.duckdb_sessions import duckdb_cursor

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
    from assets_core.tabular.outputs import BATCH_ROWS

    count = 0
    first: list[dict[str, Any]] = []
    for batch in result.to_arrow_reader(BATCH_ROWS):
        for row in range(min(SAMPLES - len(first), batch.num_rows)):
            values = [python_value(column[row]) for column in batch.columns]
            first.append(dict(zip(batch.schema.names, values, strict=True)))
        count += batch.num_rows
    return count, first


@contextmanager
def _connected(whole: AllRows) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in which ``this`` is the rows."""
    from assets_core.tabular.duckdb_sessions import duckdb_cursor

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
