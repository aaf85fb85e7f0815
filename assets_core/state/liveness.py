"""Which runs are alive: each running process holds a lock that the kernel frees when it dies.

One file per run beside the database. Nothing is guessed from silence: a run whose lock can't be
judged from here (another machine, a missing file) counts as alive until its lease runs out.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
from pathlib import Path
from weakref import WeakSet

from assets_core.errors import StateError

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def check_run_id(run_id: str) -> None:
    """A run's id names its lock file. Raises StateError for one that could not."""
    if not _RUN_ID.fullmatch(run_id):
        raise StateError(
            "A run's id must be letters, digits, '.', '_' and '-', 100 at most.",
            facts={"run": repr(run_id)},
        )


class Liveness:
    """Nothing is known of other runs: only their leases' time decides. For databases in memory."""

    def hold(self, run_id: str) -> None:
        """Show that the run lives, until :meth:`drop` or the end of the process."""

    def drop(self, run_id: str) -> None:
        """The run has ended, whoever's it was: forget it."""

    def dead(self, run_id: str) -> bool:
        """Whether the process of the run is known to be gone; False when that can't be known."""
        del run_id
        return False

    def left(self) -> list[str]:
        """Runs whose process is known to be gone and that were not dropped."""
        return []

    def close(self) -> None:
        """Let go of every lock; runs that have not ended are dead from here on."""


class LockFiles(Liveness):
    """One locked file per run in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}
        _with_files.add(self)

    def _path(self, run_id: str) -> Path:
        return self._folder / f"{run_id}.lock"

    def hold(self, run_id: str) -> None:
        self._folder.mkdir(exist_ok=True)
        file = os.open(self._path(run_id), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(file, 0)
            os.write(file, _this_machine().encode())
        except BaseException:
            os.close(file)
            raise
        self._held[run_id] = file

    def drop(self, run_id: str) -> None:
        file = self._held.pop(run_id, None)
        self._path(run_id).unlink(missing_ok=True)
        if file is not None:
            os.close(file)

    def dead(self, run_id: str) -> bool:
        if run_id in self._held:
            return False
        try:
            file = os.open(self._path(run_id), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False  # a copied database comes without its locks: that proves nothing
        try:
            # Shared: two that look at the same time must not take each other for the run.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return _same_machine(os.read(file, 1000).decode(errors="replace"))
        except BlockingIOError:
            return False
        finally:
            os.close(file)

    def left(self) -> list[str]:
        try:
            files = sorted(self._folder.iterdir())
        except FileNotFoundError:
            return []
        return [file.stem for file in files if file.suffix == ".lock" and self.dead(file.stem)]

    def close(self) -> None:
        while self._held:
            os.close(self._held.popitem()[1])

    def forget(self) -> None:
        """In a forked child: a copy of the lock here would outlive the run's own process."""
        self.close()


# Locks belong to the open file, which a fork shares. Closing the child's copy leaves the parent's.
_with_files: WeakSet[LockFiles] = WeakSet()


def _forget_in_child() -> None:
    for files in list(_with_files):
        files.forget()


os.register_at_fork(after_in_child=_forget_in_child)


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _this_machine() -> str:
    return f"{_boot_id()}\n{socket.gethostname()}"


def _same_machine(written: str) -> bool:
    """Whether a free lock with this text proves death: same kernel, or same host since booted."""
    boot, _, host = written.partition("\n")
    return (boot != "" and boot == _boot_id()) or (host != "" and host == socket.gethostname())
