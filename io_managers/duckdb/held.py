"""Staging tables: in the file, where any process finds them, or held in this process's memory.

What is held costs no commit and no fsync: the transaction that publishes it copies it into the
asset's table. It dies with the process, like an attempt that nobody heard of.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from assets_core.partitions import quote_identifier
from io_managers.duckdb import catalog
from io_managers.duckdb.file import Session

_MEMORY = "_held"


def attach(session: Session) -> None:
    """Once for each time that the file is opened."""
    session.run(f"ATTACH ':memory:' AS {_MEMORY}")
    # Sessions begin in UTC, and only a query of another zone sets its own.
    session.run("SET GLOBAL TimeZone = 'UTC'")
    session.known.name = str(session.run("SELECT current_database()")[0][0])


def place(session: Session, name: str) -> str:
    """The quoted name of a staging table, wherever it lies."""
    return place_of_new(name, hold=name in session.known.held)


def place_of_new(name: str, *, hold: bool) -> str:
    """The quoted name of a staging table that is to be made."""
    return f"{f'{_MEMORY}.main' if hold else '_assets'}.{quote_identifier(name)}"


def note(session: Session, name: str, run: str, schema: pa.Schema, *, hold: bool) -> None:
    """Note a staging table, so that it is found and read; one in the file is swept as well."""
    if hold:
        session.known.held[name] = catalog.name_schema(schema)
    else:
        columns = catalog.keep_schema(session, schema)
        session.run("INSERT INTO _assets.staged VALUES (?, ?, ?)", [name, run, columns])


def columns_of(session: Session, name: str) -> str | None:
    """The columns' id of a staging table; None when there is no such table."""
    if name in session.known.held:
        return session.known.held[name]
    rows = session.run("SELECT columns FROM _assets.staged WHERE name = ?", [name])
    return str(rows[0][0]) if rows else None


def keep_columns(session: Session, name: str) -> str | None:
    """`columns_of`, with those columns kept in the file, as what is published needs them."""
    columns = columns_of(session, name)
    if columns is not None and name in session.known.held:
        catalog.keep_schema(session, catalog.schemas(session, [columns])[columns])
    return columns


def drop(session: Session, names: Iterable[str]) -> None:
    """Remove staging tables of the file, also ones that are not there; what is held stays.

    DuckDB lets a transaction write to one database only, and this one may be a publish.
    """
    for name in names:
        if name not in session.known.held:
            session.run(f"DROP TABLE IF EXISTS _assets.{quote_identifier(name)}")
            session.run("DELETE FROM _assets.staged WHERE name = ?", [name])


def let_go(session: Session, names: Iterable[str]) -> None:
    """Remove those that are held; not within a transaction."""
    held = [name for name in names if name in session.known.held]
    if held:
        session.run(" ".join(f"DROP TABLE IF EXISTS {place(session, name)};" for name in held))
        for name in held:
            session.known.held.pop(name, None)


def staged_by(session: Session, run: str) -> list[str]:
    """The staging tables of a run that lie in the file."""
    rows = session.run("SELECT name FROM _assets.staged WHERE run = ?", [run])
    return [str(name) for (name,) in rows]
