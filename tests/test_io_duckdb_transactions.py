"""The DuckDB store: what one transaction holds together, shown by what comes between."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from assets_core.errors import CorruptDataError, StorageError
from assets_core.testing import publish, rows, target
from io_managers import DuckDBTables
from io_managers.duckdb import held as _duckdb_held
from io_managers.duckdb import read as _duckdb_read


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DuckDBTables]:
    found = DuckDBTables("warehouse.duckdb")
    found.bind("warehouse", tmp_path)
    yield found
    found.close()


def test_a_commit_that_kept_nothing_is_not_called_a_publish(
    store: DuckDBTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB rolls a broken transaction back when it is told to commit it, and says nothing."""
    old = publish(store, target(token=1), rows(1))
    new = store.stage(target(token=2), rows(2))
    swap = store._swap

    def breaks(session: Any, *more: Any) -> Any:
        refused = swap(session, *more)
        with contextlib.suppress(duckdb.Error):
            session.cursor.execute("INSERT INTO _assets.fences FROM _assets.fences")
        return refused

    monkeypatch.setattr(store, "_swap", breaks)
    with pytest.raises(CorruptDataError, match="did not keep"):
        store.publish(new, "fact")
    assert store.read([old]).equals(rows(1))


Read = Callable[[DuckDBTables, Any], pa.Table]


@pytest.mark.parametrize(
    "read",
    [lambda store, receipt: store.read([receipt]), lambda store, receipt: _stream(store, receipt)],
    ids=["whole", "streamed"],
)
def test_what_is_published_amid_a_read_does_not_show_in_it(
    store: DuckDBTables, monkeypatch: pytest.MonkeyPatch, read: Read
) -> None:
    """The fence row says which version it is; the rows must be of the same moment."""
    receipt = publish(store, target(token=1), rows(1))
    monkeypatch.setattr(_duckdb_read, "WHOLE_BYTES", 0)
    look_up = _duckdb_read.catalog.table_of
    newer = [store.stage(target(token=2), rows(2))]

    def then_publish(*arguments: Any) -> Any:
        found = look_up(*arguments)
        if newer:
            store.publish(newer.pop(), "fact")
        return found

    monkeypatch.setattr(_duckdb_read.catalog, "table_of", then_publish)
    assert read(store, receipt).equals(rows(1))
    assert newer == []


def _stream(store: DuckDBTables, receipt: Any) -> pa.Table:
    return store.open([receipt]).read_all()


def test_a_staging_table_is_there_with_its_note_or_not_at_all(
    store: DuckDBTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep finds staging tables by their notes."""

    def fails(*_: object, **__: object) -> None:
        raise duckdb.IOException("the disk is in trouble")

    publish(store, target(token=1), rows(1))
    monkeypatch.setattr(_duckdb_held, "note", fails)
    with pytest.raises(StorageError):
        store.stage(target(token=2), rows(2))
    store.close()
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        tables = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    assert [name for (name,) in tables if name.startswith("s_")] == []


def test_a_file_is_closed_after_a_fatal_error_and_opened_anew(
    store: DuckDBTables, tmp_path: Path
) -> None:
    """DuckDB refuses everything on a connection that met one, until the file is opened again."""
    receipt = publish(store, target(), rows(1))
    with pytest.raises(StorageError), store._session():
        raise duckdb.FatalException("the database has been invalidated")
    with (tmp_path / "warehouse.duckdb.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError while it is open
    assert store.read([receipt]).equals(rows(1))
