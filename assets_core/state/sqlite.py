"""SQLite databases: opening them, their transactions, the journal and its upkeep.

What the journal mode and the lock file are for is in ``docs/decisions/0003-sqlite-journal.md``;
why statements run on the driver in ``docs/decisions/0017-statements-on-the-driver.md``.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from assets_core.errors import StateError, StoreBusyError
from assets_core.state import file_lock
from assets_core.state.driver_errors import busy, translated
from assets_core.state.liveness import Liveness, LockFiles
from assets_core.state.sql import Connection

CHECKPOINT_BYTES = 8 << 20
"""How large the write-ahead log may get before writers bring it into the database."""

CHECKPOINT_CHANGES = 4_000
"""How many rows a writer then changes from one checkpoint to the next. The log's file keeps its
size and is written over (twice as fast), so the size does not tell how full it is."""

TRUNCATE_BYTES = 8 * CHECKPOINT_BYTES
"""From which size on a log, swollen while a long reader kept it from starting over, is cut."""

_NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "afs", "lustre"}
_URL = re.compile(r"sqlite(?:\+pysqlite)?://(?:/(?P<path>[^?]*))?")
_IDLE = 4
"""How many connections are kept open for the next read."""


class SqliteDatabase:
    """Read and write transactions on one database, and its upkeep. Safe to share by threads."""

    liveness: Liveness
    cache_folder: Path | None = None

    def __init__(self, where: str) -> None:
        self.where = where
        self._mutex = threading.Lock()
        self._writer: Connection | None = None
        self._process = os.getpid()

    def read(self) -> AbstractContextManager[Connection]:
        """One consistent read transaction."""
        raise NotImplementedError

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One durable write transaction, alone among all writers; rolled back by an exception."""
        with translated(self.where), self._alone():
            if self._writer is None:
                self._writer = self._connect()
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                self._writer.commit()
            except BaseException:
                self._drop_writer()  # whatever state an interrupt left it in
                raise
            self._committed()

    def _connect(self) -> Connection:
        raise NotImplementedError

    def _drop_writer(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def _refuse_in_child(self) -> None:
        """SQLite's connections must not be used on both sides of a fork: that damages files."""
        if self._process != os.getpid():
            raise StateError(
                "This state store was opened before the process forked.",
                facts={"store": self.where},
                hint="Open the store again in the worker process.",
            )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._refuse_in_child()
        if not self._mutex.acquire(timeout=file_lock.WAIT_SECONDS):
            raise busy(self.where, file_lock.WAIT_SECONDS)
        try:
            yield
        finally:
            self._mutex.release()

    def _committed(self) -> None:
        """Upkeep after a commit, still alone."""

    def prepare_files(self) -> None:
        """Once a store was found current or empty: what its files need before the first write."""

    def problems(self) -> list[str]:
        """What is wrong with the database's files or settings."""
        with self.read() as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(20)")]
            orphans = connection.execute("PRAGMA foreign_key_check").fetchmany(20)
        problems = [line for line in found if line != "ok"]
        return problems + [f"row {row[1]} of {row[0]} refers to no {row[2]}" for row in orphans]

    def close(self) -> None:
        """Let go of every connection and lock."""
        self.liveness.close()
        self._drop_writer()


class MemoryDatabase(SqliteDatabase):
    """A database in this process's memory: one connection, taken in turns."""

    def __init__(self) -> None:
        super().__init__("memory")
        self.liveness = Liveness()
        self._only = _opened(":memory:", ("foreign_keys=ON",))

    def _connect(self) -> Connection:
        return self._only

    def _drop_writer(self) -> None:
        self._only.rollback()  # to close it would be to lose everything

    def close(self) -> None:
        super().close()
        self._only.close()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with translated(self.where), self._alone(), _reading(self._only) as connection:
            yield connection


class FileDatabase(SqliteDatabase):
    """A database file: a write-ahead log, readers beside one writer, writers in turns.

    ``<file>-lock`` is what writers and checkpoints of all processes hold, ``<file>.runs`` holds
    one lock per running run, ``<file>.cache`` what can be made again out of the log.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path
        self.cache_folder = path.with_name(path.name + ".cache")
        self.liveness = LockFiles(path.with_name(path.name + ".runs"))
        self._idle: list[Connection] = []
        self._closed = False
        self._wal = path.with_name(path.name + "-wal")
        self._lock = file_lock.FileLock(path.with_name(path.name + "-lock"), str(path))
        self._changes = 0  # of the writer's connection, at the last checkpoint

    def _connect(self) -> Connection:
        return _opened(str(self.path), _FILE_PRAGMAS)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        self._refuse_in_child()
        with translated(self.where), self._lent() as lent, _reading(lent) as connection:
            yield connection

    @contextmanager
    def _lent(self) -> Iterator[Connection]:
        """A connection for one user at a time."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        if len(self._idle) < _IDLE and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with super()._alone(), self._lock.held():
            yield

    def prepare_files(self) -> None:
        """Switch to our journal mode, once. StateError where the disk doesn't support it."""
        with translated(self.where), self._lent() as connection:
            mode = _pragma(connection, "journal_mode")
            if mode != "wal":
                with self._alone():
                    mode = _pragma(connection, "journal_mode=WAL")
                    _sync_folder(self.path.parent)
        if mode != "wal":
            raise StateError(
                "The state store's disk doesn't support what SQLite needs for it.",
                facts={"store": self.where, "journal mode": mode},
                hint="Put the state store on a local disk.",
            )

    def _committed(self) -> None:
        assert self._writer is not None
        if self._writer.total_changes - self._changes < CHECKPOINT_CHANGES:
            return
        size = _size(self._wal)
        if size >= CHECKPOINT_BYTES:
            self._checkpoint(self._writer, "TRUNCATE" if size >= TRUNCATE_BYTES else "PASSIVE")

    def _checkpoint(self, writer: Connection, mode: str) -> None:
        """Bring the log into the database; only under the write lock, see the decision.

        Readers are not waited for: what they still need is left to the next checkpoint.
        """
        self._changes = writer.total_changes
        try:
            _pragma(writer, "busy_timeout=0")
            _pragma(writer, f"wal_checkpoint({mode})")
            _pragma(writer, f"busy_timeout={int(file_lock.WAIT_SECONDS * 1000)}")
        except sqlite3.Error:
            # What was committed is durable in the log. To call the commit failed would be wrong;
            # a disk that is full or broken fails the next one.
            self._drop_writer()

    def _drop_writer(self) -> None:
        super()._drop_writer()
        self._changes = 0

    def problems(self) -> list[str]:
        problems = super().problems()
        expected = {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0}
        with self.read() as connection:
            settings = {name: _pragma(connection, name) for name in expected}
        problems += [
            f"setting {name} is {settings[name]}, not {value}"
            for name, value in expected.items()
            if settings[name] != value
        ]
        kind = _file_system(self.path)
        if kind in _NETWORK_FILE_SYSTEMS:
            problems.append(f"the store lies on a network file system ({kind}), not a local disk")
        return problems

    def close(self) -> None:
        if self._process != os.getpid():
            return
        try:
            if self._writer is None:
                self._let_go()
                return
            with translated(self.where), self._alone():
                if _size(self._wal):
                    self._checkpoint(self._writer, "TRUNCATE")
                self._let_go()
        except StoreBusyError:
            self._let_go()  # what is in the log is durable there; a later writer brings it in
        finally:
            self._lock.close()

    def _let_go(self) -> None:
        super().close()
        self._closed = True
        while self._idle:
            self._idle.pop().close()


def _opened(file: str, pragmas: tuple[str, ...]) -> Connection:
    """A connection without transactions of the driver's own: it begins reads too late and writes
    too weakly."""
    connection = sqlite3.connect(
        file,
        timeout=file_lock.WAIT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    for pragma in pragmas:
        _pragma(connection, pragma)
    return connection


@contextmanager
def _reading(connection: Connection) -> Iterator[Connection]:
    connection.execute("BEGIN")
    try:
        yield connection
    finally:
        connection.rollback()


def _pragma(connection: Connection, text: str) -> Any:
    """Run a pragma; the first value it answers."""
    row = connection.execute(f"PRAGMA {text}").fetchone()
    return row[0] if row else None


_FILE_PRAGMAS = (
    "synchronous=FULL",
    "wal_autocheckpoint=0",
    "foreign_keys=ON",
    "cache_size=-32768",
    "temp_store=MEMORY",
)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, durably."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        _sync_folder(one.parent)


def _file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The type of file system that ``path`` lies on, empty where it can't be told."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    types: Mapping[str, str] = {fields[1]: fields[2] for fields in map(str.split, lines)}
    for folder in (path.resolve(), *path.resolve().parents):
        if str(folder) in types:
            return types[str(folder)]
    return ""


# ---------------------------------------------------------------------------------------------
# Opening


def connect(url: str, *, create: bool, prepare: Callable[[SqliteDatabase], None]) -> SqliteDatabase:
    """The database at ``url``; ``prepare`` makes or migrates its tables."""
    path = file_of(url)
    if path is None:
        database: SqliteDatabase = MemoryDatabase()
        prepare(database)
        return database
    if not create and _size(path) == 0:
        raise StateError(
            "There is no state store here.",
            facts={"store": path},
            hint="Run 'assets materialize' once, or check the configured state URL.",
        )
    with translated(str(path)):
        make_folder(path.parent)
    database = FileDatabase(path)
    try:
        prepare(database)
    except BaseException:
        database.close()
        raise
    return database


def file_of(url: str) -> Path | None:
    """The file that a URL names, None for a store in memory. Raises StateError for any other."""
    parsed = _URL.fullmatch(url)
    if parsed is None:
        raise StateError(
            "The state store's URL is not one that can be opened.",
            facts={"url": url},
            hint="Write sqlite:///folder/state.db, or sqlite:// for a store in memory.",
        )
    path = parsed["path"]
    return None if path in (None, "", ":memory:") else Path(path).absolute()
