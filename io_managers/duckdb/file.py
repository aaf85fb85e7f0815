"""One DuckDB file that several processes take turns with, and its errors in our words.

DuckDB lets one process at a time open a file, for reading too. So the file is opened when it is
needed and given up as soon as somebody waits for it. Two lock files beside it make the turns
fair: ``.lock`` is held by whoever has the file open, ``.wait`` by the one who is next. Neither is
what protects the data (DuckDB's own lock does); they only save everybody from guessing.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from assets_core.errors import CorruptDataError, DiskFullError, StorageError
from io_managers.parquet import files as _files

_IDLE_SECONDS = 2.0  # after this long unused, other programs may have the file unasked
_TURN_SECONDS = 0.05  # opening costs 20 ms: a turn shorter than this would be mostly opening
_SLICE_SECONDS = 0.25  # how long one process may keep others waiting while it is busy
_DRAIN_SECONDS = 0.5
_LOOK_SECONDS = 0.02


_HAS_QUICK_RELATIONS = int(duckdb.__version__.split(".", 1)[0]) >= 2


class Known:
    """What this process knows while it has the file open, since nobody else can change it.

    ``held`` are the staging tables that lie in memory alone, with their columns' ids: the file
    stays open while there are any. ``schemas`` are ids of columns that the file keeps, ``counted``
    the locations of versions that have as many rows as were published, ``name`` is what the
    database calls itself.
    """

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.schemas: set[str] = set()
        self.counted: set[str] = set()
        self.name = ""


class Session:
    """One connection to the open file, for one thread at a time."""

    def __init__(self, cursor: Any, known: Known) -> None:
        self.cursor = cursor
        self.known = known

    def run(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Execute one statement and take all its rows: an unread result blocks the connection."""
        rows: list[tuple[Any, ...]] = self.cursor.execute(statement, list(values)).fetchall()
        return rows

    @contextlib.contextmanager
    def stream(self, query: str, values: Sequence[object], rows: int) -> Iterator[Any]:
        """A query's rows as batches of about ``rows``; one left open would block the connection.

        Release 1.5 turns the rows of ``sql(params=...)`` into Python objects first (two hundred
        times slower), 2.0 copies those of ``execute(...)``: each has its own quick way.
        """
        if _HAS_QUICK_RELATIONS:
            result = self.cursor.sql(query, params=list(values))
        else:
            result = self.cursor.execute(query, list(values))
        reader = result.to_arrow_reader(rows)
        try:
            yield reader
        finally:
            reader.close()

    def column_types(self, source: str) -> list[str]:
        """DuckDB's names for the types of the columns of ``source``."""
        return [str(kind) for kind in self.cursor.sql(f"SELECT * FROM {source}").types]

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit on success, roll back on any failure. A commit alone proves nothing: DuckDB
        commits a broken transaction without complaint, so the caller must look at what it wrote."""
        self.run("BEGIN TRANSACTION")
        try:
            yield
        except BaseException:
            with contextlib.suppress(duckdb.Error):  # it may have ended the transaction itself
                self.run("ROLLBACK")
            raise
        self.run("COMMIT")

    @contextlib.contextmanager
    def incoming(self, data: Any) -> Iterator[str]:
        """Arrow data under a name that this connection's statements can read."""
        self.cursor.register("_incoming", data)
        try:
            yield "_incoming"
        finally:
            with contextlib.suppress(duckdb.Error):  # the connection may be beyond repair
                self.cursor.unregister("_incoming")


class DatabaseFile:
    """Opens on demand, counts its users, and steps aside for other processes."""

    def __init__(self, path: str, timeout: float, config: Mapping[str, str]) -> None:
        self.path = path
        self.writing = threading.RLock()
        self._timeout = timeout
        self._config: dict[str, Any] = dict(config)
        self._state = threading.Condition(threading.RLock())
        self._connection: Any = None
        self._lock: int | None = None
        self._users = self._turn = self._prepared = 0
        self._known = Known()
        self._opened = self._used = 0.0
        self._broken = self._orphaned = False
        _files_of_this_process.add(self)

    def exists(self) -> bool:
        """Whether there is a file at all; looking for data must not create one."""
        return Path(self.path).exists()

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """A connection for the block, DuckDB's errors turned into ours."""
        with self.unchecked() as session, self.errors():
            yield session

    @contextlib.contextmanager
    def unchecked(self) -> Iterator[Session]:
        """A connection for the block, which tells DuckDB's errors apart by itself (`errors`)."""
        session = self.enter()
        try:
            yield session
        finally:
            self.leave(session)

    def enter(self) -> Session:
        """Open the file if it isn't and count one more user; pair with :meth:`leave`."""
        with self._state:
            self._step_aside()
            if self._connection is None:
                self._open()
            with self.errors():
                cursor = self._connection.cursor()
            self._users += 1
            return Session(cursor, self._known)

    def leave(self, session: Session) -> None:
        """One user less; the file is closed when it was the last and somebody waits."""
        with contextlib.suppress(duckdb.Error):  # closing a broken connection may fail: it is gone
            session.cursor.close()
        with self._state:
            self._users -= 1
            self._used = time.monotonic()
            if not self._in_use:
                if self._broken or (self._used - self._opened > _TURN_SECONDS and self._wanted()):
                    self._close()
                self._state.notify_all()

    def prepare(self, step: Callable[[Session, str], None], session: Session) -> None:
        """Run ``step`` once for each time the file was opened."""
        with self._state:
            if self._prepared != self._turn:
                step(session, self.path)
                self._prepared = self._turn

    def close(self) -> None:
        """Close the file unless it is in use."""
        with self._state:
            if not self._users:
                self._close()

    def give_way(self) -> None:
        """Before more is held: let another process have its turn, if it has waited for long.

        Not for ever: what is held may be published by the thread that asks.
        """
        with self._state:
            if self._known.held and self._is_overdue:
                self._state.wait_for(lambda: not self._in_use, _DRAIN_SECONDS)

    @property
    def _in_use(self) -> bool:
        return self._users > 0 or bool(self._known.held)

    @property
    def _is_overdue(self) -> bool:
        return time.monotonic() - self._opened > _SLICE_SECONDS and self._wanted()

    def _step_aside(self) -> None:
        """Let our own users finish when another process has waited long enough, then reopen.

        Not for ever: the thread that asks may itself hold a half-read stream.
        """
        if self._connection is None or not self._users:
            return
        if self._broken or self._is_overdue:
            self._state.wait_for(lambda: not self._users, _DRAIN_SECONDS)

    # ------------------------------------------------------------------------ opening, closing

    def _open(self) -> None:
        if self._orphaned:
            raise StorageError(
                "The duckdb file was in use when this process was forked.",
                facts={"path": self.path},
                hint="Start worker processes by 'spawn' or 'forkserver'.",
            )
        _files.make_folder(str(Path(self.path).parent))
        deadline = time.monotonic() + self._timeout
        with _files.storage_errors(self.path):
            with _locked(self.path + ".wait", deadline, self._busy):
                lock = _take(self.path + ".lock", deadline, self._busy)
            try:
                self._connection = self._connect(deadline)
                os.ftruncate(lock, 0)
                os.pwrite(lock, str(os.getpid()).encode(), 0)
            except BaseException:
                os.close(lock)
                raise
        self._lock = lock
        self._broken = False
        self._turn += 1
        self._opened = self._used = time.monotonic()
        threading.Thread(target=self._watch, name="duckdb-watch", daemon=True).start()

    def _connect(self, deadline: float) -> Any:
        wait = _waits()
        while True:
            try:
                with self.errors():
                    return duckdb.connect(self.path, config=self._config)
            except _HeldElsewhereError as error:
                if time.monotonic() > deadline:
                    raise self._busy(error.facts.get("holder", "")) from None
            time.sleep(next(wait))

    def _busy(self, holder: str = "") -> StorageError:
        if not holder:
            with contextlib.suppress(OSError):
                holder = f"process {Path(self.path + '.lock').read_text()}"
        return StorageError(
            "The duckdb file is open in another program.",
            facts={
                "path": self.path,
                "holder": holder or "unknown",
                "waited": f"{self._timeout:g} s",
            },
            hint="DuckDB lets one process open a file: close it there, or wait for it to end.",
        )

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        self._known = Known()
        lock, self._lock = self._lock, None
        try:
            if connection is not None:
                # Closing moves the log into the file. What fails there (a full disk) is made up
                # for when the file is opened next: what was committed stays in the log.
                with contextlib.suppress(duckdb.Error):
                    connection.close()
        finally:
            if lock is not None:
                os.close(lock)

    def _wanted(self) -> bool:
        """Whether another process is next in line."""
        try:
            file = os.open(self.path + ".wait", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False

    def _watch(self) -> None:
        """While the file is open and unused: give it up when wanted, or when idle for long."""
        turn = self._turn  # not the connection itself: a thread must not keep it alive at exit
        while True:
            time.sleep(_LOOK_SECONDS)
            with self._state:
                if self._connection is None or self._turn != turn:
                    return
                if self._in_use:
                    continue
                idle = time.monotonic() - self._used
                if idle > _IDLE_SECONDS or self._wanted():
                    self._close()
                    return

    # ------------------------------------------------------------------------ forks

    def before_fork(self) -> None:
        """Close the file if that is possible: DuckDB's own threads don't follow into a child."""
        self._state.acquire()
        if not self._in_use:
            self._close()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._state.release()

    def after_fork_in_child(self) -> None:
        """Start anew. What was in use stays the parent's: it must never be closed here, not even
        when the interpreter ends, or the child would write into the parent's file."""
        in_use = self._connection is not None
        if in_use:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
        if self._lock is not None:
            os.close(self._lock)
        self.__init__(self.path, self._timeout, self._config)  # type: ignore[misc]  # see above
        self._orphaned = in_use

    # ------------------------------------------------------------------------ errors

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn DuckDB's errors of the block into ours."""
        try:
            yield
        except duckdb.Error as error:
            if isinstance(error, duckdb.FatalException | duckdb.InternalException):
                self._broken = True
            raise translate(error, self.path) from error


class _HeldElsewhereError(StorageError):
    """DuckDB says that another process has the file open."""


_NO_ROOM = re.compile(
    r"no space left|disk quota|file too large|could not write|out of space", re.IGNORECASE
)
_DAMAGED = re.compile(
    r"checksum|corrupt|not a valid duckdb|deseriali[sz]|invalid magic|truncated", re.IGNORECASE
)
_HELD = re.compile(
    r"could not set lock.*?(?:held in (?P<holder>.*?\(PID \d+\)))?(?:\.|$)", re.IGNORECASE
)


def translate(error: duckdb.Error, path: str) -> StorageError:
    """A DuckDB error as the StorageError it means."""
    fatal = (duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException)
    return translate_text(str(error), path, fatal=isinstance(error, fatal))


def translate_text(text: str, path: str, *, fatal: bool = False) -> StorageError:
    """The StorageError that DuckDB's message means; ``fatal`` when nothing else explains it."""
    first = text.strip().splitlines()[0] if text.strip() else "no message"
    facts = {"path": path, "duckdb": first}
    if held := _HELD.search(text):
        return _HeldElsewhereError(
            "The duckdb file is open in another program.",
            facts={"path": path, "holder": held["holder"] or first},
        )
    if _NO_ROOM.search(text):
        return DiskFullError(
            "There is no room for the new version.",
            facts=facts,
            hint="The old version still serves. Make room, or raise the limit, and run again.",
        )
    if fatal or _DAMAGED.search(text):
        return CorruptDataError("The duckdb file is damaged: its data was not used.", facts=facts)
    return StorageError("DuckDB refused a statement.", facts=facts)


# --------------------------------------------------------------------------------------------
# Lock files


def _waits() -> Iterator[float]:
    pause = 0.001
    while True:
        yield pause
        pause = min(pause * 1.5, 0.02)


def _take(path: str, deadline: float, busy: Callable[[], StorageError]) -> int:
    """A descriptor holding the lock file's lock; ``busy()`` is raised after the deadline."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    for pause in _waits():
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(file)
                raise busy() from None
            time.sleep(pause)
        else:
            break
    return file


@contextlib.contextmanager
def _locked(path: str, deadline: float, busy: Callable[[], StorageError]) -> Iterator[None]:
    file = _take(path, deadline, busy)
    try:
        yield
    finally:
        os.close(file)


# --------------------------------------------------------------------------------------------
# One per file and process

_files_of_this_process: weakref.WeakSet[DatabaseFile] = weakref.WeakSet()
_shared: weakref.WeakValueDictionary[str, DatabaseFile] = weakref.WeakValueDictionary()
_sharing = threading.Lock()
_forking: list[DatabaseFile] = []


def shared(path: str, timeout: float, config: Mapping[str, str]) -> DatabaseFile:
    """This process's only DatabaseFile for ``path``: two would wait for one another."""
    key = os.path.realpath(path)
    with _sharing:
        file = _shared.get(key)
        if file is None:
            file = _shared[key] = DatabaseFile(path, timeout, config)
        return file


def _before_fork() -> None:
    _sharing.acquire()
    _forking[:] = _files_of_this_process
    for file in _forking:
        file.before_fork()


def _after_fork_in_parent() -> None:
    for file in _forking:
        file.after_fork_in_parent()
    _forking.clear()
    _sharing.release()


def _after_fork_in_child() -> None:
    for file in _forking:
        file.after_fork_in_child()
    _forking.clear()
    _sharing.release()


def _at_exit() -> None:
    for file in list(_files_of_this_process):
        file.close()


atexit.register(_at_exit)
os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
