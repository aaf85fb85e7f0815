"""`assets init`: a small project that works, to be changed into one's own."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from assets_core.cli import options
from assets_core.cli.screen import Screen, print_json, stdout
from assets_core.cli.session import shown_path
from assets_core.errors import UsageError

FILES = (
    "definitions/__init__.py",
    "definitions/weather.py",
    "definitions/warmest.sql",
    "tests/test_weather.py",
    "assets.toml",
    "README.md",
    ".gitignore",
)
"""What is made; each is kept in ``template``, folders joined by ``--``."""

KEPT = ("README.md", ".gitignore")
"""What a new repository often has already; it stays as it is."""


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to; made when it is not there.")
    ] = Path(),
    as_json: options.Json = False,
) -> None:
    """Start a project that works: definitions, a test, settings and a README.

    Nothing that is there is overwritten.
    """
    try:
        made = _make(directory)
    except OSError as error:
        raise UsageError(
            f"The project can't be made there: {error.strerror or error}.",
            facts={"at": error.filename or directory},
            hint="Choose another folder: assets init DIR",
        ) from error
    if as_json:
        print_json({"folder": str(directory.resolve()), "files": made})
    else:
        _print_next(stdout(), directory, made)


def _make(directory: Path) -> list[str]:
    """Write what is not there; the names of what was made. Raises UsageError for a project."""
    there = [name for name in FILES if (directory / name).exists()]
    in_the_way = [name for name in there if name not in KEPT]
    if in_the_way:
        raise UsageError(
            "There is a project here already.",
            facts={"folder": directory.resolve(), "in the way": ", ".join(in_the_way)},
            hint="Choose another folder: assets init DIR",
        )
    made = [name for name in FILES if name not in there]
    for name in made:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(template(name), encoding="utf-8")
    return made


def template(name: str) -> str:
    """The text of a file to be made."""
    stored = files("assets_core.cli") / "template" / (name.replace("/", "--").lstrip(".") + ".txt")
    return stored.read_text(encoding="utf-8")


def _print_next(screen: Screen, directory: Path, made: Sequence[str]) -> None:
    for name in made:
        screen.line(f"{screen.paint('made', 'green')}  {shown_path(directory / name)}")
    screen.line()
    screen.line("Next:")
    if directory.resolve() != Path.cwd():
        screen.line(f"  {shlex.join(['cd', str(directory)])}")
    screen.line("  assets materialize --yes")
    screen.line("  assets status")
