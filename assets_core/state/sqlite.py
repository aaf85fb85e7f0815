"""Everything that is particular to SQLite: opening, locking, the journal, the clock, errors.

The rest of the package speaks SQLAlchemy Core. What the journal mode and the lock file are for is
in ``docs/decisions/0003-sqlite-journal.md``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    Insert,
    Integer,
    Table,
    TableValuedAlias,
    Text,
    bindparam,
    create_engine,
    event,
    exc,
    func,
    literal_column,
)
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import make_url
from sqlalchemy.pool import QueuePool, StaticPool
from sqlalchemy.sql.elements import ColumnElement

from assets_core.errors import StateError, StoreBusyError
from assets_core.state.liveness import Liveness, LockFiles

WAIT_SECONDS = 30.0
"""How long a writer waits for others before it gives up with StoreBusyError."""

CHECKPOINT_BYTES = 8 << 20
"""How large the write-ahead log may get before writers bring it into the database."""

CHECKPOINT_CHANGES = 4_000
"""How many rows a writer then changes from one checkpoint to the next. The log's file keeps its
size and is written over (twice as fast), so the size does not tell how full it is."""

TRUNCATE_BYTES = 8 * CHECKPOINT_BYTES
"""From which size on a log, swollen while a long reader kept it from starting over, is cut."""

_DAY_MICROS = 86_400_000_000
_UNIX_EPOCH_JULIAN = 2_440_587.5
_NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "afs", "lustre"}

dialect = sqlite_dialect(paramstyle="qmark")


def now_micros() -> ColumnElement[int]:
    """The database's clock in microseconds (it counts milliseconds)."""
    return literal_column(
        f"CAST((julianday('now') - {_UNIX_EPOCH_JULIAN}) * {_DAY_MICROS} AS INTEGER)",
        BigInteger,
    )


def listed_numbers(name: str) -> TableValuedAlias:
    """The numbers of a JSON array bound as ``name``: one statement for a list of any length."""
    return func.json_each(bindparam(name, type_=Text)).table_valued("value", name=f"{name}_list")


def listed_pairs(name: str) -> tuple[TableValuedAlias, ColumnElement[Any], ColumnElement[Any]]:
    """The same for a JSON array of ``[number, text]``: the table and its two columns."""
    pairs = listed_numbers(name)
    number = func.json_extract(pairs.c.value, literal_column("'$[0]'"), type_=Integer)
    return pairs, number, func.json_extract(pairs.c.value, literal_column("'$[1]'"), type_=Text)


def unindexed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column, for a condition that must not choose the index to walk: others narrow more."""
    return func.coalesce(column, literal_column("0"))


def insert_missing(table: Table) -> Insert:
    """Insert rows, leaving those alone that are there."""
    return sqlite_insert(table).on_conflict_do_nothing()


# ---------------------------------------------------------------------------------------------
# Errors


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn the driver's errors into ours, each with what to do."""
    try:
        yield
    except exc.DBAPIError as error:
        raise _translate(error.orig, where) from error
    except sqlite3.Error as error:
        raise _translate(error, where) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StateError(
            _NO_ROOM if full else "The state store's files can't be used.",
            facts={"store": where, "reason": error},
            hint="Check that its folder exists, that you may write in it, and that it has room.",
        ) from error


_NO_ROOM = "There is no room left for the state store; nothing of the transaction was recorded."


_KINDS: tuple[tuple[tuple[str, ...], type[StateError], str, str], ...] = (
    (
        ("SQLITE_BUSY", "SQLITE_LOCKED"),
        StoreBusyError,
        "Another program kept the state store locked.",
        "Close programs that have the file open (database browsers, shells), then try again.",
    ),
    (
        ("SQLITE_NOTADB", "SQLITE_CORRUPT"),
        StateError,
        "The state store is damaged, or is not a database.",
        "Restore it from a backup; or move it and its -wal file away, and have it made again from "
        "the data: assets repair --rebuild",
    ),
    (
        # A database that is read needs room too, for the index of its log.
        ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"),
        StateError,
        _NO_ROOM,
        "Free some space on its disk, then try again.",
    ),
    (
        ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH"),
        StateError,
        "The state store can't be opened for writing.",
        "Check that its folder exists and that you may write in it, not only to the file.",
    ),
    (
        ("SQLITE_IOERR",),
        StateError,
        "Reading or writing the state store failed on its disk.",
        "Check the disk; the store must lie on a local one, not on a network share.",
    ),
)


def _translate(error: BaseException | None, where: str) -> StateError:
    name = getattr(error, "sqlite_errorname", "") or ""
    facts = {"store": where, "reason": f"{error} ({name})" if name else str(error)}
    for prefixes, kind, message, hint in _KINDS:
        if name.startswith(prefixes):
            return kind(message, facts=facts, hint=hint)
    return StateError("The state store refused an operation.", facts=facts)


# ---------------------------------------------------------------------------------------------
# Databases


class SqliteDatabase:
    """Read and write transactions on one database, and its upkeep. Safe to share by threads."""

    liveness: Liveness
    cache_folder: Path | None = None

    def __init__(self, engine: Engine, where: str) -> None:
        self.engine = engine
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
                self._writer = self.engine.connect().execution_options(assets_write=True)
            try:
                with self._writer.begin():
                    yield self._writer
            except BaseException:
                self._drop_writer()  # whatever state an interrupt left it in
                raise
            self._committed()

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
        if not self._mutex.acquire(timeout=WAIT_SECONDS):
            raise _busy(self.where)
        try:
            yield
        finally:
            self._mutex.release()

    def _committed(self) -> None:
        """Upkeep after a commit, still alone."""

    def prepare_files(self) -> None:
        """Once a store was found current or empty: what its files need before the first write."""

    def table_names(self) -> list[str]:
        """Every table, empty for a new database."""
        with self.read() as connection:
            found = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type='table'")
            return [str(row[0]) for row in found]

    def problems(self) -> list[str]:
        """What is wrong with the database's files or settings."""
        with self.read() as connection:
            found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA quick_check(20)")]
            orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(20)
        problems = [line for line in found if line != "ok"]
        return problems + [f"row {row[1]} of {row[0]} refers to no {row[2]}" for row in orphans]

    def close(self) -> None:
        """Let go of every connection and lock."""
        self.liveness.close()
        self._drop_writer()
        self.engine.dispose()


class MemoryDatabase(SqliteDatabase):
    """A database in this process's memory: one connection, taken in turns."""

    def __init__(self) -> None:
        engine = create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )
        _control_transactions(engine, ("PRAGMA foreign_keys=ON",))
        super().__init__(engine, "memory")
        self.liveness = Liveness()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with translated(self.where), self._alone(), self.engine.connect() as connection:
            yield connection


class FileDatabase(SqliteDatabase):
    """A database file: a write-ahead log, readers beside one writer, writers in turns.

    ``<file>-lock`` is what writers and checkpoints of all processes hold, ``<file>.runs`` holds
    one lock per running run, ``<file>.cache`` what can be made again out of the log.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cache_folder = path.with_name(path.name + ".cache")
        engine = create_engine(
            f"sqlite:///{path}",
            poolclass=QueuePool,
            pool_size=4,
            max_overflow=-1,
            connect_args={"check_same_thread": False, "timeout": WAIT_SECONDS},
        )
        _control_transactions(engine, _FILE_PRAGMAS)
        super().__init__(engine, str(path))
        self.liveness = LockFiles(path.with_name(path.name + ".runs"))
        self._wal = path.with_name(path.name + "-wal")
        self._lock = FileLock(path.with_name(path.name + "-lock"), str(path))
        self._changes = 0  # of the writer's connection, at the last checkpoint

    @contextmanager
    def read(self) -> Iterator[Connection]:
        self._refuse_in_child()
        with (
            translated(self.where),
            self.engine.connect() as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with super()._alone(), self._lock.held():
            yield

    def prepare_files(self) -> None:
        """Switch to our journal mode, once. StateError where the disk doesn't support it."""
        with translated(self.where), self.engine.connect() as connection:
            raw = _raw(connection)
            mode = _pragma(raw, "journal_mode")
            if mode != "wal":
                with self._alone():
                    mode = _pragma(raw, "journal_mode=WAL")
                    _sync_folder(self.path.parent)
        if mode != "wal":
            raise StateError(
                "The state store's disk doesn't support what SQLite needs for it.",
                facts={"store": self.where, "journal mode": mode},
                hint="Put the state store on a local disk.",
            )

    def _committed(self) -> None:
        assert self._writer is not None
        if _raw(self._writer).total_changes - self._changes < CHECKPOINT_CHANGES:
            return
        size = _size(self._wal)
        if size >= CHECKPOINT_BYTES:
            self._checkpoint("TRUNCATE" if size >= TRUNCATE_BYTES else "PASSIVE")

    def _checkpoint(self, mode: str) -> None:
        """Bring the log into the database; only under the write lock, see the decision.

        Readers are not waited for: what they still need is left to the next checkpoint.
        """
        assert self._writer is not None
        raw = _raw(self._writer)
        self._changes = raw.total_changes
        try:
            _pragma(raw, "busy_timeout=0")
            _pragma(raw, f"wal_checkpoint({mode})")
            _pragma(raw, f"busy_timeout={int(WAIT_SECONDS * 1000)}")
        except sqlite3.Error:
            # What was committed is durable in the log. To call the commit failed would be wrong;
            # a disk that is full or broken fails the next one.
            self._writer.invalidate()
            self._drop_writer()

    def problems(self) -> list[str]:
        problems = super().problems()
        expected = {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0}
        with self.read() as connection:
            settings = {name: _pragma(_raw(connection), name) for name in expected}
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
                super().close()
                return
            with translated(self.where), self._alone():
                if _size(self._wal):
                    self._checkpoint("TRUNCATE")
                super().close()
        except StoreBusyError:
            super().close()  # what is in the log is durable there; a later writer brings it in
        finally:
            self._lock.close()


def _raw(connection: Connection) -> sqlite3.Connection:
    """The driver's connection: pragmas must stay outside of SQLAlchemy's transactions."""
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def _pragma(raw: sqlite3.Connection, text: str) -> Any:
    """Run a pragma; the first value it answers."""
    row = raw.execute(f"PRAGMA {text}").fetchone()
    return row[0] if row else None


_FILE_PRAGMAS = (
    "PRAGMA synchronous=FULL",
    "PRAGMA wal_autocheckpoint=0",
    "PRAGMA foreign_keys=ON",
    "PRAGMA cache_size=-32768",
    "PRAGMA temp_store=MEMORY",
)


def _control_transactions(engine: Engine, pragmas: tuple[str, ...]) -> None:
    """Begin transactions ourselves: the driver begins reads too late and writes too weakly."""

    @event.listens_for(engine, "connect")
    def connected(raw: Any, _record: object) -> None:
        raw.isolation_level = None
        for pragma in pragmas:
            raw.execute(pragma)

    @event.listens_for(engine, "begin")
    def began(connection: Connection) -> None:
        write = connection.get_execution_options().get("assets_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _busy(where: str) -> StoreBusyError:
    return StoreBusyError(
        f"Another process kept the state store locked for {WAIT_SECONDS:g} seconds.",
        facts={"store": where},
        hint="See 'assets runs' for what is running; end it, or wait, then try again.",
    )


class FileLock:
    """An exclusive lock on a file, waited for at most WAIT_SECONDS; freed by the holder's death.

    Whoever wants it takes a turn first, a second lock held only while waiting: so a process that
    asks again and again lets those that wait go before it.
    """

    def __init__(self, path: Path, where: str) -> None:
        self._paths = (path, path.with_name(path.name + "-turn"))
        self._where = where
        self._files: tuple[int, ...] = ()
        self._pid = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock. One thread at a time. Raises StoreBusyError."""
        file, turn = self._open()
        deadline = time.monotonic() + WAIT_SECONDS
        self._wait(turn, deadline)
        try:
            self._wait(file, deadline)
        finally:
            fcntl.flock(turn, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)

    def _open(self) -> tuple[int, ...]:
        # A forked child's copy would share the parent's lock instead of competing for it.
        if not self._files or self._pid != os.getpid():
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._files = tuple(os.open(path, flags, 0o644) for path in self._paths)
            self._pid = os.getpid()
        return self._files

    def _wait(self, file: int, deadline: float) -> None:
        pause = 0.0002
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise _busy(self._where) from None
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 1.5, 0.005)

    def close(self) -> None:
        """Let go of the files."""
        if self._pid == os.getpid():
            for file in self._files:
                os.close(file)
        self._files = ()


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
    path = _file_of(url)
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
        database.engine.dispose()
        raise
    return database


def _file_of(url: str) -> Path | None:
    try:
        parsed = make_url(url)
    except exc.ArgumentError:
        parsed = None
    if parsed is None or parsed.get_backend_name() != "sqlite" or parsed.query:
        raise StateError(
            "The state store's URL is not one that can be opened.",
            facts={"url": url},
            hint="Write sqlite:///folder/state.db, or sqlite:// for a store in memory.",
        )
    if parsed.database in (None, "", ":memory:"):
        return None
    return Path(str(parsed.database)).absolute()
