"""The Parquet store: its layout and view, what it does with damage, a full disk and large data."""

from __future__ import annotations

import os
import random
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets_core.contracts import Target
from assets_core.errors import (
    CorruptDataError,
    DiskFullError,
    MissingDataError,
    OutputError,
    StorageError,
)
from assets_core.records import Receipt
from assets_core.testing import publish, rows, target
from io_managers import ParquetFiles
from io_managers.parquet import pages as _pages

ROOT = Path(__file__).parent.parent


@pytest.fixture
def store(tmp_path: Path) -> ParquetFiles:
    found = ParquetFiles("data")
    found.bind("lake", tmp_path)
    return found


def view(tmp_path: Path) -> list[str]:
    """What an engine's glob over the store's folder finds."""
    data = tmp_path / "data"
    return sorted(str(p.relative_to(data)) for p in data.rglob("*.parquet"))


def version_file(tmp_path: Path, receipt: Receipt) -> Path:
    return tmp_path / "data" / ".versions" / receipt.location


def parts_of(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.name.endswith((".part", ".tmp"))]


# ------------------------------------------------------------------------------ layout and view


def test_the_view_is_one_file_per_partition(store: ParquetFiles, tmp_path: Path) -> None:
    for token in (1, 2):
        publish(store, target("2024-01-01", token), rows(token))
        publish(store, target("2024-01-02", token), rows(token))
    assert view(tmp_path) == [
        "orders/date=2024-01-01/data.parquet",
        "orders/date=2024-01-02/data.parquet",
    ]


def test_an_engine_reads_the_view_as_hive_partitions(store: ParquetFiles, tmp_path: Path) -> None:
    publish(store, target("2024-01-01"), rows(1))
    publish(store, target("2024-01-02"), rows(2, 3))
    files = tmp_path / "data" / "orders" / "**" / "*.parquet"
    query = f"SELECT date::VARCHAR, count(*) FROM read_parquet('{files}') GROUP BY 1 ORDER BY 1"
    assert duckdb.sql(query).fetchall() == [("2024-01-01", 1), ("2024-01-02", 2)]


def test_an_unpartitioned_asset_is_one_file(store: ParquetFiles, tmp_path: Path) -> None:
    publish(store, replace(target("all"), path_parts=()), rows(1))
    assert view(tmp_path) == ["orders/data.parquet"]


def test_other_environments_have_views_of_their_own(store: ParquetFiles, tmp_path: Path) -> None:
    publish(store, target(), rows(1))
    publish(store, target(environment="dev-alice"), rows(2))
    own = tmp_path / "data" / ".environments" / "dev-alice" / "orders" / "date=2024-01-01"
    assert pq.read_table(own / "data.parquet").column("id").to_pylist() == [2]
    shown = tmp_path / "data" / "orders" / "date=2024-01-01" / "data.parquet"
    assert pq.ParquetFile(shown).read().column("id").to_pylist() == [1]


def test_the_view_is_a_second_name_of_the_version(store: ParquetFiles, tmp_path: Path) -> None:
    receipt = publish(store, target(), rows(1))
    shown = tmp_path / "data" / "orders" / "date=2024-01-01" / "data.parquet"
    assert shown.samefile(version_file(tmp_path, receipt))


def test_versions_can_not_be_written_to_by_accident(store: ParquetFiles, tmp_path: Path) -> None:
    receipt = publish(store, target(), rows(1))
    assert not stat.S_IMODE(version_file(tmp_path, receipt).stat().st_mode) & 0o222


def test_staged_files_are_in_no_glob(store: ParquetFiles, tmp_path: Path) -> None:
    store.stage_rejects(store.stage(target(), rows(1)), rows(9))
    assert view(tmp_path) == []


def test_expose_goes_back_to_an_older_version(store: ParquetFiles, tmp_path: Path) -> None:
    where = target(token=1)
    old = publish(store, where, rows(1))
    publish(store, target(token=2), rows(2))
    store.expose("prod", "orders", where.path_parts, old)
    shown = tmp_path / "data" / "orders" / "date=2024-01-01" / "data.parquet"
    assert pq.ParquetFile(shown).read().column("id").to_pylist() == [1]


def test_expose_leaves_no_temporary_names(store: ParquetFiles, tmp_path: Path) -> None:
    where = target()
    receipt = publish(store, where, rows(1))
    for _ in range(3):
        store.expose("prod", "orders", where.path_parts, receipt)
    folder = tmp_path / "data" / "orders" / "date=2024-01-01"
    assert [p.name for p in folder.iterdir()] == ["data.parquet"]


def test_expose_tidies_what_a_crash_left(store: ParquetFiles, tmp_path: Path) -> None:
    receipt = publish(store, target(), rows(1))
    folder = tmp_path / "data" / "orders" / "date=2024-01-01"
    (folder / ".data.4711.0.tmp").write_bytes(b"left")
    (folder / "notes.txt").write_bytes(b"the user's own")
    store.expose("prod", "orders", ("date=2024-01-01",), receipt)
    assert sorted(p.name for p in folder.iterdir()) == ["data.parquet", "notes.txt"]


def test_expose_makes_a_removed_view_again(store: ParquetFiles, tmp_path: Path) -> None:
    receipt = publish(store, target(), rows(1))
    shutil.rmtree(tmp_path / "data" / "orders")
    store.expose("prod", "orders", ("date=2024-01-01",), receipt)
    store.flush()
    assert view(tmp_path) == ["orders/date=2024-01-01/data.parquet"]


def test_flush_forgives_a_view_that_was_removed(store: ParquetFiles, tmp_path: Path) -> None:
    staged = store.stage(target(), rows(1))
    receipt = store.publish(staged, "")
    store.expose("prod", "orders", ("date=2024-01-01",), receipt)
    shutil.rmtree(tmp_path / "data" / "orders")
    store.flush()


def test_expose_of_a_version_that_is_gone_keeps_the_view(
    store: ParquetFiles, tmp_path: Path
) -> None:
    publish(store, target(token=1), rows(1))
    receipt = store.publish(store.stage(target(token=2), rows(2)), "")
    version_file(tmp_path, receipt).unlink()
    with pytest.raises(MissingDataError):
        store.expose("prod", "orders", ("date=2024-01-01",), receipt)
    shown = tmp_path / "data" / "orders" / "date=2024-01-01" / "data.parquet"
    assert pq.ParquetFile(shown).read().column("id").to_pylist() == [1]


def test_a_change_of_kind_takes_the_old_file_away(store: ParquetFiles, tmp_path: Path) -> None:
    publish(store, target(token=1), rows(1))
    report = tmp_path / "report.csv"
    report.write_text("a\n1\n")
    receipt = store.publish(store.stage(target(token=2), report), "")
    store.expose("prod", "orders", ("date=2024-01-01",), receipt)
    folder = tmp_path / "data" / "orders" / "date=2024-01-01"
    assert [p.name for p in folder.iterdir()] == ["data.csv"]


@pytest.fixture
def divided(tmp_path: Path) -> Iterator[ParquetFiles]:
    """A store whose versions lie on another file system than its view."""
    elsewhere = Path("/dev/shm") / f"assets-test-{os.getpid()}"
    if not elsewhere.parent.is_dir():
        pytest.skip("needs a second file system")
    elsewhere.mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".versions").symlink_to(elsewhere)
    store = ParquetFiles("data")
    store.bind("lake", tmp_path)
    yield store
    shutil.rmtree(elsewhere)


def test_without_hard_links_the_view_is_a_copy(divided: ParquetFiles, tmp_path: Path) -> None:
    receipt = publish(divided, target(), rows(1))
    (found,) = divided.scan()
    assert (found.receipt, found.visible) == (receipt, True)
    assert view(tmp_path) == ["orders/date=2024-01-01/data.parquet"]


def test_without_hard_links_the_copy_is_forced_to_disk_before_it_is_shown(
    divided: ParquetFiles, synced: list[str]
) -> None:
    receipt = divided.publish(divided.stage(target(), rows(1)), "")
    synced.clear()
    divided.expose("prod", "orders", ("date=2024-01-01",), receipt)
    assert [Path(name).suffix for name in synced] == [".tmp"]


def test_two_attempts_that_stream_at_once_do_not_touch(tmp_path: Path) -> None:
    store = ParquetFiles("data", row_group_size=100)
    store.bind("lake", tmp_path)
    table = pa.table({"x": pa.array(range(1_000), pa.int64())})
    other = []

    def batches() -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(table.to_batches(100)):
            if number == 5:
                other.append(store.stage(target(token=1), table.to_reader(100)))
            yield batch

    reader = pa.RecordBatchReader.from_batches(table.schema, batches())
    staged = [store.stage(target(token=1), reader), *other]
    assert [store.audit(one).read_all().equals(table) for one in staged] == [True, True]


def test_nothing_escapes_the_root(store: ParquetFiles, tmp_path: Path) -> None:
    publish(store, target("../../../escaped", asset="../../escaped"), rows(1))
    inside = {p for p in tmp_path.rglob("*") if p.is_file()}
    assert all(p.is_relative_to(tmp_path / "data") for p in inside)
    assert len(inside) == 2


def test_a_receipt_can_not_point_outside(store: ParquetFiles) -> None:
    for location in ("../../../etc/passwd", "/etc/passwd", "orders/../x", ""):
        with pytest.raises(MissingDataError):
            store.read([Receipt("lake", "table", location, 1)])


def test_a_project_can_be_moved(store: ParquetFiles, tmp_path: Path) -> None:
    receipt = publish(store, target(), rows(1))
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    moved = ParquetFiles("elsewhere")
    moved.bind("lake", tmp_path)
    assert moved.read([receipt]).equals(rows(1))
    assert [found.receipt for found in moved.scan()] == [receipt]


def test_identity_does_not_know_the_machine(tmp_path: Path) -> None:
    relative, absolute = ParquetFiles("data"), ParquetFiles(tmp_path / "data")
    for store in (relative, absolute):
        store.bind("lake", tmp_path)
    assert relative.identity() == absolute.identity() == ("parquet", "data", "zstd")


# ------------------------------------------------------------------------------ what is stored


def test_pages_carry_checksums_for_other_readers(store: ParquetFiles, tmp_path: Path) -> None:
    receipt = publish(store, target(), rows(*range(1_000)))
    data = bytearray(version_file(tmp_path, receipt).read_bytes())
    data[600] ^= 1
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(data)
    with pytest.raises(OSError, match="CRC"):
        pq.ParquetFile(broken, page_checksum_verification=True).read()


@pytest.mark.parametrize(
    "kind",
    [
        pa.timestamp("us", "Europe/Berlin"),
        pa.timestamp("ns"),
        pa.duration("ms"),
        pa.decimal128(20, 4),
        pa.dictionary(pa.int32(), pa.string()),
        pa.large_string(),
        pa.list_(pa.struct([("a", pa.int8())])),
        pa.map_(pa.string(), pa.float32()),
        pa.null(),
        pa.float16(),
        pa.bool_(),
        pa.binary(3),
    ],
    ids=str,
)
def test_types_come_back(store: ParquetFiles, kind: pa.DataType) -> None:
    table = pa.table({"x": pa.array([None, None], kind)})
    assert store.read([publish(store, target(), table)]).schema.field("x").type == kind


def test_a_type_parquet_lacks_is_refused_by_name(store: ParquetFiles) -> None:
    table = pa.table({"fine": [1], "span": pa.array([None], pa.month_day_nano_interval())})
    with pytest.raises(OutputError, match="'span'"):
        store.stage(target(), table)


def test_tiny_batches_become_one_row_group(store: ParquetFiles, tmp_path: Path) -> None:
    batches = [rows(i).to_batches()[0] for i in range(500)]
    reader = pa.RecordBatchReader.from_batches(rows().schema, batches)
    receipt = store.publish(store.stage(target(), reader), "")
    assert pq.ParquetFile(version_file(tmp_path, receipt)).num_row_groups == 1


def test_a_huge_batch_is_cut_into_row_groups(tmp_path: Path) -> None:
    store = ParquetFiles("data", row_group_size=1_000)
    store.bind("lake", tmp_path)
    table = pa.table({"x": pa.array(range(1_200_000), pa.int64())})
    receipt = store.publish(store.stage(target(), table), "")
    assert pq.ParquetFile(version_file(tmp_path, receipt)).metadata.row_group(0).num_rows == 1_000
    assert store.read([receipt]).equals(table)


def test_facts_in_the_footer_do_not_reach_readers(store: ParquetFiles) -> None:
    table = rows(1).replace_schema_metadata({"owner": "the user's own"})
    receipt = publish(store, target(), table)
    assert store.read([receipt]).schema.metadata == {b"owner": b"the user's own"}
    assert store.open([receipt]).schema.metadata == {b"owner": b"the user's own"}


@pytest.mark.parametrize(
    ("old", "new", "merged"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.uint32(), pa.int32(), pa.int64()),
        (pa.int64(), pa.float64(), pa.float64()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.string(), pa.large_string(), pa.large_string()),
        (pa.dictionary(pa.int8(), pa.string()), pa.string(), pa.string()),
        (pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("us")),
        (pa.timestamp("us", "UTC"), pa.timestamp("us", "Asia/Tokyo"), pa.timestamp("us", "UTC")),
        (pa.decimal128(10, 2), pa.decimal128(12, 4), pa.decimal128(12, 4)),
        (pa.null(), pa.string(), pa.string()),
        (pa.list_(pa.int32()), pa.list_(pa.int64()), pa.list_(pa.int64())),
    ],
    ids=str,
)
def test_types_that_fit_are_read_together(
    store: ParquetFiles, old: pa.DataType, new: pa.DataType, merged: pa.DataType
) -> None:
    receipts = [
        publish(store, target(f"p{i}"), pa.table({"x": pa.array([None], kind)}))
        for i, kind in enumerate((old, new, old))
    ]
    assert store.read(receipts).schema.field("x").type == merged


@pytest.mark.parametrize(
    ("old", "new"),
    [(1, "x"), (True, 1), (b"x", "x"), (2**60 + 1, 0.5), (datetime(2024, 1, 1), 1)],
    ids=str,
)
def test_types_that_would_lose_are_not_read_together(
    store: ParquetFiles, old: object, new: object
) -> None:
    receipts = [
        publish(store, target(f"p{i}"), pa.table({"x": [value]}))
        for i, value in enumerate((old, new))
    ]
    with pytest.raises(StorageError, match="'x'"):
        store.read(receipts)


# ------------------------------------------------------------------------------ damage


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.mark.slow
def test_2000_flipped_bits_give_no_wrong_rows(store: ParquetFiles, tmp_path: Path) -> None:
    receipt = publish(store, target(), rows(*range(200)))
    path = version_file(tmp_path, receipt)
    whole = path.read_bytes()
    bits = random.Random(7).sample(range(8 * len(whole)), 2_000)
    unnoticed = []
    for bit in bits:
        overwrite(path, flip(whole, bit))
        try:
            store.read([receipt])
        except CorruptDataError:
            continue
        unnoticed.append(bit)
    assert unnoticed == []


@pytest.mark.slow
def test_every_bit_of_a_small_file_is_covered(store: ParquetFiles, tmp_path: Path) -> None:
    receipt = publish(store, target(), rows(1))
    path = version_file(tmp_path, receipt)
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        overwrite(path, flip(whole, bit))
        with pytest.raises(CorruptDataError):
            store.read([receipt])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[ParquetFiles, Receipt, Path]:
    """A version of several row groups that is verified block by block."""
    folder = tmp_path_factory.mktemp("large")
    store = ParquetFiles("data", row_group_size=200_000)
    store.bind("lake", folder)
    values = random.Random(1).sample(range(2**60), 600_000)
    table = pa.table({"a": values, "b": [float(v) for v in values], "c": [v % 3 for v in values]})
    receipt = store.publish(store.stage(target(), table), "")
    assert receipt.bytes > _pages.SMALL
    return store, receipt, version_file(folder, receipt)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_flipped_bit_in_a_large_file_is_noticed(
    large: tuple[ParquetFiles, Receipt, Path], data: st.DataObject
) -> None:
    store, receipt, path = large
    bit = data.draw(st.integers(0, 8 * receipt.bytes - 1))
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(bit // 8)
        old = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([old[0] ^ 1 << bit % 8]))
    try:
        with pytest.raises(CorruptDataError):
            for _ in store.open([receipt]):
                pass
        with pytest.raises(CorruptDataError):
            store.verify(receipt)
    finally:
        with path.open("r+b") as file:
            file.seek(bit // 8)
            file.write(old)


def test_a_flipped_bit_in_a_large_files_footer_is_noticed(
    large: tuple[ParquetFiles, Receipt, Path],
) -> None:
    store, receipt, path = large
    whole = path.read_bytes()
    size = int.from_bytes(whole[-8:-4], "little") + 8
    first = 8 * (len(whole) - size)
    unnoticed = []
    try:
        for bit in random.Random(11).sample(range(first, 8 * len(whole)), 100):
            overwrite(path, flip(whole, bit))
            try:
                next(iter(store.open([receipt])))
            except CorruptDataError:
                continue
            unnoticed.append(bit)
    finally:
        overwrite(path, whole)
    assert unnoticed == []


def test_a_large_file_reads_chosen_columns(large: tuple[ParquetFiles, Receipt, Path]) -> None:
    store, receipt, _ = large
    assert store.open([receipt], ["c"]).read_all().column_names == ["c"]
    assert store.read([receipt], ["b", "c"]).num_rows == 600_000


@pytest.mark.parametrize("kept", [0, 1, 12, -100, -4, -1])
def test_a_truncated_file_is_noticed(store: ParquetFiles, tmp_path: Path, kept: int) -> None:
    receipt = publish(store, target(), rows(1, 2, 3))
    path = version_file(tmp_path, receipt)
    overwrite(path, path.read_bytes()[:kept])
    with pytest.raises(CorruptDataError):
        store.read([receipt])


def test_a_lengthened_file_is_noticed(store: ParquetFiles, tmp_path: Path) -> None:
    receipt = publish(store, target(), rows(1, 2, 3))
    path = version_file(tmp_path, receipt)
    whole = path.read_bytes()
    for longer in (whole + b"\0", b"\0" + whole, whole + whole):
        overwrite(path, longer)
        with pytest.raises(CorruptDataError):
            store.read([receipt])


def test_a_file_lengthened_at_its_front_is_not_given_out(
    store: ParquetFiles, tmp_path: Path
) -> None:
    """Its end is as it was written, and the end tells how to verify the rest."""
    receipt = publish(store, target(), rows(1, 2, 3))
    path = version_file(tmp_path, receipt)
    overwrite(path, b"\0" * 4 + path.read_bytes())
    with pytest.raises(CorruptDataError):
        store.path(receipt)


def test_another_versions_bytes_are_noticed(store: ParquetFiles, tmp_path: Path) -> None:
    first = publish(store, target(token=1), rows(1))
    second = publish(store, target(token=2), rows(2))
    overwrite(version_file(tmp_path, second), version_file(tmp_path, first).read_bytes())
    with pytest.raises(CorruptDataError):
        store.read([second])


def test_damage_is_noticed_before_publish(store: ParquetFiles, tmp_path: Path) -> None:
    staged = store.stage(target(), rows(*range(100)))
    path = tmp_path / "data" / ".versions" / staged.location
    overwrite(path, flip(path.read_bytes(), 4_000))
    with pytest.raises(CorruptDataError):
        store.audit(staged)


def test_one_damaged_file_of_many_is_named(store: ParquetFiles, tmp_path: Path) -> None:
    receipts = [publish(store, target(f"p{i}"), rows(i)) for i in range(20)]
    path = version_file(tmp_path, receipts[13])
    overwrite(path, flip(path.read_bytes(), 100))
    with pytest.raises(CorruptDataError) as caught:
        store.open(receipts).read_all()
    assert receipts[13].location in caught.value.facts["path"]


def test_a_damaged_opaque_file_is_not_given_out(store: ParquetFiles, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(b"x" * 10_000)
    receipt = store.publish(store.stage(target(), source), "")
    path = store.path(receipt)
    overwrite(path, flip(path.read_bytes(), 5))
    with pytest.raises(CorruptDataError):
        store.path(receipt)
    with pytest.raises(CorruptDataError):
        store.verify(receipt)


def test_damaged_rejects_are_noticed(store: ParquetFiles, tmp_path: Path) -> None:
    staged = store.stage_rejects(store.stage(target(), rows(1)), rows(9))
    receipt = store.publish(staged, "")
    path = tmp_path / "data" / ".versions" / receipt.rejects
    overwrite(path, flip(path.read_bytes(), 100))
    with pytest.raises(CorruptDataError):
        store.open_rejects(receipt)
    with pytest.raises(CorruptDataError):
        store.verify(receipt)


def test_scan_leaves_damaged_and_half_written_versions_out(
    store: ParquetFiles, tmp_path: Path
) -> None:
    good = publish(store, target("good"), rows(1))
    bad = publish(store, target("bad"), rows(2))
    path = version_file(tmp_path, bad)
    overwrite(path, path.read_bytes()[:-20])
    (path.parent / "k.1.run00000001.a1.pq.part").write_bytes(b"half")
    assert [found.receipt for found in store.scan()] == [good]


def test_a_missing_file_names_the_command_that_makes_it(
    store: ParquetFiles, tmp_path: Path
) -> None:
    receipt = publish(store, target("2024-01-01|O'Hare"), rows(1))
    version_file(tmp_path, receipt).unlink()
    for read in (lambda: store.read([receipt]), lambda: store.verify(receipt)):
        with pytest.raises(MissingDataError) as caught:
            read()
        assert (
            """assets materialize orders --partition '2024-01-01|O'"'"'Hare' --force"""
            in caught.value.hint
        )


# ------------------------------------------------------------------------------ durability


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was forced to disk, in order; the real call is made too."""
    names: list[str] = []
    fsync = os.fsync

    def spy(file: int) -> None:
        fsync(file)
        names.append(Path(f"/proc/self/fd/{file}").readlink().name)

    monkeypatch.setattr(os, "fsync", spy)
    return names


@pytest.mark.parametrize("size", [10, 2_000_000])
def test_a_version_and_then_its_name_are_forced_to_disk(
    store: ParquetFiles, synced: list[str], size: int
) -> None:
    publish(store, target("first"), rows(1))  # makes the folders
    synced.clear()
    table = pa.table({"x": pa.array(range(size), pa.int64())})
    staged = store.stage(target(), table if size < 100 else table.to_reader(100_000))
    file, folder = synced
    assert file.startswith(f"2024-01-01.1.{staged.target.run}.{staged.target.attempt}.")
    assert folder == "orders"


def test_a_streamed_version_gets_its_name_once_it_is_on_disk(
    store: ParquetFiles, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def spy(old: str, new: str, **folders: int) -> None:
        rename(old, new, **folders)
        synced.append("renamed")

    monkeypatch.setattr(os, "rename", spy)
    table = pa.table({"x": pa.array(range(2_000_000), pa.int64())})
    store.stage(target(), table.to_reader(100_000))
    file, *after = synced[-3:]
    assert file.endswith(".part")
    assert after == ["renamed", "orders"]


def test_the_folder_of_a_partitions_first_view_is_forced_to_disk(
    store: ParquetFiles, synced: list[str]
) -> None:
    publish(store, target("p1"), rows(1))
    receipt = store.publish(store.stage(target("p2"), rows(2)), "")
    synced.clear()
    store.expose("prod", "orders", ("date=p2",), receipt)
    store.flush()
    assert sorted(synced) == ["date=p2", "orders"]


def test_new_folders_are_forced_to_disk_up_to_the_root(
    store: ParquetFiles, synced: list[str], tmp_path: Path
) -> None:
    store.stage(target(), rows(1))
    assert synced[:3] == [tmp_path.name, "data", ".versions"]


def test_flush_forces_each_swapped_view_to_disk_once(
    store: ParquetFiles, synced: list[str]
) -> None:
    where = target()
    receipts = [publish(store, target(token=token), rows(token)) for token in (1, 2)]
    synced.clear()
    for receipt in receipts:
        store.expose("prod", "orders", where.path_parts, receipt)
    store.flush()
    store.flush()
    assert synced == ["date=2024-01-01"]


# ------------------------------------------------------------------------------ failures


@pytest.mark.slow
def test_a_failed_stream_removes_its_partial_file(store: ParquetFiles, tmp_path: Path) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        for _ in range(40):  # far more than one row group is written before it fails
            yield pa.record_batch({"x": pa.array(range(200_000), pa.int64())})
        raise RuntimeError("boom")

    reader = pa.RecordBatchReader.from_batches(pa.schema([("x", pa.int64())]), batches())
    with pytest.raises(RuntimeError, match="boom"):
        store.stage(target(), reader)
    assert not [p for p in (tmp_path / "data").rglob("*") if p.is_file()]


FULL = """
import resource, sys
from pathlib import Path
import pyarrow as pa
from assets_core.errors import DiskFullError
from assets_core.testing import publish, rows, target
from io_managers import ParquetFiles
folder, rows_count, limit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
store = ParquetFiles("data"); store.bind("lake", folder)
old = publish(store, target(token=1), rows(1, 2))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
table = pa.table({"x": pa.array(range(rows_count), pa.int64())})
try:
    store.stage(target(token=2), table if rows_count < 100_000 else table.to_reader(10_000))
except DiskFullError as error:
    print(error)
else:
    sys.exit("it fitted")
assert store.read([old]).equals(rows(1, 2))
assert len(list((folder / "data" / ".versions" / "orders").iterdir())) == 1
"""


@pytest.mark.slow
@pytest.mark.parametrize(("count", "limit"), [(50_000, 4_096), (6_000_000, 300_000)])
def test_a_full_disk_leaves_the_old_version_serving(tmp_path: Path, count: int, limit: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), str(count), str(limit)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "There is no room for the new version." in done.stdout
    assert "The old version still serves." in done.stdout
    assert "free:" in done.stdout


def test_a_file_that_can_not_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    store = ParquetFiles("data")
    store.bind("lake", tmp_path)
    with pytest.raises(StorageError) as caught:
        store.stage(target(), rows(1))
    assert not isinstance(caught.value, DiskFullError)
    assert str(tmp_path) in caught.value.facts["path"]


STREAM = """
import sys
from pathlib import Path
import numpy as np, pyarrow as pa
from assets_core.testing import target
from io_managers import ParquetFiles
store = ParquetFiles("data"); store.bind("lake", Path(sys.argv[1]))
def batches():
    rng = np.random.default_rng(0)
    for _ in range(120):
        ids = rng.integers(0, 1 << 60, 1_000_000)
        yield pa.record_batch({"id": ids, "v": rng.random(1_000_000)})
schema = pa.schema([("id", pa.int64()), ("v", pa.float64())])
staged = store.stage(target(), pa.RecordBatchReader.from_batches(schema, batches()))
count = sum(batch.num_rows for batch in store.audit(staged))
assert count == staged.rows == 120_000_000
# Not ru_maxrss: that counts what the parent had in memory when it started this process.
status = open("/proc/self/status").read()
print(int(status.split("VmHWM:")[1].split()[0]) // 1024)
"""


@pytest.mark.slow
def test_memory_stays_flat_while_2_gb_stream_through(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STREAM, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 500


def test_many_open_versions_need_no_descriptors(store: ParquetFiles) -> None:
    receipts = [publish(store, target(f"p{i}"), rows(i)) for i in range(300)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        assert store.open(receipts).read_all().num_rows == 300
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_name_that_is_no_plain_word_is_refused(store: ParquetFiles) -> None:
    where = Target("orders", "k", (), 1, "../../run", "a1")
    with pytest.raises(StorageError):
        store.stage(where, rows(1))


# ------------------------------------------------------------------------------ many at a time


def test_what_is_laid_is_forced_to_disk_by_force_with_its_folder_and_that_ones_name(
    store: ParquetFiles, synced: list[str]
) -> None:
    publish(store, target("first"), rows(1))  # makes what is above
    synced.clear()
    laid = [store.lay(replace(target(), asset="new"), rows(n)) for n in (1, 2)]
    assert (synced, [one.durable for one in laid]) == ([], [False, False])
    receipts = [store.publish(one, "") for one in laid]
    assert store.force(receipts) == [None, None]
    names = {Path(receipt.location).name for receipt in receipts}
    assert set(synced[:2]) == names, "the files, before what names them"
    assert set(synced[2:]) == {"new", ".versions"}
    synced.clear()
    store.force([store.publish(store.lay(replace(target(), asset="new"), rows(3)), "")])
    assert synced[1:] == ["new"], "its own name is on disk by now"


def test_a_folder_that_was_made_for_what_is_laid_is_durable_for_what_is_staged(
    store: ParquetFiles, synced: list[str]
) -> None:
    store.lay(replace(target(), asset="new"), rows(1))
    synced.clear()
    store.stage(replace(target(), asset="new"), rows(2))
    assert synced[0] == ".versions"


def test_a_version_that_can_not_be_forced_leaves_the_others_in_force(
    store: ParquetFiles, tmp_path: Path
) -> None:
    receipts = [store.publish(store.lay(target(), rows(n)), "") for n in (1, 2)]
    version_file(tmp_path, receipts[0]).unlink()
    failed, fine = store.force(receipts)
    assert isinstance(failed, StorageError)
    assert fine is None
