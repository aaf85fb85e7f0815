"""How a store is made, recognised, and brought up from every earlier version.

A new store is made from ``tables``; an older one takes every step after its version, all in one
transaction; one that is up to date is only asked for its version. A test upgrades a frozen store of
each version and compares the result with a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assets_core.errors import StateError, StoreTooNewError
from assets_core.state.sql import Connection, inserting
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
        connection.execute(text)


def _invalidations(connection: Connection) -> None:
    for text in (
        "ALTER TABLE asset_partitions ADD COLUMN invalidated BIGINT",
        "CREATE TABLE invalidations ( id INTEGER NOT NULL, asset BIGINT NOT NULL,"
        " ranges TEXT NOT NULL, made BIGINT NOT NULL, made_by TEXT NOT NULL,"
        " reason TEXT NOT NULL, origin TEXT NOT NULL, PRIMARY KEY (id),"
        " FOREIGN KEY(asset) REFERENCES assets (id) ON DELETE RESTRICT )",
    ):
        connection.execute(text)


MIGRATIONS: tuple[Migration, ...] = (Migration(2, _backfills), Migration(3, _invalidations))
"""Every step since version 1, in order. A step is written in DDL of its own, never in ``tables``:
those go on changing after it."""

VERSION = 1 + len(MIGRATIONS)


def prepare(database: SqliteDatabase) -> None:
    """Make the tables of a new store, migrate an older one, refuse what is newer or not ours."""
    with database.read() as connection:
        current = stored_version(connection, database.where) == VERSION
    database.prepare_files()
    if current:
        return
    with database.write() as connection:
        # Again: another process may have been faster.
        version = stored_version(connection, database.where)
        if version is None:
            create(connection)
        else:
            upgrade(connection, version, MIGRATIONS)


def stored_version(connection: Connection, where: str) -> int | None:
    """The store's version, None when it is empty. Raises StateError and StoreTooNewError."""
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    names = [str(row[0]) for row in found]
    if not names:
        return None
    stored = _stamps(connection) if "meta" in names else {}
    if stored.get("format") != FORMAT or not stored.get("version", "").isdigit():
        raise StateError(
            "This database is not a state store.",
            facts={"store": where, "tables": ", ".join(sorted(names)[:5])},
            hint="Check the configured state URL; nothing was changed.",
        )
    version = int(stored["version"])
    if version > VERSION:
        raise StoreTooNewError(
            f"A newer release of assets-core ({stored.get('release', 'unknown')}) wrote this"
            " state store.",
            facts={"store": where, "its version": version, "known here": VERSION},
            hint=f"Install assets-core {stored.get('release', '')} or newer.",
        )
    return version


def _stamps(connection: Connection) -> dict[str, str]:
    rows = connection.execute("SELECT * FROM meta").fetchall()
    return {str(row[0]): str(row[1]) for row in rows if len(row) == 2}


def create(connection: Connection) -> None:
    """Make every table of the newest version in an empty database."""
    from assets_core.state.tables import definitions

    for text in definitions():
        connection.execute(text)
    connection.execute(inserting("counters", "name, value"), ("revision", 0))
    stamps = {"format": FORMAT, "version": str(VERSION), "release": _release()}
    connection.executemany(inserting("meta", "key, value"), stamps.items())


def upgrade(connection: Connection, version: int, migrations: Sequence[Migration]) -> None:
    """Apply every step after ``version`` and stamp the store with the last one's."""
    steps = [step for step in migrations if step.version > version]
    if not steps:
        return
    for step in steps:
        step.apply(connection)
    for key, value in (("version", str(steps[-1].version)), ("release", _release())):
        connection.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))


def _release() -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed_version

    try:
        return installed_version("assets-core")
    except PackageNotFoundError:
        return "0+unknown"
