"""Which files and folders count as the project's code, and what tells one content from another."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from assets_core.fingerprint.ownership import is_among_packages, is_installed
from assets_core.ours import HOME

Stamp = tuple[int, int, int] | None
"""Modification time (ns), size and inode of a file; None where there is none."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Which files count: those under ``roots``, but not under ``apart`` (absolute paths).

    ``more`` are roots that were given by name: what lies there counts even among installed
    packages.
    """

    roots: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    more: tuple[str, ...] = ()

    _below: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)
    _not_below: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)
    _even_below: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)

    def is_given(self, path: str) -> bool:
        """Whether a path lies in a root that was given by name."""
        return path.startswith(self._even_below)

    def __post_init__(self) -> None:
        # Asked of every file that is opened while a step runs.
        for name, folders in (
            ("_below", self.roots),
            ("_not_below", self.apart),
            ("_even_below", self.more),
        ):
            object.__setattr__(self, name, tuple(one.rstrip(os.sep) + os.sep for one in folders))

    def counts(self, path: str) -> bool:
        """Whether a file or folder (an absolute path) is part of the project's code."""
        within = path + os.sep
        return (
            within.startswith(self._below)
            and not within.startswith(self._not_below)
            and "__pycache__" not in path
            and (not is_among_packages(within) or within.startswith(self._even_below))
            and not path.endswith((".pyc", ".pyo"))
        )


def code_roots(root: Path, more: Sequence[str | Path] = ()) -> tuple[str, ...]:
    """The folders that the project's own code lies in: its root, those given, and the folders on
    the import path that are neither the interpreter's nor hold installed packages."""
    given = [os.path.realpath(root), *(os.path.realpath(root / one) for one in more)]
    interpreter = tuple(os.path.realpath(p) for p in {sys.prefix, sys.base_prefix, sys.exec_prefix})
    temporary = os.path.realpath(tempfile.gettempdir())
    ours = str(HOME)
    for entry in sys.path:
        path = os.path.realpath(entry or ".")
        installed = path.startswith(interpreter) or is_installed(f"{path}{os.sep}")
        if not installed and path != ours and not holds(path, temporary) and Path(path).is_dir():
            given += [path, os.path.abspath(entry or ".")]  # noqa: PTH100  # a link: as it is named
    return tuple(dict.fromkeys(given))


def holds(folder: str, path: str) -> bool:
    """Whether a path is a folder, or lies in it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def apart_from(root: Path, folders: Sequence[Path]) -> tuple[str, ...]:
    """What below the code roots is no code: state, data, and the interpreter's own folders."""
    own = os.path.realpath(root)
    found = [f"{own}{os.sep}.assets", *(os.path.realpath(one) for one in folders)]
    found += [p for p in map(os.path.realpath, (sys.prefix, sys.base_prefix)) if not holds(p, own)]
    return tuple(dict.fromkeys(one for one in found if not holds(one, own)))


def stamp_of(path: str) -> Stamp:
    """What tells one content of a file from another without reading it."""
    try:
        found = os.stat(path)  # noqa: PTH116  # in the hook, each call counts
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def names_in(path: str, watch: Watch) -> tuple[str, ...]:
    """The names in a folder that count, in order; none where there is no folder."""
    try:
        names = [one.name for one in Path(path).iterdir()]
    except (OSError, ValueError):
        return ()
    whole = ((name, f"{path}{os.sep}{name}") for name in names if not name.startswith("."))
    return tuple(sorted(name for name, full in whole if watch.counts(full)))
