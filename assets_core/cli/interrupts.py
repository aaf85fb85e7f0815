"""Ctrl-C: once stops the run cleanly, twice ends the process at once.

A run that is ended at once is safe all the same: nothing is half-published, and the next command
recovers it. SIGTERM, which schedulers and containers send, counts as the first Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from assets_core.cli.exit_codes import STOPPED

MESSAGE = "stopping… again to quit at once"

_SHOW_CURSOR = b"\x1b[?25h\n"


@contextmanager
def two_steps(tell: Callable[[], None]) -> Iterator[None]:
    """For the length of a run: the first signal raises KeyboardInterrupt, the second quits.

    ``tell`` is called at the first; it must be safe in the middle of anything.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers; elsewhere the caller's own hold
        return
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        nonlocal asked
        if asked:
            _quit()
        asked = True
        tell()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _quit() -> None:
    if os.isatty(2):
        write(_SHOW_CURSOR)  # a bar hides it
    os._exit(STOPPED)


def write(message: bytes) -> None:
    """To stderr, past all buffers: a signal may come in the middle of a print."""
    try:
        os.write(2, message)
    except OSError:
        return  # no terminal any more
