"""Where a command prints to: styled text and tables on a stream, JSON on stdout.

Colours only on a terminal and never against NO_COLOR; tables are cut to a terminal's width and
left whole for everything else.
"""

from __future__ import annotations

import codecs
import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any, TextIO

_STYLES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "bold red": "1;31",
}

Cell = str | tuple[str, str]
"""A table's cell: text, or text with a style."""

_NARROWEST = 12


@dataclass(frozen=True, slots=True)
class Screen:
    """A stream, whether it shows colours, and its width in cells (0: not a terminal, no limit)."""

    stream: TextIO
    colours: bool
    width: int

    @classmethod
    def of(cls, stream: TextIO) -> Screen:
        """What is known about a stream."""
        is_terminal = stream.isatty()
        width = shutil.get_terminal_size((80, 24)).columns if is_terminal else 0
        return cls(stream, _wants_colours(is_terminal), width)

    def paint(self, text: str, style: str) -> str:
        """The text in a style, where there are colours."""
        if not self.colours or not style or not text:
            return text
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"

    def line(self, text: str = "", style: str = "") -> None:
        """Print one line (or several)."""
        self.stream.write(self.paint(text, style) + "\n")

    def lines(self, texts: Iterable[str]) -> None:
        """Print lines."""
        for text in texts:
            self.line(text)

    def table(
        self,
        header: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        *,
        right: Sequence[int] = (),
        indent: int = 0,
    ) -> None:
        """Print aligned columns, two spaces apart; ``right`` are columns of numbers.

        On a terminal that is too narrow the widest columns are cut first.
        """
        if not rows:
            return
        texts = [[_text(cell) for cell in row] for row in rows]
        columns = list(zip(*([list(header)] if header else []), *texts, strict=True))
        widths = [max(map(cells, column)) for column in columns]
        if self.width:
            widths = fit(widths, self.width - indent - 2 * (len(widths) - 1))
        if header:
            self._row([(text, "dim") for text in header], widths, right, indent)
        for row in rows:
            self._row(row, widths, right, indent)

    def _row(
        self, row: Sequence[Cell], widths: Sequence[int], right: Sequence[int], indent: int
    ) -> None:
        parts = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            text = cut(_text(cell), width)
            painted = self.paint(text, cell[1] if isinstance(cell, tuple) else "")
            gap = " " * (width - cells(text))
            parts.append(gap + painted if i in right else painted + gap)
        self.line((" " * indent + "  ".join(parts)).rstrip())


def _wants_colours(is_terminal: bool) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return is_terminal and os.environ.get("TERM") != "dumb"


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def cells(text: str) -> int:
    """How many cells of a terminal a line of text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def cut(text: str, width: int) -> str:
    """The text, or its beginning and an ellipsis when it is wider."""
    if cells(text) <= width:
        return text
    kept, used = [], 1
    for character in text:
        used += cells(character)
        if used > width:
            break
        kept.append(character)
    return "".join(kept) + "…"


def fit(widths: Sequence[int], room: int) -> list[int]:
    """Narrow the widest columns until all fit, none below a dozen cells.

    >>> fit([5, 40, 60], 65)
    [5, 30, 30]
    >>> fit([5, 40], 80)
    [5, 40]
    """
    found = list(widths)
    while sum(found) > room:
        widest = max(found)
        if widest <= _NARROWEST:
            break
        others = [width for width in found if width < widest]
        many = len(found) - len(others)
        floor = max([_NARROWEST, *others])
        goal = max(floor, (room - sum(others)) // many)
        found = [min(width, goal) if width == widest else width for width in found]
        if goal == widest:
            break
    return found


_results: TextIO | None = None


@contextmanager
def results_alone() -> Iterator[None]:
    """For its length stdout is for results alone.

    What the definitions print, and the programs and processes that they start, goes to stderr.
    """
    global _results
    before = _results
    try:
        with _apart(results()) as _results, redirect_stdout(sys.stderr):
            yield
    finally:
        _results = before


@contextmanager
def _apart(stream: TextIO) -> Iterator[TextIO]:
    """What writes to stdout on a descriptor of its own; who writes to that of stdout meanwhile
    writes to that of stderr."""
    try:
        number = stream.fileno()
    except OSError:
        yield stream  # kept in memory by a test
        return
    stream.flush()
    with os.fdopen(os.dup(number), "w", encoding=stream.encoding, errors=stream.errors) as own:
        os.dup2(2, number)
        try:
            yield own
        finally:
            os.dup2(own.fileno(), number)


def results() -> TextIO:
    """The stream that results go to: stdout, also while that is for results alone."""
    return sys.stdout if _results is None else _results


def stdout() -> Screen:
    """Where results go."""
    return Screen.of(results())


def stderr() -> Screen:
    """Where messages, questions, progress and errors go."""
    return Screen.of(sys.stderr)


def print_json(value: Any) -> None:
    """One strict JSON document on stdout: indented for a reader, compact for a program.

    Where stdout is not in UTF-8, which JSON is, all but ASCII is escaped.
    """
    indent = 2 if results().isatty() else None
    is_utf8 = codecs.lookup(results().encoding or "utf-8").name == "utf-8"
    text = json.dumps(value, ensure_ascii=not is_utf8, allow_nan=False, indent=indent)
    results().write(text + "\n")
