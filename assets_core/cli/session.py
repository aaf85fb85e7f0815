"""One command's project: opened with the shared options, and what it has to tell besides."""

from __future__ import annotations

import gc
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from assets_core.cli.screen import results_alone, stderr

if TYPE_CHECKING:
    import typer

    from assets_core.planning.plan import Plan
    from assets_core.project import Project

SHARED = ("module", "root", "environment", "state")

Speller = Callable[..., str]
"""Words of a command → its line, to be shown and copied."""


class Named(TypedDict, total=False):
    """The shared options."""

    module: str
    root: str
    environment: str
    state: str


def named_by(ctx: typer.Context) -> Named:
    """The shared options that were given, before the command or after it."""
    given = {name: ctx.meta[f"assets.{name}"] for name in SHARED if f"assets.{name}" in ctx.meta}
    return cast("Named", given)


@contextmanager
def project(
    ctx: typer.Context, config: Mapping[str, Mapping[str, Any]] | None = None
) -> Iterator[Project]:
    """Load the project that the options and settings name; close it at the end.

    Says on stderr which module was loaded when that is not plain, and what was recovered of runs
    that died. What the definitions print goes there, too.
    """
    from assets_core.project import Project

    given = named_by(ctx)
    with results_alone(), Project.from_module(**given, config=config) as loaded:
        gc.freeze()  # what is loaded by now stays; see `main`, which put the collector off
        gc.enable()
        if "module" not in given:
            _say_what_was_loaded(loaded)
        try:
            yield loaded
        finally:
            say_recovered(loaded)


def _say_what_was_loaded(loaded: Project) -> None:
    """Say where the definitions came from, unless from the obvious place."""
    name = loaded.settings.module
    found = sys.modules.get(Path(name).stem if name.endswith(".py") or "/" in name else name)
    file = getattr(found, "__file__", None)
    if file is None:
        return
    here = Path.cwd()
    if Path(file) not in (here / "definitions" / "__init__.py", here / "definitions.py"):
        stderr().line(f"Definitions: {shown_path(file)}", "dim")


def shown_path(file: str | Path) -> str:
    """A path relative to the working directory where it lies below it."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except ValueError:
        return str(file)


def say_recovered(loaded: Project) -> None:
    """Tell what was mended of runs that died."""
    for item in loaded.take_recovered():
        stderr().line(f"Recovered: {item}", "yellow")
    if loaded.disagreement is not None:
        stderr().line(str(loaded.disagreement), "yellow")
        loaded.disagreement = None


_MOST_WARNINGS = 3


def say_code_warnings(loaded: Project) -> None:
    """Tell what of the code could not be followed, so that a change there may go unseen."""
    if not loaded.code_warnings:
        return
    from assets_core.planning.causes import names

    told: dict[str, list[str]] = {}
    for name, warnings in loaded.code_warnings.items():
        for warning in warnings:
            told.setdefault(warning, []).append(name)
    found = [f"{names(assets)}: {warning}" for warning, assets in told.items()]
    screen = stderr()
    for text in found[:_MOST_WARNINGS]:
        screen.line(f"Code version of {text}", "yellow")
    if len(found) > _MOST_WARNINGS:
        screen.line(f"and {len(found) - _MOST_WARNINGS:,} more; see: assets doctor", "yellow")


def say_gone(made: Plan) -> None:
    """Tell which source partitions were seen before and are not there any more, and what to do."""
    from assets_core.wording import gone_text, ranges

    for source, at in made.observations.gone.items():
        space = made.facts.spaces[source]
        told = gone_text(source, at, space, made.observations.held_back)
        stderr().line(f"{source} {ranges(at, space)} {told}", "yellow")


def say_slow(made: Plan) -> None:
    """Tell which sources took long to look at, and what would make that quick."""
    from assets_core.wording import slow_text

    for source, (partitions, seconds) in made.observations.slow.items():
        stderr().line(f"{source}: {slow_text(partitions, seconds)}", "yellow")


def fail_unseen(made: Plan) -> None:
    """End with exit code 1 after a plan over sources that could not be looked at, telling where."""
    if not made.observations.errors:
        return
    import typer

    from assets_core.execution.events import user_traceback

    told = dict.fromkeys(user_traceback(error) or str(error) for _, _, error in made.unseen())
    for text in list(told)[:_MOST_WARNINGS]:
        stderr().line(text.rstrip())
    raise typer.Exit(1)


def line_of(ctx: typer.Context, command: str, words: Iterable[tuple[str, object]]) -> str:
    """A command line that says the same again, to be shown, stored and copied.

    ``words`` are pairs of an option and its value; True gives the option alone, None, False and
    empty lists nothing, a list repeats it. Passwords are left out: what is stored is read by many.
    """
    parts = ["assets", *shlex.split(command)]
    given = named_by(ctx)
    pairs: list[tuple[str, object]] = [(f"--{name}", given.get(name)) for name in SHARED]
    for option, value in [*pairs, *words]:
        if value is True:
            parts.append(option)
        elif isinstance(value, list):
            parts += [part for one in value for part in (option, without_secrets(str(one)))]
        elif value not in (None, False):
            parts += [option, without_secrets(str(value))]
    return " ".join(map(shlex.quote, parts))


def speller(ctx: typer.Context) -> Speller:
    """Spells command lines on the same project: with the shared options that were given."""
    return lambda *words: line_of(ctx, shlex.join(words), [])


_PASSWORD = re.compile(r"(://[^/@:]*:)[^@]+@")
_SECRET = re.compile(r"^([^=]*(?:secret|password|passwd|token|credential|api_?key)[^=]*=).+$", re.I)


def without_secrets(text: str) -> str:
    """An option's value with the password of a URL, or a secret's value, made unreadable.

    >>> without_secrets("postgresql://me:hush@host/db"), without_secrets("orders.api_token=abc")
    ('postgresql://me:***@host/db', 'orders.api_token=***')
    """
    return _SECRET.sub(r"\1***", _PASSWORD.sub(r"\1***@", text))
