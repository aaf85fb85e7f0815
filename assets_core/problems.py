"""Wrong declarations: raised where they stand, or collected while a whole project is loaded.

In a notebook a mistake ends the cell at once. While definitions are loaded it would end its module,
and hide every other mistake in it: then it is put down with its place, something stands in for what
it should have made, and all of them are reported together. Nothing is ever built from a stand-in.
"""

from __future__ import annotations

import functools
import linecache
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from assets_core.errors import AssetsError, DefinitionError
from assets_core.ours import FOLDERS

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(slots=True)
class Collected:
    """Problems found so far, and what stands in for what they should have made.

    ``incomplete`` says that some module ended early: what it would have declared is missing.
    """

    problems: list[DefinitionError] = field(default_factory=list)
    stand_ins: list[object] = field(default_factory=list)
    incomplete: bool = False

    def add(self, error: AssetsError) -> None:
        """Put a problem down; one that is met again, by a module imported twice, counts once."""
        found = error if isinstance(error, DefinitionError) else as_definition(error)
        if str(found) not in {str(known) for known in self.problems}:
            self.problems.append(found)

    def stands_in(self, *values: object) -> bool:
        """Whether any of the values is a stand-in: what does not fit it is no further problem."""
        return any(value is known for value in values for known in self.stand_ins)


def as_definition(error: AssetsError) -> DefinitionError:
    """An error of another kind as a problem of the definitions."""
    found = DefinitionError(error.message, facts=error.facts, hint=error.hint)
    found.__cause__ = error.__cause__
    return found


_active: ContextVar[Collected | None] = ContextVar("collected", default=None)


@contextmanager
def collecting(into: Collected) -> Iterator[None]:
    """Within, wrong declarations are put down instead of raised."""
    token = _active.set(into)
    try:
        yield
    finally:
        _active.reset(token)


def refuse(error: AssetsError) -> None:
    """Raise, or while a project is loaded put the problem down with its place and go on."""
    into = _active.get()
    if into is None:
        raise error
    if not {"declared", "at"} & error.facts.keys():
        error.facts = {"declared": _place(), **error.facts}
    into.add(error)


def deferred(stand_in: Callable[[], _T]) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Make a function that declares something give a stand-in where its refusal is put down."""

    def wrap(function: Callable[_P, _T]) -> Callable[_P, _T]:
        @functools.wraps(function)
        def declare(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            if _active.get() is None:
                return function(*args, **kwargs)
            try:
                return function(*args, **kwargs)
            except AssetsError as error:
                refuse(error)
                return _standing_in(stand_in())

        return declare

    return wrap


def _standing_in(made: _T) -> _T:
    into = _active.get()
    if into is not None and made is not None:
        into.stand_ins.append(made)
    return made


def _place() -> str:
    """The line of the user's that is at work, as ``file:line: text``."""
    frame = sys._getframe(1)
    while frame.f_back is not None and (
        frame.f_code.co_filename.startswith((*FOLDERS, "<string>"))
        or "importlib" in frame.f_code.co_filename
    ):
        frame = frame.f_back
    file, line = frame.f_code.co_filename, frame.f_lineno
    try:
        shown = str(Path(file).relative_to(Path.cwd()))
    except ValueError:
        shown = file
    return f"{shown}:{line}: {linecache.getline(file, line).strip()}"
