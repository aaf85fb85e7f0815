"""What processes that a step begins read, told to the process of the step.

What they note is lost with them: so each note is a line of a file that the first process reads. A
line says which trace was open where its process began; one that lives on works for later ones.
Forks have the trace in their memory; what `multiprocessing` starts anew gets it with its work, and
any other Python by the environment (see ``started/sitecustomize``).
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

from assets_core.fingerprint.trace import ReadKind, Trace, plain_environment
from assets_core.fingerprint.watch import Watch


class Told(NamedTuple):
    """A note of a fork: its process, the number of the trace that it began in (or 0), and what
    was read."""

    pid: int
    trace: int
    kind: ReadKind
    name: str

    @property
    def lives_on(self) -> bool:
        """Whether the process is still there."""
        try:
            os.kill(self.pid, 0)
        except OSError:
            return False
        return True


@dataclass(slots=True)
class NoteSpool:
    """The file that forks write their notes to."""

    path: str
    _read: int = 0

    @classmethod
    def new(cls) -> NoteSpool:
        """A spool that is gone with this process."""
        number, path = tempfile.mkstemp(prefix="assets-notes-")
        os.close(number)
        atexit.register(_remove, path, os.getpid())
        return cls(path)

    def lines(self) -> Iterator[Told]:
        """What was told since this was asked last."""
        with Path(self.path).open("rb") as file:
            file.seek(self._read)
            whole = file.read().rpartition(b"\n")[0]
        if whole:
            self._read += len(whole) + 1
            for line in whole.split(b"\n"):
                yield Told(*json.loads(line))

    def tell(self, told: Told) -> None:
        """Add a note; each is one write, so that forks don't disturb one another."""
        number = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(number, json.dumps(told).encode() + b"\n")
        finally:
            os.close(number)


def _remove(path: str, pid: int) -> None:
    if os.getpid() == pid:
        with contextlib.suppress(OSError):
            Path(path).unlink()


@dataclass(slots=True)
class ToldTrace(Trace):
    """The trace of all that such a process does: what it reads it tells."""

    spool: NoteSpool = field(default_factory=NoteSpool.new)

    def note(self, kind: ReadKind, name: str, codes: Sequence[CodeType] = ()) -> None:  # noqa: ARG002  # code is no other process's
        """Tell what is read, each time: who waits for it may be another by then."""
        if kind == "variable" or self._counts(name):
            with contextlib.suppress(OSError):  # the first process may be gone
                self.spool.tell(Told(os.getpid(), self.number, kind, name))


def beginning(trace: Trace, spool: NoteSpool) -> str:
    """What a process must be told to tell what it reads: see `begun`."""
    watch = trace.watch
    return json.dumps([spool.path, trace.number, watch.roots, watch.apart, watch.more])


def begun(text: str) -> ToldTrace:
    """The trace of a process that was told `beginning`."""
    path, number, *folders = json.loads(text)
    return ToldTrace(Watch(*map(tuple, folders)), number=number, spool=NoteSpool(path))


def environment_of(text: str, given: Mapping[Any, Any] | None) -> dict[Any, Any]:
    """The variables of a program, so that each Python in it is told."""
    told = dict(plain_environment() if given is None else given)
    path = (_STARTED, *filter(None, [told.get("PYTHONPATH")]))
    return {**told, "PYTHONPATH": os.pathsep.join(path), "ASSETS_NOTES": text}


_STARTED = str(Path(__file__).parent / "started")
