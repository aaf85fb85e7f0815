"""Delta tables as other programs see them, and what those programs do to them."""

from __future__ import annotations

import datetime
import decimal
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction

from assets_core.contracts import IOManager
from assets_core.errors import (
    CorruptDataError,
    LeaseLostError,
    MissingDataError,
    OutputError,
    StorageError,
    UsageError,
)
from assets_core.fingerprint.row_hash.hasher import data_version
from assets_core.testing import HOSTILE_NAMES, publish, rows, target
from io_managers import DeltaTables


@pytest.fixture
def store(tmp_path: Path) -> DeltaTables:
    return another(tmp_path)


def another(folder: Path) -> DeltaTables:
    """The same store as another process has it: with no table open."""
    made = DeltaTables("data")
    made.bind("delta", folder)
    return made


def table(folder: Path, asset: str = "orders") -> DeltaTable:
    return DeltaTable(folder / "data" / asset)


def ids(found: pa.Table) -> list[int]:
    return sorted(found["id"].to_pylist())


# ---------------------------------------------------------------------------- other engines


def test_polars_duckdb_and_deltalake_read_what_is_published(
    store: DeltaTables, tmp_path: Path
) -> None:
    for key, values in (("a", (1, 2)), ("b", (3,)), ("a/b ü'\"", (4,))):
        publish(store, target(key), rows(*values))
    publish(store, target("a", 2), rows(5))
    store.stage(target("b", 9), rows(99))
    expected = [(3, "b"), (4, "a/b ü'\""), (5, "a")]
    frame = pl.scan_delta(str(tmp_path / "data" / "orders")).select("id", "_partition").collect()
    assert sorted(frame.rows()) == expected
    with duckdb.connect() as engine:
        engine.register("seen", table(tmp_path).to_pyarrow_dataset())
        assert sorted(engine.sql("SELECT id, _partition FROM seen").fetchall()) == expected
    assert ids(pa.table(table(tmp_path).scan(predicate="_partition = 'b'"))) == [3]


def test_the_history_shows_who_published_what(store: DeltaTables, tmp_path: Path) -> None:
    where = target("k", 7, run="run7")
    publish(store, where, rows(1), fact='{"the": "fact"}')
    newest = table(tmp_path).history(1)[0]
    noted = json.loads(newest["assets"])
    assert (noted["asset"], noted["environment"], noted["run"]) == ("orders", "prod", "run7")
    assert noted["partitions"] == [
        {
            "partition": "k",
            "attempt": where.attempt,
            "token": 7,
            "stamp": {"code": "c0de", "digest": "d1ge57"},
            "fact": '{"the": "fact"}',
        }
    ]


def test_readers_can_skip_files_by_their_statistics(store: DeltaTables, tmp_path: Path) -> None:
    given = pa.table(
        {
            "n": [3, None, 1],
            "t": ["b", "a", None],
            "d": [datetime.date(2024, 1, 2), None, datetime.date(2024, 1, 1)],
            "nested": [[1], [2], [3]],
        }
    )
    publish(store, target("k"), given)
    adds = pa.table(table(tmp_path).get_add_actions(flatten=True)).to_pylist()[0]
    assert (adds["num_records"], adds["null_count.n"], adds["min.n"], adds["max.n"]) == (3, 1, 1, 3)
    assert (adds["min.t"], adds["max.t"], adds["max.d"]) == ("a", "b", datetime.date(2024, 1, 2))


# ---------------------------------------------------------------------------- fences


def test_a_zombie_with_a_fresh_handle_is_refused(store: DeltaTables, tmp_path: Path) -> None:
    newest = publish(store, target("k", 5), rows(5))
    zombie = another(tmp_path)
    for token in (3, 5):
        with pytest.raises(LeaseLostError):
            publish(zombie, target("k", token), rows(0))
    assert ids(table(tmp_path).to_pyarrow_table()) == [5]
    assert zombie.read([newest]).equals(rows(5))


def test_a_zombie_whose_handle_is_stale_looks_again_and_is_refused(
    store: DeltaTables, tmp_path: Path
) -> None:
    publish(store, target("k", 1), rows(1))
    zombie = another(tmp_path)
    publish(zombie, target("other", 1), rows(0))  # it has the table open
    staged = zombie.stage(target("k", 2), rows(2))
    publish(store, target("k", 3), rows(3))
    with pytest.raises(LeaseLostError):
        zombie.publish(staged, "late")
    assert ids(table(tmp_path).to_pyarrow_table()) == [0, 3]


def test_the_token_is_checked_again_after_a_commit_was_outrun(
    store: DeltaTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have read the same version of the table when the newer one commits first."""
    from io_managers.delta.log import DeltaLog

    publish(store, target("k", 1), rows(1))
    newer = another(tmp_path)
    late = store.stage(target("k", 2), rows(2))
    commit = DeltaLog.commit
    outran: list[int] = []

    def outrun(log: DeltaLog, onto: object, change: object) -> None:
        if not outran:
            outran.append(1)
            publish(newer, target("k", 3), rows(3))
        commit(log, onto, change)  # type: ignore[arg-type]

    monkeypatch.setattr(DeltaLog, "commit", outrun)
    with pytest.raises(LeaseLostError):
        store.publish(late, "late")
    assert ids(table(tmp_path).to_pyarrow_table()) == [3]


def test_a_commit_that_was_outrun_by_a_neighbour_is_made_again(
    store: DeltaTables, tmp_path: Path
) -> None:
    publish(store, target("a"), rows(1))
    other = another(tmp_path)
    publish(other, target("b"), rows(2))
    for token in range(2, 6):
        publish(store, target("a", token), rows(token))
        publish(other, target("b", token), rows(10 + token))
    assert ids(table(tmp_path).to_pyarrow_table()) == [5, 15]


WRITER = """
import sys
from pathlib import Path
from assets_core.testing import publish, rows, target
from io_managers import DeltaTables
store = DeltaTables("data")
store.bind("delta", Path(sys.argv[1]))
number = int(sys.argv[2])
for i in range(10):
    publish(store, target(f"w{number}-{i % 3}", i + 1), rows(100 * number + i))
"""


def test_processes_publish_into_one_table_and_nothing_is_lost(
    store: DeltaTables, tmp_path: Path
) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(n)]) for n in range(3)
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    assert ids(table(tmp_path).to_pyarrow_table()) == [
        100 * n + i for n in range(3) for i in (7, 8, 9)
    ]


def test_other_programs_transactions_are_no_tokens(store: DeltaTables, tmp_path: Path) -> None:
    publish(store, target("k", 2), rows(2))
    seen = table(tmp_path)
    properties = CommitProperties(app_transactions=[Transaction("streaming", 99)])
    seen.delete("_partition = 'nobody'", commit_properties=properties)
    publish(store, target("k", 3), rows(3))
    assert ids(table(tmp_path).to_pyarrow_table()) == [3]


# ---------------------------------------------------------------------------- their housekeeping


def vacuum(folder: Path) -> None:
    table(folder).vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)


def test_older_versions_are_read_until_the_table_is_vacuumed(
    store: DeltaTables, tmp_path: Path
) -> None:
    receipts = [publish(store, target("k", n), rows(n)) for n in (1, 2, 3)]
    assert [ids(store.read([one])) for one in receipts] == [[1], [2], [3]]
    vacuum(tmp_path)
    for old in receipts[:2]:
        with pytest.raises(MissingDataError, match="no longer kept") as caught:
            store.read([old])
        assert "clean-up" in caught.value.hint
    assert ids(store.read(receipts[2:])) == [3]
    store.verify(receipts[2])


def test_what_was_staged_while_the_table_was_vacuumed_is_not_published(
    store: DeltaTables, tmp_path: Path
) -> None:
    old = publish(store, target("k", 1), rows(1))
    staged = store.stage(target("k", 2), rows(2))
    vacuum(tmp_path)
    with pytest.raises(MissingDataError):
        store.publish(staged, "fact")
    assert ids(store.read([old])) == [1]


@pytest.mark.parametrize("how", ["compact", "z-order"])
def test_receipts_survive_compaction_and_vacuum(
    store: DeltaTables, tmp_path: Path, how: str
) -> None:
    odd = pa.table({"id": pa.array([4, 3], pa.uint32()), "none": pa.nulls(2), "f": [1.5, None]})
    receipts = [publish(store, target(key), odd) for key in ("a", "b/ü'")]
    old = publish(store, target("c", 1), odd)
    receipts.append(publish(store, target("c", 2), odd.slice(1)))
    if how == "compact":
        table(tmp_path).optimize.compact()
    else:
        table(tmp_path).optimize.z_order(["id"])
    vacuum(tmp_path)
    for store_now in (store, another(tmp_path)):
        found = store_now.read(receipts)
        assert data_version(found) == data_version(pa.concat_tables([odd, odd, odd.slice(1)]))
        assert {one.partition: one.visible for one in store_now.scan()} == dict.fromkeys(
            ("a", "b/ü'", "c"), True
        )
        with pytest.raises(MissingDataError):
            store_now.read([old])
    with pytest.raises(LeaseLostError):
        publish(store, target("c", 2), odd)
    assert ids(store.read([publish(store, target("c", 3), rows(9))])) == [9]
    assert sorted(table(tmp_path).to_pyarrow_table()["id"].to_pylist()) == [3, 3, 4, 4, 9]


def test_rows_put_back_by_a_restore_are_not_taken_for_the_newest(
    store: DeltaTables, tmp_path: Path
) -> None:
    publish(store, target("k", 1), rows(1))
    table(tmp_path).optimize.z_order(["id"])
    before = table(tmp_path).version()
    newest = publish(store, target("k", 2), rows(2))
    table(tmp_path).restore(before)
    assert ids(table(tmp_path).to_pyarrow_table()) == [1]
    assert ids(store.read([newest])) == [2]  # its own file is there still
    vacuum(tmp_path)
    with pytest.raises(MissingDataError):
        store.read([newest])


def test_rows_that_another_program_took_out_are_missed(store: DeltaTables, tmp_path: Path) -> None:
    newest = publish(store, target("k", 1), rows(1, 2))
    table(tmp_path).delete("id = 1")
    vacuum(tmp_path)
    with pytest.raises(CorruptDataError, match="number of rows"):
        store.read([newest])


def test_checkpoints_and_a_cleaned_log_keep_the_tokens(store: DeltaTables, tmp_path: Path) -> None:
    newest = publish(store, target("k", 5), rows(5))
    publish(store, target("other", 1), rows(1))
    log = tmp_path / "data" / "orders" / "_delta_log"
    table(tmp_path).create_checkpoint()
    for entry in sorted(log.glob("*.json"))[:-1]:
        entry.unlink()
    late = another(tmp_path)
    with pytest.raises(LeaseLostError):
        publish(late, target("k", 4), rows(0))
    assert [fence.token for fence in late.fences("prod", "orders", ["k", "other"])] == [5, 1]
    assert ids(late.read([newest])) == [5]


# ---------------------------------------------------------------------------- types

PLAIN = pa.table(
    {
        "i8": pa.array([1, None], pa.int8()),
        "u8": pa.array([255, None], pa.uint8()),
        "u32": pa.array([2**32 - 1, None], pa.uint32()),
        "u64": pa.array([2**64 - 1, None], pa.uint64()),
        "f32": pa.array([1.5, None], pa.float32()),
        "text": pa.array(["ü", None], pa.large_string()),
        "word": pa.array(["a", "b"]).dictionary_encode(),
        "raw": pa.array([b"\x00", None], pa.binary()),
        "fixed": pa.array([b"abc", None], pa.binary(3)),
        "day": pa.array([1, None], pa.date32()),
        "local": pa.array([1, None], pa.timestamp("s")),
        "there": pa.array([1, None], pa.timestamp("ms", "Europe/Berlin")),
        "exact": pa.array([decimal.Decimal("1.50"), None], pa.decimal128(9, 2)),
        "list": pa.array([[1], None], pa.list_(pa.int32())),
        "pair": pa.array([[1, 2], None], pa.list_(pa.uint8(), 2)),
        "struct": pa.array([{"a": 1, "b": "x"}, None]),
        "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        "nothing": pa.nulls(2),
    }
)


def test_types_come_back_and_so_does_the_data_version(store: DeltaTables, tmp_path: Path) -> None:
    receipt = publish(store, target("k"), PLAIN)
    found = store.read([receipt])
    assert data_version(found) == data_version(PLAIN)
    same = [n for n in PLAIN.column_names if n != "word"]
    assert found.select(same).schema.equals(PLAIN.select(same).schema)
    outside = table(tmp_path).to_pyarrow_table()
    assert outside["u64"].to_pylist() == [2**64 - 1, None]
    assert pl.read_delta(str(tmp_path / "data" / "orders"))["u8"].to_list() == [255, None]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1], pa.time64("us")),
        pa.array([1], pa.duration("s")),
        pa.array([[]], pa.list_(pa.null())),
        pa.array([{}], pa.struct([])),
        pa.array([decimal.Decimal(1)], pa.decimal256(50, 0)),
        pa.array([1], pa.timestamp("ns")),
    ],
    ids=lambda column: str(column.type),
)
def test_a_type_that_would_be_lost_is_refused_by_name(
    store: DeltaTables, tmp_path: Path, column: pa.Array
) -> None:
    with pytest.raises(OutputError, match="'odd'"):
        store.stage(target("k"), pa.table({"odd": column}))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["_partition", "_PARTITION", "_row", "", "a\nb"])
def test_a_column_with_a_reserved_name_is_refused(store: DeltaTables, name: str) -> None:
    with pytest.raises(OutputError, match="column called"):
        store.stage(target("k"), pa.table({name: [1]}))


def test_columns_that_differ_in_case_alone_are_refused(store: DeltaTables, tmp_path: Path) -> None:
    old = publish(store, target("a"), pa.table({"id": [1]}))
    staged = store.stage(target("b"), pa.table({"ID": [2]}))
    with pytest.raises(OutputError):
        store.publish(staged, "")
    assert ids(table(tmp_path).to_pyarrow_table()) == [1]
    assert ids(store.read([old])) == [1]


def test_local_times_may_come_later(store: DeltaTables, tmp_path: Path) -> None:
    publish(store, target("a"), rows(1))
    later = pa.table({"id": [2], "at": pa.array([5], pa.timestamp("us"))})
    receipt = publish(store, target("b"), later)
    assert store.read([receipt]).equals(later)
    assert pl.read_delta(str(tmp_path / "data" / "orders"))["at"].null_count() == 1


def test_a_wider_type_is_every_files_and_receipts_keep_their_own(
    store: DeltaTables, tmp_path: Path
) -> None:
    old = [
        publish(store, target(k), pa.table({"v": pa.array([n], pa.int32())}))
        for n, k in enumerate("ab")
    ]
    new = publish(store, target("c"), pa.table({"v": [2**40]}))
    for _ in range(2):
        assert store.read(old).schema.field("v").type == pa.int32()
        assert store.read([*old, new])["v"].to_pylist() == [0, 1, 2**40]
        assert table(tmp_path).to_pyarrow_table()["v"].type == pa.int64()
        frame = pl.read_delta(str(tmp_path / "data" / "orders"))
        assert sorted(frame["v"].to_list()) == [0, 1, 2**40]
        vacuum(tmp_path)  # now the receipts' files are those that were written for the new type


def test_a_type_that_holds_nothing_of_the_others_is_refused_and_nothing_touched(
    store: DeltaTables, tmp_path: Path
) -> None:
    old = publish(store, target("a"), pa.table({"v": [b"\xff\xfe"]}))
    version = table(tmp_path).version()
    staged = store.stage(target("b"), pa.table({"v": [1]}))
    with pytest.raises(OutputError, match="don't fit"):
        store.publish(staged, "")
    assert table(tmp_path).version() == version
    assert store.read([old])["v"].to_pylist() == [b"\xff\xfe"]
    store.discard(staged)
    files = [p.name for p in (tmp_path / "data" / "orders").rglob("*.pq")]
    assert len(files) == 1


# ---------------------------------------------------------------------------- names and places


def test_hostile_names_leave_a_canary_alone(store: DeltaTables, tmp_path: Path) -> None:
    publish(store, target("canary", asset="canary"), rows(1))
    (tmp_path / "canary").write_text("alive")
    before = sorted(p.name for p in tmp_path.iterdir())
    for n, name in enumerate(HOSTILE_NAMES):
        publish(store, target(name, asset=name, environment=name), rows(n))
        store.fence_off(name, name, {name: 2})
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert (tmp_path / "canary").read_text() == "alive"
    assert table(tmp_path, "canary").version() == 1
    assert ids(table(tmp_path, "canary").to_pyarrow_table()) == [1]


def test_a_folder_that_the_client_would_not_find_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'%'"):
        publish(another(tmp_path / "a%2Fb"), target(), rows(1))
    assert list(tmp_path.iterdir()) == []


def test_a_url_is_refused() -> None:
    with pytest.raises(UsageError, match="local folders"):
        DeltaTables("s3://bucket/tables")


def test_without_the_package_the_extra_is_named(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['deltalake'] = None\n"
        "from pathlib import Path\n"
        "from assets_core.testing import rows, target\n"
        "from io_managers import DeltaTables\n"
        "store = DeltaTables('data'); store.bind('x', Path(sys.argv[1]))\n"
        "store.stage(target(), rows(1))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True
    )
    assert "pip install 'assets-core[delta]'" in done.stderr


def test_a_log_entry_is_on_disk_before_a_publish_returns(
    store: DeltaTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(
        os,
        "fsync",
        lambda file: (synced.append(str(Path(f"/proc/self/fd/{file}").readlink())), fsync(file)),
    )
    publish(store, target("k"), rows(1))
    log = str(tmp_path / "data" / "orders" / "_delta_log")
    assert synced[-2:] == [f"{log}/{1:020}.json", log]
    assert any(name.endswith(".pq") for name in synced)


def test_bytes_that_changed_are_not_used(store: DeltaTables, tmp_path: Path) -> None:
    receipt = publish(store, target("k"), rows(*range(100)))
    (file,) = (p for p in (tmp_path / "data" / "orders").rglob("*.pq"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    with pytest.raises(CorruptDataError) as caught:
        store.read([receipt])
    assert caught.value.facts["partition"] == "k"


def test_a_log_that_can_not_be_read_is_told(store: DeltaTables, tmp_path: Path) -> None:
    publish(store, target("k"), rows(1))
    for entry in (tmp_path / "data" / "orders" / "_delta_log").glob("*.json"):
        entry.chmod(0o644)
        entry.write_text("{")
    with pytest.raises(StorageError, match="could not be read"):
        publish(another(tmp_path), target("k", 2), rows(2))


def keys(managers: Sequence[IOManager]) -> set[str]:
    return {found.partition for one in managers for found in one.scan() if found.visible}


def test_a_table_that_was_removed_is_made_anew(store: DeltaTables, tmp_path: Path) -> None:
    import shutil

    publish(store, target("a"), rows(1))
    shutil.rmtree(tmp_path / "data")
    assert keys([store]) == set()
    publish(store, target("b"), rows(2))
    assert keys([store, another(tmp_path)]) == {"b"}
