"""A state store read without being touched, as it is at one moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from assets_core.contracts import StateStore
from assets_core.errors import StateError
from assets_core.state import migrations, open_store
from assets_core.state.driver_errors import translated
from assets_core.state.file_lock import WAIT_SECONDS
from assets_core.state.liveness import Liveness
from assets_core.state.sql import Connection
from assets_core.state.sqlite import SqliteDatabase, file_of
from assets_core.state.store import SqlStore


def open_read_only(url: str, folder: Path) -> StateStore | None:
    """The store at ``url`` in one read transaction, which ends when it is closed; None where there
    is no such file.

    The store is not written to: not migrated, not made. One of an earlier version is copied to
    ``folder``, and the copy brought up. Raises StateError for a store that can't be read.
    """
    path = file_of(url)
    if path is None or not path.is_file():
        return None
    database = ReadOnlyFile(path)
    try:
        with database.read() as connection:
            version = migrations.stored_version(connection, database.where)
        if version == migrations.VERSION:
            return SqlStore(database)
        target = folder / "state.db"
        with database.read() as connection, closing(sqlite3.connect(target)) as copy:
            connection.backup(copy)
    except BaseException:
        database.close()
        raise
    database.close()
    return open_store(f"sqlite:///{target}", create=False)


class ReadOnlyFile(SqliteDatabase):
    """One read transaction on a database file, beside its writers, from opening to closing."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.liveness = Liveness()
        with translated(self.where):
            self._only = _begun(path)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with translated(self.where), self._alone():
            yield self._only

    def _connect(self) -> Connection:
        raise StateError("This state store was opened to be read.", facts={"store": self.where})

    def close(self) -> None:
        super().close()
        self._only.close()


def _begun(path: Path) -> Connection:
    """A connection whose transaction has begun: what others write from now on is not seen."""
    try:
        return _at(f"{path.as_uri()}?mode=ro")
    except sqlite3.OperationalError:
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            raise
        # Where its folder can't be written, SQLite can't make the index of a log; and needs none
        # where there is no log, if it is told that.
        return _at(f"{path.as_uri()}?immutable=1")


def _at(uri: str) -> Connection:
    connection = sqlite3.connect(
        uri, uri=True, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master")
    except BaseException:
        connection.close()
        raise
    return connection
