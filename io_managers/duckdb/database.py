"""Where a DuckDB store lies: its file, its schemas, a session on it."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets_core.errors import (
    UsageError,
)

if TYPE_CHECKING:
    from io_managers.duckdb.file import DatabaseFile, Session
from io_managers._bases import NotesBeside


class Database(NotesBeside):
    """A DuckDB file, bound to a project."""

    def __init__(
        self,
        path: str | Path = "data/warehouse.duckdb",
        schema: str = "main",
        *,
        timeout: float = 10.0,
        config: Mapping[str, str] | None = None,
    ) -> None:
        if schema.casefold() in {"_assets", "information_schema", "pg_catalog"}:
            raise UsageError(f"Tables can't be kept in schema {schema!r}: it is reserved.")
        self._given = os.fspath(path)
        self._schema = schema
        self._timeout = timeout
        self._config = dict(config or {})
        self._set_up("", Path())

    def _set_up(self, name: str, project: Path) -> None:
        self._name = name
        self._project = project
        self._path = project.absolute() / self._given
        self.__dict__.pop("_file", None)

    def bind(self, name: str, root: Path) -> None:
        """Tell the manager its name in the definitions and the project's folder; opens nothing."""
        self._set_up(name, root)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "given": (self._given, self._schema, self._timeout, self._config),
            "bound": (self._name, self._project),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._given, self._schema, self._timeout, self._config = state["given"]
        self._set_up(*state["bound"])

    @property
    def folder(self) -> str:
        """Where data lies: what is read there is no code."""
        return str(self._path)

    def identity(self) -> tuple[object, ...]:
        """Where data is kept; a path inside the project counts from the project's folder."""
        project = self._project.absolute()
        inside = self._path.is_relative_to(project)
        place = self._path.relative_to(project) if inside else self._path
        return ("duckdb", place.as_posix(), self._schema)

    @functools.cached_property
    def _file(self) -> DatabaseFile:
        from io_managers.duckdb import file as _duckdb_file

        return _duckdb_file.shared(str(self._path), self._timeout, self._config)

    @contextlib.contextmanager
    def _session(self) -> Iterator[Session]:
        """A connection to a file that has our notes in it."""
        with self._file.session() as session:
            self._file.prepare(prepare, session)
            yield session

    def _schema_of(self, environment: str) -> str:
        from io_managers.duckdb import catalog

        if environment == "prod":
            return self._schema
        return catalog.bounded(f"{self._schema}__{environment}")

    @property
    def _notes_folder(self) -> Path:
        """Beside the file: every command asks, and opening the file would cost too much."""
        return self._path.with_name(f"{self._path.name}.notes")


def prepare(session: Session, path: str) -> None:
    """Once for each time that the file is opened: our notes in it, room in memory beside it."""
    from io_managers.duckdb import catalog, held

    catalog.prepare(session, path)
    held.attach(session)


def rowless() -> UsageError:
    return UsageError(
        "An asset that writes its data by itself has no rows to read.",
        hint="Depend on it with depends_on=[...].",
    )
