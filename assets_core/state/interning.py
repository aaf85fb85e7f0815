"""Numbers for what repeats: assets, codes, schemas, stores and runs.

Each number is looked up once per process. What a transaction added counts only when it was
committed: a number that was rolled back must never be used again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from assets_core.records import Code, Run
from assets_core.state.rows import RUN_COLUMNS, plain, run_row, to_json
from assets_core.state.sql import Connection, Row, inserting, scalar


class Interned:
    """The numbers of one table's rows by their unique columns."""

    def __init__(self, table: str, unique: str, more: str = "") -> None:
        """``unique`` and ``more``: columns, separated by commas."""
        places = " AND ".join(f"{column} = ?" for column in unique.split(", "))
        self._find = f"SELECT id FROM {table} WHERE {places}"
        self._add = inserting(table, f"{unique}, {more}" if more else unique)
        self._known: dict[Row, int] = {}
        self._added: dict[Row, int] = {}

    def find(self, connection: Connection, *key: object) -> int | None:
        """The number of ``key``, None when there is none."""
        number = self._known.get(key) or self._added.get(key)
        if number is not None:
            return number
        found: int | None = scalar(connection, self._find, key)
        if found is not None:
            self._known[key] = found
        return found

    def number(self, connection: Connection, *key: object, more: Callable[[], Row] = tuple) -> int:
        """The number of ``key``, given one now if it has none; ``more`` are its other columns."""
        number = self.find(connection, *key)
        if number is None:
            number = connection.execute(self._add, (*key, *more())).lastrowid
            assert number is not None
            self._added[key] = number
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
        self.assets = Interned("assets", "environment, name")
        self.codes = Interned("codes", "hex", "parts")
        self.texts = Interned("texts", "digest", "text")
        self.stores = Interned("stores", "name")
        run, _, more = RUN_COLUMNS.partition(", ")
        self.runs = Interned("runs", run, f"{more}, expires")
        self._all = (self.assets, self.codes, self.texts, self.stores, self.runs)

    def asset(self, connection: Connection, environment: str, name: str) -> int:
        """The number of an asset in an environment, given one now if it has none."""
        return self.assets.number(connection, environment, name)

    def code(self, connection: Connection, code: Code) -> int:
        """The number of a code version; its parts are kept with the first."""

        def parts() -> Row:
            return (to_json(dict(code.parts), "code parts") if code.parts else None,)

        return self.codes.number(connection, code.hex, more=parts)

    def text(self, connection: Connection, text: str | None) -> int | None:
        """The number of a text, None for none."""
        if not text:
            return None
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        return self.texts.number(connection, digest, more=lambda: (text,))

    def store(self, connection: Connection, name: str) -> int:
        """The number of an IO manager's name."""
        return self.stores.number(connection, plain(name, "store"))

    def run(self, connection: Connection, run: Run) -> int:
        """The number of a run; one that this store never saw is written down as it is given."""
        return self.runs.number(connection, run.id, more=lambda: (*run_row(run)[1:], 0))

    def committed(self) -> None:
        """The transaction was committed."""
        for one in self._all:
            one.committed()

    def rolled_back(self) -> None:
        """The transaction was not."""
        for one in self._all:
            one.rolled_back()
