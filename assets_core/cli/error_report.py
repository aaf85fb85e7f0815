"""Errors as the command shows them: message, aligned facts, hint; a traceback for bugs only."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from collections.abc import Iterator
from functools import cache
from typing import Literal

from assets_core.cli.screen import Screen, stderr
from assets_core.errors import AssetsError, DefinitionError, UserCodeError
from assets_core.ours import is_our_file


def show_error(error: AssetsError) -> None:
    """Print an error of ours (all problems of a report), without a Python traceback.

    An exception of the user's own code brings its traceback, cut to the user's frames.
    """
    screen = stderr()
    for i, problem in enumerate(_problems(error)):
        if i:
            screen.line()
        _one(screen, problem)
    if isinstance(error, UserCodeError) and error.__cause__ is not None:
        screen.line()
        show_traceback(screen, cut_traceback(error.__cause__))


def _problems(error: AssetsError) -> Iterator[AssetsError]:
    yield error
    if isinstance(error, DefinitionError) and error.problems != (error,):
        yield from error.problems


def _one(screen: Screen, error: AssetsError) -> None:
    screen.line(safe(error.message), "bold red")
    width = max((len(name) for name in error.facts), default=0) + 1
    for name, value in error.facts.items():
        head, *more = safe(value).splitlines() or [""]
        screen.line(f"  {screen.paint(f'{name}:'.ljust(width), 'dim')} {head}")
        screen.lines(f"  {'':<{width}} {line}" for line in more)
    if error.hint:
        screen.line(safe(error.hint))


def show_traceback(screen: Screen, text: str, *, indent: str = "") -> None:
    """Print a traceback: its frames dimmed, what was raised in full."""
    lines = safe(text).rstrip().splitlines()
    for line in lines:
        screen.line(indent + line, "dim" if line.startswith((" ", "Traceback")) else "")


def cut_traceback(error: BaseException) -> str:
    """The traceback of an exception from the user's first frame on, without our own."""
    frames = traceback.extract_tb(error.__traceback__)
    begin = next((i for i, frame in enumerate(frames) if _whose(frame.filename) == "user"), 0)
    kept = [frame for frame in frames[begin:] if _whose(frame.filename) != "ours"] or frames
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(kept)]
    return "".join([*lines, *traceback.format_exception_only(error)])


def safe(text: str) -> str:
    """Text line by line, without what could repaint a terminal."""
    from assets_core.wording import visible

    return "\n".join(visible(line).rstrip() for line in text.splitlines())


def show_unforeseen(error: Exception) -> None:
    """Print an exception that is none of ours: the user's own, or a bug with how to report it."""
    screen = stderr()
    if is_users(error):
        screen.line("Your definitions raised an exception.", "bold red")
        show_traceback(screen, cut_traceback(error))
        return
    screen.line("".join(traceback.format_exception(error)).rstrip())
    screen.line()
    screen.line("This is a bug in assets, not in your definitions.", "bold red")
    screen.line(
        "Please report it with the lines above, the command "
        f"({' '.join(['assets', *sys.argv[1:]])}) and what `assets doctor` prints."
    )


def is_users(error: BaseException) -> bool:
    """Whether the innermost code that is not a library's is the user's, not ours."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    owners = (_whose(frame.filename) for frame in frames)
    return next((owner == "user" for owner in owners if owner != "library"), False)


@cache
def _libraries() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def _whose(filename: str) -> Literal["ours", "library", "user"]:
    if is_our_file(filename):
        return "ours"
    return "library" if filename.startswith((*_libraries(), "<")) else "user"
