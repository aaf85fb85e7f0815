"""The row hash ``rows1``: Arrow columns to 64-bit words by numpy, words to two order-free sums.

Each column type has a reader that writes one word per row, canonical for its value; words of a
row are mixed into two independent lanes, which are added up over the rows modulo 2^64. What a
word is may never change: ``tests/test_dataversion.py`` pins it. See docs/decisions/0001.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from assets_core.dataversion import ALGORITHM, DataVersion, version_of_bytes
from assets_core.errors import UsageError
from assets_core.hashing import MASK64, UnhashableError, digest, mix64

Words = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]

Fill = Callable[[int, int, Words], Mask | None]
"""``fill(start, count, out)`` writes the words of these rows, 0 where null; gives the nulls."""

Memo = dict[int, tuple[Any, Words, Mask | None]]
"""Hashed dictionaries by their column, so that the batches of a stream hash each one once."""

Open = Callable[[Any, Memo], Fill]
"""Turns an Arrow array into a Fill; compiled once per type."""

# --------------------------------------------------------------------------------------------
# Constants of rows1. Frozen: a change makes every stored data version look changed.

_SEED = 0x6A09E667F3BCC908
_FIRST = np.uint64(0x9E3779B97F4A7C15)
_SECOND = np.uint64(0xBF58476D1CE4E5B9)
_FINAL = np.uint64(0x94D049BB133111EB)
_LENGTH = np.uint64(0xD6E8FEB86659FD93)
_POSITION = np.uint64(0xA0761D6478BD642F)
_NULL = np.uint64(0xE7037ED1A0B428DB)
_NAN = {2: 0x7E00, 4: 0x7FC00000, 8: 0x7FF8000000000000}
_LONG = 1024  # bytes; longer values are hashed by blake2b, one by one
_SHIFT_HIGH = np.uint64(32)
_SHIFT_FINAL = np.uint64(29)


def _odd_constants(first: int, count: int) -> list[int]:
    return [mix64((_SEED + i) & MASK64) | 1 for i in range(first, first + count)]


_WORD_FACTORS = [np.uint64(k) for k in _odd_constants(1 << 32, _LONG // 8)]
_WORD_FACTORS_ARRAY = np.array(_WORD_FACTORS)


@lru_cache(maxsize=4096)
def _factors(slots: tuple[int, ...]) -> Words:
    """Two odd factors for each slot (two slots a column: its words, its nulls); shape (2, k, 1)."""
    pairs = [_odd_constants(2 * slot, 2) for slot in slots]
    return np.array(pairs, np.uint64).T.copy()[:, :, None]


# --------------------------------------------------------------------------------------------
# Mixing

_GROUP = 8  # columns that are mixed in one pass
_GROUP_CELLS = 16_384  # rows × columns of one pass: its 400 KB stay in the second-level cache
_BLOCK = 4_096  # elements of nested values and dictionaries that are hashed in one pass


class _Scratch(threading.local):
    """Reused memory of one thread, at most 0.7 MB."""

    def __init__(self) -> None:
        self.rows = np.empty(0, np.uint64)
        self.mixed = np.empty(0, np.uint64)
        self.lanes = np.empty(0, np.uint64)

    def reserve(self, width: int, count: int) -> None:
        if self.lanes.size < 4 * count:
            self.lanes = np.empty(4 * count, np.uint64)
        if self.rows.size < (width + 1) * count:
            self.rows = np.empty((width + 1) * count, np.uint64)
            self.mixed = np.empty(2 * (width + 1) * count, np.uint64)


_scratch = _Scratch()


def _spread(words: Words) -> None:
    """In place, a bijection with ``_spread(0) == 0`` that moves low bits up and high bits down."""
    np.multiply(words, _FIRST, out=words)
    words.byteswap(inplace=True)


def _scramble(words: Words) -> None:
    """In place, a stronger bijection, for words that are then added to each other."""
    _spread(words)
    np.multiply(words, _SECOND, out=words)
    np.bitwise_xor(words, words >> _SHIFT_HIGH, out=words)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a schema compiles to."""

    schema: pa.Schema
    digest: bytes
    columns: tuple[int, ...]
    openers: tuple[Open, ...]
    chunk: int
    width: int


class RowHasher:
    """Adds up the rows of a table, batch by batch, to its data version.

    The version stands for names, logical types and order of the columns (without those in
    ``exclude``; names that don't occur are ignored), the number of rows and the rows themselves,
    in any order and any chunks. Not part of it: metadata, nullability, names of list and map
    items, dictionary encoding, run-end encoding, 32- or 64-bit offsets, views. All NaN are one
    value; ``-0.0`` and ``0.0`` are two, as a program can tell them apart; null equals only null.

    ``ordered``: the order of the rows counts, too. The first word then stands for the rows as a
    set, the second for their order as well; both differ from those of the same rows unordered.
    ``float_digits``: floats count by that many significant digits.

    Raises UnhashableError for a type that has no canonical bytes. Not for use by two threads at
    once; any number of hashers may run in parallel.
    """

    __slots__ = ("_digits", "_hi", "_lo", "_memo", "_order", "_plan", "ordered", "rows")

    def __init__(
        self,
        schema: pa.Schema,
        exclude: Iterable[str] = (),
        *,
        ordered: bool = False,
        float_digits: int | None = None,
    ) -> None:
        self._plan = _plan_of(schema, frozenset(exclude))
        self._memo: Memo = {}
        self._hi = self._lo = self._order = 0
        self.ordered = ordered
        self._digits = float_digits
        self.rows = 0

    def update(self, data: pa.RecordBatch | pa.Table) -> None:
        """Add rows. Their schema must be the hasher's (up to metadata), else UsageError."""
        plan = self._plan
        if data.schema is not plan.schema and not data.schema.equals(plan.schema):
            raise UsageError(
                "Rows of another schema were added to a data version.",
                facts={"expected": _one_line(plan.schema), "got": _one_line(data.schema)},
            )
        for batch in data.to_batches() if isinstance(data, pa.Table) else (data,):
            self._add(batch if self._digits is None else self._rounded(batch), plan)

    def _rounded(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        from assets_core.rounding import round_floats

        assert self._digits is not None
        return round_floats(batch, self._digits)

    def _add(self, batch: pa.RecordBatch, plan: _Plan) -> None:
        count = batch.num_rows
        self.rows += count
        if not count or not plan.openers:
            return
        fills = [
            opener(batch.column(index), self._memo)
            for index, opener in zip(plan.columns, plan.openers, strict=True)
        ]
        _scratch.reserve(plan.width, min(count, plan.chunk))
        for start in range(0, count, plan.chunk):
            size = min(plan.chunk, count - start)
            hi, lo = _hash_rows(fills, start, size, plan.width)
            self._hi += hi
            self._lo += lo
            if self.ordered:
                self._order += _order_of(size, self.rows - count + start)

    def result(self) -> DataVersion:
        """The version of all rows so far; more may be added afterwards."""
        sums = (self.rows, self._hi & MASK64, self._lo & MASK64)
        frame = self._plan.digest + b"".join(word.to_bytes(8, "little") for word in sums)
        if not self.ordered:
            return version_of_bytes(blake2b(frame, digest_size=16).digest())
        as_set = blake2b(frame, digest_size=8, person=b"assets set").digest()
        frame += (self._order & MASK64).to_bytes(8, "little")
        in_order = blake2b(frame, digest_size=8, person=b"assets ordered").digest()
        # The first word stands for the rows by itself, and so is never zero: nothing is there.
        return DataVersion(int.from_bytes(as_set, "big") or 1, int.from_bytes(in_order, "big"))


def _one_line(schema: pa.Schema) -> str:
    return ", ".join(f"{column.name}: {column.type}" for column in schema)


def _hash_rows(fills: list[Fill], start: int, count: int, width: int) -> tuple[int, int]:
    """The two sums of the hashes of rows ``start`` to ``start + count``."""
    rows = _scratch.rows[: (width + 1) * count].reshape(width + 1, count)
    lanes = _scratch.lanes[: 4 * count].reshape(2, 2, count)
    state, free = lanes[0], lanes[1]
    slots: list[int] = []
    first = True
    for column, fill in enumerate(fills):
        nulls = fill(start, count, rows[len(slots)])
        slots.append(2 * column)
        if nulls is not None:
            rows[len(slots)] = nulls
            slots.append(2 * column + 1)
        if len(slots) >= width or column == len(fills) - 1:
            _mix_columns(rows[: len(slots)], tuple(slots), state if first else free)
            if not first:
                np.add(state, free, out=state)
            first = False
            slots.clear()
    return _mix_rows(state, free)


def _mix_columns(words: Words, slots: tuple[int, ...], out: Words) -> None:
    """Two weighted sums over the columns, of shape (2, rows)."""
    _spread(words)
    count = words.shape[1]
    mixed = _scratch.mixed[: 2 * len(slots) * count].reshape(2, len(slots), count)
    np.multiply(_factors(slots), words, out=mixed)
    np.add.reduce(mixed, axis=1, out=out)


def _mix_rows(state: Words, free: Words) -> tuple[int, int]:
    """The sum of each lane after a last mix, without which equal parts of rows could cancel."""
    np.right_shift(state, _SHIFT_HIGH, out=free)
    np.bitwise_xor(state, free, out=state)
    np.multiply(state, _FINAL, out=state)
    np.right_shift(state, _SHIFT_FINAL, out=free)
    np.bitwise_xor(state, free, out=state)
    hi, lo = np.add.reduce(state, axis=1).tolist()
    return hi, lo


def _order_of(count: int, first: int) -> int:
    """What the rows that were hashed last add to a version in which their places count.

    A place is mixed into each row's hash, so that equal sums of rows in another order differ.
    """
    state = _scratch.lanes[: 4 * count].reshape(2, 2, count)[0]
    places = np.arange(first, first + count, dtype=np.uint64)
    return int(mix64(mix64(places + _PLACE) + state[0]).sum(dtype=np.uint64))


_PLACE = np.uint64(0xA54FF53A5F1D36F1)


# --------------------------------------------------------------------------------------------
# Plans

_plans: dict[tuple[pa.Schema, frozenset[str]], _Plan] = {}


def _plan_of(schema: pa.Schema, exclude: frozenset[str]) -> _Plan:
    key = (schema, exclude)
    plan = _plans.get(key)
    # Schemas compare without their metadata, which may name an extension type.
    if plan is None or not plan.schema.equals(schema, check_metadata=True):
        if len(_plans) >= 256:
            _plans.clear()
        plan = _plans[key] = _compile(schema, exclude)
    return plan


def _compile(schema: pa.Schema, exclude: frozenset[str]) -> _Plan:
    kept = [i for i, column in enumerate(schema) if column.name not in exclude]
    names = [schema.field(i).name for i in kept]
    logical = [_logical_field(schema.field(i)) for i in kept]
    width = max(1, min(len(kept), _GROUP))
    return _Plan(
        schema=schema,
        digest=digest(ALGORITHM, names, logical),
        columns=tuple(kept),
        openers=tuple(_opener(schema.field(i).type) for i in kept),
        chunk=_GROUP_CELLS // max(2, width),
        width=width,
    )


def _logical_field(column: pa.Field) -> object:
    """A field's type; an extension that this process does not know is found in its metadata."""
    name = (column.metadata or {}).get(b"ARROW:extension:name")
    kind = column.type
    if name is not None and not isinstance(kind, pa.BaseExtensionType):
        return ["extension", name.decode("utf-8", "replace"), _logical(kind)]
    return _logical(kind)


def _logical(kind: pa.DataType) -> object:
    """The canonical, plain form of a type: equal for types that hold equal values equally."""
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return ["extension", kind.extension_name, _logical(kind.storage_type)]
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _logical(kind.value_type)
    if _is_text(kind):
        return "string"
    if _is_bytes(kind):
        return "binary"
    if _is_list(kind):
        return ["list", _logical_field(kind.value_field)]
    if types.is_fixed_size_list(kind):
        return ["fixed_size_list", kind.list_size, _logical_field(kind.value_field)]
    if types.is_map(kind):
        return ["map", _logical_field(kind.key_field), _logical_field(kind.item_field)]
    children = [kind.field(i) for i in range(kind.num_fields)]
    fields = [[child.name, _logical_field(child)] for child in children]
    if types.is_struct(kind):
        return ["struct", fields]
    if types.is_union(kind):
        return ["union", list(kind.type_codes), fields]
    if kind.id not in _FLAT:
        raise _unknown(kind)
    return [_FLAT[kind.id].name, *(getattr(kind, name) for name in _FLAT[kind.id].parameters)]


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or _is_list_view(kind))


def _is_list_view(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_list_view(kind) or types.is_large_list_view(kind))


@dataclass(frozen=True, slots=True)
class _Flat:
    """A type without children: our own name for it (Arrow may rename its own), how its values
    lie in memory, and the parameters that are part of the type."""

    name: str
    dtype: str = ""
    parameters: tuple[str, ...] = ()


_ZONE, _DIGITS = ("unit", "tz"), ("precision", "scale")
_FLAT: dict[int, _Flat] = {
    getattr(pa.lib, f"Type_{name}"): flat
    for name, flat in {
        "NA": _Flat("null"),
        "BOOL": _Flat("bool"),
        "INT8": _Flat("int8", "<i1"),
        "INT16": _Flat("int16", "<i2"),
        "INT32": _Flat("int32", "<i4"),
        "INT64": _Flat("int64", "<u8"),
        "UINT8": _Flat("uint8", "<u1"),
        "UINT16": _Flat("uint16", "<u2"),
        "UINT32": _Flat("uint32", "<u4"),
        "UINT64": _Flat("uint64", "<u8"),
        "HALF_FLOAT": _Flat("float16", "<f2"),
        "FLOAT": _Flat("float32", "<f4"),
        "DOUBLE": _Flat("float64", "<f8"),
        "DATE32": _Flat("date32", "<i4"),
        "DATE64": _Flat("date64", "<u8"),
        "TIME32": _Flat("time32", "<i4", ("unit",)),
        "TIME64": _Flat("time64", "<u8", ("unit",)),
        "TIMESTAMP": _Flat("timestamp", "<u8", _ZONE),
        "DURATION": _Flat("duration", "<u8", ("unit",)),
        "INTERVAL_MONTHS": _Flat("interval_months", "<i4"),
        "INTERVAL_DAY_TIME": _Flat("interval_day_time", "<u8"),
        "INTERVAL_MONTH_DAY_NANO": _Flat("interval_month_day_nano", "2 words"),
        "DECIMAL32": _Flat("decimal32", "<i4", _DIGITS),
        "DECIMAL64": _Flat("decimal64", "<u8", _DIGITS),
        "DECIMAL128": _Flat("decimal128", "2 words", _DIGITS),
        "DECIMAL256": _Flat("decimal256", "4 words", _DIGITS),
        "FIXED_SIZE_BINARY": _Flat("fixed_size_binary", "", ("byte_width",)),
    }.items()
    if hasattr(pa.lib, f"Type_{name}")
}


def _opener(kind: pa.DataType) -> Open:
    """How to read arrays of this type. Raises UnhashableError for a type we don't know."""
    opener = _flat_opener(kind) or _nested_opener(kind)
    if opener is None:
        raise _unknown(kind)
    return opener


def _unknown(kind: pa.DataType) -> UnhashableError:
    return UnhashableError(
        f"A column of type {kind} has no data version.",
        facts={"type": kind},
        hint="Leave the column out with exclude=[...], or store it as another type.",
    )


def _flat_opener(kind: pa.DataType) -> Open | None:
    if _is_text(kind) or _is_bytes(kind):
        return _bytes_opener(kind)
    flat = _FLAT.get(kind.id)
    if flat is None:
        return None
    if flat.dtype.endswith("words"):
        return partial(_open_wide, int(flat.dtype[0]))
    if flat.dtype.startswith("<f"):
        return partial(_open_float, int(flat.dtype[2]))
    if flat.dtype:
        return partial(_open_fixed, np.dtype(flat.dtype))
    if flat.name == "fixed_size_binary":
        return partial(_open_fixed_bytes, kind.byte_width)
    return _open_bool if flat.name == "bool" else _open_null


def _bytes_opener(kind: pa.DataType) -> Open:
    types = pa.types
    if types.is_string_view(kind) or types.is_binary_view(kind):
        return _open_view
    large = types.is_large_string(kind) or types.is_large_binary(kind)
    return partial(_open_bytes, np.dtype("<i8" if large else "<i4"))


def _nested_opener(kind: pa.DataType) -> Open | None:
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return partial(_open_extension, _opener(kind.storage_type))
    if types.is_dictionary(kind):
        return _Dictionary(_opener(kind.value_type))
    if types.is_run_end_encoded(kind):
        return partial(_open_runs, _opener(kind.value_type))
    if _is_list(kind):
        opener = _opener(kind.value_type)
        if _is_list_view(kind):
            return partial(_open_list_view, opener)
        dtype = np.dtype("<i8" if types.is_large_list(kind) else "<i4")
        return partial(_open_list, dtype, opener)
    if types.is_map(kind):
        entries = pa.struct([kind.key_field, kind.item_field])
        return partial(_open_list, np.dtype("<i4"), _opener(entries))
    if types.is_fixed_size_list(kind):
        return partial(_open_fixed_list, kind.list_size, _opener(kind.value_type))
    children = [_opener(kind.field(i).type) for i in range(kind.num_fields)]
    if types.is_struct(kind):
        return partial(_open_struct, children)
    if types.is_union(kind):
        return partial(_open_union, kind, children)
    return None


# --------------------------------------------------------------------------------------------
# Buffers


def _values(array: Any, index: int, dtype: np.dtype[Any], count: int, per_row: int = 1) -> Any:
    """The buffer's items from the array's own first row on; zeros where there is no buffer."""
    buffer = array.buffers()[index]
    if buffer is None or not buffer.size:
        return np.zeros(count, dtype)
    return np.frombuffer(buffer, dtype, count, array.offset * per_row * dtype.itemsize)


def _bits(buffer: pa.Buffer, start: int, count: int) -> Mask:
    """Bits ``start`` to ``start + count`` of a bitmap."""
    first = start >> 3
    packed = np.frombuffer(buffer, np.uint8, ((start + count + 7) >> 3) - first, first)
    bits = np.unpackbits(packed, bitorder="little")
    return bits[start & 7 : (start & 7) + count].view(np.bool_)


class _Nulls:
    """An array's validity bitmap, unpacked a chunk at a time."""

    __slots__ = ("buffer", "offset")

    def __init__(self, array: Any) -> None:
        self.buffer = array.buffers()[0]
        self.offset = array.offset

    def mask(self, start: int, count: int, out: Words) -> Mask | None:
        """The nulls of these rows, whose words (garbage until now) become 0."""
        nulls = ~_bits(self.buffer, self.offset + start, count)
        if not nulls.any():
            return None
        out[nulls] = 0
        return nulls


def _with_nulls(array: Any, fill: Callable[[int, int, Words], None]) -> Fill:
    if array.null_count == 0:
        return fill
    nulls = _Nulls(array)

    def masked(start: int, count: int, out: Words) -> Mask | None:
        fill(start, count, out)
        return nulls.mask(start, count, out)

    return masked


# --------------------------------------------------------------------------------------------
# Values of fixed width


def _open_fixed(dtype: np.dtype[Any], array: Any, _memo: Memo) -> Fill:
    values = _values(array, 1, dtype, len(array))
    signed = dtype.kind == "i"

    def fill(start: int, count: int, out: Words) -> None:
        target = out.view(np.int64) if signed else out
        target[:] = values[start : start + count]

    return _with_nulls(array, fill)


def _open_float(size: int, array: Any, _memo: Memo) -> Fill:
    values = _values(array, 1, np.dtype(f"<f{size}"), len(array))
    raw = values.view(f"<u{size}")
    nan = np.uint64(_NAN[size])

    def fill(start: int, count: int, out: Words) -> None:
        part = values[start : start + count]
        out[:] = raw[start : start + count]
        top = part.max()
        if top != top:
            out[np.isnan(part)] = nan

    return _with_nulls(array, fill)


def _open_bool(array: Any, _memo: Memo) -> Fill:
    buffer, offset = array.buffers()[1], array.offset

    def fill(start: int, count: int, out: Words) -> None:
        out[:] = 0 if buffer is None else _bits(buffer, offset + start, count)

    return _with_nulls(array, fill)


def _open_null(_array: Any, _memo: Memo) -> Fill:
    def fill(_start: int, count: int, out: Words) -> Mask:
        out[:] = 0
        return np.ones(count, np.bool_)

    return fill


def _open_wide(words: int, array: Any, _memo: Memo) -> Fill:
    values = _values(array, 1, np.dtype("<u8"), len(array) * words, words).reshape(-1, words)

    def fill(start: int, count: int, out: Words) -> None:
        out[:] = 0
        for index in range(words):
            word = values[start : start + count, index].copy()
            _spread(word)
            np.multiply(word, _WORD_FACTORS[index], out=word)
            np.add(out, word, out=out)

    return _with_nulls(array, fill)


# --------------------------------------------------------------------------------------------
# Bytes and text


class _Bytes:
    """A buffer that 8-byte words are gathered from, at any byte position."""

    __slots__ = ("data", "last", "words")

    def __init__(self, buffer: pa.Buffer | None) -> None:
        size = 0 if buffer is None else buffer.size
        self.data = np.frombuffer(buffer, np.uint8) if buffer and size else np.zeros(0, np.uint8)
        padded = self.data
        if size < 8:
            padded = np.zeros(8, np.uint8)
            padded[:size] = self.data
        self.last = len(padded) - 8
        self.words: Words = np.ndarray((self.last + 1,), "<u8", padded, strides=(1,))

    def gather(self, at: Ints, within: bool) -> Words:
        """The words that begin at these positions, zeros beyond the end of the buffer."""
        if within:
            return self.words[at]
        first = np.minimum(at, self.last)
        # Numpy gives 0 for a shift by 64 or more, which is what lies beyond the end.
        return self.words[first] >> ((at - first) << 3).astype(np.uint64)

    def hash_into(self, starts: Ints, lengths: Ints, out: Words) -> None:
        """The word of each value; ``starts`` and ``lengths`` in bytes."""
        np.multiply(lengths.view(np.uint64), _LENGTH, out=out)
        longest = int(lengths.max())
        if longest > _LONG:
            self._hash_long(starts, lengths, out)
            lengths = np.where(lengths > _LONG, 0, lengths)
            longest = int(lengths.max())
        if longest:
            self._hash_words(starts, lengths, longest, out)

    def _hash_words(self, starts: Ints, lengths: Ints, longest: int, out: Words) -> None:
        """Word by word over all rows; over the few that are left once most have ended."""
        end = int(starts.max())
        rows: Ints | None = None
        for index in range((longest + 7) >> 3):
            done = index << 3
            if index and index & (index - 1) == 0:
                left = np.flatnonzero(lengths > done)
                if len(left) <= 8:
                    selected = left if rows is None else rows[left]
                    self._hash_few(starts[left], lengths[left], index, selected, out)
                    return
                if len(left) * 4 < len(lengths) * 3:
                    starts, lengths = starts[left], lengths[left]
                    rows = left if rows is None else rows[left]
            word = self.gather(starts + done, end + done <= self.last)
            self._keep(word, lengths, done)
            _spread(word)
            np.multiply(word, _WORD_FACTORS[index], out=word)
            if rows is None:
                np.add(out, word, out=out)
            else:
                out[rows] += word

    @staticmethod
    def _keep(word: Words, lengths: Ints, done: int) -> None:
        """Push what lies beyond a value's end out of its word (by 64 bits: all of it)."""
        beyond = np.minimum(lengths, done + 8)
        np.maximum(beyond, done, out=beyond)
        np.subtract(done + 8, beyond, out=beyond)
        np.left_shift(beyond, 3, out=beyond)
        np.left_shift(word, beyond.view(np.uint64), out=word)

    def _hash_few(self, starts: Ints, lengths: Ints, index: int, rows: Ints, out: Words) -> None:
        """The words from ``index`` on, value by value, each along its length."""
        for start, length, row in zip(
            starts.tolist(), lengths.tolist(), rows.tolist(), strict=True
        ):
            count = (length + 7) >> 3
            words = np.zeros(count, "<u8")
            words.view(np.uint8)[:length] = self.data[start : start + length]
            words[-1] <<= np.uint64((count * 8 - length) * 8)
            words = words[index:]
            _spread(words)
            np.multiply(words, _WORD_FACTORS_ARRAY[index:count], out=words)
            out[row : row + 1] += np.add.reduce(words, keepdims=True)

    def _hash_long(self, starts: Ints, lengths: Ints, out: Words) -> None:
        for row in np.flatnonzero(lengths > _LONG).tolist():
            start = int(starts[row])
            content = self.data[start : start + int(lengths[row])]
            word = np.frombuffer(blake2b(content.data, digest_size=8).digest(), "<u8")
            out[row : row + 1] += word  # as arrays: numpy warns when single words wrap


def _open_bytes(dtype: np.dtype[Any], array: Any, _memo: Memo) -> Fill:
    offsets = _values(array, 1, dtype, len(array) + 1)
    data = _Bytes(array.buffers()[2])

    def fill(start: int, count: int, out: Words) -> None:
        bounds = offsets[start : start + count + 1].astype(np.int64)
        data.hash_into(bounds[:-1], np.diff(bounds), out)

    return _with_nulls(array, fill)


def _open_fixed_bytes(width: int, array: Any, _memo: Memo) -> Fill:
    data, offset = _Bytes(array.buffers()[1]), array.offset

    def fill(start: int, count: int, out: Words) -> None:
        first = offset + start
        starts = np.arange(first * width, (first + count) * width, width) if width else None
        if starts is None or not len(data.data):
            out[:] = 0
        else:
            data.hash_into(starts, np.full(count, width), out)

    return _with_nulls(array, fill)


def _open_view(array: Any, _memo: Memo) -> Fill:
    """Views hold up to 12 bytes inline, otherwise a prefix, a buffer's number and an offset."""
    views = _values(array, 1, np.dtype("<i4"), 4 * len(array), 4).reshape(-1, 4)
    inline = _Bytes(array.buffers()[1])
    buffers = [_Bytes(buffer) for buffer in array.buffers()[2:]]
    nulls = _Nulls(array) if array.null_count else None
    base = array.offset

    def fill(start: int, count: int, out: Words) -> Mask | None:
        part = views[start : start + count]
        lengths = part[:, 0].astype(np.int64)
        # What lies under a null is garbage, and would send us beyond the buffers.
        missing = None if nulls is None else nulls.mask(start, count, lengths.view(np.uint64))
        starts = np.arange(base + start, base + start + count) * 16 + 4
        short = lengths <= 12
        inline.hash_into(starts, np.where(short, lengths, 0), out)
        if not short.all():
            _hash_views(buffers, part, np.flatnonzero(~short), out)
        if missing is not None:
            out[missing] = 0
        return missing

    return fill


def _hash_views(buffers: list[_Bytes], views: Any, rows: Ints, out: Words) -> None:
    which = views[rows, 2]
    for number in np.unique(which).tolist():
        chosen = rows[which == number]
        words = np.empty(len(chosen), np.uint64)
        lengths, starts = views[chosen, 0].astype(np.int64), views[chosen, 3].astype(np.int64)
        buffers[number].hash_into(starts, lengths, words)
        out[chosen] = words


# --------------------------------------------------------------------------------------------
# Encodings


def _open_extension(opener: Open, array: Any, memo: Memo) -> Fill:
    return opener(array.storage, memo)


@dataclass(frozen=True, slots=True, eq=False)
class _Dictionary:
    """Hashes the dictionary once, then gathers. An object, as its identity keys the memo."""

    opener: Open

    def __call__(self, array: Any, memo: Memo) -> Fill:
        words, missing = self._hashed(array.dictionary, memo)
        indices = array.indices
        width = np.dtype(f"<{'i' if pa.types.is_signed_integer(indices.type) else 'u'}"
                         f"{indices.type.bit_width // 8}")  # fmt: skip
        keys = _values(indices, 1, width, len(indices))
        nulls = _Nulls(indices) if indices.null_count else None

        def fill(start: int, count: int, out: Words) -> Mask | None:
            at = keys[start : start + count].astype(np.intp)
            if nulls is not None:
                nulls.mask(start, count, at.view(np.uint64))
            return _gather(words, missing, at, nulls, start, out)

        return fill

    def _hashed(self, dictionary: Any, memo: Memo) -> tuple[Words, Mask | None]:
        known = memo.get(id(self))
        if known is not None and _same_buffers(known[0], dictionary):
            return known[1], known[2]
        words, missing = _hash_all(self.opener(dictionary, memo), len(dictionary))
        # The memo keeps the dictionary, so that its addresses can't be used again meanwhile.
        memo[id(self)] = (dictionary, words, missing)
        return words, missing


def _gather(
    words: Words, missing: Mask | None, at: Any, nulls: _Nulls | None, start: int, out: Words
) -> Mask | None:
    """Words at these positions; null where the position or the value there is."""
    if len(words):
        out[:] = words[at]
    found = None if missing is None else missing[at]
    own = None if nulls is None else nulls.mask(start, len(at), out)
    if found is None or own is None:
        return own if found is None else found
    both: Mask = own | found
    return both


def _same_buffers(one: Any, two: Any) -> bool:
    if len(one) != len(two) or one.offset != two.offset:
        return False
    pairs = zip(one.buffers(), two.buffers(), strict=True)
    return all((a is None and b is None) or (a and b and a.address == b.address) for a, b in pairs)


def _hash_all(fill: Fill, count: int) -> tuple[Words, Mask | None]:
    """Words and nulls of a whole array, a block at a time."""
    words = np.empty(count, np.uint64)
    missing: Mask | None = None
    for start in range(0, count, _BLOCK):
        part = words[start : start + _BLOCK]
        nulls = fill(start, len(part), part)
        if nulls is not None:
            missing = np.zeros(count, np.bool_) if missing is None else missing
            missing[start : start + len(part)] = nulls
    return words, missing


def _open_runs(opener: Open, array: Any, memo: Memo) -> Fill:
    ends = np.asarray(array.run_ends).astype(np.int64)
    fill_values = opener(array.values, memo)
    offset = array.offset

    def fill(start: int, count: int, out: Words) -> Mask | None:
        rows = np.arange(offset + start, offset + start + count)
        runs = np.searchsorted(ends, rows, side="right")
        first = int(runs[0])
        words = np.empty(int(runs[-1]) - first + 1, np.uint64)
        nulls = fill_values(first, len(words), words)
        runs -= first
        out[:] = words[runs]
        return None if nulls is None else nulls[runs]

    return fill


# --------------------------------------------------------------------------------------------
# Nested values: items are scrambled with their position, then added


def _add_items(words: Words, nulls: Mask | None, positions: Words | np.uint64) -> None:
    """Turn the words of items, in place, into what each adds to the value that holds it."""
    np.add(words, positions, out=words)
    _scramble(words)
    if nulls is not None:
        words[nulls] += _NULL


def _position(index: int) -> np.uint64:
    return np.uint64(((index + 1) * int(_POSITION)) & MASK64)


def _sum_items(fill: Fill, bounds: Ints, out: Words) -> None:
    """Add up the items of each list; item ``bounds[i]`` is the first of list ``i``."""
    np.multiply(np.diff(bounds).view(np.uint64), _LENGTH, out=out)
    words = np.empty(_BLOCK, np.uint64)
    sums = np.zeros(_BLOCK + 1, np.uint64)
    end = int(bounds[-1])
    for low in range(int(bounds[0]), end, _BLOCK):
        count = min(_BLOCK, end - low)
        first = int(np.searchsorted(bounds, low, side="right")) - 1
        last = int(np.searchsorted(bounds, low + count, side="left"))
        cuts = np.clip(bounds[first : last + 1], low, low + count) - low
        part = words[:count]
        nulls = fill(low, count, part)
        origin = np.repeat(bounds[first:last], np.diff(cuts))
        at = np.arange(low + 1, low + count + 1) - origin
        _add_items(part, nulls, at.view(np.uint64) * _POSITION)
        np.cumsum(part, out=sums[1 : count + 1])
        out[first:last] += sums[cuts[1:]] - sums[cuts[:-1]]


def _open_list(dtype: np.dtype[Any], opener: Open, array: Any, memo: Memo) -> Fill:
    offsets = _values(array, 1, dtype, len(array) + 1)
    fill_items = opener(array.values, memo) if len(array.values) else _open_null(None, memo)

    def fill(start: int, count: int, out: Words) -> None:
        bounds = offsets[start : start + count + 1].astype(np.int64)
        _sum_items(fill_items, bounds, out)

    return _with_nulls(array, fill)


def _open_list_view(opener: Open, array: Any, memo: Memo) -> Fill:
    """Views of lists may overlap and lie in any order, so they are laid out chunk by chunk."""

    def fill(start: int, count: int, out: Words) -> Mask | None:
        part = array.slice(start, count)
        flat = part.flatten()
        nulls = _Nulls(part) if part.null_count else None
        sizes = np.asarray(part.sizes).astype(np.int64)
        missing = None if nulls is None else nulls.mask(0, count, sizes.view(np.uint64))
        bounds = np.concatenate(([0], np.cumsum(sizes)))
        fill_items = opener(flat, memo) if len(flat) else _open_null(None, memo)
        _sum_items(fill_items, bounds, out)
        if missing is not None:
            out[missing] = 0
        return missing

    return fill


def _open_fixed_list(size: int, opener: Open, array: Any, memo: Memo) -> Fill:
    fill_items = opener(array.values, memo) if len(array.values) else _open_null(None, memo)
    offset = array.offset

    def fill(start: int, count: int, out: Words) -> None:
        first = offset + start
        _sum_items(fill_items, np.arange(first, first + count + 1) * size, out)

    return _with_nulls(array, fill)


def _open_struct(openers: list[Open], array: Any, memo: Memo) -> Fill:
    fills = [opener(array.field(i), memo) for i, opener in enumerate(openers)]

    def fill(start: int, count: int, out: Words) -> None:
        out[:] = 0
        word = np.empty(count, np.uint64)
        for index, fill_field in enumerate(fills):
            nulls = fill_field(start, count, word)
            _add_items(word, nulls, _position(index))
            np.add(out, word, out=out)

    return _with_nulls(array, fill)


def _open_union(kind: pa.DataType, openers: list[Open], array: Any, memo: Memo) -> Fill:
    # Not array.type_codes and array.offsets, which leave out that the array is a slice.
    codes = _values(array, 1, np.dtype("<i1"), len(array))
    dense = kind.mode == "dense"
    offsets = _values(array, 2, np.dtype("<i4"), len(array)).astype(np.int64) if dense else None
    fills = [opener(array.field(i), memo) for i, opener in enumerate(openers)]

    def fill(start: int, count: int, out: Words) -> None:
        part = codes[start : start + count]
        for code, fill_child in zip(kind.type_codes, fills, strict=True):
            rows = np.flatnonzero(part == code)
            if len(rows):
                at = rows + start if offsets is None else offsets[start + rows]
                out[rows] = _child_words(fill_child, at, code)

    return fill  # a union has no nulls of its own: a null is one of a child


def _child_words(fill: Fill, at: Ints, code: int) -> Words:
    """The words of a union's child at these ascending positions."""
    low, high = int(at.min()), int(at.max()) + 1
    words = np.empty(high - low, np.uint64)
    nulls = fill(low, high - low, words)
    _add_items(words, nulls, _position(code))
    return words[at - low]
