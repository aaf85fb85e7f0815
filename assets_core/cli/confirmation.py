"""Asking a person on a terminal before much is done."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from assets_core.cli.exit_codes import STOPPED
from assets_core.cli.screen import results, stderr
from assets_core.errors import UsageError
from assets_core.wording import count

_ANSWERS = {"y": True, "yes": True, "n": False, "no": False, "": False}


def confirm(verb: str, number: int, *, yes: bool, quiet: bool) -> None:
    """Ask before much is done, unless ``yes``.

    Raises UsageError where nobody can be asked, and ends the command with 130 at a no.
    """
    if yes:
        return
    if quiet or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            f"This would {verb.lower()} {count(number, 'asset partition')}, "
            "and there is nobody to ask.",
            hint="Add --yes, or say which with --partition or --partitions.",
        )
    results().flush()
    try:
        agreed = _agreed(f"{verb} {count(number, 'asset partition')}? [y/N]: ")
    except (KeyboardInterrupt, EOFError):
        stderr().line()
        agreed = False
    if not agreed:
        stderr().line("Nothing was done.")
        raise typer.Exit(STOPPED)


def _agreed(question: str) -> bool:
    while True:
        typer.echo(question, nl=False, err=True)
        answer = _line().strip().lower()
        if answer in _ANSWERS:
            return _ANSWERS[answer]
        typer.echo("Please answer y or n.", err=True)


def _line() -> str:
    """A line from the keyboard. Raises EOFError at its end.

    A signal that comes just before a read blocks would be heard only at the next key: hence the
    wait for a key or a signal, whichever is first.
    """
    with _signals() as told:
        select.select([sys.stdin, told], [], [])
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


@contextmanager
def _signals() -> Iterator[int]:
    """A descriptor that becomes readable when a signal comes."""
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    before = signal.set_wakeup_fd(tell)
    try:
        yield told
    finally:
        signal.set_wakeup_fd(before)
        os.close(told)
        os.close(tell)
