"""DuckDB tables: one table per asset with the partition of each row, only the newest version.

A transactional store: fence row, delete and insert are one transaction of the file. What the
store notes about itself is ``_duckdb_catalog``'s business, how processes take turns with the
file ``_duckdb_file``'s.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

from assets_core.contracts import Fence, Found, Staged, Target
from assets_core.errors import (
    CorruptDataError,
    LeaseLostError,
    MissingDataError,
    OutputError,
    UsageError,
)
from assets_core.faults import reach
from assets_core.records import Receipt

if TYPE_CHECKING:
    import pyarrow as pa

    from io_managers._duckdb_catalog import FenceRow
    from io_managers._duckdb_file import DatabaseFile, Session
    from io_managers._duckdb_write import Swap

_GROUP_ROWS, _GROUP_BYTES = 122_880, 32 << 20


class DuckDBTables:
    """Partitions as rows of DuckDB tables in the file ``path`` (relative to the project's folder).

    ``schema`` holds the tables of ``prod``; environment ``dev`` has ``<schema>__dev``. ``timeout``
    is how many seconds to wait for a file that another process has open. ``config`` is passed to
    DuckDB (``{"memory_limit": "4GB"}``).
    """

    transactional = True

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

    def __repr__(self) -> str:
        return f"DuckDBTables({self._given!r})"

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
        from io_managers import _duckdb_file

        return _duckdb_file.shared(str(self._path), self._timeout, self._config)

    @contextlib.contextmanager
    def _session(self) -> Iterator[Session]:
        """A connection to a file that has our notes in it."""
        from io_managers import _duckdb_catalog as catalog

        with self._file.session() as session:
            self._file.prepare(catalog.prepare, session)
            yield session

    def _schema_of(self, environment: str) -> str:
        from io_managers import _duckdb_catalog as catalog

        if environment == "prod":
            return self._schema
        return catalog.bounded(f"{self._schema}__{environment}")

    # ---------------------------------------------------------------------------- stage

    def stage(self, target: Target, data: pa.RecordBatchReader | pa.Table | Path) -> Staged:
        """Write the rows to a staging table of their own. A failure leaves nothing behind."""
        if isinstance(data, os.PathLike):
            raise OutputError(
                "A DuckDB table can't hold a file.",
                facts={"asset": target.asset, "path": data},
                hint="Give the asset a file store: io='parquet' (ParquetFiles).",
            )
        location = _location(target)
        rows, size = self._load(target, _staging(target, location), data)
        return Staged(target, "table", location, rows, size)

    def stage_rejects(self, staged: Staged, rejects: pa.Table) -> Staged:
        """Write the rejected rows to a staging table beside the rows'."""
        location = _location(staged.target, "rejects")
        rows, _ = self._load(staged.target, _staging(staged.target, location), rejects)
        return replace(staged, rejects=location, rejected=rows)

    def _load(self, target: Target, name: str, data: Any) -> tuple[int, int]:
        """Rows and bytes that were loaded into the new staging table ``name``."""
        from io_managers import _duckdb_catalog as catalog
        from io_managers import _duckdb_types as types

        columns = types.logical(data.schema)
        load = _Load(data, types.physical(columns), target.partition)
        try:
            with self._session() as session, session.transaction():
                catalog.drop_staged(session, [name])
                reach("stage.created")
                load.into(session, name)
                catalog.note_staged(session, name, target.run, columns)
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
        from io_managers import _duckdb_read as reading

        if staged.kind != "table":
            raise _rowless()
        if staged.together:
            return next(self.audit_many([staged])).to_reader()
        name = _staging(staged.target, staged.location)
        found = None
        if self._file.exists():
            found = reading.staged_rows(self._file, name, staged.bytes, staged.rows)
        if found is None:
            raise _unstaged(staged)
        return found

    def discard(self, staged: Staged) -> None:
        """Remove the staging tables, if they are there."""
        from io_managers import _duckdb_catalog as catalog
        from io_managers import _duckdb_many as many

        reach("discard.begin")
        if self._file.exists():
            with self._file.writing, self._session() as session, session.transaction():
                if staged.together:
                    many.forget(session, staged)
                    catalog.drop_staged(session, _staging_tables(staged)[1:])
                else:
                    catalog.drop_staged(session, _staging_tables(staged))
        reach("discard.removed")

    # ---------------------------------------------------------------------------- publish

    def publish(self, staged: Staged, fact: str) -> Receipt:
        """Fence row, delete and insert in one transaction; LeaseLostError under a newer token."""
        if staged.together:
            result = self.publish_many([staged], [fact])[0]
            if isinstance(result, LeaseLostError):
                raise result
            return result
        with self._file.writing:
            with self._session() as session, session.transaction():
                reach("publish.begin")
                self._swap(session, staged, fact)
            reach("publish.committed")
            return self._confirmed(staged)

    def _swap(self, session: Session, staged: Staged, fact: str) -> None:
        from io_managers import _duckdb_catalog as catalog

        target = staged.target
        fence = catalog.fence_of(session, target)
        if fence is not None and fence.is_of(staged):
            return  # published already: a repeated call
        if fence is not None and fence.token >= target.token:
            raise _lost(staged, fence.token, fence.run)
        barred = catalog.barred(session, target)
        if barred >= target.token:
            raise _barred(staged, barred)
        names = _staging_tables(staged)
        columns = [catalog.staged_columns(session, name) or "" for name in names]
        if not all(columns):
            raise _unstaged(staged)
        catalog.raise_fence(session, staged, columns, fact, known=fence is not None)
        reach("publish.fenced")
        swaps = self._swaps(target, names, columns)
        tables = [(swap, swap.make_room(session)) for swap in swaps]
        there = [(swap, table) for swap, table in tables if table is not None]
        for swap, table in there:
            swap.delete(session, table)
        reach("publish.deleted")
        for swap, table in there:
            swap.insert(session, table)
        reach("publish.inserted")

    def _swaps(self, target: Target, names: list[str], columns: list[str]) -> list[Swap]:
        from io_managers import _duckdb_write as writing

        schema = self._schema_of(target.environment)
        return [
            writing.Swap(target, role, schema, name, column)
            for role, name, column in zip(
                (writing.ROWS, writing.REJECTS), [*names, "", ""], [*columns, "", ""], strict=False
            )
        ]

    def _confirmed(self, staged: Staged) -> Receipt:
        """The receipt, from the fence row as it is now: DuckDB commits a broken transaction
        without complaint."""
        from io_managers import _duckdb_catalog as catalog

        with self._session() as session:
            fence = catalog.fence_of(session, staged.target)
        return self._receipt(staged, fence)

    def _receipt(self, staged: Staged, fence: FenceRow | None) -> Receipt:
        if fence is None or fence.token < staged.target.token:
            raise CorruptDataError(
                "DuckDB did not keep what it committed.",
                facts={"path": self._path, "asset": staged.target.asset},
                hint="Check the disk; the old version still serves.",
            )
        if not fence.is_of(staged):
            raise _lost(staged, fence.token, fence.run)
        return fence.receipt(self._name)

    # ---------------------------------------------------------------------------- many at once

    def stage_many(self, targets: Sequence[Target], tables: Sequence[pa.Table]) -> list[Staged]:
        """Write the rows of all to one staging table. A failure leaves nothing behind."""
        from io_managers import _duckdb_catalog as catalog
        from io_managers import _duckdb_many as many

        load = many.Load(targets, tables)
        name = _staging(targets[0], _location(targets[0], "together"), "s")
        with self._session() as session, session.transaction():
            catalog.drop_staged(session, [name])
            reach("stage.created")
            load.into(session, name)
            catalog.note_staged(session, name, targets[0].run, load.columns)
            reach("stage.written")
        reach("stage.synced")
        reach("stage.folder_synced")
        return [
            Staged(target, "table", _location(target), len(table), table.nbytes, together=name)
            for target, table in zip(targets, tables, strict=True)
        ]

    def audit_many(self, staged: Sequence[Staged]) -> Iterator[pa.Table]:
        """The staged rows of each, read back by one query."""
        from io_managers import _duckdb_many as many

        if not self._file.exists():
            raise _unstaged(staged[0])
        with self._session() as session:
            found = many.staged_tables(session, staged, self._file.path)
        if found is None:
            raise _unstaged(staged[0])
        yield from found

    def publish_many(
        self, staged: Sequence[Staged], facts: Sequence[str]
    ) -> list[Receipt | LeaseLostError]:
        """All fence rows, one delete and one insert in one transaction."""
        from io_managers import _duckdb_catalog as catalog

        keys = [one.target.partition for one in staged]
        first = staged[0].target
        with self._file.writing:
            with self._session() as session, session.transaction():
                reach("publish.begin")
                refused = self._swap_many(session, staged, facts, keys)
            reach("publish.committed")
            with self._session() as session:
                fences = catalog.fences(session, first.environment, first.asset, keys)
        return [
            refused.get(key) or self._receipt(one, fences.get(key))
            for key, one in zip(keys, staged, strict=True)
        ]

    def _swap_many(
        self, session: Session, staged: Sequence[Staged], facts: Sequence[str], keys: list[str]
    ) -> dict[str, LeaseLostError]:
        """Swap those whose lease holds; why the others were refused, by partition."""
        from io_managers import _duckdb_catalog as catalog

        first = staged[0].target
        known = catalog.fences(session, first.environment, first.asset, keys)
        barred = catalog.barred_among(session, first.environment, first.asset, keys)
        columns: dict[str, str] = {}
        refused: dict[str, LeaseLostError] = {}
        going: list[tuple[Staged, list[str], str]] = []
        for key, one, fact in zip(keys, staged, facts, strict=True):
            fence = known.get(key)
            if fence is not None and fence.is_of(one):
                continue  # published already: a repeated call
            if fence is not None and fence.token >= one.target.token:
                refused[key] = _lost(one, fence.token, fence.run)
            elif barred.get(key, 0) >= one.target.token:
                refused[key] = _barred(one, barred[key])
            else:
                for name in _staging_tables(one):
                    if name not in columns:
                        columns[name] = catalog.staged_columns(session, name) or ""
                own = [columns[name] for name in _staging_tables(one)]
                if not all(own):
                    raise _unstaged(one)
                going.append((one, own, fact))
        if going:
            catalog.raise_fences(session, going, known)
            reach("publish.fenced")
            self._replace(session, going)
        return refused

    def _replace(self, session: Session, going: Sequence[tuple[Staged, list[str], str]]) -> None:
        """The rows of all by one delete and one insert; rejects, which are rare, one by one."""
        from io_managers import _duckdb_write as writing

        first = going[0][0]
        schema = self._schema_of(first.target.environment)
        keys = tuple(one.target.partition for one, _, _ in going)
        swaps = [
            writing.Swap(first.target, writing.ROWS, schema, first.together, going[0][1][0], keys)
        ]
        swaps += [
            writing.Swap(one.target, writing.REJECTS, schema, _staging_tables(one)[1], columns[1])
            for one, columns, _ in going
            if one.rejects
        ]
        tables = [swap.make_room(session) for swap in swaps]
        old_rejects = writing.Swap(first.target, writing.REJECTS, schema, together=keys)
        room = old_rejects.make_room(session)
        for swap, table in [(swaps[0], tables[0]), (old_rejects, room)]:
            if table is not None:
                swap.delete(session, table)
        reach("publish.deleted")
        for swap, table in zip(swaps, tables, strict=True):
            if table is not None:
                swap.insert(session, table)
        reach("publish.inserted")

    def discard_many(self, staged: Sequence[Staged]) -> None:
        """Remove the staging tables of all."""
        from io_managers import _duckdb_catalog as catalog

        reach("discard.begin")
        if self._file.exists() and staged:
            names = dict.fromkeys(name for one in staged for name in _staging_tables(one))
            with self._file.writing, self._session() as session, session.transaction():
                catalog.drop_staged(session, names)
        reach("discard.removed")

    # ---------------------------------------------------------------------------- read

    def _scan(self, receipts: Sequence[Receipt], role: str) -> Any:
        from io_managers import _duckdb_read as reading

        for receipt in receipts:
            if receipt.kind != "table":
                raise _rowless()
        if not self._file.exists():
            raise self._no_file()
        return reading.Scan(self._file, receipts, role)

    def _no_file(self) -> MissingDataError:
        return MissingDataError(
            "The duckdb file is not there.",
            facts={"path": self._path},
            hint="Restore it, or build its assets again: assets materialize --force",
        )

    def open(
        self, receipts: Sequence[Receipt], columns: Sequence[str] | None = None
    ) -> pa.RecordBatchReader:
        """The rows of these versions in the receipts' order, if they are the newest still."""
        reader: pa.RecordBatchReader = self._scan(receipts, "rows").reader(columns)
        return reader

    def read(self, receipts: Sequence[Receipt], columns: Sequence[str] | None = None) -> pa.Table:
        """What ``open`` gives, whole."""
        return self._scan(receipts, "rows").table(columns)

    def open_rejects(self, receipt: Receipt) -> pa.Table | None:
        """The rows set aside when this version was built, or None."""
        if not receipt.rejects:
            return None
        return self._scan([receipt], "rejects").table(None)

    def path(self, receipt: Receipt) -> Path:
        """A row of a table has no file of its own: UsageError."""
        raise UsageError(
            "A DuckDB table has no file for one partition.",
            facts={"location": receipt.location},
            hint="Ask for a table or a reader, or keep the asset in a file store.",
        )

    def verify(self, receipt: Receipt) -> None:
        """Read the version and its rejects whole."""
        if receipt.kind == "table":
            for _ in self.open([receipt]):
                pass
            self.open_rejects(receipt)

    # ---------------------------------------------------------------------------- recovery

    def expose(
        self, environment: str, asset: str, path_parts: tuple[str, ...], receipt: Receipt
    ) -> None:
        """Nothing: the table itself is what everybody sees."""

    def flush(self) -> None:
        """Nothing: a commit is durable."""
        reach("flush.begin")

    def fences(self, environment: str, asset: str, partitions: Sequence[str]) -> list[Fence]:
        """The fence rows of these partitions, in their order."""
        from io_managers import _duckdb_catalog as catalog

        if not self._file.exists():
            return []
        with self._session() as session:
            found = catalog.fences(session, environment, asset, partitions)
        return [found[key].fence() for key in partitions if key in found]

    def fence_off(self, environment: str, asset: str, tokens: Mapping[str, int]) -> None:
        """Refuse publishes under these tokens and older ones, by rows of their own: the fence
        rows tell what is published."""
        from io_managers import _duckdb_catalog as catalog

        with self._file.writing, self._session() as session, session.transaction():
            catalog.fence_off(session, environment, asset, tokens)

    def sweep(self, run: str, keep: Collection[str]) -> int:  # noqa: ARG002 -- a published version has no staging table
        """Remove the staging tables that a dead run left; the number of versions removed."""
        from io_managers import _duckdb_catalog as catalog

        if not self._file.exists():
            return 0
        with self._file.writing, self._session() as session, session.transaction():
            names = catalog.staged_by(session, run)
            catalog.drop_staged(session, names)
        return sum(name.startswith("s_") for name in names)

    def scan(self) -> Iterator[Found]:
        """The newest version of every partition."""
        from io_managers import _duckdb_catalog as catalog

        if not self._file.exists():
            return
        with self._session() as session:
            rows = list(catalog.all_fences(session))
        for row in rows:
            yield row.found(self._name)

    def close(self) -> None:
        """Close the file unless a reader is still open."""
        # A file that was never asked for need not load DuckDB to be closed.
        if "_file" in self.__dict__:
            self._file.close()


@dataclass
class _Load:
    """Rows on their way into a staging table: converted, counted, their failures kept."""

    data: Any
    stored: pa.Schema
    partition: str
    rows: int = 0
    bytes: int = 0
    failure: BaseException | None = None

    def into(self, session: Session, name: str) -> None:
        import pyarrow as pa

        from assets_core.partitions import quote_identifier

        # Without a column of its own the partition column carries the number of rows.
        bare = not len(self.stored)
        schema = pa.schema([("_partition", pa.string())]) if bare else self.stored
        chosen = "*" if bare else "*, ?::VARCHAR AS _partition"
        reader = pa.RecordBatchReader.from_batches(schema, self._batches())
        with session.incoming(reader) as incoming:
            session.run(
                f"CREATE TABLE _assets.{quote_identifier(name)} AS SELECT {chosen} FROM {incoming}",
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

        from io_managers import _duckdb_types as types
        from io_managers import _schemas

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


def _location(target: Target, *more: str) -> str:
    """The text by which a version is found: whose it is and which attempt made it."""
    names = [target.environment, target.asset, target.partition, target.run, target.attempt, *more]
    return json.dumps(names, separators=(",", ":"), ensure_ascii=False)


def _staging(target: Target, location: str, kind: str = "") -> str:
    """The staging table of a location; one attempt may make several assets."""
    kind = kind or ("s" if location == _location(target) else "r")
    return f"{kind}_{target.run}_{target.attempt}_{crc32(location.encode()):08x}"


def _staging_tables(staged: Staged) -> list[str]:
    """The staging tables of rows and rejects, as far as there are any."""
    locations = [staged.location, staged.rejects] if staged.kind == "table" else []
    names = [_staging(staged.target, location) for location in locations if location]
    return [staged.together, *names[1:]] if staged.together else names


def _unstaged(staged: Staged) -> MissingDataError:
    return MissingDataError(
        f"Nothing is staged for {staged.target.asset!r}.",
        facts={"partition": staged.target.partition, "attempt": staged.target.attempt},
        hint="It was discarded, or swept as a dead run's: run the step again.",
    )


def _lost(staged: Staged, token: int, run: str) -> LeaseLostError:
    target = staged.target
    return LeaseLostError(
        f"{target.asset!r} was published by another run meanwhile; this one published nothing.",
        facts={
            "partition": target.partition,
            "token": target.token,
            "newest": token,
            "by run": run,
        },
        hint="The newer version serves. Run again if this one should replace it.",
    )


def _barred(staged: Staged, token: int) -> LeaseLostError:
    target = staged.target
    return LeaseLostError(
        f"The lease on {target.asset!r} was taken from this run; it published nothing.",
        facts={"partition": target.partition, "token": target.token, "refused up to": token},
        hint="It gave no sign of life for too long, or was stopped. Run again.",
    )


def _rowless() -> UsageError:
    return UsageError(
        "An asset that writes its data by itself has no rows to read.",
        hint="Depend on it with depends_on=[...].",
    )
