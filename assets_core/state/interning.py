"""Numbers for what repeats: assets, codes, schemas, stores and runs.

Each number is looked up once per process. What a transaction added counts only when it was
committed: a number that was rolled back must never be used again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from sqlalchemy import Connection, Table, insert, select

from assets_core.records import Code
from assets_core.state import tables
from assets_core.state.rows import plain, to_json

Key = tuple[object, ...]


class Interned:
    """The numbers of one table's rows by their unique columns."""

    def __init__(self, table: Table, *unique: str) -> None:
        self._table = table
        self._unique = [table.c[name] for name in unique]
        self._known: dict[Key, int] = {}
        self._added: dict[Key, int] = {}

    def find(self, connection: Connection, *key: object) -> int | None:
        """The number of ``key``, None when there is none."""
        number = self._known.get(key) or self._added.get(key)
        if number is not None:
            return number
        matches = [column == value for column, value in zip(self._unique, key, strict=True)]
        found = connection.execute(select(self._table.c.id).where(*matches)).scalar()
        if found is not None:
            self._known[key] = found
        return found

    def number(
        self, connection: Connection, *key: object, more: Callable[[], dict[str, object]] = dict
    ) -> int:
        """The number of ``key``, given one now if it has none; ``more`` are its other columns."""
        number = self.find(connection, *key)
        if number is None:
            names = (column.name for column in self._unique)
            values = {**dict(zip(names, key, strict=True)), **more()}
            added = connection.execute(insert(self._table), values).inserted_primary_key
            assert added is not None
            number = self._added[key] = int(added[0])
        return number

    def committed(self) -> None:
        """What was added is there."""
        self._known.update(self._added)
        self._added.clear()

    def rolled_back(self) -> None:
        """What was added is not there."""
        self._added.clear()


class Interning:
    """Everything that is interned. Adding is for the one writer; finding is for all."""

    def __init__(self) -> None:
        self.assets = Interned(tables.assets, "environment", "name")
        self.codes = Interned(tables.codes, "hex")
        self.texts = Interned(tables.texts, "digest")
        self.stores = Interned(tables.stores, "name")
        self.runs = Interned(tables.runs, "run")
        self._all = (self.assets, self.codes, self.texts, self.stores, self.runs)

    def asset(self, connection: Connection, environment: str, name: str) -> int:
        """The number of an asset in an environment, given one now if it has none."""
        return self.assets.number(connection, environment, name)

    def code(self, connection: Connection, code: Code) -> int:
        """The number of a code version; its parts are kept with the first."""

        def parts() -> dict[str, object]:
            return {"parts": to_json(dict(code.parts), "code parts") if code.parts else None}

        return self.codes.number(connection, code.hex, more=parts)

    def text(self, connection: Connection, text: str | None) -> int | None:
        """The number of a text, None for none."""
        if not text:
            return None
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        return self.texts.number(connection, digest, more=lambda: {"text": text})

    def store(self, connection: Connection, name: str) -> int:
        """The number of an IO manager's name."""
        return self.stores.number(connection, plain(name, "store"))

    def committed(self) -> None:
        """The transaction was committed."""
        for one in self._all:
            one.committed()

    def rolled_back(self) -> None:
        """The transaction was not."""
        for one in self._all:
            one.rolled_back()
