"""An exclusive lock on a file, held by one process at a time and freed by its death."""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from assets_core.state.driver_errors import busy

WAIT_SECONDS = 30.0
"""How long whoever wants to write waits for others before StoreBusyError."""


class FileLock:
    """An exclusive lock on a file, waited for at most WAIT_SECONDS.

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
                    raise busy(self._where, WAIT_SECONDS) from None
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 1.5, 0.005)

    def close(self) -> None:
        """Let go of the files."""
        if self._pid == os.getpid():
            for file in self._files:
                os.close(file)
        self._files = ()
