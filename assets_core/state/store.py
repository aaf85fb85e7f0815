"""The state store: the contract, put together of its parts, and each write in one transaction.

What operations decide is in ``transaction``, what is read and written for it in ``writing``; the
reads of the contract are in the parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assets_core.contracts import Finish, Operation
from assets_core.partitions import KeySpace
from assets_core.records import Run
from assets_core.state import migrations, writing
from assets_core.state.backfills import StoredBackfills
from assets_core.state.dynamic_keys import DynamicKeys
from assets_core.state.interning import Interning
from assets_core.state.liveness import check_run_id
from assets_core.state.log import Log
from assets_core.state.runs import Runs
from assets_core.state.snapshots import Snapshots
from assets_core.state.sqlite import SqliteDatabase, connect

_LOST = """
    SELECT assets.environment, assets.name, s.partition
    FROM asset_partitions AS s
    JOIN assets ON assets.id = s.asset
    LEFT JOIN materializations AS m ON m.id = s.materialization
    WHERE s.materialization IS NOT NULL
    AND (m.id IS NULL OR m.asset != s.asset OR m.partition != s.partition OR s.facts IS NULL)
    LIMIT 20"""


class SqlStore(Snapshots, Log, Runs, StoredBackfills, DynamicKeys):
    """A StateStore on a SQL database. Safe to share by the threads of a process."""

    def __init__(self, database: SqliteDatabase) -> None:
        super().__init__(database)
        self._interning = Interning()
        self._writer = writing.Writer(self._interning, database.liveness.dead)

    @classmethod
    def open(cls, url: str, *, create: bool) -> SqlStore:
        """See :func:`assets_core.state.open_store`."""
        return cls(connect(url, create=create, prepare=migrations.prepare))

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

    # ---- upkeep

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
        from assets_core.state.compacting import Compaction

        compaction = Compaction(self._database, environment, spaces, before, keep_last)
        return compaction.counted() if dry_run else compaction.carried_out()

    def check(self) -> list[str]:
        problems = self._database.problems()
        problems += [
            f"{asset}[{key}] in {environment} points to a materialization that is not its own"
            for environment, asset, key in self._rows(_LOST)
        ]
        revision = self._value("SELECT value FROM counters WHERE name = 'revision'")
        newest = self._value("SELECT max(id) FROM materializations") or 0
        if newest > revision:
            problems.append(
                f"materialization {newest} is newer than the store's revision {revision}"
            )
        with self._database.read() as connection:
            version = migrations.stored_version(connection, self._database.where)
        if version != migrations.VERSION:
            problems.append(f"the store is of version {version}, not {migrations.VERSION}")
        return problems

    def close(self) -> None:
        self._database.close()
