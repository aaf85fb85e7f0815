"""Running the query of an SQL asset inside the store: its rows go from table to table.

What it reads becomes temporary views of the step's own connection, one for each name, over exactly
the rows of the versions that were recorded. Fence rows are checked in the transaction that reads.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import duckdb
import pyarrow as pa

from assets_core.contracts import Query, Target
from assets_core.errors import UserCodeError
from assets_core.faults import reach
from assets_core.partitions import quote_identifier
from io_managers.duckdb import held, types
from io_managers.duckdb.file import DatabaseFile, Session
from io_managers.duckdb.read import Scan, literal
from io_managers.duckdb.retype import sql_types_of
from io_managers.duckdb.types import PARTITION

_STORE_FAILED = (
    duckdb.IOException,
    duckdb.FatalException,
    duckdb.InternalException,
    duckdb.SerializationException,
    duckdb.TransactionException,
)


_ZONED = pa.timestamp("us", "UTC")
_USUAL: dict[str, pa.DataType] = {
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMP WITH TIME ZONE": _ZONED,
}


class Running:
    """One query on its way into the staging table ``name``."""

    def __init__(self, file: DatabaseFile, session: Session, query: Query, name: str) -> None:
        self._file = file
        self._session = session
        self._query = query
        self._name = name

    def stage(self, target: Target, *, hold: bool) -> int:
        """The number of rows that were staged."""
        session, place = self._session, held.place_of_new(self._name, hold=hold)
        with self._file.errors():
            self._set_up()
            session.run("BEGIN TRANSACTION")
        try:
            with self._file.errors():
                if not hold:
                    held.drop(session, [self._name])
                self._define_inputs()
            reach("stage.created")
            rows = self._create(place, target.partition)
            with self._file.errors():
                columns = self._as_kept(place, target.partition)
                held.note(session, self._name, target.run, columns, hold=hold)
                reach("stage.written")
                session.run("COMMIT")
        except BaseException:
            session.known.held.pop(self._name, None)
            with self._file.errors():
                session.run("ROLLBACK")
            raise
        reach("stage.synced")
        reach("stage.folder_synced")
        return rows

    def _set_up(self) -> None:
        if self._query.timezone != "UTC":
            self._session.run(f"SET TimeZone = {literal(self._query.timezone)}")
        if "ipykernel" in sys.modules:  # there DuckDB draws one by itself
            self._session.run("SET enable_progress_bar = false")

    # ------------------------------------------------------------------------ inputs

    def _define_inputs(self) -> None:
        own = self._session.known.name
        for name, read in self._query.inputs.items():
            select = None
            if isinstance(read, tuple):
                scan = Scan(self._file, read)
                ordered = name in self._query.ordered
                select = scan.select(self._session, own, ordered=ordered)
                read = scan.table(None) if select is None else read
            if select is None:
                self._session.cursor.register(name, read)
            else:
                self._session.run(f"CREATE TEMP VIEW {quote_identifier(name)} AS {select}")

    # ------------------------------------------------------------------------ rows

    def _create(self, place: str, partition: str) -> int:
        statement = (
            f"CREATE TABLE {place} AS SELECT *, {literal(partition)} AS {PARTITION}"
            f" FROM (\n{_stripped(self._query.text)}\n)"
        )
        values: Any = dict(self._query.parameters) or None
        try:
            found = self._session.cursor.execute(statement, values).fetchall()
        except _STORE_FAILED:
            with self._file.errors():
                raise
        except duckdb.Error as error:
            first = str(error).splitlines()[0]
            raise UserCodeError(f"SQL: {first}", facts={"message": str(error)}) from error
        return int(found[0][0])

    def _as_kept(self, place: str, partition: str) -> pa.Schema:
        """The logical columns; what DuckDB keeps in another form than the query gave is cast."""
        given = self._schema(place)
        columns = types.logical(given)
        stored = types.physical(columns)
        if stored == given and len(stored):
            return columns
        casts = sql_types_of(self._session, stored)
        made = [
            f"CAST({quote_identifier(name)} AS {kind}) AS {quote_identifier(name)}"
            for name, kind in casts.items()
        ]
        whole = ", ".join([*made, f"{literal(partition)} AS {PARTITION}"])
        temporary = held.place_of_new(f"{self._name}_as_given", hold=place.startswith("_held"))
        self._session.run(f"CREATE TABLE {temporary} AS SELECT {whole} FROM {place}")
        self._session.run(f"DROP TABLE {place}")
        self._session.run(f"ALTER TABLE {temporary} RENAME TO {quote_identifier(self._name)}")
        return columns

    def _schema(self, place: str) -> pa.Schema:
        """The columns as Arrow; the usual types without the price of a query."""
        rows = self._session.cursor.sql(f"SELECT * EXCLUDE {PARTITION} FROM {place} LIMIT 0")
        kinds = [_USUAL.get(str(kind)) for kind in rows.types]
        if None in kinds:
            return rows.to_arrow_table().schema
        zone = self._query.timezone
        zoned = [pa.timestamp("us", zone) if kind == _ZONED else kind for kind in kinds]
        return pa.schema(list(zip(rows.columns, zoned, strict=True)))


def _stripped(query: str) -> str:
    """A query that can stand in brackets: without the semicolon at its end."""
    return re.sub(r";\s*(--[^\n]*\s*|/\*.*?\*/\s*)*\Z", "", query, flags=re.DOTALL)
