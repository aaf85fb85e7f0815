"""The state store on SQL: the contract's methods, each in one transaction.

What a batch decides is in ``batch``, what is read and written in ``reading`` and ``writing``, what
is particular to a database in its own module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from assets_core.contracts import Finish, Lease, Operation, Snapshot
from assets_core.errors import UsageError
from assets_core.partitions import KeySpace
from assets_core.records import (
    Attempt,
    Backfill,
    BackfillStatus,
    Code,
    Invalidation,
    Materialization,
    Measured,
    Receipt,
    Run,
)
from assets_core.state import compacting, migrations, reading, tables, writing
from assets_core.state.interning import Interning
from assets_core.state.liveness import check_run_id
from assets_core.state.rows import backfill_values, plain
from assets_core.state.sqlite import SqliteDatabase, connect

_PIECE = 2_000
"""Entries removed from the log in one transaction."""


class SqlStore:
    """A StateStore on a SQL database. Safe to share by the threads of a process."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._interning = Interning()
        self._writer = writing.Writer(self._interning, database.liveness.dead)

    @classmethod
    def open(cls, url: str, *, create: bool) -> SqlStore:
        """See :func:`assets_core.state.open_store`."""
        return cls(connect(url, create=create, prepare=migrations.prepare))

    # ---- writing

    def begin(self, run: Run, seconds: float) -> None:
        check_run_id(run.id)
        liveness = self._database.liveness
        held = False
        try:
            with self._database.write() as connection:
                writing.begin_run(connection, run, seconds)
                # Before the commit: whoever sees the run must find it alive.
                liveness.hold(run.id)
                held = True
        except BaseException:
            if held:
                liveness.drop(run.id)
            raise

    def transact(self, operations: Sequence[Operation]) -> list[Any]:
        ready = writing.prepare(operations)
        try:
            with self._database.write() as connection:
                results = self._writer.carry_out(connection, ready)
        except BaseException:
            self._interning.rolled_back()
            raise
        self._interning.committed()
        for operation in operations:
            if isinstance(operation, Finish) and not operation.unswept:
                self._database.liveness.drop(operation.run)
        return results

    # ---- reading

    def snapshot(self, environment: str, assets: Iterable[str], since: int = 0) -> Snapshot:
        with self._database.read() as connection:
            return reading.snapshot(connection, environment, assets, since)

    def mark(self, revision: int) -> str:
        with self._database.read() as connection:
            return reading.mark(connection, revision)

    def beside(self, name: str) -> Path | None:
        folder = self._database.cache_folder
        return folder / name if folder is not None else None

    def compact(
        self,
        environment: str,
        before: int,
        spaces: Mapping[str, KeySpace],
        *,
        keep_last: int = 1,
        dry_run: bool = False,
    ) -> tuple[int, int]:
        with self._database.read() as connection:
            live = compacting.oldest_live(connection)
            entries, current, names = compacting.read_log(connection, environment)
        known = {number: spaces.get(name) for number, name in names.items()}
        limit = before if live is None else min(before, live)
        gone = compacting.superfluous(entries, current, known, before=limit, keep_last=keep_last)
        with self._database.read() as connection:
            settled, marks = compacting.settled(connection, environment, limit, known)
        total = len(entries) + marks
        if dry_run:
            return len(gone) + len(settled), total - len(gone) - len(settled)
        removed = 0
        # In pieces: nobody who wants to write waits for the whole of it.
        for start in range(0, len(gone), _PIECE):
            with self._database.write() as connection:
                removed += compacting.remove(connection, gone[start : start + _PIECE])
        with self._database.write() as connection:
            removed += compacting.forget(connection, settled)
        return removed, total - removed

    def invalidations(
        self, environment: str, asset: str | None = None, *, limit: int | None = None
    ) -> list[Invalidation]:
        with self._database.read() as connection:
            return reading.invalidations(connection, environment, asset, limit)

    def receipts(self, ids: Iterable[int]) -> dict[int, Receipt]:
        with self._database.read() as connection:
            return reading.receipts(connection, ids)

    def measured(self, ids: Iterable[int]) -> dict[int, Measured]:
        with self._database.read() as connection:
            return reading.measured(connection, ids)

    def materializations(
        self,
        environment: str,
        asset: str | None,
        partition: str | None = None,
        *,
        ids: Iterable[int] | None = None,
        run: str | None = None,
        limit: int | None = None,
    ) -> list[Materialization]:
        with self._database.read() as connection:
            return reading.materializations(
                connection, environment, asset, partition, ids, run, limit
            )

    def version_as_of(
        self,
        environment: str,
        asset: str,
        partitions: Sequence[str],
        revision: int,
        run: str,
        before: int,
    ) -> list[Materialization | None]:
        with self._database.read() as connection:
            return reading.version_as_of(
                connection, environment, asset, partitions, revision, run, before
            )

    def readers(self, environment: str, asset: str) -> list[Materialization]:
        with self._database.read() as connection:
            return reading.readers(connection, environment, asset)

    def code(self, hex_version: str) -> Code | None:
        with self._database.read() as connection:
            return reading.code(connection, hex_version)

    def schema(self, environment: str, asset: str) -> str:
        with self._database.read() as connection:
            return reading.schema(connection, environment, asset)

    def runs(self, environment: str | None = None, *, limit: int | None = None) -> list[Run]:
        with self._database.read() as connection:
            return reading.runs(connection, environment, limit)

    def run(self, run_id: str) -> Run | None:
        with self._database.read() as connection:
            found = reading.runs_beginning(connection, run_id)
        if len(found) > 1:
            raise UsageError(
                f"More than one run begins with '{run_id}'.",
                facts={"runs": ", ".join(run.id for run in found)},
                hint="Write more of its id.",
            )
        return found[0] if found else None

    def attempts(
        self,
        *,
        run: str | None = None,
        environment: str | None = None,
        asset: str | None = None,
        partition: str | None = None,
        limit: int | None = None,
    ) -> list[Attempt]:
        with self._database.read() as connection:
            return reading.attempts(connection, run, environment, asset, partition, limit)

    def failed(self, environment: str) -> dict[str, dict[str, Attempt]]:
        with self._database.read() as connection:
            return reading.failed(connection, environment)

    def dead_runs(self) -> list[Run]:
        with self._database.read() as connection:
            running = reading.running(connection)
        liveness = self._database.liveness
        dead = [run for run, late in running if late or liveness.dead(run.id)]
        known = {run.id for run, _ in running}
        left = [self.run(run_id) for run_id in liveness.left() if run_id not in known]
        return dead + [run for run in left if run is not None and run.status != "running"]

    def outranked(self, priority: int) -> bool:
        with self._database.read() as connection:
            found = reading.outranked(connection, priority)
        return any(not self._database.liveness.dead(run) for run in found)

    # ---- backfills

    def add_backfill(self, backfill: Backfill) -> None:
        with self._database.write() as connection:
            connection.execute(insert(tables.backfills).values(**backfill_values(backfill)))

    def change_backfill(self, backfill_id: str, status: BackfillStatus, note: str = "") -> None:
        table = tables.backfills
        with self._database.write() as connection:
            change = update(table).where(table.c.backfill == backfill_id)
            connection.execute(change.values(status=status, note=note))

    def backfills(self, environment: str | None = None) -> list[Backfill]:
        with self._database.read() as connection:
            return reading.backfills(connection, environment)

    def runs_of(self, backfill_id: str) -> list[Run]:
        with self._database.read() as connection:
            return reading.runs_of(connection, backfill_id)

    def recorded_by(self, run_ids: Sequence[str]) -> dict[str, int]:
        with self._database.read() as connection:
            return reading.recorded_by(connection, run_ids)

    def held(self, run_id: str) -> list[Lease]:
        with self._database.read() as connection:
            return reading.held(connection, run_id)

    # ---- dynamic partitions

    def dynamic_keys(self) -> dict[str, tuple[str, ...]]:
        with self._database.read() as connection:
            return reading.dynamic_keys(connection)

    def add_keys(self, name: str, keys: Sequence[str]) -> int:
        table = tables.dynamic_partitions
        wanted = list(dict.fromkeys(plain(key, "partition") for key in keys))
        with self._database.write() as connection:
            known = _keys(connection, name)
            newest = select(func.max(table.c.position)).where(table.c.name == name)
            first = (connection.execute(newest).scalar() or 0) + 1
            fresh = [key for key in wanted if key not in known]
            rows = [
                {"name": name, "key": key, "position": position, "removed": False}
                for position, key in enumerate(fresh, start=first)
            ]
            if rows:
                connection.execute(insert(table), rows)
            back = [key for key in wanted if known.get(key)]
            _mark(connection, name, back, removed=False)
        return len(fresh) + len(back)

    def remove_keys(self, name: str, keys: Sequence[str]) -> int:
        with self._database.write() as connection:
            known = _keys(connection, name)
            there = [key for key in dict.fromkeys(keys) if known.get(key) is False]
            _mark(connection, name, there, removed=True)
        return len(there)

    # ---- upkeep

    def check(self) -> list[str]:
        problems = self._database.problems()
        with self._database.read() as connection:
            problems += reading.inconsistencies(connection)
        version = migrations.stored_version(self._database)
        if version != migrations.VERSION:
            problems.append(f"the store is of version {version}, not {migrations.VERSION}")
        return problems

    def close(self) -> None:
        self._database.close()


def _keys(connection: Connection, name: str) -> dict[str, bool]:
    """Every key that was ever registered, with whether it was removed."""
    table = tables.dynamic_partitions
    found = select(table.c.key, table.c.removed).where(table.c.name == name)
    return dict(connection.execute(found).all())


def _mark(connection: Connection, name: str, keys: Sequence[str], *, removed: bool) -> None:
    table = tables.dynamic_partitions
    for key in keys:
        connection.execute(
            update(table).where(table.c.name == name, table.c.key == key).values(removed=removed)
        )
