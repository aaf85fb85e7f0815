"""What a step prints and logs, kept per attempt instead of mixed up on the terminal.

While a run is on, ``sys.stdout``/``sys.stderr`` and one logging handler pass what a thread
writes to that thread's current attempt; other threads write as before.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

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


def take_spooled(path: Path) -> list[tuple[int, str, str]]:
    """The lines in a spool, which is removed."""
    lines = Lines()
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


@dataclass(slots=True)
class Lines:
    """The output of one attempt: ``(µs, stream, text)`` in order."""

    entries: list[tuple[int, str, str]] = field(default_factory=list)
    partial: dict[str, str] = field(default_factory=dict)
    spool: Spool | None = None

    def write(self, stream: str, text: str, at: int | None = None) -> None:
        """Add text, written at ``at`` (µs; now); only whole lines become entries."""
        at = time.time_ns() // 1000 if at is None else at
        if self.spool is not None:
            self.spool.add(at, stream, text)
        text = self.partial.pop(stream, "") + text
        *whole, rest = text.split("\n")
        self.entries += [(at, stream, line) for line in whole]
        if rest:
            self.partial[stream] = rest

    def finish(self) -> list[tuple[int, str, str]]:
        """All lines, an unfinished last one included."""
        self.spool = None
        for stream in list(self.partial):
            self.write(stream, "\n")
        return self.entries


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
def attempt(spool: Path | None = None) -> Iterator[Lines]:
    """Give this thread's output to one attempt; ``spool`` is where it is also kept on disk."""
    lines = _local.lines = Lines(spool=None if spool is None else Spool(spool))
    spooling = lines.spool
    try:
        yield lines
    finally:
        _local.lines = None
        if spooling is not None:
            spooling.discard()


def replay(entries: list[tuple[int, str, str]]) -> None:
    """Add lines that a worker process captured to this thread's attempt."""
    lines: Lines | None = getattr(_local, "lines", None)
    if lines is not None:
        lines.entries += entries


_calls = itertools.count(time.time_ns())
"""Names of calls: a run that is resumed by another process writes to no log of this one's."""


def _lines(head: Mapping[str, Any], entries: list[tuple[int, str, str]]) -> str:
    return "".join(
        json.dumps({**head, "at": at, "stream": stream, "text": line}, ensure_ascii=False) + "\n"
        for at, stream, line in entries
    )


def _entry(line: str) -> dict[str, Any] | None:
    """A line that was kept; None for one that a crash of the machine left damaged."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and "asset" in entry else None


def _shared_by(entry: dict[str, Any], attempts: dict[str, int], partition: str | None) -> bool:
    """Fill in whose line of a shared call it is; False when the partition was not in the call."""
    keys = list(attempts)
    if partition is not None and partition not in attempts:
        return False
    entry["partition"] = partition or f"{keys[0]}..{keys[-1]}"
    entry["attempt"] = attempts[partition or keys[0]]
    return True


class RunLog:
    """One append-only file per run, a JSON object per line; written by whole lines, read back."""

    def __init__(self, folder: Path, run: str) -> None:
        self.path = folder / f"{run}.jsonl"
        self._lock = threading.Lock()
        self._fd = -1

    def append(
        self, asset: str, partition: str, number: int, entries: list[tuple[int, str, str]]
    ) -> None:
        """Keep an attempt's lines; nothing is written when there are none."""
        if entries:
            head = {"asset": asset, "partition": partition, "attempt": number}
            self._write(_lines(head, entries))

    def append_shared(
        self, asset: str, attempts: Mapping[str, int], entries: list[tuple[int, str, str]]
    ) -> None:
        """Keep the lines of a call for several partitions once; ``attempts`` by partition."""
        if entries:
            # The lines refer to the one before them that names the partitions.
            head = {"asset": asset, "call": str(next(_calls))}
            told = json.dumps({**head, "attempts": dict(attempts)}, ensure_ascii=False)
            self._write(f"{told}\n{_lines(head, entries)}")

    def _write(self, text: str) -> None:
        with self._lock:
            if self._fd < 0:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
                self._fd = os.open(self.path, flags, 0o644)
            os.write(self._fd, text.encode("utf-8", "replace"))

    def read(
        self, asset: str | None = None, partition: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """The kept lines of a run, an asset or an asset partition, in order."""
        try:
            stream = self.path.open(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        calls: dict[str, dict[str, int]] = {}
        with stream:
            for line in stream:
                if not line.endswith("\n"):
                    return  # cut off by a crash
                entry = _entry(line)
                if entry is None or asset not in (None, entry["asset"]):
                    continue
                if "attempts" in entry:
                    calls[entry["call"]] = entry["attempts"]
                    continue
                shared = calls.get(entry.pop("call", ""))
                if shared is not None and not _shared_by(entry, shared, partition):
                    continue
                if partition in (None, entry["partition"]):
                    yield entry

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
