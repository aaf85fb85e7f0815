"""The planner's columns, packed in one file beside the state store.

A cache, and nothing else: what it says is taken only when the log proves that it is of this very
log, the log's tail is laid over it, and whatever does not fit (another version, a flipped bit, a
key space that changed) is read from the log again. Delete it at any time.

The file: one line that names the format, the length and checksum of a JSON header, the header,
then blocks of 64-byte aligned columns. It is mapped, not read: a column that nobody looks at costs
nothing. A new one is written beside and renamed over, under a lock that only writers try.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from assets_core.contracts import Columns, StateStore
from assets_core.partitions import KeySpace
from assets_core.planning.facts import AssetFacts, Facts, RecordLookup
from assets_core.records import Invalidation

_MAGIC = b"assets packed facts 2\n"
_PREFIX = len(_MAGIC) + 12
_ALIGN = 64
_COLUMNS: tuple[tuple[str, str, int], ...] = (
    ("id", "<i8", 1),
    ("data", "<u8", 2),
    ("digest", "<u8", 2),
    ("code", "<i8", 1),
    ("finished", "<i8", 1),
    ("rows", "<i8", 1),
)
_ROW = sum(8 * width for _, _, width in _COLUMNS)

_WORTH_PACKING = 5_000
"""Recorded partitions below which reading the log is as quick."""

_TAIL_SHARE = 50
"""A tail of more than one in so many recorded partitions is packed in."""


@dataclass(slots=True)
class _Block:
    """Where an asset's columns lie. ``outside``: recorded keys that its key space did not hold."""

    layout: int
    offset: int
    room: int
    crc: int
    outside: list[list[Any]] = field(default_factory=list)


@dataclass(slots=True)
class _Header:
    """What a packed file tells of itself.

    ``layouts`` are (length, offset, checksum) of the salts of each key space that was laid out:
    partitions are told by what they are, never by where they stood.
    """

    revision: int
    mark: str
    codes: dict[int, str]
    layouts: list[tuple[int, int, int]]
    blocks: dict[str, _Block]
    invalidations: dict[str, list[Invalidation]]


class PackedFacts:
    """The facts of an environment's assets: packed ones, brought up to date from the log."""

    def __init__(self, path: Path, store: StateStore, environment: str) -> None:
        """``path`` is the file to keep; its folder is made when there is something to pack."""
        self._path = path
        self._store = store
        self._environment = environment
        self._outside: dict[str, dict[str, list[int]]] = {}

    def facts(self, spaces: Mapping[str, KeySpace], lookup: RecordLookup | None = None) -> Facts:
        """What is recorded now, laid out in key spaces. The columns may be written to."""
        packed = self._open()
        found = Facts(spaces, {}, {}, 0, lookup)
        self._outside = {}
        fitting = packed.take(spaces, found, self._outside) if packed is not None else set()
        others = [name for name in spaces if name not in fitting]
        for name in others:
            found.assets[name] = AssetFacts.empty(spaces[name].n)
        read = self._lay(found, others, since=0) if others else 0
        if packed is not None:
            read += self._lay(found, spaces, since=packed.header.revision)
        if self._is_worth(found, read, packed):
            self._pack(found)
        return found

    def _lay(self, found: Facts, names: Any, since: int) -> int:
        """Lay what the log says over the columns; how many partitions it told of."""
        snapshot = self._store.snapshot(self._environment, names, since)
        for name, columns in snapshot.assets.items():
            self._note_outside(name, found.spaces[name], columns)
        found.apply(snapshot)
        return sum(len(columns.keys) for columns in snapshot.assets.values())

    def _note_outside(self, name: str, space: KeySpace, columns: Columns) -> None:
        if not columns.keys:
            return
        kept = self._outside.setdefault(name, {})
        for row in np.flatnonzero(space.ordinals(columns.keys) < 0).tolist():
            kept[columns.keys[row]] = _row(columns, row)

    # ---------------------------------------------------------------------------------------
    # Reading

    def _open(self) -> _Packed | None:
        """The packed file, if it is whole and of this log."""
        packed = _Packed.open(self._path)
        if packed is None:
            return None
        mark = self._store.mark(packed.header.revision)
        return packed if mark and mark == packed.header.mark else None

    # ---------------------------------------------------------------------------------------
    # Writing

    def _is_worth(self, found: Facts, read: int, packed: _Packed | None) -> bool:
        if read * _TAIL_SHARE < _WORTH_PACKING:
            return False
        recorded = sum(int(np.count_nonzero(own.id)) for own in found.assets.values())
        if recorded < _WORTH_PACKING or read * _TAIL_SHARE <= recorded:
            return False
        # One made at a later time holds windows that these spaces do not have yet.
        return packed is None or packed.is_within(found.spaces)

    def _pack(self, found: Facts) -> None:
        """Write the file anew. What goes wrong leaves the old one; the log has it all."""
        mark = self._store.mark(found.revision)
        if not mark:
            return
        with contextlib.suppress(OSError), self._writing() as file:
            if file is not None:
                _write(file, found, mark, self._outside)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[IO[bytes] | None]:
        """A new file that takes the place of the old one; None while another process makes one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            fresh = self._path.with_suffix(".new")
            try:
                with fresh.open("wb") as file:
                    yield file
                fresh.replace(self._path)
            finally:
                fresh.unlink(missing_ok=True)


class _Packed:
    """An open packed file."""

    def __init__(self, header: _Header, buffer: mmap.mmap) -> None:
        self.header = header
        self._buffer = buffer
        self._salts: dict[int, np.ndarray | None] = {}

    @classmethod
    def open(cls, path: Path) -> _Packed | None:
        """None for a file that is missing, damaged or of another format."""
        try:
            with path.open("rb") as file:
                # Private: what is written to the columns stays in this process.
                buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError):
            return None
        header = _read_header(buffer)
        return cls(header, buffer) if header is not None else None

    def take(
        self,
        spaces: Mapping[str, KeySpace],
        found: Facts,
        outside: dict[str, dict[str, list[int]]],
    ) -> set[str]:
        """Fill the columns of the assets whose key spaces the file still fits; their names."""
        fits: dict[tuple[int, int], bool] = {}
        taken = set()
        for name, space in spaces.items():
            block = self.header.blocks.get(name)
            if block is None:
                continue
            key = (block.layout, id(space))
            if key not in fits:
                fits[key] = self._fits(block.layout, space)
            columns = self._columns(block, space.n) if fits[key] else None
            if columns is None:
                continue
            found.assets[name] = columns
            found.invalidate(self.header.invalidations.get(name, ()))
            _place(columns, space, block.outside, outside.setdefault(name, {}))
            taken.add(name)
        found.codes.update(self.header.codes)
        return taken

    def is_within(self, spaces: Mapping[str, KeySpace]) -> bool:
        """Whether each key space holds at least what was laid out for its asset."""
        return all(
            self.header.layouts[block.layout][0] <= spaces[name].n
            for name, block in self.header.blocks.items()
            if name in spaces
        )

    def _fits(self, layout: int, space: KeySpace) -> bool:
        """Whether the partitions that both know stand at the same places."""
        known = self._layout(layout)
        if known is None:
            return False
        both = min(len(known), space.n)
        return bool(np.array_equal(known[:both], space.salts()[:both]))

    def _layout(self, layout: int) -> np.ndarray | None:
        if layout not in self._salts:
            length, offset, crc = self.header.layouts[layout]
            salts = self._array(offset, length * 8, "<u8")
            good = salts is not None and zlib.crc32(salts.data) == crc
            self._salts[layout] = salts if good else None
        return self._salts[layout]

    def _columns(self, block: _Block, n: int) -> AssetFacts | None:
        """The columns of a block for ``n`` partitions; None when they are damaged."""
        whole = self._array(block.offset, block.room * _ROW, "u1")
        if whole is None or zlib.crc32(whole.data) != block.crc:
            return None
        known = min(n, block.room)
        taken, at = {}, block.offset
        for name, kind, width in _COLUMNS:
            size = block.room * 8 * width
            column = self._array(at, size, kind)
            assert column is not None
            taken[name] = column.reshape(-1, 2) if width == 2 else column
            at += size
        found = AssetFacts(**taken)
        if n > block.room:
            grown = AssetFacts.empty(n)
            for name, _, _ in _COLUMNS:
                getattr(grown, name)[:known] = getattr(found, name)
            return grown
        return AssetFacts(**{name: getattr(found, name)[:n] for name, _, _ in _COLUMNS})

    def _array(self, offset: int, size: int, kind: str) -> np.ndarray | None:
        if offset + size > len(self._buffer):
            return None
        return np.frombuffer(self._buffer, kind, size // np.dtype(kind).itemsize, offset)


def _place(
    columns: AssetFacts,
    space: KeySpace,
    rows: list[list[Any]],
    outside: dict[str, list[int]],
) -> None:
    """Lay what had no place in the key space when it was packed, now that it may have one."""
    if not rows:
        return
    ordinals = space.ordinals([row[0] for row in rows]).tolist()
    for ordinal, (key, *values) in zip(ordinals, rows, strict=True):
        if ordinal < 0:
            outside[key] = values
            continue
        columns.id[ordinal], columns.code[ordinal] = values[0], values[5]
        columns.data[ordinal], columns.digest[ordinal] = values[1:3], values[3:5]
        columns.finished[ordinal], columns.rows[ordinal] = values[6], values[7]


def _row(columns: Columns, row: int) -> list[int]:
    return [
        int(columns.id[row]),
        *columns.data[row].tolist(),
        *columns.digest[row].tolist(),
        int(columns.code[row]),
        int(columns.finished[row]),
        int(columns.rows[row]),
    ]


# --------------------------------------------------------------------------------------------
# The file


def _read_header(buffer: mmap.mmap) -> _Header | None:
    if buffer[: len(_MAGIC)] != _MAGIC:
        return None
    size = int.from_bytes(buffer[len(_MAGIC) : len(_MAGIC) + 8], "little")
    crc = int.from_bytes(buffer[len(_MAGIC) + 8 : _PREFIX], "little")
    text = buffer[_PREFIX : _PREFIX + size]
    if len(text) != size or zlib.crc32(text) != crc:
        return None
    # The checksum holds, so this is what `_write` wrote.
    told = json.loads(text)
    start = _aligned(_PREFIX + size)
    return _Header(
        told["revision"],
        told["mark"],
        {int(number): text for number, text in told["codes"].items()},
        [(length, start + offset, crc) for length, offset, crc in told["layouts"]],
        {
            name: _Block(layout, start + offset, room, crc, outside)
            for name, (layout, offset, room, crc, outside) in told["assets"].items()
        },
        {name: list(map(_invalidation, each)) for name, each in told["invalidations"].items()},
    )


def _invalidation(told: Mapping[str, Any]) -> Invalidation:
    return Invalidation(**{**told, "ranges": tuple((a, b) for a, b in told["ranges"])})


def _write(
    file: IO[bytes], found: Facts, mark: str, outside: Mapping[str, Mapping[str, list[int]]]
) -> None:
    layouts: list[list[int]] = []
    chunks: list[Any] = []
    end = 0

    def add(array: Any) -> int:
        nonlocal end
        at = end
        chunks.append(array)
        end = _aligned(at + array.nbytes)
        return at

    numbers: dict[int, int] = {}
    assets = {}
    for name, own in found.assets.items():
        space = found.spaces[name]
        if id(space) not in numbers:
            salts = np.ascontiguousarray(space.salts())
            numbers[id(space)] = len(layouts)
            layouts.append([space.n, add(salts), zlib.crc32(salts.data)])
        # Room for the windows that close before it is packed again: mapped, not copied, till then.
        room = space.n + max(16, space.n // 64)
        block = _block(own, room)
        kept = [[key, *values] for key, values in outside.get(name, {}).items()]
        assets[name] = [numbers[id(space)], add(block), room, zlib.crc32(block.data), kept]
    header = {
        "revision": found.revision,
        "mark": mark,
        "codes": found.codes,
        "layouts": layouts,
        "assets": assets,
        "invalidations": {
            name: [asdict(one) for _, one in sorted(known.items())]
            for name, known in found.invalidations.items()
        },
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    file.write(_MAGIC)
    file.write(len(text).to_bytes(8, "little") + zlib.crc32(text).to_bytes(4, "little"))
    file.write(text)
    for chunk in chunks:
        file.write(bytes(-file.tell() % _ALIGN))
        file.write(chunk)
    file.write(bytes(_ALIGN))


def _block(own: AssetFacts, room: int) -> np.ndarray:
    """An asset's columns one after the other, each with room to grow, uint8."""
    empty = AssetFacts.empty(room)
    for name, _, _ in _COLUMNS:
        column = getattr(own, name)
        getattr(empty, name)[: len(column)] = column
    return np.concatenate(
        [
            getattr(empty, name).astype(kind, copy=False).view("u1").ravel()
            for name, kind, _ in _COLUMNS
        ]
    )


def _aligned(at: int) -> int:
    return -(-at // _ALIGN) * _ALIGN
