"""Where a Parquet store lies: its root, its versions, the name that it goes by."""
# Strings and os.path: a Path costs more than the link and rename that it names.
# ruff: noqa: PTH100, PTH118

from __future__ import annotations

import functools
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets_core.errors import MissingDataError, UsageError

if TYPE_CHECKING:
    from io_managers.parquet import pages as _pages
from io_managers._bases import NotesBeside

_VERSIONS, _NOTES = ".versions", ".notes"


class ParquetFolder(NotesBeside):
    """A folder with versions in it, bound to a project."""

    def __init__(
        self,
        root: str | Path = "data",
        *,
        compression: str = "zstd",
        compression_level: int | None = None,
        row_group_size: int = 1_048_576,
    ) -> None:
        if row_group_size < 1:
            raise UsageError("row_group_size must be at least 1.", facts={"given": row_group_size})
        self._given = os.fspath(root)
        self._compression = compression
        self._level = compression_level
        self._rows = row_group_size
        self._set_up("", Path())

    def _set_up(self, name: str, project: Path) -> None:
        self._name = name
        self._project = project
        self._root = os.path.join(os.path.abspath(project), self._given)
        self._versions = os.path.join(self._root, _VERSIONS)
        self._lock = threading.Lock()
        self._touched: set[str] = set()
        self._verified: dict[str, tuple[int, int, int]] = {}

    def bind(self, name: str, root: Path) -> None:
        """Tell the manager its name in the definitions and the project's folder; opens nothing."""
        self._set_up(name, root)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "given": (self._given, self._compression, self._level, self._rows),
            "bound": (self._name, self._project),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._given, self._compression, self._level, self._rows = state["given"]
        self._set_up(*state["bound"])

    @property
    def folder(self) -> str:
        """Where data lies: what is read there is no code."""
        return str(self._root)

    def identity(self) -> tuple[object, ...]:
        """Where and how data is kept; a root inside the project counts by its relative path."""
        place = os.path.relpath(self._root, os.path.abspath(self._project))
        return ("parquet", self._root if place.startswith("..") else place, self._compression)

    @functools.cached_property
    def _layout(self) -> _pages.Layout:
        from io_managers.parquet import pages as _pages

        return _pages.Layout(self._compression, self._level, self._rows)

    def _path(self, location: str) -> str:
        return f"{self._versions}/{location}"

    def _missing(self, location: str) -> MissingDataError:
        from io_managers.parquet import versions as _versions

        return _versions.missing(location)

    @property
    def _notes_folder(self) -> Path:
        return Path(self._root, _NOTES)
