"""Where the tables of an open format lie: one folder each, the notes beside them.

``<root>/<asset>/`` is the table of ``prod``, other environments' lie under
``<root>/.environments/<environment>/``. ``<root>/.assets/<environment>/<asset>/`` holds the fences
and the rejected rows, which are no part of the table.
"""
# Strings and os.path, like the Parquet store.
# ruff: noqa: PTH100, PTH118, PTH208

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from assets_core.errors import UsageError
from assets_core.partitions import safe_path_part
from io_managers._bases import NotesBeside

if TYPE_CHECKING:
    from io_managers.lake.fences import FenceFolder
    from io_managers.lake.log import TableLog
    from io_managers.lake.types import Keeps
    from io_managers.parquet.pages import Layout

_BESIDE, _NOTES, _ENVIRONMENTS = ".assets", ".notes", ".environments"


@dataclass(frozen=True, slots=True)
class Home:
    """A table's place: environment and asset, each as a part of a path."""

    environment: str
    asset: str


def home_of(environment: str, asset: str) -> Home:
    """The place of an asset's table."""
    return Home(_part(environment), _part(asset))


def _part(name: str) -> str:
    # Clients take a percent sign in a path for a quoted character, and leave the folder.
    return safe_path_part(name).replace("%", "~")


@dataclass(frozen=True, slots=True)
class OpenTable:
    """A table with its log, its notes, and the lock by which threads take turns with both."""

    log: TableLog
    fences: FenceFolder
    turn: threading.RLock


class LakeFolder(NotesBeside):
    """A folder of tables, bound to a project."""

    format: ClassVar[str]
    """How the format is called, in the identity and in errors."""

    def __init__(
        self,
        root: str | Path,
        *,
        compression: str = "zstd",
        row_group_size: int = 1_048_576,
        timeout: float = 60.0,
    ) -> None:
        if row_group_size < 1:
            raise UsageError("row_group_size must be at least 1.", facts={"given": row_group_size})
        self._given = os.fspath(root)
        if "://" in self._given:
            raise UsageError(
                f"{type(self).__name__} keeps its tables in local folders.",
                facts={"given": self._given},
                hint="Give the path of a folder.",
            )
        self._compression = compression
        self._rows = row_group_size
        self._timeout = timeout
        self._set_up("", Path())

    def _set_up(self, name: str, project: Path) -> None:
        self._name = name
        self._project = project
        self._root = os.path.join(os.path.abspath(project), self._given)
        self._lock = threading.Lock()
        self._tables: dict[Home, OpenTable] = {}

    def bind(self, name: str, root: Path) -> None:
        """Tell the manager its name in the definitions and the project's folder; opens nothing."""
        self._set_up(name, root)

    _ARGUMENTS: ClassVar[tuple[str, ...]] = ("_given", "_compression", "_rows", "_timeout")

    def __getstate__(self) -> dict[str, Any]:
        given = {name: self.__dict__[name] for name in self._ARGUMENTS}
        return {"given": given, "bound": (self._name, self._project)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["given"])
        self._set_up(*state["bound"])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._given!r})"

    @property
    def folder(self) -> str:
        """Where data lies: what is read there is no code."""
        return self._root

    def identity(self) -> tuple[object, ...]:
        """Where and how data is kept; a root inside the project counts by its relative path."""
        place = os.path.relpath(self._root, os.path.abspath(self._project))
        place = self._root if place.startswith("..") else place
        return (self.format, place, self._compression)

    @property
    def _notes_folder(self) -> Path:
        return Path(self._root, _NOTES)

    @functools.cached_property
    def _layout(self) -> Layout:
        from io_managers.parquet.pages import Layout

        return Layout(self._compression, None, self._rows)

    @property
    def _keeps(self) -> Keeps:
        """The types that the format has."""
        raise NotImplementedError

    def _check_root(self) -> None:
        if "%" in self._root:
            raise UsageError(
                f"{type(self).__name__} can't keep tables in a folder with '%' in its path.",
                facts={"folder": self._root},
                hint="The format's clients would look in another folder: rename it.",
            )

    def _open_log(self, home: Home) -> TableLog:
        """The log of a table, which may not exist yet."""
        raise NotImplementedError

    def _table(self, home: Home) -> OpenTable:
        from io_managers.lake.fences import FenceFolder

        with self._lock:
            found = self._tables.get(home)
            if found is None:
                self._check_root()
                fences = FenceFolder(self._beside(home))
                found = OpenTable(self._open_log(home), fences, threading.RLock())
                self._tables[home] = found
            return found

    def _table_folder(self, home: Home) -> str:
        """The folder that other engines are given."""
        if home.environment == "prod":
            return f"{self._root}/{home.asset}"
        return f"{self._root}/{_ENVIRONMENTS}/{home.environment}/{home.asset}"

    def _beside(self, home: Home) -> str:
        return f"{self._root}/{_BESIDE}/{home.environment}/{home.asset}"

    def _homes(self) -> Iterator[Home]:
        """Every table that anything was ever staged for."""
        beside = f"{self._root}/{_BESIDE}"
        for environment in entries(beside):
            for asset in entries(f"{beside}/{environment}"):
                yield Home(environment, asset)


def entries(folder: str) -> list[str]:
    """Names in ``folder``; none where there is no such folder."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
