"""The DuckDB store: one file and several processes, evolving tables, damage and a full disk."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from assets_core.contracts import Staged
from assets_core.errors import (
    AssetsError,
    CorruptDataError,
    LeaseLostError,
    MissingDataError,
    OutputError,
    StorageError,
    UsageError,
    VersionReplacedError,
)
from assets_core.testing import publish, rows, target
from io_managers import DuckDBTables

ROOT = Path(__file__).parent.parent
LARGE = pa.table({"x": np.arange(5_000_000)})  # 40 MB: more than is taken at once


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckDBTables]:
    found = DuckDBTables("warehouse.duckdb")
    found.bind("warehouse", tmp_path)
    yield found
    found.close()


def outside(tmp_path: Path, statement: str) -> list[tuple[object, ...]]:
    """What another program does with the file, once we have let go of it."""
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        return connection.execute(statement).fetchall()


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output(process: subprocess.Popen[str], seconds: float = 60) -> str:
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, err
    return out


# ------------------------------------------------------------------------------ tables


def test_a_table_is_called_as_its_asset(store: DuckDBTables, tmp_path: Path) -> None:
    publish(store, target("2024-01-01"), rows(1, 2))
    store.close()
    assert outside(tmp_path, "SELECT id, name, _partition FROM orders ORDER BY id") == [
        (1, "row 1", "2024-01-01"),
        (2, "row 2", "2024-01-01"),
    ]


def test_another_program_sees_nothing_staged(store: DuckDBTables, tmp_path: Path) -> None:
    publish(store, target("p1"), rows(1))
    store.stage(target("p2"), rows(2))
    store.close()
    assert outside(tmp_path, "SELECT id FROM orders") == [(1,)]


def test_a_publish_leaves_no_staging_table(store: DuckDBTables, tmp_path: Path) -> None:
    staged = store.stage_rejects(store.stage(target(), rows(1)), rows(9))
    store.publish(staged, "")
    store.close()
    left = outside(tmp_path, "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE '%run%'")
    assert left == []
    assert outside(tmp_path, "SELECT count(*) FROM _assets.staged") == [(0,)]


def test_rejects_are_a_table_that_can_be_queried(store: DuckDBTables, tmp_path: Path) -> None:
    bad = pa.table({"raw": ["x"], "reason": ["no id"]})
    store.publish(store.stage_rejects(store.stage(target(), rows(1)), bad), "")
    store.close()
    assert outside(tmp_path, "SELECT reason FROM orders__rejects") == [("no id",)]


def test_environments_have_schemas_of_their_own(store: DuckDBTables, tmp_path: Path) -> None:
    publish(store, target(environment="dev"), rows(5))
    store.close()
    assert outside(tmp_path, "SELECT id FROM main__dev.orders") == [(5,)]


def test_names_that_differ_in_case_are_two_tables(store: DuckDBTables) -> None:
    lower, upper = (publish(store, target(asset=a), rows(i)) for i, a in enumerate(("x", "X")))
    assert store.read([lower]).equals(rows(0))
    assert store.read([upper]).equals(rows(1))


def test_a_table_of_the_users_own_is_left_alone(store: DuckDBTables, tmp_path: Path) -> None:
    outside(tmp_path, "CREATE TABLE orders AS SELECT 42 AS mine")
    with pytest.raises(OutputError, match="did not make"):
        publish(store, target(), rows(1))
    store.close()
    assert outside(tmp_path, "SELECT mine FROM orders") == [(42,)]


@pytest.mark.parametrize(
    "columns", [["_partition"], ["_PARTITION"], ["a", "A"], [" a"], ["a\0b"], [""], ["e\u0301"]]
)
def test_a_column_duckdb_can_not_keep_is_refused(store: DuckDBTables, columns: list[str]) -> None:
    table = pa.Table.from_arrays([pa.array([1])] * len(columns), names=columns)
    with pytest.raises(OutputError):
        store.stage(target(), table)


@pytest.mark.parametrize("name", ['a"b', "select", "rowid", "a;b", "日本", "a'b", "key", "place"])
def test_odd_column_names_are_kept(store: DuckDBTables, name: str) -> None:
    table = pa.table({name: [3, 1, 2]})
    receipts = [publish(store, target(f"p{i}"), table) for i in range(20)]
    assert sorted(store.read(receipts).column(name).to_pylist()) == sorted([1, 2, 3] * 20)
    assert store.read(receipts[:1]).equals(table)


def test_a_file_is_refused_with_a_way_out(store: DuckDBTables, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(OutputError) as caught:
        store.stage(target(), tmp_path / "f")
    assert "ParquetFiles" in caught.value.hint


def test_reserved_schemas_are_refused() -> None:
    with pytest.raises(UsageError):
        DuckDBTables("w.duckdb", schema="_assets")


def test_reading_creates_no_file(store: DuckDBTables, tmp_path: Path) -> None:
    assert store.fences("prod", "orders", ["k"]) == []
    assert list(store.scan()) == []
    assert store.sweep("run00000001", []) == 0
    store.discard(Staged(target(), "table", "[]"))
    assert list(tmp_path.iterdir()) == []


def test_more_rows_than_a_row_group_can_be_read_at_once(store: DuckDBTables) -> None:
    """DuckDB 2.0.0 hides rows inserted after CREATE TABLE AS in one transaction."""
    table = pa.table({"x": pa.array(range(300_000), pa.int64())})
    for token in (1, 2):
        receipt = publish(store, target(token=token), table)
        assert store.read([receipt]).equals(table)
    store.close()
    assert store.read([receipt]).equals(table)


@pytest.mark.slow
def test_a_large_version_streams(store: DuckDBTables) -> None:
    receipts = [publish(store, target(f"p{i}"), LARGE) for i in range(2)]
    reader = store.open(receipts)
    count = last = 0
    for batch in reader:
        assert batch.num_rows <= 200_000
        count, last = count + batch.num_rows, batch.column(0)[-1].as_py()
    assert (count, last) == (10_000_000, 4_999_999)


def test_an_abandoned_reader_gives_the_file_back(store: DuckDBTables, tmp_path: Path) -> None:
    reader = store.open([publish(store, target(), LARGE)])
    reader.read_next_batch()
    del reader
    store.close()
    assert outside(tmp_path, "SELECT count(*) FROM orders") == [(5_000_000,)]


# ------------------------------------------------------------------------------ evolution


def ints(kind: pa.DataType, *values: int | float | None) -> pa.Table:
    return pa.table({"x": pa.array(values, kind)})


def test_a_wider_type_widens_the_table(store: DuckDBTables, tmp_path: Path) -> None:
    old = publish(store, target("p1"), ints(pa.int8(), 1))
    new = publish(store, target("p2"), ints(pa.int64(), 2**40))
    assert store.read([old]).equals(ints(pa.int8(), 1))
    assert store.read([old, new]).equals(ints(pa.int64(), 1, 2**40))
    store.close()
    kinds = outside(tmp_path, "SELECT data_type FROM duckdb_columns() WHERE table_name = 'orders'")
    assert kinds[0] == ("BIGINT",)


def test_a_narrower_type_fits_without_a_change(store: DuckDBTables) -> None:
    publish(store, target("p1"), ints(pa.int64(), 1))
    new = publish(store, target("p2"), ints(pa.int8(), 2))
    assert store.read([new]).equals(ints(pa.int8(), 2))


def test_a_changed_column_of_the_same_partition_is_swapped(store: DuckDBTables) -> None:
    publish(store, target(token=1), ints(pa.int32(), 1, 2))
    wider = pa.table({"x": [1.5], "y": ["new"]})
    assert store.read([publish(store, target(token=2), wider)]).equals(wider)


def test_a_column_of_nulls_takes_any_type_later(store: DuckDBTables) -> None:
    old = publish(store, target("p1"), pa.table({"x": pa.nulls(2), "k": [1, 2]}))
    new = publish(store, target("p2"), pa.table({"x": ["text"], "k": [3]}))
    assert store.read([old]).schema.field("x").type == pa.null()
    assert store.read([old, new]).column("x").to_pylist() == [None, None, "text"]


def test_lists_that_were_empty_take_any_type_later(store: DuckDBTables) -> None:
    old = publish(store, target("p1"), pa.table({"x": pa.array([[], None], pa.list_(pa.null()))}))
    new = publish(store, target("p2"), pa.table({"x": [["a"]]}))
    assert store.read([old, new]).column("x").to_pylist() == [[], None, ["a"]]
    assert store.read([old]).column("x").to_pylist() == [[], None]


@pytest.mark.parametrize("value", [b"x", [1], {"deep": 1}], ids=str)
def test_a_type_that_other_partitions_cannot_take_is_refused(
    store: DuckDBTables, value: object
) -> None:
    old = publish(store, target("p1"), ints(pa.int64(), 1))
    staged = store.stage(target("p2"), pa.table({"x": [value]}))
    with pytest.raises(OutputError, match="fit") as caught:
        store.publish(staged, "")
    assert caught.value.facts["column"] == "x"
    assert "new name" in caught.value.hint
    assert store.read([old]).equals(ints(pa.int64(), 1))
    assert store.fences("prod", "orders", ["p2"]) == []


def type_in_file(tmp_path: Path) -> object:
    return outside(
        tmp_path, "SELECT data_type FROM duckdb_columns() WHERE column_name = 'x' AND NOT internal"
    )


CHANGES = {
    "integers to text": ([1, None, -(2**62)], ["a", None]),
    "numbers in text to integers": (["1", "-5", None], [7]),
    "truth to integers": ([True, False, None], [2]),
    "fractions to text": ([0.1, 1e300, float("inf")], ["a"]),
    "days to times": ([date(2024, 1, 1)], [datetime(2024, 1, 1, 5)]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_column_takes_the_new_type_where_nothing_is_lost(
    store: DuckDBTables, tmp_path: Path, change: str
) -> None:
    before, after = (pa.table({"x": values}) for values in CHANGES[change])
    old = publish(store, target("p1"), before)
    publish(store, target("p2"), before)
    new = publish(store, target("p2", 2), after)
    assert store.read([old]).equals(before)
    assert store.read([new]).equals(after)
    store.close()
    wanted = duckdb.sql("SELECT typeof(x) FROM after").fetchall()[0]
    assert type_in_file(tmp_path) == [wanted]


@pytest.mark.parametrize("text", ["abc", "007", "1.0"])
def test_text_that_is_no_number_stays_text_until_its_partition_is_rebuilt(
    store: DuckDBTables, tmp_path: Path, text: str
) -> None:
    old = publish(store, target("p1"), pa.table({"x": [text]}))
    new = publish(store, target("p2"), pa.table({"x": [7]}))
    assert store.read([old]).column("x").to_pylist() == [text]
    assert store.read([new]).equals(pa.table({"x": [7]}))
    store.close()
    assert type_in_file(tmp_path) == [("VARCHAR",)]
    rebuilt = publish(store, target("p1", 2), pa.table({"x": [5]}))
    assert store.read([rebuilt, new]).column("x").to_pylist() == [5, 7]
    store.close()
    assert type_in_file(tmp_path) == [("BIGINT",)]


def test_many_partitions_are_read_out_of_a_column_that_became_text(store: DuckDBTables) -> None:
    old = [publish(store, target(f"p{i}"), ints(pa.int64(), i)) for i in range(20)]
    publish(store, target("q"), pa.table({"x": ["abc"]}))
    assert store.read(old).column("x").to_pylist() == list(range(20))


def test_any_type_follows_where_no_other_partition_holds_a_value(store: DuckDBTables) -> None:
    empty = publish(store, target("p1"), ints(pa.int64()).slice(0, 0))
    publish(store, target("p2"), ints(pa.int64(), 1))
    new = publish(store, target("p2", 2), pa.table({"x": [{"deep": 1}]}))
    assert store.read([new]).column("x").to_pylist() == [{"deep": 1}]
    assert store.read([empty]).equals(ints(pa.int64()).slice(0, 0))


@pytest.mark.parametrize("first", ["integers", "fractions"])
def test_integers_are_never_rounded(store: DuckDBTables, first: str) -> None:
    tables = {"integers": ints(pa.int64(), 2**53 + 1), "fractions": ints(pa.float64(), 0.5)}
    old = publish(store, target("p1"), tables.pop(first))
    with pytest.raises(OutputError, match="fit"):
        publish(store, target("p2"), tables.popitem()[1])
    assert store.read([old]).num_rows == 1


def test_integers_that_fit_join_fractions(store: DuckDBTables) -> None:
    old = publish(store, target("p1"), ints(pa.int64(), 2**53))
    new = publish(store, target("p2"), ints(pa.float64(), 0.5))
    assert store.read([old]).equals(ints(pa.int64(), 2**53))
    assert store.read([old, new]).column("x").to_pylist() == [2.0**53, 0.5]


@pytest.mark.parametrize(
    "kind",
    [
        pa.timestamp("us", "Europe/Berlin"),
        pa.timestamp("s", "UTC"),
        pa.timestamp("ns"),
        pa.duration("s"),
        pa.duration("ns"),
        pa.time32("s"),
        pa.date32(),
        pa.decimal128(20, 4),
        pa.large_string(),
        pa.uint64(),
        pa.binary(3),
        pa.list_(pa.struct([("a", pa.duration("ms"))])),
        pa.map_(pa.string(), pa.float32()),
        pa.list_(pa.int32(), 2),
    ],
    ids=str,
)
def test_types_come_back(store: DuckDBTables, kind: pa.DataType) -> None:
    table = pa.table({"x": pa.array([None, None], kind)})
    assert store.read([publish(store, target(), table)]).equals(table)


def test_instants_and_durations_keep_their_values(store: DuckDBTables) -> None:
    table = pa.table(
        {
            "at": pa.array([1_700_000_000_123_456], pa.timestamp("us", "Asia/Kathmandu")),
            "took": pa.array([-90_061_000], pa.duration("ms")),
        }
    )
    assert store.read([publish(store, target(), table)]).equals(table)


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1], pa.timestamp("ns", "UTC")),
        pa.array([1], pa.duration("ns")),
        pa.array([None], pa.decimal256(60, 2)),
        pa.array([None], pa.month_day_nano_interval()),
    ],
    ids=lambda array: str(array.type),
)
def test_values_that_would_change_are_refused(store: DuckDBTables, array: pa.Array) -> None:
    with pytest.raises(OutputError, match="'x'"):
        store.stage(target(), pa.table({"x": array}))


def test_dictionaries_come_back_as_their_values(store: DuckDBTables) -> None:
    table = pa.table({"x": pa.array(["a", "b", "a"]).dictionary_encode()})
    assert store.read([publish(store, target(), table)]).column("x").to_pylist() == ["a", "b", "a"]


# ------------------------------------------------------------------------------ fences


def test_a_replaced_version_says_who_replaced_it(store: DuckDBTables) -> None:
    old = publish(store, target(token=1), rows(1))
    publish(store, target(token=2, run="newerrun01"), rows(2))
    with pytest.raises(VersionReplacedError) as caught:
        store.read([old])
    assert caught.value.facts["by run"] == "newerrun01"


def test_another_attempt_under_the_same_token_is_refused(store: DuckDBTables) -> None:
    first, second = (store.stage(target(token=1), rows(i)) for i in (1, 2))
    receipt = store.publish(first, "")
    with pytest.raises(LeaseLostError):
        store.publish(second, "")
    assert store.read([receipt]).equals(rows(1))


def test_a_receipt_of_the_future_is_missing(store: DuckDBTables) -> None:
    receipt = publish(store, target(token=1), rows(1))
    with pytest.raises(MissingDataError):
        store.read([replace(receipt, token=2)])


@pytest.mark.slow
def test_publishes_pass_under_a_long_reader(store: DuckDBTables) -> None:
    """DuckDB keeps deleted keys for old readers: the fence row must be updated in place."""
    reader = store.open([publish(store, target(token=1), LARGE)])
    reader.read_next_batch()
    for token in range(2, 8):
        newest = publish(store, target(token=token), rows(token))
    assert sum(batch.num_rows for batch in reader) + 65_536 >= 4_900_000
    assert store.read([newest]).equals(rows(7))


def test_rows_that_another_program_changed_are_not_served(
    store: DuckDBTables, tmp_path: Path
) -> None:
    receipt = publish(store, target(), rows(1, 2, 3))
    store.close()
    outside(tmp_path, "DELETE FROM orders WHERE id = 2")
    with pytest.raises(CorruptDataError, match="another number of rows"):
        store.read([receipt])


def test_a_failure_inside_publish_keeps_the_old_version(
    store: DuckDBTables, tmp_path: Path
) -> None:
    old = publish(store, target(token=1), rows(1))
    staged = store.stage(target(token=2), rows(2))
    store.close()
    outside(tmp_path, f'DROP TABLE _assets."{_staging_name(tmp_path)}"')
    with pytest.raises(StorageError):
        store.publish(staged, "")
    assert store.read([old]).equals(rows(1))
    assert store.fences("prod", "orders", ["2024-01-01"])[0].token == 1


def _staging_name(tmp_path: Path) -> str:
    return str(outside(tmp_path, "SELECT name FROM _assets.staged")[0][0])


# ------------------------------------------------------------------------------ processes

WRITER = """
import sys
from pathlib import Path
import pyarrow as pa
from assets_core.errors import LeaseLostError
from assets_core.testing import target
from io_managers import DuckDBTables
store = DuckDBTables("warehouse.duckdb", timeout=30)
store.bind("warehouse", Path(sys.argv[1]))
number, rounds = int(sys.argv[2]), int(sys.argv[3])
for token in range(1, rounds + 1):
    for key in range(20):
        where = target(f"p{key}", 2 * token + number, run=f"writer{number:04}")
        staged = store.stage(where, pa.table({"writer": [number] * 50, "token": [2 * token] * 50}))
        try:
            store.publish(staged, "fact")
        except LeaseLostError:
            store.discard(staged)
"""


@pytest.mark.slow
def test_two_processes_on_the_same_partitions_double_nothing(
    store: DuckDBTables, tmp_path: Path
) -> None:
    writers = [python(WRITER, tmp_path, number, 2) for number in (0, 1)]
    for writer in writers:
        output(writer)
    found = list(store.scan())
    assert len(found) == 20
    assert all(f.receipt.token == 5 for f in found)
    table = store.read([f.receipt for f in found])
    assert table.num_rows == 20 * 50
    assert set(table.column("writer").to_pylist()) == {1}


HOLDER = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
time.sleep(float(sys.argv[2]))
connection.close()
"""


def test_a_file_that_another_program_has_open_is_reported(tmp_path: Path) -> None:
    holder = python(HOLDER, tmp_path / "warehouse.duckdb", 20)
    assert holder.stdout is not None
    holder.stdout.readline()
    store = DuckDBTables("warehouse.duckdb", timeout=0.3)
    store.bind("warehouse", tmp_path)
    begun = time.monotonic()
    with pytest.raises(StorageError, match="open in another program") as caught:
        store.stage(target(), rows(1))
    assert time.monotonic() - begun < 5
    assert str(holder.pid) in caught.value.facts["holder"]
    assert caught.value.hint
    holder.kill()
    holder.communicate()


def test_a_file_that_is_closed_in_time_is_waited_for(store: DuckDBTables, tmp_path: Path) -> None:
    holder = python(HOLDER, tmp_path / "warehouse.duckdb", 0.5)
    assert holder.stdout is not None
    holder.stdout.readline()
    receipt = publish(store, target(), rows(1))
    assert store.read([receipt]).equals(rows(1))
    output(holder)


IDLE = """
import sys, time
from pathlib import Path
from assets_core.testing import publish, rows, target
from io_managers import DuckDBTables
store = DuckDBTables("warehouse.duckdb")
store.bind("warehouse", Path(sys.argv[1]))
while not Path(sys.argv[1], "stop").exists():
    publish(store, target("theirs", int(time.time() * 1e6)), rows(1))
    if sys.argv[2] == "idle":
        print("idle", flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("manner", ["idle", "busy"])
def test_another_process_gives_the_file_up_when_asked(
    store: DuckDBTables, tmp_path: Path, manner: str
) -> None:
    other = python(IDLE, tmp_path, manner)
    if manner == "idle":
        assert other.stdout is not None
        other.stdout.readline()
    else:
        time.sleep(1.0)
    begun = time.monotonic()
    receipt = publish(store, target("ours"), rows(2))
    took = time.monotonic() - begun
    (tmp_path / "stop").touch()
    other.kill()
    other.communicate()
    assert store.read([receipt]).equals(rows(2))
    assert took < 4


@pytest.mark.slow
def test_an_idle_file_is_free_for_programs_that_never_ask(
    store: DuckDBTables, tmp_path: Path
) -> None:
    publish(store, target(), rows(1))
    time.sleep(2.5)
    assert output(python(HOLDER, tmp_path / "warehouse.duckdb", 0)).strip() == "open"


def test_a_forked_child_leaves_the_parents_file_alone(store: DuckDBTables, tmp_path: Path) -> None:
    """The child ends as multiprocessing's do: DuckDB 1.5 can't be unloaded after a fork."""
    code = """
import os, sys
from pathlib import Path
from assets_core.testing import publish, rows, target
from io_managers import DuckDBTables
store = DuckDBTables("warehouse.duckdb")
store.bind("warehouse", Path(sys.argv[1]))
first = publish(store, target("parent"), rows(1))
child = os.fork()
if not child:
    second = publish(store, target("child"), rows(2))
    assert store.read([first, second]).num_rows == 2
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
publish(store, target("parent", 2), rows(3))
assert sorted(f.partition for f in store.scan()) == ["child", "parent"]
"""
    output(python(code, tmp_path))
    assert len(list(store.scan())) == 2


@pytest.mark.slow
def test_a_child_forked_amid_a_read_is_refused_and_told_why(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
import numpy as np, pyarrow as pa
from assets_core.errors import StorageError
from assets_core.testing import publish, target
from io_managers import DuckDBTables
store = DuckDBTables("warehouse.duckdb")
store.bind("warehouse", Path(sys.argv[1]))
receipt = publish(store, target(), pa.table({"x": np.arange(5_000_000)}))
reader = store.open([receipt])
count = reader.read_next_batch().num_rows
child = os.fork()
if not child:
    try:
        store.read([receipt])
    except StorageError as error:
        os._exit(0 if "spawn" in error.hint else 1)
    os._exit(2)
assert os.waitpid(child, 0)[1] == 0
assert count + sum(batch.num_rows for batch in reader) == 5_000_000
"""
    output(python(code, tmp_path))


@pytest.mark.slow
def test_two_managers_of_one_file_share_it(store: DuckDBTables, tmp_path: Path) -> None:
    other = DuckDBTables("warehouse.duckdb", timeout=0.5)
    other.bind("other", tmp_path)
    reader = store.open([publish(store, target(), LARGE)])
    reader.read_next_batch()
    assert other.read([publish(other, target("p2"), rows(1))]).equals(rows(1))


@pytest.mark.slow
def test_a_stream_from_the_store_can_be_stored_in_it(store: DuckDBTables) -> None:
    upstream = publish(store, target(asset="upstream"), LARGE)
    staged = store.stage(target(asset="downstream"), store.open([upstream]))
    assert store.read([store.publish(staged, "")]).equals(LARGE)


# ------------------------------------------------------------------------------ damage, full disk


@pytest.mark.slow
def test_a_flipped_bit_gives_no_wrong_rows(tmp_path: Path) -> None:
    expected = pa.table({"x": random.Random(3).sample(range(2**60), 20_000)})
    store = DuckDBTables("warehouse.duckdb")
    store.bind("warehouse", tmp_path)
    receipt = publish(store, target(), expected)
    store.close()
    path = tmp_path / "warehouse.duckdb"
    whole = path.read_bytes()
    bits = random.Random(5).sample(range(8 * len(whole)), 60)
    noticed = 0
    for number, bit in enumerate(bits):
        # A file of its own each: the engine keeps blocks of a file it has seen.
        copy = tmp_path / f"copy{number}"
        copy.mkdir()
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        (copy / "warehouse.duckdb").write_bytes(damaged)
        store = DuckDBTables("warehouse.duckdb", timeout=1)
        store.bind("warehouse", copy)
        try:
            assert store.read([receipt]).equals(expected)
        except CorruptDataError:
            noticed += 1
        except AssetsError as error:
            pytest.fail(f"bit {bit}: {error}")
    assert noticed


FULL = """
import resource, sys
from pathlib import Path
import pyarrow as pa
from assets_core.errors import DiskFullError
from assets_core.testing import publish, rows, target
from io_managers import DuckDBTables
store = DuckDBTables("warehouse.duckdb"); store.bind("warehouse", Path(sys.argv[1]))
old = publish(store, target(token=1), rows(1, 2))
size = Path(sys.argv[1], "warehouse.duckdb").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 300_000, resource.RLIM_INFINITY))
values = [i * 7919 % 1_000_003 for i in range(int(sys.argv[2]))]
table = pa.table({"x": pa.array(values, pa.int64())})
try:
    store.publish(store.stage(target(token=2), table), "")
except DiskFullError as error:
    print(error)
else:
    sys.exit("it fitted")
assert store.read([old]).equals(rows(1, 2))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


@pytest.mark.slow
@pytest.mark.parametrize("count", [100_000, 1_000_000])
def test_a_full_disk_leaves_the_old_version_serving(tmp_path: Path, count: int) -> None:
    out = output(python(FULL, tmp_path, count), 120)
    assert "There is no room for the new version." in out
    store = DuckDBTables("warehouse.duckdb")
    store.bind("warehouse", tmp_path)
    (found,) = store.scan()
    assert store.read([found.receipt]).equals(rows(1, 2))


# ------------------------------------------------------------------------------ threads


def test_threads_write_one_partition_in_turn(store: DuckDBTables) -> None:
    refused: list[int] = []

    def work(token: int) -> None:
        try:
            publish(store, target(token=token), rows(*range(token)))
        except LeaseLostError:
            refused.append(token)

    together(work, range(1, 13))
    (found,) = store.scan()
    assert found.receipt.token == 12
    assert store.read([found.receipt]).num_rows == 12
    assert 12 not in refused


def together(work: Callable[[int], None], numbers: range) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
