"""The seam by which values show themselves: as text, and as HTML in notebooks.

Values know only this. Who draws them knows the values, is named once by the package itself, and
is loaded when something is shown for the first time.
"""

from __future__ import annotations

from importlib import import_module
from typing import Literal

_painter = ""


def draw_with(module: str) -> None:
    """Have a module draw: its functions ``text`` and ``html`` take a value and give a string."""
    global _painter  # set once, by the package
    _painter = module


def drawn(value: object, form: Literal["text", "html"]) -> str:
    """A value in one of the forms. Raises TypeError for one that has no such form."""
    result: str = getattr(import_module(_painter), form)(value)
    return result


class Shown:
    """Values that show themselves."""

    __slots__ = ()

    def __str__(self) -> str:
        return drawn(self, "text")

    def _repr_html_(self) -> str:
        return drawn(self, "html")
