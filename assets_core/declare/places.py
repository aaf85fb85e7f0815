"""Where something was declared, and what its annotations may name there."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Location:
    """Where something was declared."""

    file: str
    line: int

    def __str__(self) -> str:
        try:
            shown = Path(self.file).relative_to(Path.cwd())
        except ValueError:
            shown = Path(self.file)
        return f"{shown}:{self.line}"


NOWHERE = Location("", 0)


def location_of(function: Callable[..., Any]) -> Location:
    """Where a function is written."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return Location(code.co_filename, code.co_firstlineno) if code else NOWHERE


def local_names(function: Callable[..., Any]) -> dict[str, Any]:
    """What the annotations of a function inside a function name, as it is there.

    Such annotations are text that the function's module alone can't resolve.
    """
    notes = getattr(inspect.unwrap(function), "__annotations__", {}).values()
    texts = [note for note in notes if isinstance(note, str)]
    if not texts or "<locals>" not in getattr(function, "__qualname__", ""):
        return {}
    wanted = {name for text in texts for name in re.findall(r"[^\W\d]\w*", text)}
    found: dict[str, Any] = {}
    frame = caller()
    while frame is not None and frame.f_globals.get("__name__") == function.__module__:
        local = frame.f_locals
        found = {**{name: local[name] for name in wanted & local.keys()}, **found}
        frame = frame.f_back
    return found


def caller() -> Any:
    """The first frame outside of this package: where the user's declaration stands."""
    frame = sys._getframe(1)
    while frame.f_globals.get("__package__") == __package__ and frame.f_back is not None:
        frame = frame.f_back
    return frame
