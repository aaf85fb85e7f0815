"""The command line's outline: the commands' names, the options that all of them take.

What a command does is in ``commands``, and that module is imported when its command is called.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterator, MutableMapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from assets_core.cli.completion import complete_environment, complete_module
from assets_core.cli.exit_codes import READER_LEFT, STOPPED
from assets_core.cli.session import SHARED

# name → (module below `commands`, object in it, the line in the list of commands)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "list": ("show", "list_", "The assets of the project."),
    "show": ("show", "show", "Everything about one asset: inputs, partitions, checks, schema."),
    "plan": ("plan", "plan", "What would run, and why."),
    "materialize": ("materialize", "materialize", "Build what is stale, and nothing else."),
    "observe": ("observe", "observe", "Look at the sources, and record what moved."),
    "backfill": ("backfill", "backfill", "Build many partitions: paused, resumed, continued."),
    "status": ("status", "status", "Every asset's partitions at a glance."),
    "runs": ("runs", "runs", "Recorded runs, or one run in full."),
    "logs": ("runs", "logs", "What the steps of a run printed and logged."),
    "lineage": ("lineage", "lineage", "Which versions a partition was built from, or who read it."),
    "history": ("lineage", "history", "What happened to an asset or a partition, newest first."),
    "rejects": ("lineage", "rejects", "The rows that were set aside, with their reasons."),
    "partitions": (
        "partitions",
        "partitions",
        "An asset's partitions; adding and removing dynamic ones.",
    ),
    "freshness": ("status", "freshness", "Which partitions landed in time, and which are late."),
    "accept": ("accept", "accept", "Take stale partitions as right, without a run."),
    "invalidate": ("invalidate", "invalidate", "Declare partitions stale, for a reason."),
    "withdraw": ("withdraw", "withdraw", "Take partitions of a source out that are gone."),
    "repair": ("upkeep", "repair", "Bring views and stores back in line with what is recorded."),
    "compact": ("upkeep", "compact", "Remove records of versions that nothing needs any more."),
    "doctor": ("upkeep", "doctor", "Check settings, versions, definitions and stores."),
    "init": ("init", "init", "Start a project that works."),
}

_ALSO = "Also --module, --root, --environment and --state; see: assets --help"

_EPILOG = "The options above may be given after a command, too."


class _Commands(MutableMapping[str, Any]):
    """Commands by name; each is made when it is asked for."""

    def __init__(self, shared: list[Any]) -> None:
        self._shared = shared
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            module, attribute, _ = COMMANDS[name]
            found = importlib.import_module(f"assets_core.cli.commands.{module}")
            self._made[name] = _build(name, getattr(found, attribute), self._shared)
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        raise TypeError("commands are not removed")

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


def _build(name: str, target: Any, shared: list[Any]) -> Any:
    """A function, or a Typer app of sub-commands, as a command that takes the shared options."""
    if isinstance(target, typer.Typer):
        made = typer.main.get_command(target)
        made.name = name
        for inner in getattr(made, "commands", {}).values():
            inner.params.extend(shared)
        return made
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    if name == "init":  # the one command that loads no project
        app.command(name, context_settings=CONTEXT)(target)
        return typer.main.get_command(app)
    app.command(name, context_settings=CONTEXT, epilog=_ALSO)(target)
    made = typer.main.get_command(app)
    made.params.extend(shared)
    return made


class LazyGroup(TyperGroup):
    """A group that lists its commands without importing them."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(STOPPED) from None
        except BrokenPipeError:
            raise typer.Exit(READER_LEFT) from None

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _remember(ctx: typer.Context, param: typer.CallbackParam, value: str | None) -> str | None:
    """Keep a shared option for the session, wherever on the line it was given."""
    if value is not None:
        ctx.meta[f"assets.{param.name}"] = value
    return value


def _version(value: bool) -> None:
    if value:
        from assets_core import __version__

        print(f"assets {__version__}")
        raise typer.Exit


def _outline(
    module: Annotated[
        str | None,
        typer.Option(
            "--module",
            "-m",
            metavar="NAME",
            help="The module, package or path that declares the assets [default: definitions].",
            callback=_remember,
            autocompletion=complete_module,
            show_default=False,
        ),
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(
            "--root",
            metavar="DIR",
            help="The project's folder [default: where settings are found, here or above].",
            callback=_remember,
            show_default=False,
        ),
    ] = None,
    environment: Annotated[
        str | None,
        typer.Option(
            "--environment",
            "-e",
            metavar="NAME",
            help="The name space of what is current: prod, dev-alice [default: prod].",
            callback=_remember,
            autocompletion=complete_environment,
            show_default=False,
        ),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            "--state",
            metavar="URL",
            help="The state store [default: sqlite, in the project's .assets folder].",
            callback=_remember,
            show_default=False,
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Build partitioned data assets: what is out of date, exactly that, never half of it."""
    del module, root, environment, state, version


def command() -> Any:
    """The whole command line."""
    app = typer.Typer(
        cls=LazyGroup,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=CONTEXT,
        epilog=_EPILOG,
    )
    app.callback()(_outline)
    made = typer.main.get_command(app)
    made.commands = _Commands(_shared_options(made))  # type: ignore[attr-defined]  # a LazyGroup
    return made


def _shared_options(made: Any) -> list[Any]:
    """The group's options again, for use after a command; its help need not repeat them."""
    shared = []
    for param in made.params:
        if param.name in SHARED:
            again = copy.copy(param)
            again.expose_value = False
            again.hidden = True
            shared.append(again)
    return shared
