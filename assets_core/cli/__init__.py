"""The ``assets`` command: reads options, calls the project, prints. It decides nothing itself.

A command's start is felt a hundred times a day, so each command's module is imported when it is
called, and rich only where something moves on a terminal.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from assets_core.cli.exit_codes import READER_LEFT, STOPPED


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command line (the process's own unless given) and end the process."""
    # Importing makes no garbage, and looking for it costs a twentieth of a start.
    gc.disable()
    code = run(sys.argv[1:] if arguments is None else arguments)
    code = _flush(code)
    if code == STOPPED:
        # A stopped run may leave a step's thread in the middle of a long call: don't wait for it.
        os._exit(code)
    if "_duckdb" in sys.modules:
        # Of what is frozen nothing is taken apart at the end, and DuckDB's binding complains on
        # stderr of each class and function that is left. Who has not loaded it exits sooner.
        gc.unfreeze()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line in this process; its exit code."""
    from assets_core.errors import AssetsError

    _never_fail_to_print()
    try:
        return _dispatch(list(arguments))
    except AssetsError as error:
        from assets_core.cli.error_report import show_error

        show_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        return _reader_left()
    except Exception as error:  # noqa: BLE001 - the last place where a bug can say what it is
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return _no_room(error)
        from assets_core.cli.error_report import show_unforeseen

        show_unforeseen(error)
        return 1


def _dispatch(arguments: list[str]) -> int:
    from assets_core.cli.app import command
    from assets_core.cli.completion import completes, print_completions

    if completes(os.environ):
        return print_completions(command())
    try:
        command().main(arguments, prog_name="assets")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _never_fail_to_print() -> None:
    """What a terminal's encoding lacks is escaped; what was closed reads and writes nothing."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - as long as the process
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _flush(code: int) -> int:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        return _reader_left()
    except OSError as error:
        return _no_room(error)
    return code


def _reader_left() -> int:
    """``assets list | head`` has seen enough."""
    _give_up_stdout()
    return READER_LEFT


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""What stores say of a full disk are errors of ours: these are stdout's."""


def _no_room(error: OSError) -> int:
    print(f"The output can't be written: {error.strerror}.", file=sys.stderr)
    _give_up_stdout()
    return 1


def _give_up_stdout() -> None:
    """Python's own flush at exit must not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
