"""Values to Arrow, and Arrow to what a function asks for."""

from __future__ import annotations

import gc
import inspect
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Optional

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from assets_core.errors import CorruptDataError, OutputError, UsageError
from assets_core.tabular.forms import can_supply, describe_supported, form_of
from assets_core.tabular.inputs import from_reader, from_table
from assets_core.tabular.outputs import to_reader

TABLE = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int64()),
        "name": ["a", None, "ü"],
        "value": [1.5, None, -0.0],
        "at": pa.array([datetime(2024, 1, d, tzinfo=UTC) for d in (1, 2, 3)]),
        "day": [date(2024, 1, d) for d in (1, 2, 3)],
        "price": [Decimal("1.10"), Decimal("2.20"), None],
    }
)
ROWS = [pa.Table, pa.RecordBatchReader, pa.RecordBatch, ds.Dataset, pl.DataFrame, pl.LazyFrame]
ROWS += [pd.DataFrame, duckdb.DuckDBPyRelation]


class BoomError(Exception):
    """What a user's generator raises."""


def rows_of(value: Any) -> list[dict[str, Any]]:
    output = to_reader(value, what="the test")
    if output.table is not None:
        return output.table.to_pylist()
    assert output.reader is not None
    return output.reader.read_all().to_pylist()


# ------------------------------------------------------------------ annotations


@pytest.mark.parametrize(
    "annotation",
    [
        *ROWS,
        Path,
        list[Path],
        dict[str, pa.Table],
        dict[str, Path],
        dict[str, pl.DataFrame] | None,
        Any,
        inspect.Parameter.empty,
        pl.DataFrame | None,
        Optional[pa.Table],  # noqa: UP045  # the old spelling is what is tested
        Annotated[pd.DataFrame, "a marker"],
    ],
)
def test_supported_annotations_can_be_supplied(annotation):
    assert can_supply(annotation)


@pytest.mark.parametrize(
    "annotation",
    [
        int,
        str,
        None,
        list,
        list[int],
        list[pa.Table],
        dict,
        dict[int, pa.Table],
        dict[str, int],
        dict[str, dict[str, pa.Table]],
        pa.Table | pl.DataFrame,
        pa.Array,
        pl.Series,
        pd.Series,
        "pl.DataFrame",
        object(),
    ],
)
def test_other_annotations_cannot_be_supplied(annotation):
    assert not can_supply(annotation)


def test_a_type_of_the_same_name_from_elsewhere_is_not_mistaken():
    class DataFrame:
        pass

    DataFrame.__qualname__ = "DataFrame"
    assert not can_supply(DataFrame)


def test_an_optional_dict_is_both():
    form = form_of(dict[str, pl.DataFrame] | None)
    assert form is not None
    assert (form.kind, form.optional, form.keyed) == ("polars", True, True)


def test_what_is_supported_is_named():
    for name in ("pyarrow.Table", "polars.LazyFrame", "pandas.DataFrame", "list[Path]", "| None"):
        assert name in describe_supported()


def test_importing_and_asking_import_no_data_library():
    code = (
        "import sys; from assets_core.tabular import duckdb_sessions, inputs, outputs, forms as t;"
        "from pathlib import Path;"
        "assert t.can_supply(Path) and not t.can_supply(int);"
        "print(sorted({'pyarrow','polars','pandas','duckdb','numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_handing_over_arrow_imports_no_data_frame_library():
    code = (
        "import sys, pyarrow as pa; from assets_core.tabular import inputs, outputs;"
        "x = pa.table([pa.nulls(1)], ['a']); to_reader = outputs.to_reader;"
        "to_reader(inputs.from_table(x, pa.Table), what='it'); to_reader(iter([x]), what='it');"
        "print(sorted({'polars','pandas','duckdb','pyarrow.dataset'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ------------------------------------------------------------------ from Arrow and back


@pytest.mark.parametrize("annotation", ROWS)
def test_a_table_goes_to_every_form_and_back(annotation):
    value = from_table(TABLE, annotation)
    assert isinstance(value, annotation)
    assert rows_of(value) == TABLE.to_pylist()


@pytest.mark.parametrize("annotation", ROWS)
def test_a_reader_goes_to_every_form_and_back(annotation):
    value = from_reader(TABLE.to_reader(2), annotation)
    assert isinstance(value, annotation)
    assert rows_of(value) == TABLE.to_pylist()


@pytest.mark.parametrize("annotation", ROWS)
def test_an_empty_table_keeps_its_columns_in_every_form(annotation):
    value = from_reader(TABLE.slice(0, 0).to_reader(), annotation)
    output = to_reader(value, what="the test")
    schema = output.table.schema if output.table is not None else output.reader.schema
    assert schema.names == TABLE.column_names
    assert rows_of(from_table(TABLE.slice(0, 0), annotation)) == []


@pytest.mark.parametrize("annotation", [Any, inspect.Parameter.empty, pa.Table | None])
def test_without_an_annotation_it_is_a_table(annotation):
    assert from_table(TABLE, annotation) is TABLE


def test_a_reader_is_passed_on_as_it_is():
    reader = TABLE.to_reader()
    assert from_reader(reader, pa.RecordBatchReader | None) is reader


def test_a_record_batch_is_the_whole_table_in_one():
    batch = from_reader(pa.concat_tables([TABLE, TABLE]).to_reader(1), pa.RecordBatch)
    assert batch.num_rows == 6


@pytest.mark.parametrize("annotation", [Path, list[Path], dict[str, pa.Table], int])
def test_rows_do_not_become_what_is_not_rows(annotation):
    with pytest.raises(UsageError, match="Rows can't be given as"):
        from_table(TABLE, annotation)


def test_pandas_keeps_whole_numbers_and_booleans_exact_where_some_are_null():
    big = 2**53 + 1
    table = pa.table(
        {
            "i": pa.array([big, None], pa.int64()),
            "u": pa.array([2**64 - 1, None], pa.uint64()),
            "b": pa.array([True, None]),
            "plain": pa.array([1, 2], pa.int8()),
        }
    )
    frame = from_table(table, pd.DataFrame)
    assert [str(t) for t in frame.dtypes] == ["Int64", "UInt64", "boolean", "int8"]
    back = to_reader(frame, what="the test").table
    assert back.equals(table)


def test_a_relation_can_be_queried_twice():
    relation = from_reader(TABLE.to_reader(1), duckdb.DuckDBPyRelation)
    assert relation.aggregate("count(*)").fetchall() == [(3,)]
    assert relation.aggregate("sum(id)").fetchall() == [(6,)]


def test_a_relation_over_many_rows_can_be_queried_twice(monkeypatch):
    monkeypatch.setattr("assets_core.tabular.inputs._HELD_BYTES", 10)
    relation = from_reader(TABLE.to_reader(1), duckdb.DuckDBPyRelation)
    gc.collect()
    assert relation.aggregate("count(*)").fetchall() == [(3,)]
    assert rows_of(relation.order("id")) == TABLE.to_pylist()


def test_a_relation_uses_the_connection_it_is_given():
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE names AS SELECT 1 AS id, 'one' AS word")
        relation = from_table(TABLE, duckdb.DuckDBPyRelation, connection=connection)
        joined = relation.set_alias("t").join(
            connection.table("names").set_alias("n"), "t.id = n.id"
        )
        assert joined.project("word").fetchall() == [("one",)]


def test_a_relation_gives_times_in_utc_whatever_the_machine():
    relation = from_table(TABLE.select(["at"]), duckdb.DuckDBPyRelation)
    assert to_reader(relation, what="the test").reader.schema.field("at").type.tz == "UTC"


def test_damage_found_while_a_relation_is_filled_stays_what_it_is(monkeypatch):
    monkeypatch.setattr("assets_core.tabular.inputs._HELD_BYTES", 10)

    def broken() -> Iterator[pa.RecordBatch]:
        yield from TABLE.to_batches()
        raise CorruptDataError("a flipped bit")

    reader = pa.RecordBatchReader.from_batches(TABLE.schema, broken())
    with pytest.raises(CorruptDataError, match="flipped"):
        from_reader(reader, duckdb.DuckDBPyRelation)


@pytest.mark.parametrize("annotation", [pa.Table, pl.DataFrame, pd.DataFrame, ds.Dataset])
def test_damage_found_while_reading_stays_what_it_is(annotation):
    def broken() -> Iterator[pa.RecordBatch]:
        yield from TABLE.to_batches()
        raise CorruptDataError("a flipped bit")

    with pytest.raises(CorruptDataError, match="flipped"):
        from_reader(pa.RecordBatchReader.from_batches(TABLE.schema, broken()), annotation)


# ------------------------------------------------------------------ to Arrow


@pytest.mark.parametrize(
    "value",
    [
        TABLE,
        TABLE.to_batches()[0],
        TABLE.to_reader(),
        pl.from_arrow(TABLE),
        pl.from_arrow(TABLE).lazy().filter(pl.col("id") > 0),
        [TABLE.slice(0, 1), TABLE.slice(1)],
        (batch for batch in TABLE.to_batches(1)),
        iter([pl.from_arrow(TABLE)]),
        iter([TABLE.to_reader(1)]),
        TABLE.to_pylist(),
        ds.dataset(TABLE),
    ],
    ids=lambda value: type(value).__name__,
)
def test_everything_tabular_becomes_the_same_rows(value):
    assert rows_of(value) == TABLE.to_pylist()


def test_a_relation_becomes_its_rows():
    assert rows_of(duckdb.from_arrow(TABLE)) == TABLE.to_pylist()


def test_whole_values_are_a_table_and_streams_a_reader():
    assert to_reader(pl.from_arrow(TABLE), what="it").table is not None
    assert to_reader(TABLE.to_reader(), what="it").table is None
    assert to_reader(iter(TABLE.to_batches()), what="it").reader is not None


def test_anything_that_exports_an_arrow_stream_is_taken():
    class Mine:
        def __arrow_c_stream__(self, requested_schema=None):
            return TABLE.__arrow_c_stream__(requested_schema)

    assert rows_of(Mine()) == TABLE.to_pylist()


def test_anything_that_exports_an_arrow_array_is_taken():
    class Mine:
        def __arrow_c_array__(self, requested_schema=None):
            return TABLE.to_batches()[0].__arrow_c_array__(requested_schema)

    assert rows_of(Mine()) == TABLE.to_pylist()


def test_none_is_nothing():
    output = to_reader(None, what="it")
    assert (output.table, output.reader, output.path) == (None, None, None)


def test_a_path_stays_a_path():
    assert to_reader(Path("x.csv"), what="it").path == Path("x.csv")


def test_rows_may_lack_keys():
    assert rows_of([{"a": 1}, {"b": "x"}]) == [{"a": 1, "b": None}, {"a": None, "b": "x"}]


def test_rows_of_mixed_types_are_refused():
    with pytest.raises(OutputError, match="don't fit one column type"):
        to_reader([{"a": 1}, {"a": "x"}], what="it")


@pytest.mark.parametrize(
    "value", [TABLE.replace_schema_metadata({"k": "v"}), pd.DataFrame({"a": [1]})]
)
def test_metadata_of_the_schema_is_left_behind(value):
    assert to_reader(value, what="it").table.schema.metadata is None
    stream = to_reader(iter([value, value]), what="it").reader
    assert stream.schema.metadata is None
    assert all(batch.schema.metadata is None for batch in stream)


def test_metadata_of_a_reader_is_left_behind():
    reader = to_reader(TABLE.replace_schema_metadata({"k": "v"}).to_reader(), what="it").reader
    assert reader.schema.metadata is None
    assert reader.read_all().equals(TABLE)


@pytest.mark.parametrize(
    "value",
    [
        "data.csv",
        b"bytes",
        7,
        {"a": [1]},
        pl.Series("a", [1]),
        pd.Series([1]),
        pa.array([1]),
        object(),
        {1, 2},
        [1, 2],
        iter(["x"]),
        iter([{"a": 1}]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_tabular_is_refused(value):
    with pytest.raises(OutputError) as caught:
        to_reader(value, what="asset 'readings'")
    assert "The output of asset 'readings' is " in str(caught.value)
    assert caught.value.hint


def test_text_is_answered_with_how_to_return_a_file():
    with pytest.raises(OutputError, match=r"pathlib\.Path\(…\)"):
        to_reader("data.csv", what="it")


def test_a_coroutine_is_answered_with_what_to_write():
    async def forgotten() -> pa.Table:
        return TABLE

    coroutine = forgotten()
    with pytest.raises(OutputError, match="ordinary function"):
        to_reader(coroutine, what="it")
    coroutine.close()


DOUBLED = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])


@pytest.mark.parametrize("value", [DOUBLED, DOUBLED.to_reader(), iter([DOUBLED])])
def test_columns_of_one_name_are_refused(value):
    with pytest.raises(OutputError, match="several columns of the same name: 'a'"):
        to_reader(value, what="it")


@pytest.mark.parametrize(
    "value", [pa.table({}), pl.DataFrame(), pd.DataFrame(), iter([pa.table({})]), [{}]]
)
def test_no_columns_are_refused(value):
    with pytest.raises(OutputError, match="has no columns"):
        to_reader(value, what="it")


# ------------------------------------------------------------------ pandas


def test_row_positions_are_dropped():
    frame = pd.DataFrame({"a": [1, 2, 3]})
    assert rows_of(frame[frame.a > 1]) == [{"a": 2}, {"a": 3}]


def test_an_index_with_a_name_becomes_a_column():
    frame = pd.DataFrame({"k": ["x", "y"], "a": [1, 2]}).set_index("k")
    assert rows_of(frame) == [{"a": 1, "k": "x"}, {"a": 2, "k": "y"}]


def test_an_index_of_several_levels_becomes_columns():
    frame = pd.DataFrame({"k": [1, 1], "l": [1, 2], "a": [1, 2]}).set_index(["k", "l"])
    assert rows_of(frame) == [{"a": 1, "k": 1, "l": 1}, {"a": 2, "k": 1, "l": 2}]


def test_an_index_that_means_something_and_has_no_name_is_refused():
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.to_datetime(["2024-01-01", "2024-01-02"]))
    with pytest.raises(OutputError, match="index") as caught:
        to_reader(frame, what="it")
    assert "reset_index" in caught.value.hint


def test_an_index_named_like_a_column_is_refused():
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.Index([7, 8], name="a"))
    with pytest.raises(OutputError, match="index and a column of the same name"):
        to_reader(frame, what="it")


def test_columns_that_are_not_named_by_text_are_refused():
    with pytest.raises(OutputError, match="not named by text: 0"):
        to_reader(pd.DataFrame([[1, 2]]), what="it")


def test_objects_of_mixed_types_are_refused():
    with pytest.raises(OutputError, match="don't fit one column type"):
        to_reader(pd.DataFrame({"a": ["x", 1]}, dtype=object), what="it")


# ------------------------------------------------------------------ streams


def test_a_generator_is_drawn_one_batch_at_a_time():
    drawn = []

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(1000):
            drawn.append(number)
            yield pa.record_batch({"a": [number]})

    reader = to_reader(batches(), what="it").reader
    assert len(drawn) == 1
    for _ in range(10):
        reader.read_next_batch()
    assert len(drawn) <= 11


def test_a_long_stream_is_never_whole_in_memory():
    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(200):
            yield pa.record_batch({"a": pa.repeat(number, 125_000)})  # 1 MB each

    output = to_reader(batches(), what="it")
    gc.collect()
    before, most = pa.total_allocated_bytes(), 0
    with output.consuming():
        for _ in output.reader:
            most = max(most, pa.total_allocated_bytes() - before)
    assert most < 8 << 20


def test_an_iterator_that_gives_nothing_is_refused_with_what_to_do():
    with pytest.raises(OutputError, match="gave nothing") as caught:
        to_reader(iter([]), what="it")
    assert "yield an empty batch" in caught.value.hint


def test_an_empty_list_is_refused_as_an_empty_iterator():
    with pytest.raises(OutputError, match="gave nothing"):
        to_reader([], what="it")


def test_an_empty_batch_is_a_result_without_rows():
    assert rows_of(iter([TABLE.slice(0, 0)])) == []


@pytest.mark.parametrize(
    ("second", "shown"),
    [
        (pa.table({"a": ["x"], "b": [1]}), ("a: int64", "a: string")),
        (pa.table({"a": [1]}), ("b: int64", "a: int64")),
        (pa.table({"b": [1], "a": [1]}), ("a: int64, b: int64", "b: int64, a: int64")),
    ],
)
def test_a_schema_that_changes_midway_is_refused_naming_both(second, shown):
    output = to_reader(iter([pa.table({"a": [1], "b": [1]}), second]), what="it")
    with pytest.raises(OutputError, match="changes its schema midway") as caught:
        output.reader.read_all()
    assert caught.value.facts == {"first": shown[0], "item 2": shown[1]}


def test_a_readers_own_batches_are_held_to_its_schema():
    batches = iter([pa.record_batch({"b": ["x"]})])
    reader = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), batches)
    with pytest.raises(OutputError, match="changes its schema"):
        to_reader(reader, what="it").reader.read_all()


def test_a_batch_of_nothing_but_nulls_fits_every_type():
    nothing = pa.table({"a": pa.nulls(2)})
    assert rows_of(iter([pa.table({"a": [1]}), nothing])) == [{"a": 1}, {"a": None}, {"a": None}]


def test_nullability_alone_is_no_change():
    strict = pa.schema([pa.field("a", pa.int64(), nullable=False)])
    first = pa.table({"a": [1]}, schema=strict)
    assert rows_of(iter([first, pa.table({"a": [2]})])) == [{"a": 1}, {"a": 2}]
    with pytest.raises(OutputError, match="changes its schema"):
        rows_of(iter([first, pa.table({"a": pa.array([None], pa.int64())})]))


def failing() -> Iterator[pa.RecordBatch]:
    yield pa.record_batch({"a": [1]})
    raise BoomError("line 17 is broken")


def consume_in_python(reader: pa.RecordBatchReader) -> None:
    for _ in reader:
        pass


def consume_in_duckdb(reader: pa.RecordBatchReader) -> None:
    with duckdb.connect() as connection:
        connection.register("rows", reader)
        connection.sql("SELECT sum(a) FROM rows").fetchall()


CONSUMERS = [consume_in_python, pa.RecordBatchReader.read_all, consume_in_duckdb, pl.DataFrame]


@pytest.mark.parametrize("consume", CONSUMERS)
def test_what_a_generator_raises_arrives_as_it_was_raised(consume):
    output = to_reader(failing(), what="it")
    with pytest.raises(BoomError, match="line 17") as caught, output.consuming():
        consume(output.reader)
    assert any(frame.name == "failing" for frame in caught.traceback)


@pytest.mark.parametrize("consume", [consume_in_python, consume_in_duckdb])
def test_what_the_generator_of_a_users_reader_raises_arrives_as_it_was_raised(consume):
    theirs = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), failing())
    output = to_reader(theirs, what="it")
    with pytest.raises(BoomError, match="line 17"), output.consuming():
        consume(output.reader)


def test_what_a_generator_raises_at_once_comes_out_unchanged():
    def broken() -> Iterator[pa.RecordBatch]:
        raise BoomError("at once")
        yield

    with pytest.raises(BoomError, match="at once"):
        to_reader(broken(), what="it")


def test_what_a_lazy_query_raises_comes_out_unchanged():
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        to_reader(pl.LazyFrame({"a": [1]}).select("b"), what="it")


def test_an_error_of_the_consumer_is_the_consumers():
    output = to_reader(iter([TABLE]), what="it")
    with pytest.raises(OSError, match="disk full"), output.consuming():
        raise OSError("disk full")


def test_a_generator_is_closed_when_its_consumer_fails():
    closed = []

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            for number in range(10):
                yield pa.record_batch({"a": [number]})
        finally:
            closed.append(True)

    output = to_reader(batches(), what="it")
    output.reader.read_next_batch()
    with pytest.raises(OSError, match="disk full"), output.consuming():
        raise OSError("disk full")
    assert closed == [True]


def test_a_relation_over_rows_is_read_back_after_its_connection_went_out_of_scope():
    def query() -> duckdb.DuckDBPyRelation:
        connection = duckdb.connect()
        return connection.sql("SELECT range AS a FROM range(3)")

    relation = query()
    gc.collect()
    assert rows_of(relation) == [{"a": 0}, {"a": 1}, {"a": 2}]
