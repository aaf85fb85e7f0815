"""Adds up the rows of tables to their data version, batch by batch."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa

from assets_core.errors import UsageError
from assets_core.fingerprint.data_version import ALGORITHM, DataVersion, version_of_bytes
from assets_core.fingerprint.hashing import digest
from assets_core.fingerprint.rounding import round_floats
from assets_core.fingerprint.row_hash.columns import opener_of
from assets_core.fingerprint.row_hash.logical_types import is_flat, logical_field
from assets_core.fingerprint.row_hash.mixing import (
    SHIFT_HALF,
    Fill,
    Memo,
    Open,
    Words,
    factors,
    spread,
)
from assets_core.fingerprint.sums import MASK64, mix64

_CHUNK = 16_384  # rows of one pass: its 640 KB stay in the second-level cache
_FINAL = np.uint64(0x94D049BB133111EB)
_PLACE = np.uint64(0xA54FF53A5F1D36F1)
_SHIFT_FINAL = np.uint64(29)


class _Scratch(threading.local):
    """Reused memory of one thread, at most 0.7 MB."""

    def __init__(self) -> None:
        self.words = np.empty(0, np.uint64)
        self.lanes = np.empty(0, np.uint64)

    def reserve(self, count: int) -> None:
        if self.words.size < count:
            self.words = np.empty(count, np.uint64)
            self.lanes = np.empty(4 * count, np.uint64)


_scratch = _Scratch()


def data_version(
    data: pa.Table | pa.RecordBatch | pa.RecordBatchReader,
    exclude: Iterable[str] = (),
    *,
    ordered: bool = False,
    float_digits: int | None = None,
) -> DataVersion:
    """The version of these rows; a reader is read to its end, batch by batch.

    ``ordered``: the order of the rows counts, too. ``float_digits``: floats count by that many
    significant digits.

    Raises UnhashableError for a column type that has no canonical bytes.
    """
    hasher = RowHasher(data.schema, exclude, ordered=ordered, float_digits=float_digits)
    if hasattr(data, "read_next_batch"):
        for batch in data:
            hasher.update(batch)
    else:
        hasher.update(data)
    return hasher.result()


def data_versions(tables: Iterable[pa.Table]) -> list[DataVersion]:
    """The version of each table, as `data_version` gives it.

    Neighbours of one schema are hashed in one pass, which makes many small tables cheap: a pass
    costs 0.1 ms, a row in it some ten nanoseconds. Their rows are copied together for it.

    Raises UnhashableError for a column type that has no canonical bytes.
    """
    versions: list[DataVersion] = []
    for alike in _neighbours_alike(tables):
        if len(alike) > 1 and all(is_flat(kind) for kind in alike[0].schema.types):
            versions += _versions_of_alike(alike)
        else:
            versions += map(data_version, alike)
    return versions


def _neighbours_alike(tables: Iterable[pa.Table]) -> list[list[pa.Table]]:
    runs: list[list[pa.Table]] = []
    schema: pa.Schema | None = None
    for table in tables:
        own = table.schema
        # With the metadata, which may name an extension type.
        if schema is None or not own.equals(schema, check_metadata=True):
            schema = own
            runs.append([])
        runs[-1].append(table)
    return runs


def _versions_of_alike(tables: Sequence[pa.Table]) -> list[DataVersion]:
    plan = _plan_of(tables[0].schema, frozenset())
    counts = [table.num_rows for table in tables]
    bounds = np.concatenate(([0], np.cumsum(counts)))
    # Sums up to each row, so that a table's are a difference, also where it has no rows.
    sums = np.zeros((2, int(bounds[-1]) + 1), np.uint64)
    done = 1
    for batch in pa.concat_tables(tables).combine_chunks().to_batches():
        for state in plan.row_hashes(batch, {}):
            sums[:, done : done + state.shape[1]] = state
            done += state.shape[1]
    np.cumsum(sums, axis=1, out=sums)
    his, los = (sums[:, bounds[1:]] - sums[:, bounds[:-1]]).tolist()
    return [
        version_of_bytes(blake2b(plan.frame(*each), digest_size=16).digest())
        for each in zip(counts, his, los, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a schema compiles to."""

    schema: pa.Schema
    digest: bytes
    columns: tuple[int, ...]
    openers: tuple[Open, ...]

    def row_hashes(self, batch: pa.RecordBatch, memo: Memo) -> Iterator[Words]:
        """Two lanes of the hashes of rows, chunk by chunk; each is overwritten by the next."""
        count = batch.num_rows
        if not count or not self.openers:
            return
        fills = [
            opener(batch.column(index), memo)
            for index, opener in zip(self.columns, self.openers, strict=True)
        ]
        _scratch.reserve(min(count, _CHUNK))
        for start in range(0, count, _CHUNK):
            yield _hash_rows(fills, start, min(_CHUNK, count - start))

    def frame(self, rows: int, hi: int, lo: int) -> bytes:
        """What a version is the digest of."""
        words = (rows, hi & MASK64, lo & MASK64)
        return self.digest + b"".join(word.to_bytes(8, "little") for word in words)


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
            self._add(batch if self._digits is None else round_floats(batch, self._digits))

    def _add(self, batch: pa.RecordBatch) -> None:
        done = self.rows
        self.rows += batch.num_rows
        for state in self._plan.row_hashes(batch, self._memo):
            hi, lo = np.add.reduce(state, axis=1).tolist()
            self._hi += hi
            self._lo += lo
            if self.ordered:
                self._order += _order_of(state, done)
                done += state.shape[1]

    def result(self) -> DataVersion:
        """The version of all rows so far; more may be added afterwards."""
        frame = self._plan.frame(self.rows, self._hi, self._lo)
        if not self.ordered:
            return version_of_bytes(blake2b(frame, digest_size=16).digest())
        as_set = blake2b(frame, digest_size=8, person=b"assets set").digest()
        frame += (self._order & MASK64).to_bytes(8, "little")
        in_order = blake2b(frame, digest_size=8, person=b"assets ordered").digest()
        # The first word stands for the rows by itself, and so is never zero: nothing is there.
        return DataVersion(int.from_bytes(as_set, "big") or 1, int.from_bytes(in_order, "big"))


def _one_line(schema: pa.Schema) -> str:
    return ", ".join(f"{column.name}: {column.type}" for column in schema)


def _hash_rows(fills: list[Fill], start: int, count: int) -> Words:
    """Two lanes of the hashes of rows ``start`` to ``start + count``."""
    word = _scratch.words[:count]
    state, free = _scratch.lanes[: 4 * count].reshape(2, 2, count)
    state[:] = 0
    for column, fill in enumerate(fills):
        nulls = fill(start, count, word)
        _add_weighted(word, 2 * column, state, free)
        if nulls is not None:
            word[:] = nulls
            _add_weighted(word, 2 * column + 1, state, free)
    _mix_rows(state, free)
    return state


def _add_weighted(words: Words, slot: int, state: Words, free: Words) -> None:
    """Add the words, with the factors of their slot, to the two lanes of ``state``."""
    spread(words)
    np.multiply(factors(slot), words, out=free)
    np.add(state, free, out=state)


def _mix_rows(state: Words, free: Words) -> None:
    """In place, a last mix, without which equal parts of rows could cancel in the sums."""
    np.right_shift(state, SHIFT_HALF, out=free)
    np.bitwise_xor(state, free, out=state)
    np.multiply(state, _FINAL, out=state)
    np.right_shift(state, _SHIFT_FINAL, out=free)
    np.bitwise_xor(state, free, out=state)


def _order_of(state: Words, first: int) -> int:
    """What these rows add to a version in which their places, from ``first`` on, count.

    A place is mixed into each row's hash, so that equal sums of rows in another order differ.
    """
    places = np.arange(first, first + state.shape[1], dtype=np.uint64)
    return int(mix64(mix64(places + _PLACE) + state[0]).sum(dtype=np.uint64))


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
    logical = [logical_field(schema.field(i)) for i in kept]
    return _Plan(
        schema=schema,
        digest=digest(ALGORITHM, names, logical),
        columns=tuple(kept),
        openers=tuple(opener_of(schema.field(i).type) for i in kept),
    )
