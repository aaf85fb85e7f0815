"""`assets repair` and `assets doctor`: putting right, and telling what is not."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from assets_core.cli import options
from assets_core.cli.screen import Screen, print_json, stdout
from assets_core.cli.session import Speller, project, say_recovered, speller
from assets_core.errors import AssetsError, DefinitionError
from assets_core.wording import count, first_line, reference

_STYLES = {"ok": "green", "warn": "yellow", "error": "bold red"}


def repair(
    ctx: typer.Context,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every current version and its checksums.")
    ] = False,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Record what lies in the stores and is not known: for a lost state store.",
        ),
    ] = False,
    views: Annotated[
        bool,
        typer.Option(
            "--views",
            help="Show what the state store says, where the data has moved on without it.",
        ),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Recover runs that died, mend the folders that others read, remove leftovers.

    Ends with 1 when --verify finds damage.
    """
    with project(ctx) as loaded:
        again = loaded.rebuild() if rebuild else {"recorded": 0, "damaged": 0}
        found = loaded.repair(verify=verify, views=views)
        found |= {"recorded": again["recorded"], "unreadable": again["damaged"]}
        say_recovered(loaded)
        if as_json:
            print_json(found)
        else:
            _print_repair(stdout(), found, speller(ctx), verify=verify, rebuild=rebuild)
    if found["damaged"]:
        raise typer.Exit(1)


def compact(
    ctx: typer.Context,
    keep: Annotated[
        str, typer.Option("--keep", help="Records superseded longer ago than this can go.")
    ] = "90d",
    keep_last: Annotated[
        int,
        typer.Option(
            "--keep-last", min=1, max=options.MOST, help="So many records of each partition stay."
        ),
    ] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many.")] = False,
    as_json: options.Json = False,
) -> None:
    """Remove records of versions that were superseded long ago and that nothing needs.

    What is current stays, with all that its lineage leads to. Data is not touched.
    """
    with project(ctx) as loaded:
        found = loaded.compact(keep, keep_last=keep_last, dry_run=dry_run)
        say_recovered(loaded)
        if as_json:
            print_json(found)
            return
        done = "would be removed" if dry_run else "removed"
        stdout().line(f"{count(found['removed'], 'record')} {done}, {found['kept']:,} kept")


def _print_repair(
    screen: Screen, found: dict[str, Any], spell: Speller, *, verify: bool, rebuild: bool
) -> None:
    if rebuild:
        screen.line(f"{count(found['recorded'], 'version')} recorded again")
    if found["unreadable"]:
        screen.line(f"{count(found['unreadable'], 'damaged version')} left out", "yellow")
    screen.line(f"{count(found['exposed'], 'view')} checked and mended")
    screen.line(f"{count(found['swept'], 'leftover')} removed")
    if verify:
        _print_verified(screen, found)
    for damage in found["damaged"]:
        where = screen.paint(reference(damage["asset"], damage["partition"]), "bold")
        screen.line(
            f"{screen.paint('damaged', 'bold red')}  {where}  {first_line(damage['problem'])}"
        )
    for asset in dict.fromkeys(damage["asset"] for damage in found["damaged"]):
        screen.line(f"Build it again with: {_build_again(asset, found['damaged'], spell)}")


def _print_verified(screen: Screen, found: dict[str, Any]) -> None:
    whole, damaged = found["verified"], len(found["damaged"])
    screen.line(
        f"{count(whole + damaged, 'version')} read: {whole:,} verified, {damaged:,} damaged"
    )


def _build_again(asset: str, damaged: list[dict[str, str]], spell: Speller) -> str:
    keys = [damage["partition"] for damage in damaged if damage["asset"] == asset]
    words = ["materialize", asset]
    words += [word for key in keys for word in ("--partition", key)]
    return spell(*words, "--force")


def doctor(ctx: typer.Context, as_json: options.Json = False) -> None:
    """Check settings, versions, definitions and stores. Ends with 1 when something is wrong."""
    found = _examine(ctx)
    if as_json:
        print_json({"checks": found})
    else:
        _print_doctor(stdout(), found)
    if any(entry["status"] == "error" for entry in found):
        raise typer.Exit(1)


def _examine(ctx: typer.Context) -> list[dict[str, str]]:
    """The project's own checks; when it can't even be loaded, why not."""
    try:
        with project(ctx) as loaded:
            return loaded.doctor()
    except DefinitionError as error:
        return [_failed(problem) for problem in error.problems]
    except AssetsError as error:
        return [_failed(error)]


def _failed(error: AssetsError) -> dict[str, str]:
    detail = error.message + "".join(f"; {n}: {v}" for n, v in error.facts.items())
    return {"name": "project", "status": "error", "detail": detail, "hint": error.hint}


def _print_doctor(screen: Screen, found: list[dict[str, str]]) -> None:
    for entry in found:
        sign = screen.paint(f"{entry['status']:<5}", _STYLES[entry["status"]])
        name = screen.paint(entry["name"], "bold")
        screen.line(f"{sign}  {name}: {first_line(entry['detail'])}")
        for line in entry["hint"].splitlines():
            screen.line(f"       {line}")
    wrong = [sum(e["status"] == status for e in found) for status in ("error", "warn")]
    if not any(wrong):
        screen.line("All is well.", "green")
