"""The SQLite state store beyond the contract: opening, versions, damage, locks, threads, upkeep."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine

from assets_core.contracts import Acquire, Held, Lease, Publish, Release
from assets_core.errors import StateError, StoreBusyError, StoreTooNewError
from assets_core.records import CheckOutcome, Code, InputRead, Materialization, Receipt, Run
from assets_core.state import file_lock, migrations, open_store, sqlite, writing
from assets_core.state.liveness import LockFiles
from assets_core.state.sql import Connection
from assets_core.state.store import SqlStore

VERSIONS = Path(__file__).parent / "state_versions"


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder}/state.db"


def opened(folder: Path) -> SqlStore:
    store = open_store(url_of(folder))
    assert isinstance(store, SqlStore)
    return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    one = opened(tmp_path)
    yield one
    one.close()


def fact(lease: Lease, run: str = "r1") -> Materialization:
    return Materialization(
        environment="prod",
        asset=lease.asset,
        partition=lease.partition,
        code=Code("c0de", {"body": "11"}),
        input_digest=(1, 2**64 - 1),
        data_version=(3, 4),
        receipt=Receipt("lake", "table", f"{lease.asset}/1.parquet", lease.token, 10, 200),
        started=1_000_000,
        finished=2_000_000,
        run=run,
        token=lease.token,
        inputs=(InputRead("up", "up", (("k1", "k2"),), 2, 1, (5, 6)),),
        checks=(CheckOutcome("not_null(x)", True, "error", "", 0),),
        metadata={"unit": "µ"},
        schema="x: int64",
        deadline=3_000_000,
    )


def publish(store: SqlStore, *keys: str, asset: str = "a") -> list[int]:
    """Lease and publish as run r1, begun when it isn't there."""
    if store.run("r1") is None:
        store.begin(Run("r1", "prod", "running", 1), 60)
    (leases,) = store.transact([Acquire("r1", "prod", tuple((asset, key) for key in keys))])
    return [one.id for one in store.transact([Publish(fact(lease)) for lease in leases])]


def sql(folder: Path, *statements: str) -> list[tuple[object, ...]]:
    """Run statements behind the store's back; the rows of the last."""
    raw = sqlite3.connect(folder / "state.db", isolation_level=None)
    rows: list[tuple[object, ...]] = []
    for statement in statements:
        rows = raw.execute(statement).fetchall()
    raw.close()
    return rows


# ---- opening


@pytest.mark.parametrize(
    "url", ["", "state.db", "postgresql://host/db", "sqlite:///x?mode=ro", "mysql+foo://x"]
)
def test_a_url_that_is_not_sqlite_is_refused(url: str) -> None:
    with pytest.raises(StateError, match="URL"):
        open_store(url)


def test_a_relative_path_is_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    open_store("sqlite:///deep/er/state.db").close()
    assert (tmp_path / "deep" / "er" / "state.db").is_file()


def test_without_create_a_missing_store_is_an_error_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no state store here"):
        open_store(f"sqlite:///{tmp_path}/no/state.db", create=False)
    assert list(tmp_path.iterdir()) == []


def test_without_create_a_store_that_is_there_opens(tmp_path: Path) -> None:
    opened(tmp_path).close()
    open_store(url_of(tmp_path), create=False).close()


def test_what_was_recorded_is_there_when_opened_again(tmp_path: Path) -> None:
    store = opened(tmp_path)
    (made,) = publish(store, "k")
    store.close()
    again = opened(tmp_path)
    assert [one.id for one in again.materializations("prod", "a")] == [made]
    again.close()


def test_tokens_and_ids_go_on_growing_when_opened_again(tmp_path: Path) -> None:
    store = opened(tmp_path)
    publish(store, "k")
    store.close()
    again = opened(tmp_path)
    again.begin(Run("r2", "prod", "running", 1), 60)
    ((lease,),) = again.transact([Acquire("r2", "prod", (("a", "k"),))])
    (result,) = again.transact([Publish(fact(lease, "r2"))])
    again.close()
    assert (lease.token, result.id) == (2, 2)


def test_an_id_is_not_given_out_again_when_its_row_is_gone(tmp_path: Path) -> None:
    store = opened(tmp_path)
    publish(store, "k1", "k2")
    store.close()
    sql(tmp_path, "DELETE FROM materializations WHERE id = 2")
    again = opened(tmp_path)
    assert publish(again, "k3") == [3]
    again.close()


def test_closing_leaves_the_database_file_and_no_log(tmp_path: Path) -> None:
    store = opened(tmp_path)
    publish(store, "k")
    store.close()
    assert not (tmp_path / "state.db-wal").exists()


def test_sqlalchemy_is_not_imported_with_the_package() -> None:
    code = "import sys, assets_core.state; sys.exit('sqlalchemy' in sys.modules)"
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=False
    )
    assert done.returncode == 0


# ---- what is not a store


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_text("These are my notes, not a database.\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StateError, match="damaged, or is not a database"):
        open_store(url_of(tmp_path))
    assert path.read_bytes() == before


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    sql(tmp_path, "CREATE TABLE meta (key TEXT, value TEXT, more TEXT)", "CREATE TABLE songs (x)")
    before = (tmp_path / "state.db").read_bytes()
    with pytest.raises(StateError, match="not a state store"):
        open_store(url_of(tmp_path))
    assert (tmp_path / "state.db").read_bytes() == before


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "state.db").touch()
    store = opened(tmp_path)
    assert store.check() == []
    store.close()


def test_a_folder_in_the_files_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    with pytest.raises(StateError):
        open_store(url_of(tmp_path))


def test_a_damaged_page_is_found_by_check(tmp_path: Path) -> None:
    store = opened(tmp_path)
    publish(store, *(f"k{i}" for i in range(500)))
    store.close()
    path = tmp_path / "state.db"
    data = bytearray(path.read_bytes())
    for page in range(20, len(data) // 4096):
        data[page * 4096 : page * 4096 + 200] = os.urandom(200)
    path.write_bytes(data)
    assert problems_of(tmp_path)


def problems_of(folder: Path) -> list[str]:
    """What opening and checking a store complains about."""
    try:
        store = opened(folder)
    except StateError as error:
        return [str(error)]
    try:
        return store.check()
    except StateError as error:
        return [str(error)]
    finally:
        store.close()


def error_in_fork(work: Callable[[], object]) -> str:
    """What a forked child is told by the StateError that ``work`` raises there."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
        except StateError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as pipe:
        return pipe.read()


def message_for_nobody(url: str) -> str:
    """What a user without rights is told. A fork: that user may not even read this Python."""

    def open_without_rights() -> None:
        if os.getuid() == 0:
            os.setuid(65534)
        open_store(url)

    return error_in_fork(open_without_rights)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user can enter."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path
        path.chmod(0o755)


def test_a_store_in_a_folder_that_is_not_writable_is_a_clear_error(public_folder: Path) -> None:
    opened(public_folder).close()
    public_folder.chmod(0o555)
    assert "you may write" in message_for_nobody(url_of(public_folder))


def test_a_new_store_in_a_folder_that_is_not_writable_is_a_clear_error(
    public_folder: Path,
) -> None:
    assert "you may write" in message_for_nobody(url_of(public_folder / "new"))


def test_a_store_is_not_used_on_both_sides_of_a_fork(store: SqlStore) -> None:
    publish(store, "k")
    assert "forked" in error_in_fork(store.runs)
    assert "forked" in error_in_fork(lambda: store.add_keys("x", ["k"]))


def test_a_full_disk_is_a_clear_error_and_loses_nothing(tmp_path: Path) -> None:
    opened(tmp_path).close()

    def publish_until_full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
        store = opened(tmp_path)
        for number in range(1_000):
            made = publish(store, *(f"k{number}-{i}" for i in range(20)))
            (tmp_path / "acknowledged").write_text(str(made[-1]))

    message = error_in_fork(publish_until_full)
    store = opened(tmp_path)
    recorded = len(store.materializations("prod", "a"))
    assert ("disk" in message, recorded, store.check()) == (
        True,
        int((tmp_path / "acknowledged").read_text()),
        [],
    )
    store.close()


# ---- versions


def test_a_newer_store_is_refused_and_names_its_release(tmp_path: Path) -> None:
    opened(tmp_path).close()
    sql(
        tmp_path,
        "UPDATE meta SET value = '999' WHERE key = 'version'",
        "UPDATE meta SET value = '7.1.0' WHERE key = 'release'",
    )
    with pytest.raises(StoreTooNewError, match=r"7\.1\.0"):
        open_store(url_of(tmp_path))


def schema_of(folder: Path) -> list[tuple[object, ...]]:
    """Every table and index, without the layout of their text."""
    rows = sql(folder, "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name")
    return [(*row[:3], " ".join(str(row[3]).split())) for row in rows]


def restored(folder: Path, dump: Path) -> None:
    raw = sqlite3.connect(folder / "state.db")
    raw.executescript(dump.read_text())
    raw.close()


DUMPS = sorted(VERSIONS.glob("v*.sql"))


def test_there_is_a_frozen_store_of_every_version() -> None:
    expected = [f"v{version}.sql" for version in range(1, migrations.VERSION + 1)]
    assert sorted(dump.name for dump in DUMPS) == sorted(expected)


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
def test_an_upgraded_store_has_the_tables_of_a_new_one(tmp_path: Path, dump: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    restored(old, dump)
    opened(old).close()
    opened(new).close()
    assert schema_of(old) == schema_of(new)


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
def test_an_upgraded_store_keeps_its_facts(tmp_path: Path, dump: Path) -> None:
    restored(tmp_path, dump)
    store = opened(tmp_path)
    kept = contents(store)
    store.close()
    example = opened(tmp_path / "example")
    write_example(example)
    expected = contents(example)
    example.close()
    assert kept == expected


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
def test_an_upgraded_store_has_no_problems(tmp_path: Path, dump: Path) -> None:
    restored(tmp_path, dump)
    store = opened(tmp_path)
    assert store.check() == []
    store.close()


def write_example(store: SqlStore) -> None:
    """What every frozen store was filled with: something of every kind of fact.

    To freeze a new version: ``python tests/test_state.py`` writes its dump.
    """
    from assets_core.contracts import Finish, Note, Withdraw
    from assets_core.records import Attempt

    store.begin(Run("r1", "prod", "running", 1, command="assets x", host="h", pid=7), 60)
    publish(store, "k1", "k2", "k3", asset="up")
    publish(store, "k1", "k2")
    publish(store, "k1")
    failed = Attempt("r1", "prod", "a", "k3", 2, "failed", 5, 6, "boom", "Traceback")
    store.transact([Withdraw("prod", "up", "k3"), Note((failed,))])
    store.transact([Acquire("r1", "prod", (("a", "k9"),))])
    store.transact([Release("r1", "prod", (("a", "k9", 1),))])
    store.transact([Finish("r1", "failed", 9, {"done": 6, "failed": 1}, "note")])
    store.add_keys("customers", ["z", "a", "m"])
    store.remove_keys("customers", ["a"])


def contents(store: SqlStore) -> list[object]:
    """Everything that a store tells through its contract."""
    snapshot = store.snapshot("prod", ["a", "up"])
    pointers = {
        name: (columns.keys, columns.id.tolist(), columns.token.tolist(), columns.data.tolist())
        for name, columns in snapshot.assets.items()
    }
    return [
        snapshot.revision,
        pointers,
        store.materializations("prod", None),
        store.readers("prod", "up"),
        store.code("c0de"),
        store.schema("prod", "a"),
        store.runs(),
        store.attempts(),
        store.failed("prod"),
        store.dynamic_keys(),
    ]


def add_colour(connection: Connection) -> None:
    connection.execute("ALTER TABLE runs ADD COLUMN colour TEXT")


def fail(connection: Connection) -> None:
    connection.execute("CREATE TABLE half (x)")
    raise RuntimeError("this step fails")


def test_an_upgrade_takes_every_step_after_the_stores_version(store: SqlStore) -> None:
    def unreachable(connection: Connection) -> None:
        raise AssertionError

    steps = [migrations.Migration(1, unreachable), migrations.Migration(2, add_colour)]
    with store._database.write() as connection:
        migrations.upgrade(connection, 1, steps)
    rows = sql(Path(store._database.where).parent, "SELECT value FROM meta WHERE key = 'version'")
    assert rows == [("2",)]


def test_an_upgrade_that_fails_leaves_the_store_as_it_was(store: SqlStore) -> None:
    folder = Path(store._database.where).parent
    before = schema_of(folder)
    steps = [migrations.Migration(2, add_colour), migrations.Migration(3, fail)]
    with pytest.raises(RuntimeError), store._database.write() as connection:
        migrations.upgrade(connection, 1, steps)
    assert schema_of(folder) == before


# ---- locks


def test_a_locked_store_is_an_error_after_a_while(
    tmp_path: Path, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lock, "WAIT_SECONDS", 0.05)
    other = file_lock.FileLock(tmp_path / "state.db-lock", "elsewhere")
    with other.held(), pytest.raises(StoreBusyError, match="assets runs"):
        store.begin(Run("r1", "prod", "running", 1), 60)
    other.close()


def test_a_writer_waits_for_the_lock(tmp_path: Path, store: SqlStore) -> None:
    other = file_lock.FileLock(tmp_path / "state.db-lock", "elsewhere")
    begun = threading.Event()

    def begin() -> None:
        store.begin(Run("r1", "prod", "running", 1), 60)
        begun.set()

    with other.held():
        thread = threading.Thread(target=begin)
        thread.start()
        assert not begun.wait(0.1)
    thread.join()
    other.close()
    assert begun.is_set()


def test_a_writer_waits_for_another_program(tmp_path: Path, store: SqlStore) -> None:
    """One that knows nothing of our lock: a shell, a database browser."""
    publish(store, "k")
    other = sqlite3.connect(
        tmp_path / "state.db", isolation_level=None, check_same_thread=False, timeout=5
    )
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE runs SET note = 'seen'")
    timer = threading.Timer(0.1, lambda: other.execute("COMMIT"))
    timer.start()
    publish(store, "k")
    timer.join()
    other.close()
    assert store.runs()[0].note == "seen"


def test_readers_do_not_wait_for_the_lock(tmp_path: Path, store: SqlStore) -> None:
    (made,) = publish(store, "k")
    other = file_lock.FileLock(tmp_path / "state.db-lock", "elsewhere")
    with other.held():
        assert store.snapshot("prod", ["a"]).revision == made
    other.close()


def test_a_lock_file_that_is_missing_proves_nothing(tmp_path: Path, store: SqlStore) -> None:
    other = opened(tmp_path)
    other.begin(Run("r1", "prod", "running", 1), 60)
    (tmp_path / "state.db.runs" / "r1.lock").unlink()
    assert store.dead_runs() == []
    other.close()


def test_looking_at_a_lock_does_not_make_it_look_held(tmp_path: Path) -> None:
    (tmp_path / "r1.lock").write_text(f"x\n{socket.gethostname()}")
    with (tmp_path / "r1.lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert LockFiles(tmp_path).dead("r1")


def test_a_free_lock_of_another_machine_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "r1.lock").write_text("another-boot\nanother-host")
    assert not LockFiles(tmp_path).dead("r1")


def test_a_free_lock_of_this_machine_proves_death(tmp_path: Path) -> None:
    first = LockFiles(tmp_path)
    first.hold("r1")
    before = LockFiles(tmp_path).dead("r1")
    first.close()
    assert (before, LockFiles(tmp_path).dead("r1")) == (False, True)


def test_a_run_that_ended_leaves_no_lock_file(tmp_path: Path, store: SqlStore) -> None:
    from assets_core.contracts import Finish

    store.begin(Run("r1", "prod", "running", 1), 60)
    store.transact([Finish("r1", "done", 2)])
    assert list((tmp_path / "state.db.runs").iterdir()) == []


def test_a_run_whose_begin_was_refused_keeps_the_first_ones_lock(
    tmp_path: Path, store: SqlStore
) -> None:
    store.begin(Run("r1", "prod", "running", 1), 60)
    other = opened(tmp_path)
    with pytest.raises(StateError):
        other.begin(Run("r1", "prod", "running", 1), 60)
    other.close()
    assert store.dead_runs() == []


def test_a_lease_runs_out_by_the_databases_clock_and_not_by_the_processs(
    store: SqlStore,
) -> None:
    store.begin(Run("r1", "prod", "running", 1), 60)
    store.transact([Acquire("r1", "prod", (("a", "k"),))])
    with time_machine.travel(timedelta(hours=1)):
        store.begin(Run("r2", "prod", "running", 1), 60)
        ((found,),) = store.transact([Acquire("r2", "prod", (("a", "k"),))])
    assert isinstance(found, Held)


# ---- durable and whole


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that were forced to disk, in order; the real call is made too."""
    names: list[str] = []
    fsync = os.fsync

    def spy(file: int) -> None:
        fsync(file)
        names.append(Path(f"/proc/self/fd/{file}").readlink().name)

    monkeypatch.setattr(os, "fsync", spy)
    return names


def test_the_folders_of_a_new_store_are_forced_to_disk(tmp_path: Path, synced: list[str]) -> None:
    opened(tmp_path / "one" / "two").close()
    assert {tmp_path.name, "one"} <= set(synced)


def test_the_name_of_a_new_store_is_forced_to_disk(tmp_path: Path, synced: list[str]) -> None:
    opened(tmp_path).close()
    assert synced == [tmp_path.name]


def test_a_pointer_does_not_move_without_its_fact(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = publish(store, "k")
    ((lease,),) = store.transact([Acquire("r1", "prod", (("a", "k"),))])
    assert isinstance(lease, Lease)
    with monkeypatch.context() as patch:
        patch.setattr(writing, "fact_row", _fails)
        with pytest.raises(RuntimeError):
            store.transact([Publish(fact(lease))])
    assert store.snapshot("prod", ["a"]).assets["a"].id.tolist() == [first]
    assert store.check() == []


def _fails(*_: object) -> None:
    raise RuntimeError("the disk is in trouble")


def test_a_checkpoint_that_fails_does_not_make_its_commit_look_failed(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed is durable in the log; a later checkpoint brings it in."""
    tried: list[str] = []
    run = sqlite._pragma

    def spy(raw: sqlite3.Connection, text: str) -> object:
        if text.startswith("wal_checkpoint"):
            tried.append(text)
            raise sqlite3.OperationalError("database or disk is full")
        return run(raw, text)

    monkeypatch.setattr(sqlite, "CHECKPOINT_BYTES", 1)
    monkeypatch.setattr(sqlite, "CHECKPOINT_CHANGES", 1)
    monkeypatch.setattr(sqlite, "_pragma", spy)
    ids = publish(store, "k1", "k2")
    assert tried
    assert store.snapshot("prod", ["a"]).assets["a"].id.tolist() == ids


def test_a_run_that_can_not_show_that_it_lives_is_not_begun(
    tmp_path: Path, store: SqlStore
) -> None:
    (tmp_path / "state.db.runs").write_text("in the way of the folder of locks")
    with pytest.raises(StateError):
        store.begin(Run("r1", "prod", "running", 1), 60)
    assert store.runs() == []


# ---- threads


def test_readers_in_threads_see_whole_transactions(tmp_path: Path, store: SqlStore) -> None:
    """Two assets move together: whoever sees one moved sees the other moved."""
    torn: list[tuple[int, int]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            found = store.snapshot("prod", ["a", "b"]).assets
            counts = (int(found["a"].token.sum()), int(found["b"].token.sum()))
            if counts[0] != counts[1]:
                torn.append(counts)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    store.begin(Run("r1", "prod", "running", 1), 60)
    for _ in range(50):
        (leases,) = store.transact([Acquire("r1", "prod", (("a", "k"), ("b", "k")))])
        store.transact([Publish(fact(lease)) for lease in leases])
    done.set()
    for reader in readers:
        reader.join()
    assert torn == []


def test_writers_in_threads_take_turns(store: SqlStore) -> None:
    store.begin(Run("r1", "prod", "running", 1), 60)
    ids: list[int] = []

    def write(asset: str) -> None:
        for number in range(20):
            ids.extend(publish(store, f"k{number}", asset=asset))

    threads = [threading.Thread(target=write, args=(asset,)) for asset in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ids) == list(range(1, 81))


# ---- the log of SQLite


def log_size(folder: Path) -> int:
    return (folder / "state.db-wal").stat().st_size


def test_the_log_is_written_over_once_it_is_large(
    tmp_path: Path, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "CHECKPOINT_BYTES", 100_000)
    monkeypatch.setattr(sqlite, "CHECKPOINT_CHANGES", 200)
    for number in range(40):
        publish(store, *(f"k{number}-{i}" for i in range(20)))
    grown = log_size(tmp_path)
    for number in range(40):
        publish(store, *(f"k{number}-{i}" for i in range(20)))
    assert log_size(tmp_path) < 1.5 * grown


def test_a_log_that_a_long_reader_let_swell_is_cut_afterwards(
    tmp_path: Path, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "CHECKPOINT_BYTES", 100_000)
    monkeypatch.setattr(sqlite, "TRUNCATE_BYTES", 300_000)
    monkeypatch.setattr(sqlite, "CHECKPOINT_CHANGES", 200)
    publish(store, "k")
    with store._database.read() as connection:
        connection.execute("SELECT count(*) FROM runs").fetchall()
        for number in range(40):
            publish(store, *(f"k{number}-{i}" for i in range(20)))
    swollen = log_size(tmp_path)
    for number in range(10):
        publish(store, *(f"k{number}-{i}" for i in range(20)))
    assert (swollen > 300_000, log_size(tmp_path) < 300_000) == (True, True)


def test_a_long_reader_keeps_its_revision_over_checkpoints(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "CHECKPOINT_BYTES", 0)
    monkeypatch.setattr(sqlite, "CHECKPOINT_CHANGES", 1)
    publish(store, "k0")
    with store._database.read() as connection:
        count = "SELECT count(*) FROM materializations"
        before = connection.execute(count).fetchone()
        publish(store, *(f"k{i}" for i in range(100)))
        assert connection.execute(count).fetchone() == before


def test_a_store_in_another_journal_mode_is_switched_back(tmp_path: Path) -> None:
    opened(tmp_path).close()
    sql(tmp_path, "PRAGMA journal_mode=DELETE")
    store = opened(tmp_path)
    assert store.check() == []
    store.close()


# ---- check


def test_check_finds_a_pointer_to_nothing(tmp_path: Path, store: SqlStore) -> None:
    publish(store, "k")
    sql(tmp_path, "DELETE FROM materializations")
    assert any("a[k]" in problem for problem in store.check())


def test_check_finds_a_pointer_to_another_partition(tmp_path: Path, store: SqlStore) -> None:
    publish(store, "k1", "k2")
    sql(tmp_path, "UPDATE asset_partitions SET materialization = 2 WHERE partition = 'k1'")
    assert any("a[k1]" in problem for problem in store.check())


def test_check_finds_a_reference_to_nothing(tmp_path: Path, store: SqlStore) -> None:
    publish(store, "k")
    sql(tmp_path, "PRAGMA foreign_keys=OFF", "DELETE FROM codes")
    assert any("codes" in problem for problem in store.check())


def test_check_finds_ids_that_were_not_given_out(tmp_path: Path, store: SqlStore) -> None:
    publish(store, "k")
    sql(tmp_path, "UPDATE counters SET value = 0")
    assert any("revision" in problem for problem in store.check())


def test_a_network_file_system_is_recognised(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nserver:/x {tmp_path.resolve()} nfs4 rw 0 0\n")
    assert sqlite._file_system(tmp_path / "state.db", mounts) == "nfs4"


# ---- size


def test_a_materialization_takes_a_bounded_number_of_bytes(tmp_path: Path) -> None:
    """About 450 bytes with its slot, two inputs and a check: ten million fit in 5 GB."""
    store = opened(tmp_path)
    publish(store, *(f"2024-01-01T{i:04d}" for i in range(5_000)))
    store.close()
    assert (tmp_path / "state.db").stat().st_size / 5_000 < 450


def freeze() -> None:
    """Write the dump of the newest version."""
    with tempfile.TemporaryDirectory() as folder:
        store = opened(Path(folder))
        write_example(store)
        store.close()
        raw = sqlite3.connect(Path(folder) / "state.db")
        lines = [line for line in raw.iterdump() if "sqlite_sequence" not in line]
        raw.close()
    (VERSIONS / f"v{migrations.VERSION}.sql").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    freeze()
