"""Parquet bytes that prove themselves: every byte of a file is covered by a checksum.

Parquet's own page checksums leave page headers and the footer open. So a file is split in two:
*blocks*, whose CRC-32s stand in the footer, and the *tail* (the footer; of a small file, all of
it), whose length and CRC-32 the caller keeps (in the file's name). Files remain plain Parquet.
Knows nothing of folders, partitions and receipts.
"""

from __future__ import annotations

import base64
import io
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from zlib import crc32

import pyarrow as pa
import pyarrow.parquet as pq

from assets_core.errors import CorruptDataError
from io_managers import _schemas
from io_managers.parquet import files as _files

SMALL = 8 << 20
"""Bytes up to which a table is encoded, written, read and verified in one piece."""

BLOCK = 256 << 10
GROUP_BYTES = 64 << 20
FACTS = b"assets"
BLOCKS = b"assets.blocks"


@dataclass(frozen=True, slots=True)
class Tail:
    """The last ``size`` bytes of a file and their CRC-32; of a small file, the whole file."""

    size: int
    crc: int


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: rows, bytes of the file, and the tail that verifies it."""

    rows: int
    bytes: int
    tail: Tail


class Layout:
    """How tables are encoded: compression, rows to a group. Keeps the options of each schema."""

    def __init__(self, compression: str, level: int | None, row_group_size: int) -> None:
        self.rows = row_group_size
        self._options = {
            "compression": compression,
            "compression_level": level,
            "write_page_checksum": True,
        }
        self._prepared: dict[pa.Schema | bytes, PreparedSchema] = {}

    def prepare(self, schema: pa.Schema) -> PreparedSchema:
        """The schema as it is stored with its writer options; OutputError for what can't be."""
        # Before pyarrow 18 a schema with metadata has no hash.
        key = schema.serialize().to_pybytes() if schema.metadata else schema
        found = self._prepared.get(key)
        if found is None or not found.given.equals(schema, check_metadata=True):
            found = self._prepare(schema)
            if len(self._prepared) >= 4096:  # a bound, so that a service can run for years
                self._prepared.clear()
            self._prepared[key] = found
        return found

    def _prepare(self, schema: pa.Schema) -> PreparedSchema:
        _schemas.check_names(schema)
        stored = _schemas.without_frame_metadata(schema)
        _check_types(stored)
        # In a small table a dictionary of numbers is longer than the numbers, and slow.
        texts = [f.name for f in stored if _is_variable(f.type)]
        return PreparedSchema(
            given=schema,
            schema=stored,
            same=stored.equals(schema, check_metadata=True),
            print=f"{crc32(stored.remove_metadata().serialize()):08x}",
            small={**self._options, "use_dictionary": texts or False},
            large=self._options,
        )


@dataclass(frozen=True, slots=True)
class PreparedSchema:
    """A schema with the ``print`` that names it and the writer's options for it."""

    given: pa.Schema
    schema: pa.Schema
    same: bool
    print: str
    small: dict[str, Any]
    large: dict[str, Any]

    def fit(self, table: pa.Table) -> pa.Table:
        """``table`` under the stored schema."""
        return table if self.same else table.replace_schema_metadata(self.schema.metadata)


def _is_variable(kind: pa.DataType) -> bool:
    return str(kind).startswith(("string", "large_string", "binary", "large_binary", "dictionary"))


def _check_types(schema: pa.Schema) -> None:
    """Encode each column empty: what Parquet can't store fails here, by name."""
    for field in schema:
        alone = pa.schema([field])
        try:
            encode_empty(alone)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
            why = str(error).splitlines()[0]
            raise _schemas.unstorable(field.name, field.type, "Parquet", why) from error


def encode_empty(schema: pa.Schema) -> None:
    """Encode a table of no rows and forget it."""
    with pq.ParquetWriter(pa.BufferOutputStream(), schema) as writer:
        writer.write_table(schema.empty_table())


# --------------------------------------------------------------------------------------------
# Writing


def encode(table: pa.Table, prepared: PreparedSchema, facts: bytes, rows: int) -> pa.Buffer:
    """A small table as the bytes of a file."""
    sink = pa.BufferOutputStream()
    writer = pq.ParquetWriter(sink, prepared.schema, **prepared.small)
    writer.write_table(prepared.fit(table), row_group_size=rows)
    writer.add_key_value_metadata({FACTS: facts})
    writer.close()
    return sink.getvalue()


def write_stream(
    sink: Sink, groups: Iterable[pa.Table], prepared: PreparedSchema, facts: bytes
) -> Written:
    """Write tables as row groups, holding no more than one of them."""
    writer = pq.ParquetWriter(sink, prepared.schema, **prepared.large)
    rows = 0
    for group in groups:
        writer.write_table(prepared.fit(group), row_group_size=max(1, len(group)))
        rows += len(group)
    # A row group's pages are all in the sink when write_table returns, so what follows is the
    # footer. Were it more, it would only lengthen the tail.
    covered, blocks = sink.end_blocks()
    writer.add_key_value_metadata({FACTS: facts, BLOCKS: _pack(covered, blocks)})
    writer.close()
    return Written(rows, sink.position, sink.finish())


def _pack(covered: int, blocks: Sequence[int]) -> bytes:
    numbers = struct.pack(f"<QI{len(blocks)}I", covered, BLOCK, *blocks)
    return base64.b64encode(numbers)


def _unpack(text: bytes) -> tuple[int, int, tuple[int, ...]]:
    numbers = base64.b64decode(text)
    count = (len(numbers) - 12) // 4
    covered, block, *blocks = struct.unpack(f"<QI{count}I", numbers)
    return covered, block, tuple(blocks)


class Sink(io.RawIOBase):
    """Takes a writer's bytes, passes them on in large pieces and keeps the CRC of each block.

    It fails with StorageError, so that an OSError of the user's own generator stays apart.
    """

    def __init__(self, file: int, path: str) -> None:
        self._file = file
        self._path = path
        self._held = bytearray()
        self._blocks: list[int] | None = []
        self._covered = 0
        self._tail = 0
        self.position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def write(self, data: Any) -> int:
        self._held += data
        self.position += len(data)
        if self._blocks is None:
            self._tail = crc32(data, self._tail)
        if len(self._held) >= 4 * BLOCK:
            self._drain(len(self._held) // BLOCK * BLOCK)
        return len(data)

    def _drain(self, size: int) -> None:
        with memoryview(self._held) as held, held[:size] as piece:
            if self._blocks is not None:
                for start in range(0, size, BLOCK):
                    self._blocks.append(crc32(piece[start : start + BLOCK]))
            with _files.storage_errors(self._path, self.position):
                _files.write_all(self._file, piece)
        del self._held[:size]

    def end_blocks(self) -> tuple[int, list[int]]:
        """All bytes so far are blocks, all from here on are the tail."""
        self._drain(len(self._held))
        blocks, self._blocks = self._blocks or [], None
        self._covered = self.position
        return self._covered, blocks

    def finish(self) -> Tail:
        """Hand over the rest; the tail that was written."""
        self._drain(len(self._held))
        return Tail(self.position - self._covered, self._tail)


# --------------------------------------------------------------------------------------------
# Reading


def read(file: int, path: str, tail: Tail, columns: Sequence[str] | None) -> pa.Table:
    """All rows of a file, verified. ``columns`` that the file lacks are left out."""
    size = os.fstat(file).st_size
    if size != tail.size:
        return pa.concat_tables(Reader(file, size, path, tail).groups(columns))
    data = _files.pread(file, size, 0)
    if crc32(data) != tail.crc:
        raise corrupt(path, "the checksum of its bytes is another than when it was written")
    return decode(pa.BufferReader(data), path, columns, threads=size > 1 << 20)


def decode(source: Any, path: str, columns: Sequence[str] | None, *, threads: bool) -> pa.Table:
    """The rows in a verified source."""
    try:
        parquet = pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=False)
        wanted = _present(parquet.schema_arrow, columns)
        return clean(parquet.read(columns=wanted, use_threads=threads))
    except (pa.ArrowException, OSError) as error:
        raise corrupt(path, str(error)) from error


def _present(schema: pa.Schema, columns: Sequence[str] | None) -> list[str] | None:
    """``columns`` without those that ``schema`` lacks."""
    if columns is None:
        return None
    known = set(schema.names)
    return [name for name in columns if name in known]


def clean(table: pa.Table) -> pa.Table:
    """Without what we noted in the file."""
    if not table.num_columns:
        return table  # replacing the metadata of no columns would lose the number of rows
    schema = clean_schema(table.schema)
    return table if schema is table.schema else table.replace_schema_metadata(schema.metadata)


def clean_schema(schema: pa.Schema) -> pa.Schema:
    """Without what we noted in the file."""
    noted = schema.metadata
    if not noted:
        return schema
    return schema.with_metadata({k: v for k, v in noted.items() if k not in _OURS} or None)


_OURS = (FACTS, BLOCKS)


class Reader:
    """A file read in parts, each verified when it is read. The descriptor stays the caller's."""

    def __init__(self, file: int, size: int, path: str, tail: Tail) -> None:
        self._path = path
        footer = _verified_tail(file, size, path, tail)
        # The tail is a whole footer, so it can be read before anything of the rest is trusted.
        known = self._checked(lambda: pq.read_metadata(pa.BufferReader(footer)))
        self.metadata: dict[bytes, bytes] = dict(known.metadata or {})
        self._source = _Source(file, size, path, footer)
        if BLOCKS in self.metadata:
            self._source.take_blocks(*_unpack(self.metadata[BLOCKS]))
        elif size != tail.size:
            raise corrupt(path, "it is longer than when it was written")
        self._parquet = self._checked(lambda: self._open(known))
        self.schema: pa.Schema = clean_schema(self._parquet.schema_arrow)
        self.rows: int = known.num_rows

    def _open(self, known: Any) -> Any:
        return pq.ParquetFile(
            self._source, metadata=known, page_checksum_verification=True, pre_buffer=False
        )

    def _checked(self, step: Callable[[], Any]) -> Any:
        try:
            return step()
        except (pa.ArrowException, OSError) as error:
            raise corrupt(self._path, str(error)) from error

    def groups(self, columns: Sequence[str] | None) -> Iterator[pa.Table]:
        """One table for each row group (one empty table where there is none)."""
        wanted = _present(self.schema, columns)
        for index in range(self._parquet.num_row_groups):
            yield clean(self._checked(partial(self._parquet.read_row_group, index, wanted)))
        if not self._parquet.num_row_groups:
            yield _schemas.select_fields(self.schema, wanted).empty_table()

    def verify(self) -> None:
        """Read every byte; CorruptDataError when one is not as written."""
        self._source.verify()


def _verified_tail(file: int, size: int, path: str, tail: Tail) -> bytes:
    if size < tail.size:
        raise corrupt(path, f"it has {size:,} bytes and should have at least {tail.size:,}")
    data = _files.pread(file, tail.size, size - tail.size)
    if crc32(data) != tail.crc:
        raise corrupt(path, "the checksum of its footer is another than when it was written")
    return data


class _Source(io.RawIOBase):
    """Random access to a file in which only verified bytes are given out."""

    def __init__(self, file: int, size: int, path: str, tail: bytes) -> None:
        self._file, self._size, self._path, self._tail = file, size, path, tail
        self._covered = size - len(tail)
        self._block = BLOCK
        self._blocks: tuple[int, ...] = ()
        self._at = 0

    def take_blocks(self, covered: int, block: int, blocks: tuple[int, ...]) -> None:
        if covered != self._covered or len(blocks) != -(-covered // block):
            raise corrupt(self._path, "its length is another than when it was written")
        self._block, self._blocks = block, blocks

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._size - self._at if size is None or size < 0 else size
        end = min(self._at + wanted, self._size)
        data = self._between(self._at, end)
        self._at = end
        return data

    def _between(self, start: int, end: int) -> bytes:
        if start >= self._covered:
            return self._tail[start - self._covered : end - self._covered]
        if end > self._covered:
            return self._from_blocks(start, self._covered) + self._tail[: end - self._covered]
        return self._from_blocks(start, end)

    def _from_blocks(self, start: int, end: int) -> bytes:
        first, last = start // self._block, -(-end // self._block)
        if last > len(self._blocks):
            raise corrupt(self._path, "the checksums of its blocks are missing")
        base = first * self._block
        data = _files.pread(self._file, min(last * self._block, self._covered) - base, base)
        with memoryview(data) as view:
            for index in range(first, last):
                offset = (index - first) * self._block
                if crc32(view[offset : offset + self._block]) != self._blocks[index]:
                    raise corrupt(self._path, f"block {index} has another checksum than written")
            return bytes(view[start - base : end - base])

    def verify(self) -> None:
        for index in range(len(self._blocks)):
            base = index * self._block
            self._from_blocks(base, min(base + self._block, self._covered))


def corrupt(path: str, why: str) -> CorruptDataError:
    """The error for bytes that are not as written."""
    return CorruptDataError(
        "Stored data is damaged: it was not used.", facts={"path": path, "reason": why}
    )


def file_crc(file: int) -> Tail:
    """Length and CRC-32 of a whole file, read in pieces."""
    size = crc = 0
    while data := os.pread(file, 1 << 20, size):
        crc = crc32(data, crc)
        size += len(data)
    return Tail(size, crc)
