"""Ctrl-C: once stops the run cleanly, twice ends the process at once.

A run that is ended at once is safe all the same: nothing is half-published, and the next command
recovers it. SIGTERM, which schedulers and containers send, counts as the first Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from assets_core.cli.codes import STOPPED

_MESSAGE = b"\nstopping\xe2\x80\xa6 again to quit at once\n"


@contextmanager
def two_steps() -> Iterator[None]:
    """For the length of a run: the first signal raises KeyboardInterrupt, the second quits."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers; elsewhere the caller's own hold
        return
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        nonlocal asked
        if asked:
            _show_cursor()
            os._exit(STOPPED)
        asked = True
        # Not print: the signal may have come in the middle of one.
        _write(_MESSAGE)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show_cursor() -> None:
    """A progress bar hides it, and is not there any more to show it again."""
    if os.isatty(2):
        _write(b"\x1b[?25h\n")


def _write(message: bytes) -> None:
    try:
        os.write(2, message)
    except OSError:
        return  # no terminal any more
