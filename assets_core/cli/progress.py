"""How a run goes on, while it does: a bar on a terminal, plain lines everywhere else.

Both go to stderr, draw on a thread of their own, and never get in the run's way: events only
count, and a terminal that has gone away ends the drawing, not the run.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from assets_core.cli.interrupts import MESSAGE, write
from assets_core.cli.screen import Screen, cut, stderr
from assets_core.wording import count, human_duration, one_line, reference

if TYPE_CHECKING:
    from assets_core.execution.events import StepEvent

FEW = 40
"""Up to so many asset partitions each gets a line where there is no terminal."""

_EVERY_SECONDS = 10.0
_QUIET_SECONDS = 30.0
_MOST_TROUBLES = 20
_MOST_WARNINGS = 200
_STYLES = {"done": "green", "unchanged": "dim", "released": "dim", "failed": "red"}
_STYLES |= {"blocked": "red", "retrying": "yellow"}


@dataclass(slots=True)
class Watched:
    """What the events of a run have told so far; fed from the run's own threads.

    ``warnings`` maps asset and text of a warning to the partitions that it was given for, the
    first few hundred of them; ``rejected`` are rows by asset.
    """

    total: int
    counts: Counter[str] = field(default_factory=Counter)
    running: dict[tuple[str, str], float] = field(default_factory=dict)
    warnings: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)
    drawn: bool = False
    stopping: bool = False

    def stop(self) -> None:
        """Tell that the run is being stopped; called by a signal's handler, so takes no lock."""
        self.stopping = True
        if not self.drawn:
            write(f"{MESSAGE}\n".encode())

    @property
    def finished(self) -> int:
        """How many asset partitions are decided."""
        return self.counts.total()

    def add(self, event: StepEvent) -> None:
        """Count an event."""
        key = (event.asset, event.partition)
        with self.lock:
            if event.kind == "started":
                self.running[key] = time.monotonic()
                return
            self.running.pop(key, None)
            if event.kind == "retrying":
                return
            self.counts[event.kind] += 1
            self.rows[event.asset] += event.rows
            if event.rejected:
                self.rejected[event.asset] += event.rejected
            for text in event.warnings:
                keys = self.warnings.setdefault((event.asset, text), [])
                if len(keys) < _MOST_WARNINGS:
                    keys.append(event.partition)

    def speed(self) -> float:
        """Asset partitions per second so far."""
        return self.finished / max(time.monotonic() - self.began, 1e-6)

    def left(self) -> str:
        """The time that the rest takes at this speed; empty where nobody can tell."""
        if not self.finished or self.finished >= self.total:
            return ""
        return f"{human_duration((self.total - self.finished) / self.speed())} left"

    def longest(self, most: int) -> list[tuple[str, float]]:
        """What runs now, the longest first, with seconds."""
        now = time.monotonic()
        with self.lock:
            found = sorted(self.running.items(), key=lambda item: item[1])[:most]
        return [(reference(*key), now - since) for key, since in found]

    def numbers(self) -> str:
        """``1,200 of 31,000 (4 %), 240/s, 2 min left, 3 failed``."""
        share = f"{self.finished / self.total:.0%}" if self.total else ""
        parts = [f"{self.finished:,} of {self.total:,} ({share})", f"{self.speed():,.1f}/s"]
        parts += [self.left(), *self.troubles()]
        return ", ".join(part for part in parts if part)

    def troubles(self) -> list[str]:
        """The failed and blocked, where there are any."""
        return [
            f"{self.counts[kind]:,} {kind}" for kind in ("failed", "blocked") if self.counts[kind]
        ]


def event_line(screen: Screen, event: StepEvent) -> str:
    """A finished step in one line."""
    kind = screen.paint(f"{event.kind:<9}", _STYLES.get(event.kind, ""))
    told = []
    if event.kind in ("done", "unchanged"):
        told.append(count(event.rows, "row"))
    if event.rejected:
        told.append(f"{event.rejected:,} rejected")
    if event.seconds:
        told.append(human_duration(event.seconds))
    if event.message:
        told.append(one_line(event.message, 160))
    return f"{kind}  {reference(event.asset, event.partition)}  {', '.join(told)}".rstrip()


class RunLines:
    """Plain lines: one per step when they are few, a summary now and then when they are many."""

    def __init__(self, watched: Watched, screen: Screen) -> None:
        self._watched = watched
        self._screen = screen
        self._told = 0
        self._last = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="progress", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._over.set()
        self._thread.join(1.0)

    def show(self, event: StepEvent) -> None:
        """A line for the event, where it gets one."""
        if event.kind == "started":
            return
        is_trouble = event.kind in ("failed", "retrying")
        if self._watched.total > FEW and not is_trouble:
            return
        if is_trouble and self._watched.total > FEW:
            self._told += 1
            if self._told > _MOST_TROUBLES:
                return
        self._line(event_line(self._screen, event))

    def _line(self, text: str) -> None:
        self._last = time.monotonic()
        self._screen.line(text)
        self._screen.stream.flush()

    def _tick(self) -> None:
        while not self._over.wait(_EVERY_SECONDS):
            try:
                if self._watched.total > FEW:
                    self._line(self._watched.numbers())
                elif time.monotonic() - self._last >= _QUIET_SECONDS:
                    self._still_running()
            except (OSError, ValueError):
                return  # nobody reads any more

    def _still_running(self) -> None:
        for where, seconds in self._watched.longest(3):
            self._line(f"{'running':<9}  {where}  for {human_duration(seconds)}")


class RunBar:
    """A bar with numbers, and below it what runs; failed steps stay above it."""

    def __init__(self, watched: Watched, screen: Screen) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.table import Table

        watched.drawn = True
        self._watched = watched
        self._screen = screen
        self._table = Table
        self._told = 0
        self._console = Console(file=screen.stream, no_color=not screen.colours, highlight=False)
        self._live = Live(
            get_renderable=self._draw,
            console=self._console,
            refresh_per_second=8,
            transient=True,
            # What steps print is captured by the run itself.
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def start(self) -> None:
        """Begin. Ctrl-C in the middle of it does not leave the cursor hidden."""
        try:
            self._live.start()
        except KeyboardInterrupt:
            self._console.show_cursor(True)
            raise

    def stop(self) -> None:
        """Take the bar off the screen."""
        self._live.stop()

    def show(self, event: StepEvent) -> None:
        """A line above the bar for what went wrong, the first of them."""
        if event.kind not in ("failed", "retrying"):
            return
        self._told += 1
        if self._told <= _MOST_TROUBLES:
            from rich.text import Text

            self._console.print(Text.from_ansi(event_line(self._screen, event)), soft_wrap=True)

    def _draw(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        watched = self._watched
        bar = ProgressBar(total=max(watched.total, 1), completed=watched.finished, width=None)
        row = self._table.grid(padding=(0, 1), expand=True)
        row.add_column(ratio=1, min_width=8)
        row.add_column(no_wrap=True, justify="right")
        row.add_row(bar, Text(watched.numbers()))
        running = watched.longest(4)
        lines = [
            Text(cut(f"  {where}  {human_duration(seconds)}", self._console.width - 1), style="dim")
            for where, seconds in running
        ]
        if watched.stopping:
            lines.append(Text(MESSAGE, style="yellow"))
        return Group(row, *lines)


@contextmanager
def watching(total: int) -> Iterator[tuple[Watched, Any]]:
    """Show a run's progress for as long as it lasts; gives the tally and the event handler."""
    screen = stderr()
    watched = Watched(total)
    if not total:
        yield watched, watched.add
        return
    display: RunBar | RunLines = (RunBar if screen.width else RunLines)(watched, screen)
    gone = threading.Event()

    def on_event(event: StepEvent) -> None:
        watched.add(event)
        if not gone.is_set():
            try:
                display.show(event)
            except (OSError, ValueError):
                gone.set()  # a closed terminal or pipe must not end the run

    display.start()
    try:
        yield watched, on_event
    finally:
        try:
            display.stop()
        except (OSError, ValueError):
            gone.set()
