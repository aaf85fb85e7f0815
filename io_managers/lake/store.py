"""A store of open tables: fences, the outside view, what state is rebuilt from."""
# ruff: noqa: PTH110

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from assets_core.contracts import Fence, Found, InView
from assets_core.records import Receipt
from io_managers.lake.folder import OpenTable, home_of
from io_managers.lake.publishing import LakePublishing, added
from io_managers.lake.staging import current
from io_managers.parquet import files as _files

if TYPE_CHECKING:
    from io_managers.lake.fences import FenceNote
    from io_managers.lake.log import TableVersion


_T = TypeVar("_T")
_TRIES = 50


class LakeTables(LakePublishing):
    """Partitions as files of tables in an open format, one table an asset.

    A transactional store: fence, old files out and new files in are one commit of the table.
    """

    transactional = True

    def expose(
        self, environment: str, asset: str, path_parts: tuple[str, ...], receipt: Receipt
    ) -> None:
        """Nothing: the table itself is what everybody sees."""

    def flush(self) -> None:
        """Nothing: a commit is durable."""

    def fences(self, environment: str, asset: str, partitions: Sequence[str]) -> list[Fence]:
        """What was published last of these partitions, in their order."""
        table = self._table(home_of(environment, asset))

        def read(newest: TableVersion) -> list[FenceNote | None]:
            return [table.fences.read(current(table, newest, key)) for key in partitions]

        notes = self._steadily(table, read) or []
        return [note.fence() for note in notes if note is not None]

    def fence_off(self, environment: str, asset: str, tokens: Mapping[str, int]) -> None:
        """Refuse publishes under these tokens and older ones, by a commit without rows."""
        from io_managers.lake.log import BARRED, Commit

        table = self._table(home_of(environment, asset))
        _files.make_folder(table.fences.path)

        def bar() -> None:
            import pyarrow as pa

            if not table.log.exists():
                table.log.create(pa.schema([]))
            now = table.log.newest()
            wanted = {
                (BARRED, key): token
                for key, token in tokens.items()
                if token > now.token(BARRED, key)
            }
            if wanted:
                note = {"environment": environment, "asset": asset, "barred": dict(tokens)}
                table.log.commit(now, Commit(tokens=wanted, note=note))

        self._until_done(table, bar)

    def restrict(self, environment: str, asset: str, wanted: Sequence[InView]) -> int:
        """Leave exactly these partitions in the asset's table; files of others stay beside it,
        for as long as the table's clean-up lets them."""
        table = self._table(home_of(environment, asset))

        def restrict() -> int:
            if not table.log.exists():
                return 0
            return self._restrict(table, {one.partition: one for one in wanted})

        return self._until_done(table, restrict)

    def _restrict(self, table: OpenTable, wanted: Mapping[str, InView]) -> int:
        from io_managers.lake.log import HIDDEN, Commit
        from io_managers.lake.settling import note_of_change

        now = table.log.newest()
        notes = [note for note in _current_notes(table, now) if note.kind != "none"]
        shown = now.all_files()
        gone = [n for n in notes if n.partition in shown and not _stays(n, wanted.get(n.partition))]
        hidden = [n for n in notes if n.partition not in shown]
        back = [n for n in hidden if _is_current(wanted.get(n.partition)) and self._is_kept(n)]
        if gone or back:
            keys = [note.partition for note in (*gone, *back)]
            settled = self._settle(table, now, added([n.receipt("") for n in back]), keys)
            schema = None if settled.schema.equals(now.schema) else settled.schema
            tokens = {(HIDDEN, note.partition): note.token for note in gone}
            first = (*gone, *back)[0]
            note = {
                "environment": first.environment,
                "asset": first.asset,
                "out of sight": [n.partition for n in gone],
                "in sight again": [n.partition for n in back],
                **note_of_change(now.schema, settled.schema),
            }
            commit = Commit(settled.replaced, settled.added, tokens, schema, note)
            self._take(table, now, settled, commit)
        return sum(n.partition in wanted for n in (*gone, *hidden)) - len(back)

    def _is_kept(self, note: FenceNote) -> bool:
        return os.path.exists(self._path(note.location))

    def scan(self) -> Iterator[Found]:
        """The newest version of every partition."""
        for home in self._homes():
            table = self._table(home)

            def read(newest: TableVersion, table: OpenTable = table) -> list[Found]:
                shown = newest.all_files()
                return [
                    note.found(self._name, visible=note.kind == "none" or note.partition in shown)
                    for note in _current_notes(table, newest)
                ]

            yield from self._steadily(table, read) or ()

    def _steadily(self, table: OpenTable, read: Callable[[TableVersion], _T]) -> _T | None:
        """What is read of a table and its notes, as they were at one time: a publish in between
        takes notes away. None where there is no table."""
        with table.turn:
            if not table.log.exists():
                return None
            newest = table.log.newest()
            for _ in range(_TRIES):
                found = read(newest)
                later = table.log.newest()
                if later.number == newest.number:
                    break
                newest = later
            return found

    def close(self) -> None:
        """Let go of the tables."""
        with self._lock:
            self._tables.clear()


def _current_notes(table: OpenTable, newest: TableVersion) -> Iterator[FenceNote]:
    for stem in table.fences.stems():
        note = table.fences.read(stem)
        if note is not None and current(table, newest, note.partition) == stem:
            yield note


def _stays(note: FenceNote, wanted: InView | None) -> bool:
    return _is_current(wanted) or (wanted is not None and wanted.path_parts == note.path_parts)


def _is_current(wanted: InView | None) -> bool:
    return wanted is not None and wanted.receipt is not None
