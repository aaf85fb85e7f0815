"""How a store is made, recognised, and brought up from every earlier version.

A new store is made from ``tables``; an older one takes every step after its version, all in one
transaction. A test upgrades a frozen store of each version and compares the result with a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

from sqlalchemy import Connection, insert, inspect, update

from assets_core.errors import StateError, StoreTooNewError
from assets_core.state import tables
from assets_core.state.sqlite import SqliteDatabase

FORMAT = "assets-core state"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: brings a store of the version before to ``version``."""

    version: int
    apply: Callable[[Connection], None]


def _backfills(connection: Connection) -> None:
    for text in (
        "ALTER TABLE runs ADD COLUMN priority BIGINT",
        "ALTER TABLE runs ADD COLUMN backfill TEXT",
        "CREATE TABLE backfills ( id INTEGER NOT NULL, backfill TEXT NOT NULL,"
        " environment TEXT NOT NULL, status TEXT NOT NULL, created BIGINT NOT NULL,"
        " made_by TEXT NOT NULL, revision BIGINT NOT NULL, total BIGINT NOT NULL,"
        " targets TEXT NOT NULL, codes TEXT NOT NULL, options TEXT NOT NULL,"
        " note TEXT NOT NULL, PRIMARY KEY (id), UNIQUE (backfill) )",
    ):
        connection.exec_driver_sql(text)


def _invalidations(connection: Connection) -> None:
    for text in (
        "ALTER TABLE asset_partitions ADD COLUMN invalidated BIGINT",
        "CREATE TABLE invalidations ( id INTEGER NOT NULL, asset BIGINT NOT NULL,"
        " ranges TEXT NOT NULL, made BIGINT NOT NULL, made_by TEXT NOT NULL,"
        " reason TEXT NOT NULL, origin TEXT NOT NULL, PRIMARY KEY (id),"
        " FOREIGN KEY(asset) REFERENCES assets (id) ON DELETE RESTRICT )",
    ):
        connection.exec_driver_sql(text)


MIGRATIONS: tuple[Migration, ...] = (Migration(2, _backfills), Migration(3, _invalidations))
"""Every step since version 1, in order. A step is written in DDL of its own, never in ``tables``:
those go on changing after it."""

VERSION = 1 + len(MIGRATIONS)


def prepare(database: SqliteDatabase) -> None:
    """Make the tables of a new store, migrate an older one, refuse what is newer or not ours."""
    current = stored_version(database) == VERSION
    database.prepare_files()
    if current:
        return
    with database.write() as connection:
        version = _version_in(connection)  # again: another process may have been faster
        if version is None:
            create(connection)
        else:
            upgrade(connection, version, MIGRATIONS)


def stored_version(database: SqliteDatabase) -> int | None:
    """The store's version, None when it is empty. Raises StateError and StoreTooNewError."""
    names = database.table_names()
    if not names:
        return None
    stored = {}
    if "meta" in names:
        with database.read() as connection:
            stored = _stamps(connection)
    if stored.get("format") != FORMAT or not stored.get("version", "").isdigit():
        raise StateError(
            "This database is not a state store.",
            facts={"store": database.where, "tables": ", ".join(sorted(names)[:5])},
            hint="Check the configured state URL; nothing was changed.",
        )
    version = int(stored["version"])
    if version > VERSION:
        raise StoreTooNewError(
            f"A newer release of assets-core ({stored.get('release', 'unknown')}) wrote this"
            " state store.",
            facts={"store": database.where, "its version": version, "known here": VERSION},
            hint=f"Install assets-core {stored.get('release', '')} or newer.",
        )
    return version


def _stamps(connection: Connection) -> dict[str, str]:
    rows = connection.exec_driver_sql("SELECT * FROM meta").all()
    return {str(row[0]): str(row[1]) for row in rows if len(row) == 2}


def _version_in(connection: Connection) -> int | None:
    if not inspect(connection).has_table(tables.meta.name):
        return None
    return int(_stamps(connection)["version"])


def create(connection: Connection) -> None:
    """Make every table of the newest version in an empty database."""
    tables.metadata.create_all(connection)
    connection.execute(insert(tables.counters), {"name": "revision", "value": 0})
    stamps = {"format": FORMAT, "version": str(VERSION), "release": _release()}
    connection.execute(
        insert(tables.meta), [{"key": key, "value": value} for key, value in stamps.items()]
    )


def upgrade(connection: Connection, version: int, migrations: Sequence[Migration]) -> None:
    """Apply every step after ``version`` and stamp the store with the last one's."""
    steps = [step for step in migrations if step.version > version]
    if not steps:
        return
    for step in steps:
        step.apply(connection)
    for key, value in (("version", str(steps[-1].version)), ("release", _release())):
        connection.execute(update(tables.meta).where(tables.meta.c.key == key).values(value=value))


def _release() -> str:
    try:
        return installed_version("assets-core")
    except PackageNotFoundError:
        return "0+unknown"
