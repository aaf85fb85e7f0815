"""A process on a terminal of its own: what it draws is read, keys are pressed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from pathlib import Path

ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]")


class Terminal:
    """Runs a command line on a pseudo terminal; a context manager that leaves nothing running."""

    def __init__(
        self, words: list[str], cwd: Path, env: dict[str, str], columns: int = 100, rows: int = 40
    ) -> None:
        self.drawn = ""
        self._code: int | None = None
        # What a surrounding terminal says of its own width must not be taken for this one's.
        env = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")}
        size = struct.pack("HHHH", rows, columns, 0, 0)
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, size)
            # As on a terminal of one's own, though these tests may run where Ctrl-C is ignored.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.chdir(cwd)
            os.execvpe(words[0], words, env)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)

    @property
    def text(self) -> str:
        """What was drawn, without escapes."""
        return ESCAPES.sub("", self.drawn).replace("\r", "")

    def press(self, keys: str) -> None:
        """Type; ``\\x03`` is Ctrl-C."""
        os.write(self._fd, keys.encode())

    def wait_for(self, text: str, seconds: float = 30.0) -> None:
        """Read until the text was drawn."""
        deadline = time.monotonic() + seconds
        while text not in self.text:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} never came:\n{self.text}"
            if not self._read(left) and text not in self.text:
                raise AssertionError(f"it ended before {text!r}:\n{self.text}")

    def wait(self, seconds: float = 30.0) -> int:
        """Read until it ends; its exit code."""
        deadline = time.monotonic() + seconds
        while self._read(max(deadline - time.monotonic(), 0.0)):
            assert time.monotonic() < deadline, f"it does not end:\n{self.text}"
        _, status = os.waitpid(self.pid, 0)
        self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def _read(self, seconds: float) -> bool:
        """Read what there is; False at the end."""
        ready, _, _ = select.select([self._fd], [], [], min(seconds, 0.5))
        if not ready:
            return True
        try:
            data = os.read(self._fd, 65_536)
        except OSError:
            return False  # the other side is closed
        self.drawn += data.decode("utf-8", "replace")
        return bool(data)
