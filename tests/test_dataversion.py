"""Data versions: equal content is equal, any other content is not, and rows1 never changes."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import os
import struct
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_core.errors import UsageError
from assets_core.fingerprint.data_version import (
    ALGORITHM,
    DataVersion,
    file_version,
    unique_version,
)
from assets_core.fingerprint.hashing import UnhashableError
from assets_core.fingerprint.row_hash.columns import opener_of
from assets_core.fingerprint.row_hash.hasher import RowHasher, data_version, data_versions

# --------------------------------------------------------------------------------------------
# One example array for each type; None stands for null. Values are all different.

TEXTS = ["", "a", "a\0", "sieben", "achtacht", "neunneunn", "ü" * 9, "x" * 300, "y" * 2000, None]
BYTES = [b"", b"\0", b"\0\0", b"\xff" * 8, b"\0" * 16, b"\0" * 17, b"z" * 1024, b"z" * 1025, None]
EXAMPLES: dict[str, tuple[pa.DataType, list]] = {
    "null": (pa.null(), [None]),
    "bool": (pa.bool_(), [True, False, None]),
    "int8": (pa.int8(), [0, 1, -1, 127, -128, None]),
    "int16": (pa.int16(), [0, 1, -1, 2**15 - 1, None]),
    "int32": (pa.int32(), [0, 1, -1, 2**31 - 1, None]),
    "int64": (pa.int64(), [0, 1, -1, 2**63 - 1, -(2**63), None]),
    "uint8": (pa.uint8(), [0, 1, 255, None]),
    "uint16": (pa.uint16(), [0, 1, 2**16 - 1, None]),
    "uint32": (pa.uint32(), [0, 1, 2**32 - 1, None]),
    "uint64": (pa.uint64(), [0, 1, 2**64 - 1, None]),
    "float16": (pa.float16(), [np.float16(x) for x in (0.0, -0.0, 1.5, math.inf, math.nan)]),
    "float32": (pa.float32(), [0.0, -0.0, 1.5, -1.5, math.inf, math.nan, None]),
    "float64": (pa.float64(), [0.0, -0.0, 1.5, -1.5, math.inf, -math.inf, math.nan, None]),
    "decimal128": (pa.decimal128(38, 2), [Decimal(x) for x in ("0", "1", "-1", "1e30")] + [None]),
    "decimal256": (pa.decimal256(60, 2), [Decimal(x) for x in ("0", "1", "-1", "1e50")] + [None]),
    "decimal32": (pa.decimal32(9, 2), [Decimal(x) for x in ("0", "1", "-1")] + [None]),
    "decimal64": (pa.decimal64(18, 2), [Decimal(x) for x in ("0", "1", "-1")] + [None]),
    "date32": (pa.date32(), [dt.date(1970, 1, 1), dt.date(2024, 2, 29), None]),
    "date64": (pa.date64(), [dt.date(1970, 1, 1), dt.date(2024, 2, 29), None]),
    "time32": (pa.time32("ms"), [dt.time(0), dt.time(1, 2, 3), None]),
    "time64": (pa.time64("us"), [dt.time(0), dt.time(1, 2, 3, 4), None]),
    "timestamp": (pa.timestamp("us"), [dt.datetime(1970, 1, 1), dt.datetime(2024, 1, 1), None]),
    "timestamp, zone": (
        pa.timestamp("ns", "Europe/Berlin"),
        [dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None],
    ),
    "duration": (pa.duration("ms"), [dt.timedelta(0), dt.timedelta(seconds=-1), None]),
    "interval": (
        pa.month_day_nano_interval(),
        [pa.MonthDayNano(x) for x in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))] + [None],
    ),
    "string": (pa.string(), TEXTS),
    "large_string": (pa.large_string(), TEXTS),
    "string_view": (pa.string_view(), TEXTS),
    "binary": (pa.binary(), BYTES),
    "large_binary": (pa.large_binary(), BYTES),
    "binary_view": (pa.binary_view(), BYTES),
    "fixed_size_binary": (pa.binary(5), [b"\0" * 5, b"abcde", b"abcd\0", None]),
    "wide fixed_size_binary": (pa.binary(20), [b"\0" * 20, b"a" * 20, b"a" * 19 + b"b", None]),
    "list": (pa.list_(pa.int64()), [[], [0], [0, 0], [1, 2], [2, 1], [None], [1, None], None]),
    "large_list": (pa.large_list(pa.string()), [[], [""], ["a", "b"], ["ab"], [None], None]),
    "list_view": (pa.list_view(pa.int64()), [[], [0], [0, 0], [1, 2], [2, 1], [None], None]),
    "fixed_size_list": (pa.list_(pa.int32(), 2), [[0, 0], [1, 2], [2, 1], [None, 1], None]),
    "map": (pa.map_(pa.string(), pa.int64()), [[], [("a", 1)], [("b", 1)], [("a", None)], None]),
    "struct": (
        pa.struct([("a", pa.int64()), ("b", pa.string())]),
        [{"a": 0, "b": ""}, {"a": 1, "b": None}, {"a": None, "b": "x"}, {"a": 1, "b": "x"}, None],
    ),
    "struct without fields": (pa.struct([]), [{}, None]),
    "list of structs of lists": (
        pa.list_(pa.struct([("x", pa.list_(pa.float64()))])),
        [[], [{"x": []}], [{"x": [1.0]}, {"x": [2.0]}], [{"x": [2.0]}, {"x": [1.0]}], [None], None],
    ),
}  # fmt: skip


def example(name: str) -> pa.Array:
    kind, values = EXAMPLES[name]
    return pa.array(values, kind)


def dictionary(values: list) -> pa.DictionaryArray:
    return pa.array(values, pa.string()).dictionary_encode()


def runs(values: list, kind: pa.DataType = pa.int64()) -> pa.RunEndEncodedArray:  # noqa: B008
    ends = pa.array(np.arange(1, len(values) + 1) * 2, pa.int32())
    return pa.RunEndEncodedArray.from_arrays(ends, pa.array(values, kind))


def dense_union() -> pa.UnionArray:
    return pa.UnionArray.from_dense(
        pa.array([0, 1, 1, 0, 1], pa.int8()),
        pa.array([0, 0, 1, 1, 2], pa.int32()),
        [pa.array([1, 2]), pa.array(["1", "2", None])],
    )


def sparse_union() -> pa.UnionArray:
    return pa.UnionArray.from_sparse(
        pa.array([0, 1, 1, 0, 1], pa.int8()),
        [pa.array([1, 0, 0, 2, 0]), pa.array(["", "1", "2", "", None])],
    )


SPECIAL = {
    "dictionary": lambda: dictionary(["a", "b", "a", None, "c"]),
    "run_end_encoded": lambda: runs([1, 2, None, 3]),
    "dense_union": dense_union,
    "sparse_union": sparse_union,
    "extension": lambda: pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([b"a" * 16, b"b" * 16, None], pa.binary(16))
    ),
}
ALL = [*EXAMPLES, *SPECIAL]


def array_of(name: str) -> pa.Array:
    return SPECIAL[name]() if name in SPECIAL else example(name)


def version(*columns: pa.Array | pa.ChunkedArray, names: list[str] | None = None) -> str:
    table = pa.table(list(columns), names=names or [f"c{i}" for i in range(len(columns))])
    return data_version(table).hex


# --------------------------------------------------------------------------------------------
# Every type


@pytest.mark.parametrize("name", ALL)
def test_a_slice_equals_a_copy_of_its_rows(name: str) -> None:
    array = array_of(name)
    for start in range(len(array)):
        for count in range(len(array) - start + 1):
            part = array.slice(start, count)
            copied = pa.concat_arrays([array.slice(i, 1) for i in range(start, start + count)]) if (
                count
            ) else part  # fmt: skip
            assert version(part) == version(copied)


@pytest.mark.parametrize("name", ALL)
def test_chunks_and_order_do_not_matter(name: str) -> None:
    array = array_of(name)
    single = [array.slice(i, 1) for i in range(len(array))]
    whole = version(array)
    assert version(pa.chunked_array(single)) == whole
    assert version(pa.chunked_array(single[::-1])) == whole


@pytest.mark.parametrize("name", EXAMPLES)
def test_all_values_differ_from_each_other(name: str) -> None:
    array = example(name)
    versions = {version(array.slice(i, 1)) for i in range(len(array))}
    assert len(versions) == len(array)


@pytest.mark.parametrize("name", ALL)
def test_a_row_more_is_another_version(name: str) -> None:
    array = array_of(name)
    last = array.slice(len(array) - 1)
    assert version(pa.chunked_array([array, last])) != version(array)


WITH_NULLS = [n for n, (kind, v) in EXAMPLES.items() if None in v and not pa.types.is_null(kind)]


@pytest.mark.parametrize("name", WITH_NULLS)
def test_what_lies_under_a_null_does_not_count(name: str) -> None:
    kind, values = EXAMPLES[name]
    full = [value for value in values if value is not None]
    masked = [value for pair in zip(full, full, strict=True) for value in pair]
    hidden = pa.array(masked, kind)
    bits = np.packbits(np.arange(len(masked)) % 2 == 0, bitorder="little")
    buffers = [pa.py_buffer(bits), *hidden.buffers()[1:]]
    if pa.types.is_nested(kind):
        hidden = pa.StructArray.from_arrays(
            [hidden], ["x"], mask=pa.array(np.arange(len(masked)) % 2 == 1)
        )
        clean = pa.array(
            [None if i % 2 else {"x": v} for i, v in enumerate(masked)], pa.struct([("x", kind)])
        )
    else:
        hidden = pa.Array.from_buffers(kind, len(masked), buffers)
        clean = pa.array([None if i % 2 else v for i, v in enumerate(masked)], kind)
    assert hidden.null_count == clean.null_count == len(full)
    assert version(hidden) == version(clean)


GOLDEN = dict(
    line.split(" ", 1)[::-1]
    for line in (Path(__file__).parent / "golden_rows1.txt").read_text().splitlines()
)
WIDE_TABLES = {
    "all columns of four rows": lambda: pa.table(
        [array_of(name) for name in ALL if len(array_of(name)) == 4],
        names=[name for name in ALL if len(array_of(name)) == 4],
    ),
    "several chunks": lambda: pa.table({"a": range(50_000), "b": [str(i) for i in range(50_000)]}),
    "no rows": lambda: pa.table({"a": pa.array([], pa.int64())}),
}


@pytest.mark.parametrize("name", [*ALL, *WIDE_TABLES])
def test_rows1_gives_what_it_always_gave(name: str) -> None:
    """Frozen with ``ALGORITHM``: another hash needs another name, or everything looks changed."""
    table = WIDE_TABLES[name]() if name in WIDE_TABLES else pa.table({"c": array_of(name)})
    assert ALGORITHM == "rows1"
    assert data_version(table).hex == GOLDEN[name]


# --------------------------------------------------------------------------------------------
# Which types are equal


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("string", "large_string"),
        ("string", "string_view"),
        ("binary", "large_binary"),
        ("binary", "binary_view"),
    ],
)
def test_layouts_of_one_logical_type_are_equal(one: str, other: str) -> None:
    assert version(example(one)) == version(example(other))


def test_lists_of_any_offsets_and_views_are_equal() -> None:
    values = [[], [0], [1, 2], [2, 1], [None], None]
    kinds = [pa.list_, pa.large_list, pa.list_view, pa.large_list_view]
    assert len({version(pa.array(values, kind(pa.int64()))) for kind in kinds}) == 1


def test_encodings_equal_what_they_encode() -> None:
    values = ["a", "b", None, "a", "a"]
    plain = version(pa.array(values))
    assert version(dictionary(values)) == plain
    shuffled = pa.DictionaryArray.from_arrays([2, 0, None, 2, 2], ["b", None, "a"])
    assert version(shuffled) == plain
    with_null = pa.DictionaryArray.from_arrays([2, 0, 1, 2, 2], ["b", None, "a"])
    assert version(with_null) == plain
    assert version(runs([1, None, 2])) == version(pa.array([1, 1, None, None, 2, 2]))


def test_a_dictionary_per_chunk_is_told_apart() -> None:
    chunks = [pa.DictionaryArray.from_arrays([0, 1], words) for words in (["a", "b"], ["c", "d"])]
    assert version(pa.chunked_array(chunks)) == version(pa.array(["a", "b", "c", "d"]))


def test_garbage_keys_under_nulls_of_a_dictionary_do_not_count() -> None:
    keys = pa.Array.from_buffers(
        pa.int8(), 2, [pa.py_buffer(b"\x01"), pa.py_buffer(struct.pack("bb", 1, 99))]
    )
    array = pa.DictionaryArray.from_arrays(keys, pa.array(["a", "b"]), safe=False)
    assert version(array) == version(pa.array(["b", None]))


def test_garbage_views_under_nulls_do_not_count() -> None:
    views = struct.pack("<i12s", 1, b"x") + struct.pack("<i4sii", 99, b"", 77, 1 << 30)
    array = pa.Array.from_buffers(pa.string_view(), 2, [pa.py_buffer(b"\x01"), pa.py_buffer(views)])
    assert version(array) == version(pa.array(["x", None]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.int32(), pa.int64()),
        (pa.int64(), pa.uint64()),
        (pa.int64(), pa.timestamp("us")),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.timestamp("us", "UTC"), pa.timestamp("us", "Europe/Berlin")),
        (pa.timestamp("ms"), pa.timestamp("us")),
        (pa.string(), pa.binary()),
        (pa.float32(), pa.float64()),
        (pa.decimal128(10, 2), pa.decimal128(12, 2)),
        (pa.list_(pa.int32()), pa.list_(pa.int64())),
        (pa.struct([("a", pa.int64())]), pa.struct([("b", pa.int64())])),
        (pa.binary(16), pa.uuid()),
    ],
)
def test_other_types_are_other_versions_even_without_rows(
    one: pa.DataType, other: pa.DataType
) -> None:
    tables = [pa.schema([("a", kind)]).empty_table() for kind in (one, other)]
    assert data_version(tables[0]) != data_version(tables[1])


def test_metadata_nullability_and_item_names_do_not_count() -> None:
    plain = pa.schema([("a", pa.list_(pa.int64()))])
    other = pa.schema(
        [
            pa.field(
                "a",
                pa.list_(pa.field("element", pa.int64(), nullable=False)),
                nullable=False,
                metadata={"x": "y"},
            )
        ],
        metadata={"pandas": "{}"},
    )
    assert data_version(plain.empty_table()) == data_version(other.empty_table())


def test_an_extension_that_nobody_registered_is_known_by_its_metadata() -> None:
    storage = pa.array([b"a" * 16], pa.binary(16))
    field = pa.field("a", pa.binary(16), metadata={"ARROW:extension:name": "arrow.uuid"})
    bare = pa.Table.from_arrays([storage], schema=pa.schema([field]))
    known = pa.table({"a": pa.ExtensionArray.from_storage(pa.uuid(), storage)})
    plain = pa.table({"a": storage})
    assert data_version(bare) == data_version(known)
    assert data_version(bare) != data_version(plain)


def test_a_type_without_canonical_bytes_is_refused() -> None:
    class Odd(pa.PyExtensionType if hasattr(pa, "PyExtensionType") else object):
        id = -1
        num_fields = 0

    with pytest.raises(UnhashableError, match="no data version"):
        opener_of(Odd())


# --------------------------------------------------------------------------------------------
# Many tables


@pytest.mark.parametrize("name", EXAMPLES)
def test_many_tables_have_the_versions_that_each_has_alone(name: str) -> None:
    kind, values = EXAMPLES[name]
    whole = pa.table({"a": pa.array(values, kind), "n": range(len(values))})
    parts = [whole.slice(i, n) for i in range(len(values)) for n in (0, 1, 2)]
    assert data_versions([*parts, whole]) == [data_version(part) for part in [*parts, whole]]


def test_many_tables_of_several_schemas_have_the_versions_that_each_has_alone() -> None:
    texts = [pa.table({"a": [str(i)] * i, "b": range(i)}) for i in range(20)]
    numbers = [pa.table({"a": [i, None]}) for i in range(20)]
    nothing = [pa.table({"a": pa.array([], pa.int64())})] * 2
    chunked = [pa.concat_tables(numbers)] * 2
    large = [pa.table({"a": range(40_000)}), pa.table({"a": range(5)})]
    tables = [*texts, *numbers, *nothing, *chunked, *large, texts[3], numbers[3]]
    assert data_versions(tables) == [data_version(table) for table in tables]
    assert data_versions([]) == []


def test_an_extension_that_only_the_metadata_names_is_told_apart_among_many() -> None:
    plain = pa.table({"a": ["x"]})
    named = pa.field("a", pa.string(), metadata={"ARROW:extension:name": "somebody.else"})
    tables = [plain, plain.cast(pa.schema([named])), plain]
    one, other, again = data_versions(tables)
    assert one == again != other


# --------------------------------------------------------------------------------------------
# Columns


def test_names_and_order_of_columns_count() -> None:
    a, b = pa.array([1, 2]), pa.array([3, 4])
    versions = {
        version(a, b, names=["a", "b"]),
        version(b, a, names=["b", "a"]),
        version(b, a, names=["a", "b"]),
        version(a, b, names=["a", "c"]),
        version(a, b, a, names=["a", "b", "c"]),
        version(a, names=["a"]),
    }
    assert len(versions) == 6


def test_excluded_columns_do_not_count() -> None:
    one = pa.table({"a": [1, 2], "loaded": [1, 1]})
    two = pa.table({"a": [1, 2], "loaded": [2, 2]})
    assert data_version(one) != data_version(two)
    assert data_version(one, ["loaded"]) == data_version(two, ["loaded"])
    assert data_version(one, ["loaded"]) == data_version(one.select(["a"]))


def test_values_may_not_move_between_rows() -> None:
    one = pa.table({"a": [1, 2], "b": [1, 2]})
    two = pa.table({"a": [1, 2], "b": [2, 1]})
    assert data_version(one) != data_version(two)


def test_values_may_not_move_between_columns() -> None:
    one = pa.table({"a": [1], "b": [2]})
    two = pa.table({"a": [2], "b": [1]})
    assert data_version(one) != data_version(two)


def test_all_nan_are_one_value() -> None:
    odd = np.array([0x7FF8000000000001, 0xFFF8000000000000, 0x7FF0000000000001], np.uint64)
    assert version(pa.array(odd.view(np.float64))) == version(pa.array([math.nan] * 3))


def test_many_columns_with_nulls_are_hashed_in_groups() -> None:
    columns = [pa.array([i, None if i % 3 else i, i + 1]) for i in range(50)]
    whole = version(*columns)
    reverse = [column.take(pa.array([2, 1, 0])) for column in columns]
    assert version(*reverse) == whole
    for index in range(50):
        changed = list(columns)
        changed[index] = pa.array([index, None if index % 3 else index, index + 2])
        assert version(*changed) != whole


def test_rows_of_another_schema_are_refused() -> None:
    hasher = RowHasher(pa.schema([("a", pa.int64())]))
    with pytest.raises(UsageError, match="another schema"):
        hasher.update(pa.table({"a": ["x"]}))


def test_no_rows_and_no_columns_have_versions() -> None:
    empty = pa.table({"a": pa.array([], pa.int64())})
    assert data_version(empty) != (0, 0)
    assert data_version(empty) != data_version(pa.table({}))


def test_a_reader_a_table_and_batches_agree() -> None:
    table = pa.table({"a": range(10_000), "b": [str(i) for i in range(10_000)]})
    hasher = RowHasher(table.schema)
    for batch in table.to_batches(max_chunksize=77):
        hasher.update(batch)
    assert hasher.rows == 10_000
    assert hasher.result() == data_version(table) == data_version(table.to_reader(1000))


def test_a_parquet_round_trip_keeps_the_version(tmp_path: Path) -> None:
    # Parquet has no such types, or gives them back as others.
    without = {"interval", "struct without fields", "float16", "date64", "duration"}
    without |= {"decimal32", "decimal64", "decimal256"} | {n for n in EXAMPLES if "view" in n}
    names = [name for name in EXAMPLES if name not in without]
    for name in names:
        table = pa.table({"a": example(name)})
        pq.write_table(table, tmp_path / "a.parquet")
        assert data_version(pq.read_table(tmp_path / "a.parquet")) == data_version(table), name


# --------------------------------------------------------------------------------------------
# Properties

CELLS = {
    "i": (pa.int64(), st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 2)),
    "f": (pa.float64(), st.floats(allow_nan=False)),
    "s": (pa.string(), st.text(max_size=30)),
    "b": (pa.binary(), st.binary(max_size=40)),
    "l": (pa.list_(pa.string()), st.lists(st.none() | st.text(max_size=4), max_size=4)),
    "d": (pa.decimal128(20, 0), st.integers(-(10**19), 10**19).map(Decimal)),
    "t": (pa.struct([("x", pa.int8()), ("y", pa.bool_())]),
          st.fixed_dictionaries({"x": st.none() | st.integers(-128, 127), "y": st.booleans()})),
}  # fmt: skip
SCHEMA = pa.schema([(name, kind) for name, (kind, _) in CELLS.items()])
ROW = st.fixed_dictionaries({name: st.none() | cells for name, (_, cells) in CELLS.items()})


def table_of(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(rows, SCHEMA)


@given(st.data())
def test_any_order_and_any_chunks_are_equal(data: st.DataObject) -> None:
    rows = data.draw(st.lists(ROW, max_size=12))
    shuffled = data.draw(st.permutations(rows))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    table = table_of(shuffled)
    edges = [0, *cuts, len(rows)]
    chunks = [table.slice(a, b - a) for a, b in itertools.pairwise(edges)]
    assert data_version(pa.concat_tables(chunks)) == data_version(table_of(rows))


def canonical(cell: object) -> object:
    if isinstance(cell, dict):
        return repr(sorted(cell.items()))
    return struct.pack("<d", cell) if isinstance(cell, float) else repr(cell)


@given(st.data())
def test_any_other_cell_is_another_version(data: st.DataObject) -> None:
    rows = data.draw(st.lists(ROW, min_size=1, max_size=8))
    index = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(sorted(CELLS)))
    cell = data.draw(st.none() | CELLS[name][1])
    changed = [dict(row) for row in rows]
    changed[index][name] = cell
    same = canonical(rows[index][name]) == canonical(cell)
    assert (data_version(table_of(changed)) == data_version(table_of(rows))) == same


@given(st.lists(st.integers(0, 3), max_size=8), st.lists(st.integers(0, 3), max_size=8))
def test_rows_count_as_often_as_they_occur(one: list[int], two: list[int]) -> None:
    same = Counter(one) == Counter(two)
    assert (version(pa.array(one, pa.int64())) == version(pa.array(two, pa.int64()))) == same


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=1100) | st.binary(max_size=9), max_size=40))
def test_a_value_hashes_alike_alone_and_among_others(values: list[bytes]) -> None:
    whole = pa.array(values, pa.binary())
    opener = opener_of(pa.binary())
    together = np.empty(len(values), np.uint64)
    if values:
        opener(whole, {})(0, len(values), together)
    for index, value in enumerate(values):
        alone = np.empty(1, np.uint64)
        opener(pa.array([value], pa.binary()), {})(0, 1, alone)
        assert alone[0] == together[index]


@pytest.mark.parametrize("shift", range(9))
def test_where_the_buffer_of_a_text_lies_in_memory_does_not_count(shift: int) -> None:
    texts = ["", "a", "achtacht", "neunneunn", "x" * 40, "ende"]
    for count in range(1, len(texts) + 1):
        whole = pa.array(texts[:count])
        _, offsets, data = whole.buffers()
        moved = pa.py_buffer(b"?" * shift + data.to_pybytes()).slice(shift)
        again = pa.StringArray.from_buffers(count, offsets, moved)
        assert again.equals(whole)
        assert version(again) == version(whole)


@pytest.mark.slow
def test_small_changes_do_not_cancel_in_either_lane() -> None:
    """20,000 tables that differ in a few low or high bits: no two agree in 40 bits of a lane."""
    rng = np.random.default_rng(7)
    seen: list[DataVersion] = []
    for _ in range(20_000):
        a = pa.array(rng.integers(0, 4, 3).astype(np.int64))
        b = pa.array(rng.integers(0, 4, 3).astype(np.float64) * 2.0 ** int(rng.integers(0, 8)))
        hasher = RowHasher(PAIR)
        hasher.update(pa.record_batch([a, b], schema=PAIR))
        seen.append((tuple(sorted(zip(a.to_pylist(), b.to_pylist(), strict=True))),
                     hasher._hi & (2**64 - 1), hasher._lo & (2**64 - 1)))  # fmt: skip
    contents = {content for content, _, _ in seen}
    for lane in (1, 2):
        for shift in (0, 24):
            words = {(entry[lane] >> shift) & (2**40 - 1) for entry in seen}
            assert len(words) >= len(contents) - 2


PAIR = pa.schema([("a", pa.int64()), ("b", pa.float64())])


# --------------------------------------------------------------------------------------------
# Versions


def test_a_version_is_32_hexadecimal_digits() -> None:
    assert DataVersion(1, 2).hex == "00000000000000010000000000000002"
    assert str(DataVersion(1, 2)) == DataVersion(1, 2).hex


def test_a_unique_version_equals_no_other() -> None:
    assert len({unique_version() for _ in range(100)}) == 100


def test_a_file_counts_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"one")
    (tmp_path / "c").write_bytes(b"two")
    os.utime(tmp_path / "b", (1, 1))
    one, same, other = (file_version(tmp_path / name) for name in "abc")
    assert one == same != other
    assert one.hex == "2265a148ce128e85a77f1ebc6a325401"


def test_naming_a_version_imports_neither_numpy_nor_pyarrow() -> None:
    code = (
        "import sys, assets_core.fingerprint.data_version, assets_core.fingerprint.hashing;"
        "print([m for m in ('numpy', 'pyarrow', 'pydantic', 'sqlglot') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    assert done.stdout.strip() == "[]"
