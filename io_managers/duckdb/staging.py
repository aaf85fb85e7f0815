"""Staging rows in a DuckDB store, each attempt in tables of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

from assets_core.contracts import Query, Staged, Target
from assets_core.errors import MissingDataError, OutputError
from assets_core.faults import reach

if TYPE_CHECKING:
    import pyarrow as pa

    from io_managers.duckdb.file import Session
from io_managers.duckdb.database import Database, prepare, rowless

_GROUP_ROWS, _GROUP_BYTES = 122_880, 32 << 20


class Staging(Database):
    """Rows on their way in: seen by nobody, read back for the audit, thrown away or published."""

    def stage(self, target: Target, data: pa.RecordBatchReader | pa.Table | Path) -> Staged:
        """Write the rows to a staging table of their own. A failure leaves nothing behind."""
        if isinstance(data, os.PathLike):
            raise OutputError(
                "A DuckDB table can't hold a file.",
                facts={"asset": target.asset, "path": data},
                hint="Give the asset a file store: io='parquet' (ParquetFiles).",
            )
        location = location_of(target)
        rows, size = self._load(target, staging_name(target, location), data)
        return Staged(target, "table", location, rows, size)

    def stage_query(self, target: Target, query: Query, *, hold: bool = False) -> Staged:
        """Run the query here, and keep what it gives in a staging table."""
        from io_managers.duckdb import querying

        location = location_of(target)
        name = staging_name(target, location)
        if hold:
            self._file.give_way()
        with self._file.unchecked() as session:
            self._file.prepare(prepare, session)
            rows = querying.Running(self._file, session, query, name).stage(target, hold=hold)
        return Staged(target, "table", location, rows)

    def stage_rejects(self, staged: Staged, rejects: pa.Table) -> Staged:
        """Write the rejected rows to a staging table beside the rows'."""
        location = location_of(staged.target, "rejects")
        rows, _ = self._load(staged.target, staging_name(staged.target, location), rejects)
        return replace(staged, rejects=location, rejected=rows)

    def _load(self, target: Target, name: str, data: Any) -> tuple[int, int]:
        """Rows and bytes that were loaded into the new staging table ``name``."""
        from io_managers.duckdb import held, types

        columns = types.logical(data.schema)
        load = _Load(data, types.physical(columns), target.partition)
        try:
            with self._session() as session, session.transaction():
                held.drop(session, [name])
                reach("stage.created")
                load.into(session, held.place_of_new(name, hold=False))
                held.note(session, name, target.run, columns, hold=False)
                reach("stage.written")
            reach("stage.synced")
        except Exception:
            if load.failure is not None:  # the user's own, which DuckDB only knows the text of
                raise load.failure from None
            raise
        reach("stage.folder_synced")
        return load.rows, load.bytes

    def audit(self, staged: Staged) -> pa.RecordBatchReader:
        """The staged rows, read back."""
        from io_managers.duckdb import read as reading

        if staged.kind != "table":
            raise rowless()
        if staged.together:
            return next(self.audit_many([staged])).to_reader()
        name = staging_name(staged.target, staged.location)
        found = None
        if self._file.exists():
            found = reading.staged_rows(self._file, name, staged.bytes, staged.rows)
        if found is None:
            raise unstaged(staged)
        return found

    def discard(self, staged: Staged) -> None:
        """Remove the staging tables, if they are there."""
        from io_managers.duckdb import many

        reach("discard.begin")
        if self._file.exists():
            names = staging_tables(staged)
            with self._file.writing, self._session() as session:
                if staged.together:
                    with session.transaction():
                        many.forget(session, staged)
                self._drop(session, names[1:] if staged.together else names)
        reach("discard.removed")

    def stage_many(self, targets: Sequence[Target], tables: Sequence[pa.Table]) -> list[Staged]:
        """Write the rows of all to one staging table. A failure leaves nothing behind."""
        from io_managers.duckdb import held, many

        load = many.Load(targets, tables)
        name = staging_name(targets[0], location_of(targets[0], "together"), "s")
        with self._session() as session, session.transaction():
            held.drop(session, [name])
            reach("stage.created")
            load.into(session, held.place_of_new(name, hold=False))
            held.note(session, name, targets[0].run, load.columns, hold=False)
            reach("stage.written")
        reach("stage.synced")
        reach("stage.folder_synced")
        return [
            Staged(target, "table", location_of(target), len(table), table.nbytes, together=name)
            for target, table in zip(targets, tables, strict=True)
        ]

    def audit_many(self, staged: Sequence[Staged]) -> Iterator[pa.Table]:
        """The staged rows of each, read back by one query."""
        from io_managers.duckdb import many

        if not self._file.exists():
            raise unstaged(staged[0])
        with self._session() as session:
            found = many.staged_tables(session, staged, self._file.path)
        if found is None:
            raise unstaged(staged[0])
        yield from found

    def discard_many(self, staged: Sequence[Staged]) -> None:
        """Remove the staging tables of all."""
        reach("discard.begin")
        if self._file.exists() and staged:
            names = list(dict.fromkeys(name for one in staged for name in staging_tables(one)))
            with self._file.writing, self._session() as session:
                self._drop(session, names)
        reach("discard.removed")

    def _drop(self, session: Session, names: Sequence[str]) -> None:
        from io_managers.duckdb import held

        in_file = [name for name in names if name not in session.known.held]
        held.let_go(session, names)
        if in_file:
            with session.transaction():
                held.drop(session, in_file)


@dataclass
class _Load:
    """Rows on their way into a staging table: converted, counted, their failures kept."""

    data: Any
    stored: pa.Schema
    partition: str
    rows: int = 0
    bytes: int = 0
    failure: BaseException | None = None

    def into(self, session: Session, place: str) -> None:
        import pyarrow as pa

        # Without a column of its own the partition column carries the number of rows.
        bare = not len(self.stored)
        schema = pa.schema([("_partition", pa.string())]) if bare else self.stored
        chosen = "*" if bare else "*, ?::VARCHAR AS _partition"
        reader = pa.RecordBatchReader.from_batches(schema, self._batches())
        with session.incoming(reader) as incoming:
            session.run(
                f"CREATE TABLE {place} AS SELECT {chosen} FROM {incoming}",
                [] if bare else [self.partition],
            )

    def _batches(self) -> Iterator[Any]:
        try:
            for table in self._converted():
                yield from table.to_batches()
        except BaseException as error:
            self.failure = error
            raise

    def _converted(self) -> Iterator[Any]:
        import pyarrow as pa

        from io_managers import _schemas
        from io_managers.duckdb import types

        given = self.data.schema
        batches: Iterable[Any] = self.data
        if isinstance(self.data, pa.Table):
            batches = self.data.to_batches()
        for group in _schemas.regroup(batches, _GROUP_ROWS, _GROUP_BYTES):
            self.rows += len(group)
            self.bytes += group.nbytes
            if len(self.stored):
                yield types.to_physical(group, given, self.stored)
            else:
                yield pa.table({"_partition": pa.array([self.partition] * len(group), pa.string())})


def location_of(target: Target, *more: str) -> str:
    """The text by which a version is found: whose it is and which attempt made it."""
    names = [target.environment, target.asset, target.partition, target.run, target.attempt, *more]
    return json.dumps(names, separators=(",", ":"), ensure_ascii=False)


def staging_name(target: Target, location: str, kind: str = "") -> str:
    """The staging table of a location; one attempt may make several assets."""
    kind = kind or ("s" if location == location_of(target) else "r")
    return f"{kind}_{target.run}_{target.attempt}_{crc32(location.encode()):08x}"


def staging_tables(staged: Staged) -> list[str]:
    """The staging tables of rows and rejects, as far as there are any."""
    locations = [staged.location, staged.rejects] if staged.kind == "table" else []
    names = [staging_name(staged.target, location) for location in locations if location]
    return [staged.together, *names[1:]] if staged.together else names


def unstaged(staged: Staged) -> MissingDataError:
    return MissingDataError(
        f"Nothing is staged for {staged.target.asset!r}.",
        facts={"partition": staged.target.partition, "attempt": staged.target.attempt},
        hint="It was discarded, or swept as a dead run's: run the step again.",
    )
