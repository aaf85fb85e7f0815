"""What a step prints and logs, kept per attempt instead of mixed up on the terminal.

While a run is on, ``sys.stdout``/``sys.stderr`` and one logging handler pass what a thread
writes to that thread's current attempt; other threads write as before.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from assets_core.wording import count

_local = threading.local()

MOST_SPOOLED = 1 << 20
"""Of what a killed worker printed at least this many bytes are kept, and at most twice as many."""


class Spool:
    """A worker's output on disk as it comes, so that it outlives a worker that is killed.

    No fsync: what a process has written is the system's, whatever becomes of the process. Two
    files take turns, the older of which is given up when the newer is full.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0
        self._fd = self._open()

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def add(self, at: int, stream: str, text: str) -> None:
        """Keep a piece of text, whole lines or not."""
        data = (json.dumps([at, stream, text[-MOST_SPOOLED:]]) + "\n").encode()
        try:
            if self._size and self._size + len(data) > MOST_SPOOLED:
                self._turn()
            if self._fd >= 0:
                self._size += os.write(self._fd, data)
        except OSError:
            # No room for what is only needed should this process die: printing must not fail.
            self._close()

    def _turn(self) -> None:
        self._close()
        self._path.rename(_older(self._path))
        self._fd, self._size = self._open(), 0

    def _close(self) -> None:
        closing, self._fd = self._fd, -1
        if closing >= 0:
            os.close(closing)

    def discard(self) -> None:
        """The attempt came to its end: what it printed goes another way."""
        self._close()
        for each in (self._path, _older(self._path)):
            each.unlink(missing_ok=True)


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.old")


def take_spooled(path: Path) -> list[OutputLine]:
    """The lines in a spool, which is removed."""
    lines = Lines(sys.maxsize)
    for each in (_older(path), path):
        try:
            text = each.read_text("utf-8")
        except FileNotFoundError:
            continue
        each.unlink()
        for piece in text.splitlines(keepends=True):
            if piece.endswith("\n"):  # a kill can cut the last one
                at, stream, written = json.loads(piece)
                lines.write(stream, written, at)
    return lines.finish()


OutputLine = tuple[int, str, str]
"""``(µs, stream, text)``."""

_LINE_BYTES = 100
"""About what a line takes in the log beside its text."""

_LONGEST_LINE = 1 << 20


@dataclass(slots=True)
class Lines:
    """The output of one attempt in order, at most about ``most`` bytes of it.

    Of more than that the first and the last half are kept, with a line between them that says how
    much was left out.
    """

    most: int
    spool: Spool | None = None
    partial: dict[str, str] = field(default_factory=dict)
    first: list[OutputLine] = field(default_factory=list)
    last: deque[OutputLine] = field(default_factory=deque)
    first_bytes: int = 0
    last_bytes: int = 0
    left_out: int = 0
    left_out_characters: int = 0

    def write(self, stream: str, text: str, at: int | None = None) -> None:
        """Add text, written at ``at`` (µs; now); only whole lines are kept so far."""
        at = time.time_ns() // 1000 if at is None else at
        if self.spool is not None:
            self.spool.add(at, stream, text)
        text = self.partial.pop(stream, "") + text
        *whole, rest = text.split("\n")
        for line in whole:
            self._add((at, stream, line))
        if len(rest) > _LONGEST_LINE:
            self._add((at, stream, rest))
        elif rest:
            self.partial[stream] = rest

    def _add(self, line: OutputLine) -> None:
        size = _size(line)
        if not (self.last or self.left_out) and self.first_bytes + size <= self.most // 2:
            self.first.append(line)
            self.first_bytes += size
            return
        self.last.append(line)
        self.last_bytes += size
        while self.last_bytes > self.most // 2:
            gone = self.last.popleft()
            self.last_bytes -= _size(gone)
            self.left_out += 1
            self.left_out_characters += len(gone[2])

    def adopt(self, lines: Sequence[OutputLine]) -> None:
        """Add what another attempt kept, which is bounded already."""
        self.first += lines

    def finish(self) -> list[OutputLine]:
        """All lines that are kept, an unfinished last one included."""
        self.spool = None
        for stream in list(self.partial):
            self.write(stream, "\n")
        if not self.left_out:
            return [*self.first, *self.last]
        lines, size = count(self.left_out, "line"), f"{self.left_out_characters:,} characters"
        told = f"… {lines} ({size}) left out: output_bytes is {self.most:,} …"
        at = self.last[0][0] if self.last else time.time_ns() // 1000
        return [*self.first, (at, "log", told), *self.last]


def _size(line: OutputLine) -> int:
    text = line[2]
    return _LINE_BYTES + (len(text) if text.isascii() else len(text.encode("utf-8", "replace")))


class _Tee:
    """A stream that hands a capturing thread's text to its attempt."""

    def __init__(self, name: str, real: TextIO) -> None:
        self.name = name
        self.real = real

    def write(self, text: str) -> int:
        lines: Lines | None = getattr(_local, "lines", None)
        if lines is None:
            return self.real.write(text)
        lines.write(self.name, text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        lines: Lines | None = getattr(_local, "lines", None)
        if lines is not None:
            lines.write("log", f"{record.levelname} {record.name}: {self.format(record)}\n")


@contextmanager
def capturing(level: int = logging.INFO) -> Iterator[None]:
    """Capture for the length of a run; `attempt` says which thread writes for whom."""
    root, handler = logging.getLogger(), _Handler()
    own = logging.getLogger("assets")
    before, own_before = (sys.stdout, sys.stderr), own.level
    out, err = _Tee("stdout", before[0]), _Tee("stderr", before[1])
    sys.stdout, sys.stderr = out, err
    root.addHandler(handler)
    if own.level == logging.NOTSET:
        own.setLevel(level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        own.setLevel(own_before)
        # Somebody may have replaced them meanwhile (a notebook, a test runner): leave theirs.
        if sys.stdout is out:
            sys.stdout = before[0]
        if sys.stderr is err:
            sys.stderr = before[1]


@contextmanager
def attempt(most: int, spool: Path | None = None) -> Iterator[Lines]:
    """Give this thread's output to one attempt, which keeps at most ``most`` bytes of it.

    ``spool`` is where it is also kept on disk.
    """
    lines = _local.lines = Lines(most, None if spool is None else Spool(spool))
    spooling = lines.spool
    try:
        yield lines
    finally:
        _local.lines = None
        if spooling is not None:
            spooling.discard()


def replay(entries: Sequence[OutputLine]) -> None:
    """Add lines that a worker process captured to this thread's attempt."""
    lines: Lines | None = getattr(_local, "lines", None)
    if lines is not None:
        lines.adopt(entries)
