"""This process's DuckDB database in memory, and rows streamed into a table of it."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
from assets_core.tabular.outputs import Output


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


_numbers = count(1)


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
