"""Version files on disk: stored durably under a name that verifies them, and opened again.

Sits between the encoded bytes (``_pages``) and the store that knows of partitions (``parquet``).
"""
# Strings and descriptors: this is the path of every tiny partition.
# ruff: noqa: PTH113, PTH119, PTH123

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any
from urllib.parse import unquote
from zlib import crc32

import pyarrow as pa

from assets_core.errors import CorruptDataError, MissingDataError, OutputError
from assets_core.faults import reach
from io_managers import _schemas
from io_managers.parquet import files as _files
from io_managers.parquet import names as _names
from io_managers.parquet import pages as _pages
from io_managers.parquet.pages import Layout, PreparedSchema, Tail, Written

NO_SCHEMA = "0" * 8
_THREADS = 8  # most of them wait for the disk
_syncing = threading.Lock()
"""Files that are created while the disk commits others wait for it: one group after the other."""
_OPEN_FILES = 256  # at a time: a process may often have no more than 1,024
_OPEN = os.O_RDONLY | os.O_CLOEXEC


def store_rows(
    folder: str, stem: str, suffix: str, data: Any, layout: Layout, facts: bytes
) -> tuple[str, Written]:
    """Store a table or a reader's batches; the file's name and what was written.

    What ``data`` raises passes unchanged. Nothing is left behind by a failure.
    """
    prepared = layout.prepare(data.schema)
    if isinstance(data, pa.Table) and data.nbytes <= _pages.SMALL:
        return _store_small(folder, stem, suffix, data, prepared, layout, facts)
    batches = data.to_batches() if isinstance(data, pa.Table) else data
    groups = iter(_schemas.regroup(batches, layout.rows, _pages.GROUP_BYTES))
    head = list(itertools.islice(groups, 2))
    if len(head) < 2 and sum(table.nbytes for table in head) <= _pages.SMALL:
        whole = head[0] if head else data.schema.empty_table()
        return _store_small(folder, stem, suffix, whole, prepared, layout, facts)
    groups = itertools.chain(head, groups)
    del head
    return _store_stream(folder, stem, suffix, groups, prepared, facts)


def lay_rows(
    folder: str, stem: str, table: pa.Table, layout: Layout, facts: bytes
) -> tuple[str, Written]:
    """`store_rows` for a small table that is not durable before `sync_all` of its file."""
    prepared = layout.prepare(table.schema)
    return _store_small(folder, stem, _names.ROWS, table, prepared, layout, facts, durably=False)


Job = tuple[str, pa.Table, bytes]
"""What a file's name begins with, its rows, and what is noted of it."""


def store_many(folder: str, jobs: Sequence[Job], layout: Layout) -> list[tuple[str, Written]]:
    """`store_rows` for many tables of one folder: encoded and synced by threads, the folder once.

    The file system commits syncs that come together in one go, which is most of their price.
    """
    with _files.storage_errors(folder):
        place = _files.open_folder(folder)
    stored: list[tuple[str, Written]] = []
    try:
        with ThreadPoolExecutor(_THREADS, "store-many") as pool:
            for start in range(0, len(jobs), _OPEN_FILES):
                group = jobs[start : start + _OPEN_FILES]
                _store_group(pool, place, folder, group, layout, stored)
        reach("stage.synced")
        with _files.storage_errors(folder):
            os.fsync(place)
        reach("stage.folder_synced")
    except BaseException:
        for name, _ in stored:
            _files.remove(name, place)
        raise
    finally:
        os.close(place)
    return stored


def _store_group(
    pool: ThreadPoolExecutor,
    place: int,
    folder: str,
    jobs: Sequence[Job],
    layout: Layout,
    stored: list[tuple[str, Written]],
) -> None:
    """Write and sync files; their names go to ``stored`` before anything of them is there."""
    files: list[int] = []
    syncs: list[Future[None]] = []
    try:
        encoded = [_encoded(job, layout) for job in jobs]
        with _syncing:
            for name, written, data in encoded:
                stored.append((name, written))
                files.append(_written(place, folder, name, data))
            reach("stage.written")
            syncs += [pool.submit(os.fsync, file) for file in files]
            wait(syncs)
    finally:
        # Before the files are closed: their numbers may be those of other files right after.
        wait(syncs)
        for file in files:
            os.close(file)
    with _files.storage_errors(folder):
        for sync in syncs:
            sync.result()


def _encoded(job: Job, layout: Layout) -> tuple[str, Written, memoryview]:
    stem, table, facts = job
    prepared = layout.prepare(table.schema)
    data = memoryview(_pages.encode(table, prepared, facts, layout.rows))
    tail = Tail(len(data), crc32(data))
    name = _name(stem, prepared.print, tail, _names.ROWS)
    return name, Written(len(table), len(data), tail), data


def _written(place: int, folder: str, name: str, data: memoryview) -> int:
    """The descriptor of a new file that holds ``data``, not yet synced."""
    with _files.storage_errors(f"{folder}/{name}", len(data)):
        file = _files.create(name, place)
        try:
            reach("stage.created")
            _files.write_all(file, data)
        except BaseException:
            os.close(file)
            raise
    return file


def _store_small(
    folder: str,
    stem: str,
    suffix: str,
    table: pa.Table,
    prepared: PreparedSchema,
    layout: Layout,
    facts: bytes,
    *,
    durably: bool = True,
) -> tuple[str, Written]:
    data = memoryview(_pages.encode(table, prepared, facts, layout.rows))
    tail = Tail(len(data), crc32(data))
    name = _name(stem, prepared.print, tail, suffix)
    with _files.storage_errors(f"{folder}/{name}", len(data)):
        place = _files.open_folder(folder, durably=durably)
        try:
            _files.create_whole(name, place, data, durably=durably)
        finally:
            os.close(place)
    return name, Written(len(table), len(data), tail)


def _name(stem: str, schema: str, tail: Tail, suffix: str) -> str:
    return f"{stem}.{schema}-{tail.size}-{tail.crc:08x}{suffix}"


def _store_stream(
    folder: str,
    stem: str,
    suffix: str,
    groups: Iterator[pa.Table],
    prepared: PreparedSchema,
    facts: bytes,
) -> tuple[str, Written]:
    path = f"{folder}/{stem}{suffix}{_names.PART}"

    def write(file: int) -> Written:
        return _pages.write_stream(_pages.Sink(file, path), groups, prepared, facts)

    return _store_part(path, write, lambda tail: _name(stem, prepared.print, tail, suffix))


def _store_part(
    path: str, write: Callable[[int], Written], name: Callable[[Tail], str]
) -> tuple[str, Written]:
    """Write a file whose final name is known only when it is whole."""
    folder, part = os.path.split(path)
    final = part
    with _files.storage_errors(path):
        place = _files.open_folder(folder)
        file = _files.create(part, place)
    try:
        reach("stage.created")
        written = write(file)
        final = name(written.tail)
        with _files.storage_errors(path, written.bytes):
            _files.settle(file, part, final, place)
    except BaseException:
        _files.remove(part, place)
        _files.remove(final, place)
        raise
    finally:
        os.close(file)
        os.close(place)
    return final, written


def store_file(folder: str, stem: str, source: str, facts: bytes) -> tuple[str, Written]:
    """Copy an opaque file in. ``facts`` lie beside it, for it has no footer to hold them."""
    suffix = _names.FILE + _names.file_suffix(os.path.basename(source))
    path = f"{folder}/{stem}{_names.FILE}{_names.PART}"
    if not os.path.isfile(source):
        raise OutputError(
            "The returned path is not a file.",
            facts={"path": source},
            hint="Return the path of one file; pack a folder into an archive.",
        )

    def write(file: int) -> Written:
        return _copy(source, file, path)

    name, written = _store_part(path, write, lambda tail: _name(stem, NO_SCHEMA, tail, suffix))
    try:
        with _files.storage_errors(path, len(facts)):
            place = _files.open_folder(folder)
            try:
                _files.create_whole(name + ".json", place, memoryview(facts))
            finally:
                os.close(place)
    except BaseException:
        _files.remove(f"{folder}/{name}")
        raise
    return name, written


def _copy(source: str, file: int, path: str) -> Written:
    size = crc = 0
    with open(source, "rb", buffering=0) as old:
        total = os.fstat(old.fileno()).st_size
        while data := old.read(1 << 20):
            with _files.storage_errors(path, total):
                _files.write_all(file, memoryview(data))
            crc = crc32(data, crc)
            size += len(data)
    return Written(0, size, Tail(size, crc))


# --------------------------------------------------------------------------------------------
# Opening


def open_version(path: str, location: str) -> int:
    """A descriptor of a version; MissingDataError where there is none."""
    try:
        return os.open(path, _OPEN)
    except FileNotFoundError:
        raise missing(location) from None
    except OSError as error:
        raise _files.storage_error(error, path) from error


def missing(location: str) -> MissingDataError:
    """The error for a version that is not there, with the command that makes it again."""
    asset, partition = _whose(location)
    return MissingDataError(
        f"The data of {asset!r} is not there.",
        facts={"asset": asset, "partition": partition, "location": location},
        hint=f"Build it again: {_again(asset, partition)}",
    )


def _whose(location: str) -> tuple[str, str]:
    folder = location.partition("/")[0]
    return unquote(folder), unquote(_names.parse_location(location).key)


def _again(asset: str, partition: str) -> str:
    option = f" --partition {shlex.quote(partition)}" if partition != "all" else ""
    return f"assets materialize {shlex.quote(asset)}{option} --force"


@contextlib.contextmanager
def _opened(path: str, location: str) -> Iterator[int]:
    """A version's descriptor; what is found damaged in it is told by its asset and partition."""
    file = open_version(path, location)
    try:
        yield file
    except CorruptDataError as error:
        asset, partition = _whose(location)
        error.facts = {"asset": asset, "partition": partition, **error.facts}
        error.hint = f"Check the disk, then build it again: {_again(asset, partition)}"
        raise
    finally:
        os.close(file)


def read_version(path: str, location: str, tail: Tail, columns: Any = None) -> pa.Table:
    """All rows of one version, verified."""
    with _opened(path, location) as file:
        return _pages.read(file, path, tail, columns)


def stream_version(path: str, location: str, tail: Tail, columns: Any = None) -> Iterator[pa.Table]:
    """A large version row group by row group, each verified when it is read."""
    with _opened(path, location) as file:
        yield from _reader(file, path, tail).groups(columns)


def schema_of(path: str, location: str, tail: Tail) -> pa.Schema:
    """The columns of a version."""
    with _opened(path, location) as file:
        return _reader(file, path, tail).schema


def facts_of(path: str, location: str, tail: Tail) -> tuple[bytes, int]:
    """What was noted in a version's footer, and its rows."""
    with _opened(path, location) as file:
        reader = _reader(file, path, tail)
        return reader.metadata.get(_pages.FACTS, b"{}"), reader.rows


def verify_rows(path: str, location: str, tail: Tail, *, decode: bool) -> None:
    """Read every byte (``decode``: and every row); CorruptDataError when not as written."""
    with _opened(path, location) as file:
        reader = _reader(file, path, tail)
        reader.verify()
        for _ in reader.groups(None) if decode else ():
            pass


def verify_file(path: str, location: str, tail: Tail) -> None:
    """Read every byte of an opaque file."""
    with _opened(path, location) as file:
        if _pages.file_crc(file) != tail:
            raise _pages.corrupt(path, "its checksum is another than when it was written")


def _reader(file: int, path: str, tail: Tail) -> _pages.Reader:
    return _pages.Reader(file, os.fstat(file).st_size, path, tail)
