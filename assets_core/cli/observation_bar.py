"""How looking at sources goes on: a bar on a terminal, once it takes longer than a moment.

What is piped or written to a file stays quiet: the result comes at the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from assets_core.cli.screen import Screen, stderr

_MOMENT_SECONDS = 0.5


class ObservationBar:
    """Counts what was looked at; drawn from the thread that counts, at most a few times a second.

    Rich is loaded only when there is something to draw.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._began = time.monotonic()
        self._total = 0
        self._done = 0
        self._progress: Any = None
        self._task: Any = None

    def begin(self, total: int) -> None:
        """So many partitions are to be looked at."""
        self._total = total

    def looked(self, source: str, many: int) -> None:
        """So many more were looked at."""
        self._done += many
        if not self._screen.width or time.monotonic() - self._began < _MOMENT_SECONDS:
            return
        if self._progress is None:
            self._start()
        self._progress.update(self._task, completed=self._done, description=source)

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Left

        self._progress = Progress(
            TextColumn("looking at {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Left(),
            console=Console(file=self._screen.stream, no_color=not self._screen.colours),
            transient=True,
        )
        self._task = self._progress.add_task("", total=self._total)
        self._progress.start()

    def stop(self) -> None:
        """Take the bar off the screen."""
        if self._progress is not None:
            self._progress.stop()


@contextmanager
def looking() -> Iterator[ObservationBar]:
    """Show how looking goes on for as long as it lasts."""
    bar = ObservationBar(stderr())
    try:
        yield bar
    finally:
        bar.stop()
