"""What SQLite and the file system refuse, told as errors of ours, each with what to do."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from assets_core.errors import StateError, StoreBusyError


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn the driver's errors into ours, each with what to do."""
    try:
        yield
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


def _translate(error: sqlite3.Error, where: str) -> StateError:
    name = getattr(error, "sqlite_errorname", "") or ""
    facts = {"store": where, "reason": f"{error} ({name})" if name else str(error)}
    for prefixes, kind, message, hint in _KINDS:
        if name.startswith(prefixes):
            return kind(message, facts=facts, hint=hint)
    return StateError("The state store refused an operation.", facts=facts)


def busy(where: str, seconds: float) -> StoreBusyError:
    """The error of whoever waited in vain for the others that write."""
    return StoreBusyError(
        f"Another process kept the state store locked for {seconds:g} seconds.",
        facts={"store": where},
        hint="See 'assets runs' for what is running; end it, or wait, then try again.",
    )
