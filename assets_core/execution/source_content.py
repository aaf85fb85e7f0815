"""What a source's function gave for a partition, as a token and a version of its content.

Small tables come back unhashed, so that many are hashed together. Nothing is recorded here.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets_core.declare.asset import Asset
from assets_core.errors import OutputError
from assets_core.execution.inputs import call_source
from assets_core.fingerprint.data_version import file_version, unique_version
from assets_core.fingerprint.hashing import UnhashableError
from assets_core.partitions import Partition
from assets_core.records import Version

if TYPE_CHECKING:
    import pyarrow as pa

    from assets_core.execution.task import Runtime

NOT_READ: Version = (0, 0)
"""The version of what was not read, as its token has not moved."""

UNSURE = "~"
"""Begins a token that may hide a change."""

_RACY_SECONDS = 2.0
"""A file changed this shortly before it was looked at may change again within one clock tick."""

_SMALL_ROWS = 4_096
_SMALL_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Seen:
    """What an observation found: the token, and the version when it was worth looking."""

    token: str
    version: Version
    rows: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Unhashed:
    """A small table, to be hashed with others."""

    token: str
    table: pa.Table


def content_of(
    runtime: Runtime, source: Asset, partition: Partition, token: str, known: str = ""
) -> Seen | Unhashed | None:
    """Call the function and look at what it gives; ``known`` is the token that was recorded.

    None when the partition is not there. Raises OutputError for what is neither rows nor a file,
    and whatever the function raises.
    """
    value = call_source(runtime, source, partition)
    if value is None:
        return None
    if isinstance(value, Path):
        return _file(source, value, token, known)
    return _rows(source, value, token)


def _file(source: Asset, path: Path, token: str, known: str) -> Seen | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise OutputError(
            f"Source {source.name!r} found {str(path)!r}, which is not a file.",
            hint="Return the path of one file for a partition.",
        )
    own = token or _file_token(found)
    if not token and own == known:
        return Seen(own, NOT_READ)
    version = file_version(path)
    return Seen(own, (version.hi, version.lo), bytes=found.st_size)


def _file_token(found: os.stat_result) -> str:
    # The change time too: the modification time can be set back, as copying tools do.
    text = f"{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_ino}"
    return (UNSURE if time.time() - found.st_mtime < _RACY_SECONDS else "") + text


def _rows(source: Asset, value: Any, token: str) -> Seen | Unhashed:
    from assets_core.tabular.outputs import to_reader

    output = to_reader(value, what=f"source {source.name!r}")
    table = output.table
    if table is None:
        assert output.reader is not None
        return hash_rows(token, output.reader)
    if table.num_rows <= _SMALL_ROWS and table.get_total_buffer_size() <= _SMALL_BYTES:
        return Unhashed(token, table)
    return hash_rows(token, table)


def hash_rows(token: str, data: pa.Table | pa.RecordBatchReader) -> Seen:
    """Rows hashed by themselves; of a type that has no hash, a version that equals no other."""
    from assets_core.fingerprint.row_hash.hasher import RowHasher

    try:
        hasher = RowHasher(data.schema)
    except UnhashableError:
        return Seen(token, unique_version())
    for batch in data.to_batches() if hasattr(data, "to_batches") else data:
        hasher.update(batch)
    return Seen(token, hasher.result(), hasher.rows)


def hash_together(many: Sequence[Unhashed]) -> list[Seen]:
    """The same for many tables at once. Raises whatever one of them gives cause for."""
    from assets_core.fingerprint.row_hash.hasher import data_versions

    versions = data_versions([rows.table for rows in many])
    return [
        Seen(rows.token, version, rows.table.num_rows)
        for rows, version in zip(many, versions, strict=True)
    ]
