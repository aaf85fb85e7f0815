"""Observing sources: a cheap token first, the content only when the token moved."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from assets_core.asset import Asset
from assets_core.contracts import Publish, StateStore
from assets_core.dataversion import data_version, file_version, unique_version
from assets_core.durations import parse_duration
from assets_core.errors import OutputError, UserCodeError
from assets_core.execute.inputs import call_source
from assets_core.execute.step import Runtime
from assets_core.hashing import UnhashableError, hexdigest
from assets_core.partitions import Partition
from assets_core.records import Code, Materialization, Receipt, Version
from assets_core.staleness import Facts

_RACY_SECONDS = 2.0
"""A file changed this shortly before it was looked at may change again within one clock tick."""

_UNSURE = "~"
_GROUP = 500


@dataclass(frozen=True, slots=True)
class Seen:
    """What an observation found: the token, and the version when it was worth looking."""

    token: str
    version: Version
    rows: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Looked:
    """What looking at partitions of one source came to; see `Sightings`."""

    moved: int = 0
    errors: dict[int, Exception] = field(default_factory=dict)
    gone: list[int] = field(default_factory=list)


def observe(
    runtime: Runtime, store: StateStore, facts: Facts, source: Asset, ordinals: Sequence[int]
) -> Looked:
    """Observe these partitions of a source and record what moved.

    A partition that is not there (yet) is left out; one that has vanished keeps its last version.
    An error of the source's function concerns its partition alone.
    """
    own, space = facts.assets[source.name], facts.spaces[source.name]
    ids = own.id[np.asarray(ordinals, np.int64)].tolist()
    receipts = store.receipts([i for i in ids if i])
    moved: list[Publish] = []
    found = Looked()
    for ordinal, recorded in zip(ordinals, ids, strict=True):
        partition = space.partition(ordinal)
        known = receipts.get(recorded)
        try:
            seen = _look(runtime, source, partition, known.location if known else "")
        except UserCodeError as error:
            found.errors[ordinal] = error
            continue
        if seen is None:
            found.gone += [ordinal] if known is not None else []
            continue
        if seen.version == _NOT_READ:
            continue
        if known is not None and (known.location, own.version(ordinal)) == (
            seen.token,
            seen.version,
        ):
            continue
        moved.append(Publish(_fact(runtime, source, partition, seen), lease=False))
        found.moved += known is None or seen.version != own.version(ordinal)
        if len(moved) >= _GROUP:
            store.transact(moved)
            moved.clear()
    if moved:
        store.transact(moved)
    return found


_NOT_READ: Version = (0, 0)


def _look(runtime: Runtime, source: Asset, partition: Partition, known: str) -> Seen | None:
    """None when the partition is not there; version (0, 0) when the token has not moved."""
    try:
        if source.token is not None:
            token = str(call_source(runtime, source, partition, token=True))
            if token == known:
                return Seen(token, _NOT_READ)
            return _content(runtime, source, partition, token)
        return _content(runtime, source, partition, "", known)
    except UserCodeError:
        raise
    except Exception as error:
        raise UserCodeError(
            f"Source {source.name!r} could not be observed: {type(error).__name__}: {error}",
            facts={"partition": partition.key, "declared": source.location},
            hint="Return None when a partition is not there yet.",
        ) from error


def _content(
    runtime: Runtime, source: Asset, partition: Partition, token: str, known: str = ""
) -> Seen | None:
    value = call_source(runtime, source, partition)
    if value is None:
        return None
    if isinstance(value, Path):
        return _file(source, value, token, known)
    version, rows = _rows(source, value)
    return Seen(token, version, rows)


def _file(source: Asset, path: Path, token: str, known: str) -> Seen | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if not path.is_file():
        raise OutputError(
            f"Source {source.name!r} found {str(path)!r}, which is not a file.",
            hint="Return the path of one file for a partition.",
        )
    own = token or _file_token(found)
    if not token and own == known:
        return Seen(own, _NOT_READ)
    version = file_version(path)
    return Seen(own, (version.hi, version.lo), bytes=found.st_size)


def _file_token(found: os.stat_result) -> str:
    # The change time too: the modification time can be set back, as copying tools do.
    text = f"{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_ino}"
    return (_UNSURE if time.time() - found.st_mtime < _RACY_SECONDS else "") + text


def _rows(source: Asset, value: Any) -> tuple[Version, int]:
    from assets_core.rowhash import RowHasher
    from assets_core.tabular import to_reader

    output = to_reader(value, what=f"source {source.name!r}")
    data = output.table if output.table is not None else output.reader
    assert data is not None
    try:
        if output.table is not None:
            version, rows = data_version(output.table), output.table.num_rows
        else:
            hasher = RowHasher(data.schema)
            for batch in data:
                hasher.update(batch)
            version, rows = hasher.result(), hasher.rows
    except UnhashableError:
        version, rows = unique_version(), 0
    return (version.hi, version.lo), rows


def _fact(runtime: Runtime, source: Asset, partition: Partition, seen: Seen) -> Materialization:
    now = time.time_ns() // 1000
    deadline = 0
    if source.freshness is not None and partition.end is not None:
        within = parse_duration(source.freshness.lands_within)
        deadline = int((partition.end + within).timestamp() * 1_000_000)
    # A token that can't be trusted must never equal the next one.
    token = f"{seen.token}@{now}" if seen.token.startswith(_UNSURE) else seen.token
    return Materialization(
        environment=runtime.environment,
        asset=source.name,
        partition=partition.key,
        code=Code(hexdigest("source")),
        input_digest=_NOT_READ,
        data_version=seen.version,
        receipt=Receipt("", "none", token, 0, rows=seen.rows, bytes=seen.bytes),
        started=now,
        finished=now,
        kind="observed",
        deadline=deadline,
    )
