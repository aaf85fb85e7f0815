"""Reading versions out of DuckDB tables: which rows, in which order, under which schema."""

from __future__ import annotations

import contextlib
import itertools
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from assets_core.errors import CorruptDataError, MissingDataError, VersionReplacedError
from assets_core.partitions import quote_identifier
from assets_core.records import Receipt
from io_managers import _schemas
from io_managers.duckdb import catalog, held, types
from io_managers.duckdb.catalog import REJECTS, ROWS, AssetTable, FenceRow
from io_managers.duckdb.file import DatabaseFile, Session, translate_text
from io_managers.duckdb.retype import cast, sql_types_of
from io_managers.duckdb.types import PARTITION

BATCH_ROWS = 65_536
WHOLE_BYTES = 32 << 20
"""Up to this size rows are taken at once, so that the file is free again for others."""

_UNION = 16
_SORT_ROWS = 2_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """What a location says: whose version it is."""

    environment: str
    asset: str
    partition: str


def place_of(location: str) -> Place:
    """The inverse of the store's location text; MissingDataError for any other text."""
    try:
        environment, asset, partition, *_ = json.loads(location)
        return Place(str(environment), str(asset), str(partition))
    except (ValueError, TypeError):
        raise MissingDataError(
            "A receipt does not name a version of this store.",
            facts={"location": location},
            hint="Was the asset moved to another IO manager? Build the partition again.",
        ) from None


@dataclass(frozen=True, slots=True)
class _Query:
    """One SELECT, and how many rows were published of what it selects."""

    sql: str
    values: list[object]
    rows: int


class Scan:
    """The rows of some versions; the fence rows are checked where the rows are read."""

    def __init__(self, file: DatabaseFile, receipts: Sequence[Receipt], role: str = ROWS) -> None:
        self._file = file
        self._role = role
        self._versions = [(place_of(receipt.location), receipt) for receipt in receipts]

    def reader(self, columns: Sequence[str] | None) -> pa.RecordBatchReader:
        """A stream; whole at once where the rows are few."""
        if sum(receipt.bytes for _, receipt in self._versions) <= WHOLE_BYTES:
            return self.table(columns).to_reader(BATCH_ROWS)
        with self._named(), self._file.session() as session, session.transaction():
            schema = self._schema(session, self._checked(session), columns)
        batches = self._batches(schema)
        return pa.RecordBatchReader.from_batches(schema, batches)

    def table(self, columns: Sequence[str] | None) -> pa.Table:
        """All rows."""
        with self._named(), self._file.session() as session, session.transaction():
            fences = self._checked(session)
            schema = self._schema(session, fences, columns)
            batches = list(self._rows(session, fences, schema))
        return pa.Table.from_batches(batches, schema)

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with self._named(), self._file.session() as session, session.transaction():
            yield from self._rows(session, self._checked(session), schema)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Tell what was being read when something damaged was found."""
        try:
            yield
        except CorruptDataError as error:
            place = self._versions[0][0]
            more = f" and {len(self._versions) - 1:,} more" if len(self._versions) > 1 else ""
            error.facts = {
                "asset": place.asset,
                "partition": f"{place.partition}{more}",
                **error.facts,
            }
            error.hint = error.hint or (
                f"Check the disk, then build it again: {_again(place)}. A file that can't be "
                "opened at all must be restored, or moved away before."
            )
            raise

    def select(self, session: Session, catalog_name: str, *, ordered: bool) -> str | None:
        """A SELECT of all rows, for a view in this session's transaction; None where what DuckDB
        keeps is not what readers get, so that the rows must be handed over."""
        fences = self._checked(session)
        schema = self._schema(session, fences, None)
        owners = {(fence.environment, fence.asset) for fence in fences}
        if len(owners) != 1 or not types.is_kept_as_read(schema):
            return None
        environment, asset = owners.pop()
        table = catalog.table_of(session, environment, asset, self._role)
        if table is None or types.physical(table.columns) != types.physical(schema):
            return None
        place = f"{quote_identifier(catalog_name)}.{table.sql}"
        which = f"{PARTITION} IN ({', '.join(literal(fence.partition) for fence in fences)})"
        self._count(session, fences, f"{place} WHERE {which}")
        columns = ", ".join(quote_identifier(name) for name in types.physical(schema).names)
        if ordered and len(fences) > 1:
            keys = ", ".join(literal(fence.partition) for fence in fences)
            which += f" ORDER BY list_position([{keys}], {PARTITION}), rowid"
        return f"SELECT {columns} FROM {place} WHERE {which}"

    def _count(self, session: Session, fences: list[FenceRow], rows: str) -> None:
        """Refuse a table that another program changed, once for each version and turn."""
        counted = session.known.counted
        if all(fence.location in counted for fence in fences):
            return
        found = int(session.run(f"SELECT count(*) FROM {rows}")[0][0])
        published = sum(fence.rows for fence in fences)
        if found != published:
            raise _miscounted(self._file.path, published, found)
        counted.update(fence.location for fence in fences)

    # ------------------------------------------------------------------------ fences

    def _checked(self, session: Session) -> list[FenceRow]:
        """Each version's fence row, if it is still that version's."""
        found: dict[Place, FenceRow] = {}
        for (environment, asset), group in itertools.groupby(self._versions, _owner):
            keys = [place.partition for place, _ in group]
            for key, row in catalog.fences(session, environment, asset, keys).items():
                found[Place(environment, asset, key)] = row
        return [_check(found.get(place), place, receipt) for place, receipt in self._versions]

    def _columns_of(self, fence: FenceRow) -> str:
        return fence.columns if self._role == ROWS else fence.reject_columns

    def _schema(
        self, session: Session, fences: list[FenceRow], columns: Sequence[str] | None
    ) -> pa.Schema:
        names = list(dict.fromkeys(self._columns_of(fence) for fence in fences))
        known = catalog.schemas(session, names)
        merged = types.readable(_schemas.merge([known[name] for name in names]))
        return _schemas.select_fields(merged, columns)

    # ------------------------------------------------------------------------ rows

    def _rows(
        self, session: Session, fences: list[FenceRow], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        for (environment, asset), group in itertools.groupby(fences, _fence_owner):
            table = catalog.table_of(session, environment, asset, self._role)
            if table is None:
                raise AssertionError(f"{asset} has a fence row with columns and no table")
            for query in self._queries(session, table, list(group), schema):
                yield from _run(session, query, schema, self._file.path)

    def _queries(
        self, session: Session, table: AssetTable, fences: list[FenceRow], schema: pa.Schema
    ) -> Iterator[_Query]:
        """Few or large partitions one after the other, many small ones by one sorted join."""
        chosen = _selection(session, table, schema)
        counts = [f.rows if self._role == ROWS else f.rejected for f in fences]
        keys = [fence.partition for fence in fences]
        if len(keys) > _UNION and sum(counts) <= _SORT_ROWS:
            yield _joined(table, chosen, keys, sum(counts))
            return
        for start in range(0, len(keys), _UNION):
            part = keys[start : start + _UNION]
            one = f"SELECT {chosen} FROM {table.sql} AS t WHERE t.{PARTITION} = ?"
            sql = " UNION ALL ".join([one] * len(part))
            yield _Query(sql, list(part), sum(counts[start : start + _UNION]))


def _owner(version: tuple[Place, Receipt]) -> tuple[str, str]:
    return version[0].environment, version[0].asset


def _fence_owner(fence: FenceRow) -> tuple[str, str]:
    return fence.environment, fence.asset


def _check(fence: FenceRow | None, place: Place, receipt: Receipt) -> FenceRow:
    if fence is not None and (fence.token, fence.location) == (receipt.token, receipt.location):
        return fence
    facts = {"asset": place.asset, "partition": place.partition, "token": receipt.token}
    if fence is not None and fence.token > receipt.token:
        raise VersionReplacedError(
            f"The data of {place.asset!r} was replaced by a newer version.",
            facts={**facts, "newest": fence.token, "by run": fence.run},
            hint="A DuckDB table keeps only the newest version: read again.",
        )
    raise MissingDataError(
        f"The data of {place.asset!r} is not there.",
        facts=facts,
        hint=f"Build it again: {_again(place)}",
    )


def _again(place: Place) -> str:
    option = f" --partition {shlex.quote(place.partition)}" if place.partition != "all" else ""
    return f"assets materialize {shlex.quote(place.asset)}{option} --force"


def _selection(session: Session, table: AssetTable, schema: pa.Schema) -> str:
    """The select list for the physical columns of ``schema``, cast where the table's differ."""
    had = table.columns
    wanted, kept = types.physical(schema), types.physical(had)
    if not len(wanted):
        return "0 AS _no_columns"
    differ = [f for f in wanted if kept.field(f.name).type != f.type]
    casts = sql_types_of(session, pa.schema(differ))
    names = ((name, quote_identifier(name)) for name in wanted.names)
    return ", ".join(
        f"{cast(f't.{quoted}', had.field(name).type, schema.field(name).type, casts[name])}"
        f" AS {quoted}"
        if name in casts
        else f"t.{quoted}"
        for name, quoted in names
    )


def _joined(table: AssetTable, chosen: str, keys: list[str], rows: int) -> _Query:
    # A user's column of that name would hide DuckDB's row number: then order within a
    # partition is DuckDB's choice.
    hidden = any(name.casefold() == "rowid" for name in table.columns.names)
    order = "w.place" if hidden else "w.place, t.rowid"
    sql = (
        f"SELECT {chosen} FROM {table.sql} AS t JOIN (SELECT unnest($1::VARCHAR[]) AS key,"
        " generate_subscripts($1::VARCHAR[], 1) AS place) AS w"
        f" ON t.{PARTITION} = w.key ORDER BY {order}"
    )
    return _Query(sql, [keys], rows)


def _run(session: Session, query: _Query, schema: pa.Schema, path: str) -> Iterator[pa.RecordBatch]:
    """The rows of one query; another number than was published is not served."""
    count = 0
    with session.stream(query.sql, query.values, BATCH_ROWS) as batches:
        while (batch := _next(batches, path)) is not None:
            count += batch.num_rows
            yield from types.to_logical(pa.Table.from_batches([batch]), schema).to_batches()
    if count != query.rows:
        raise _miscounted(path, query.rows, count)


def _miscounted(path: str, published: int, found: int) -> CorruptDataError:
    return CorruptDataError(
        "The table holds another number of rows than was published.",
        facts={"path": path, "published": published, "found": found},
        hint="Another program changed the table: build the partition again with --force.",
    )


def literal(text: str) -> str:
    """A text as SQL; DuckDB's texts know no other escape than the doubled quote."""
    return "'" + text.replace("'", "''") + "'"


def _next(reader: Any, path: str) -> Any:
    try:
        return reader.read_next_batch()
    except StopIteration:
        return None
    except (pa.ArrowException, OSError) as error:
        raise translate_text(str(error), path) from error


def staged_rows(
    file: DatabaseFile, staging: str, size: int, rows: int
) -> pa.RecordBatchReader | None:
    """The rows of a staging table; None when it is not there."""
    with file.session() as session:
        columns = held.columns_of(session, staging)
        if columns is None:
            return None
        schema = types.readable(catalog.schemas(session, [columns])[columns])
        query = _staging_query(held.place(session, staging), schema, rows)
        if size <= WHOLE_BYTES:
            batches = list(_run(session, query, schema, file.path))
            return pa.Table.from_batches(batches, schema).to_reader(BATCH_ROWS)

    def stream() -> Iterator[pa.RecordBatch]:
        with file.session() as session:
            yield from _run(session, query, schema, file.path)

    return pa.RecordBatchReader.from_batches(schema, stream())


def _staging_query(place: str, schema: pa.Schema, rows: int) -> _Query:
    names = [f"t.{quote_identifier(name)}" for name in types.physical(schema).names]
    chosen = ", ".join(names) or "0 AS _no_columns"
    return _Query(f"SELECT {chosen} FROM {place} AS t", [], rows)


__all__ = ["REJECTS", "ROWS", "Place", "Scan", "place_of", "staged_rows"]
