"""A Delta table's log as the stores need it: newest version, fenced commit.

Files are committed by the client's own write transaction, without a retry of its own: it takes the
commit only as the successor of the version that the tokens were read from. Tokens are ``txn``
actions, which the log keeps for good, one application id for each kind and partition.
"""
# Strings and descriptors, like the Parquet store.
# ruff: noqa: PTH110, PTH208

from __future__ import annotations

import errno
import functools
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from deltalake import CommitProperties, DeltaTable, Schema, TableFeatures, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, create_table_with_add_actions

from assets_core.errors import StorageError
from io_managers.delta.stats import stats_of
from io_managers.lake import names
from io_managers.lake.log import Commit, OutrunError, TableVersion
from io_managers.lake.names import PARTITION
from io_managers.lake.types import Keeps
from io_managers.parquet import files as _files

_LOG = "_delta_log"
NOTE = "assets"
"""Under which name the table's history shows what we note of a commit."""


@dataclass(frozen=True)
class DeltaVersion:
    """The version that an open table stands at."""

    handle: DeltaTable
    keeps: Keeps
    number: int

    @functools.cached_property
    def schema(self) -> pa.Schema:
        """The physical columns, without that of the partition."""
        columns = pa.schema(self.handle.schema().to_arrow())
        return self.keeps.plain(pa.schema([f for f in columns if f.name != PARTITION]))

    def files(self, partition: str) -> list[str]:
        """The names of the files that hold a partition's rows."""
        if "_all" in self.__dict__:
            return self._all.get(partition, [])
        uris = self.handle.file_uris(file_pruning_predicate=[(PARTITION, "=", partition)])
        return [uri.rpartition("/")[2] for uri in uris]

    def all_files(self) -> dict[str, list[str]]:
        """The same of all partitions."""
        return self._all

    @functools.cached_property
    def _all(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        adds = self._adds()
        paths, keys = adds.column("path").to_pylist(), adds.column(f"partition.{PARTITION}")
        for path, key in zip(paths, keys.to_pylist(), strict=True):
            found.setdefault(key, []).append(path.rpartition("/")[2])
        return found

    def _adds(self) -> pa.Table:
        return pa.table(self.handle.get_add_actions(flatten=True))

    def token(self, kind: str, partition: str) -> int:
        """The token of that kind that was kept last; 0 for none."""
        return self.handle.transaction_version(app_id(kind, partition)) or 0

    def rewritten(self, partition: str, since: int) -> pa.Table | None:
        """The rows of a partition whose files were put together anew after ``since`` ms."""
        adds = self._adds()
        mine = adds.filter(pc.equal(adds.column(f"partition.{PARTITION}"), partition))
        oldest = pc.min(mine.column("modification_time")).cast(pa.timestamp("ms", "UTC"))
        if oldest.value < since:
            return None
        rows = self.handle.to_pyarrow_dataset(
            file_pruning_predicate=[(PARTITION, "=", partition)]
        ).to_table()
        return rows.drop_columns([PARTITION])


def app_id(kind: str, partition: str) -> str:
    """Under which id a token is a ``txn`` of the table."""
    return f"assets/{kind}/{names.digest(partition)}"


class DeltaLog:
    """The log of the table in ``folder``."""

    def __init__(self, folder: str, keeps: Keeps) -> None:
        self.folder = folder
        self._keeps = keeps
        self._handle: DeltaTable | None = None

    def exists(self) -> bool:
        """Whether there is such a table."""
        try:
            return any(name.endswith(".json") for name in os.listdir(f"{self.folder}/{_LOG}"))
        except FileNotFoundError:
            return False

    def create(self, schema: pa.Schema) -> None:
        """Make the table, unless somebody else has."""
        _files.make_folder(self.folder)
        try:
            create_table_with_add_actions(
                self.folder, _declared(schema), [], mode="error", partition_by=[PARTITION]
            )
        except DeltaError as error:
            if not self.exists():
                raise _storage_error(error, self.folder) from error
        self._sync(0)

    def newest(self) -> TableVersion:
        """Its newest version."""
        try:
            handle = self._opened()
        except DeltaError as error:
            raise _storage_error(error, self.folder) from error
        return DeltaVersion(handle, self._keeps, handle.version())

    def _opened(self) -> DeltaTable:
        handle = self._handle
        if handle is None or not os.path.exists(self._entry(handle.version())):
            self._handle = handle = DeltaTable(self.folder)
        elif os.path.exists(self._entry(handle.version() + 1)):
            handle.update_incremental()
        return handle

    def _entry(self, number: int) -> str:
        return f"{self.folder}/{_LOG}/{number:020}.json"

    def commit(self, onto: TableVersion, commit: Commit) -> None:
        """Make a change durable, as the successor of ``onto`` or not at all."""
        assert isinstance(onto, DeltaVersion)
        schema = onto.schema if commit.schema is None else commit.schema
        try:
            self._prepare(onto, schema)
            onto.handle.create_write_transaction(
                list(self._actions(commit)),
                "overwrite" if commit.replaced else "append",
                _declared(schema),
                [PARTITION],
                [(PARTITION, "in", list(commit.replaced))] if commit.replaced else None,
                commit_properties=_properties(commit),
            )
        except CommitFailedError as error:
            raise OutrunError from error
        except DeltaError as error:
            raise _storage_error(error, self.folder) from error
        self._sync(onto.number + 1)

    def _prepare(self, onto: DeltaVersion, schema: pa.Schema) -> None:
        """Turn on what the columns need of readers. What is not needed leaves more readers."""
        protocol = onto.handle.protocol()
        if not any(_has_local_time(f.type) for f in schema):
            return
        if "timestampNtz" in (protocol.reader_features or ()):
            return
        onto.handle.alter.add_feature(
            TableFeatures.TimestampWithoutTimezone,
            allow_protocol_versions_increase=True,
            commit_properties=CommitProperties(max_commit_retries=0),
        )
        raise OutrunError  # by ourselves: the next attempt finds it turned on

    def _actions(self, commit: Commit) -> Iterator[AddAction]:
        for one in commit.added:
            path = f"{names.folder_of(one.partition)}/{one.name}"
            yield AddAction(
                path,
                os.path.getsize(f"{self.folder}/{path}"),  # noqa: PTH202
                {PARTITION: one.partition},
                time.time_ns() // 1_000_000,
                True,
                stats_of(f"{self.folder}/{path}"),
            )

    def _sync(self, number: int) -> None:
        """Force a log entry to disk: the client leaves that to the system."""
        with _files.storage_errors(self.folder):
            entry = os.open(self._entry(number), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(entry)
            finally:
                os.close(entry)
            _files.sync_folder(f"{self.folder}/{_LOG}")


def _declared(schema: pa.Schema) -> Schema:
    return Schema.from_arrow(schema.append(pa.field(PARTITION, pa.string())))


def _properties(commit: Commit) -> CommitProperties:
    return CommitProperties(
        custom_metadata={NOTE: json.dumps(dict(commit.note), ensure_ascii=False)},
        max_commit_retries=0,
        app_transactions=[
            Transaction(app_id(kind, partition), token)
            for (kind, partition), token in commit.tokens.items()
        ],
    )


def _has_local_time(kind: Any) -> bool:
    if pt.is_timestamp(kind):
        return kind.tz is None
    fields = [kind.field(i) for i in range(kind.num_fields)]
    return any(_has_local_time(field.type) for field in fields)


def _storage_error(error: Exception, folder: str) -> StorageError:
    text = str(error)
    if os.strerror(errno.ENOSPC) in text:
        return _files.storage_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), folder)
    return StorageError(
        "The Delta table could not be read or changed.",
        facts={"table": folder, "reason": text},
        hint="What it showed before still serves.",
    )
