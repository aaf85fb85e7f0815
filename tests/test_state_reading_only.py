"""A state store that is only read: as it was at one moment, and left as it is."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_state import VERSIONS, opened, publish, restored, sql, url_of

from assets_core.contracts import StateStore
from assets_core.errors import StateError, StoreTooNewError
from assets_core.records import Run
from assets_core.state import migrations
from assets_core.state.reading_only import open_read_only


def read_only(folder: Path, scratch: Path) -> StateStore:
    store = open_read_only(url_of(folder), scratch)
    assert store is not None
    return store


def built(store: StateStore) -> int:
    return len(store.materializations("prod", None))


@pytest.fixture
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_where_there_is_no_store_there_is_none_to_read(tmp_path: Path, scratch: Path) -> None:
    assert open_read_only(url_of(tmp_path), scratch) is None
    assert open_read_only("sqlite://", scratch) is None
    assert list(tmp_path.iterdir()) == []


def test_what_others_record_meanwhile_is_not_seen(tmp_path: Path, scratch: Path) -> None:
    writer = opened(tmp_path)
    publish(writer, "k1", "k2")
    reader = read_only(tmp_path, scratch)
    publish(writer, "k3")
    assert (built(reader), built(writer)) == (2, 3)
    reader.close()
    later = read_only(tmp_path, scratch)
    assert built(later) == 3
    later.close()
    writer.close()
    assert list(scratch.iterdir()) == []


def test_nothing_can_be_written(tmp_path: Path, scratch: Path) -> None:
    opened(tmp_path).close()
    reader = read_only(tmp_path, scratch)
    with pytest.raises(StateError, match="opened to be read"):
        reader.begin(Run("r1", "prod", "running", 1), 60)
    reader.close()


def test_the_files_are_left_as_they_are(tmp_path: Path, scratch: Path) -> None:
    store = opened(tmp_path)
    publish(store, "k1")
    store.close()
    file = tmp_path / "state.db"
    before = hashlib.sha256(file.read_bytes()).digest(), file.stat().st_mtime_ns
    reader = read_only(tmp_path, scratch)
    assert built(reader) == 1
    reader.close()
    assert (hashlib.sha256(file.read_bytes()).digest(), file.stat().st_mtime_ns) == before


@pytest.mark.parametrize("version", range(1, migrations.VERSION))
def test_an_earlier_version_is_read_from_a_copy(
    tmp_path: Path, scratch: Path, version: int
) -> None:
    restored(tmp_path, VERSIONS / f"v{version}.sql")
    before = (tmp_path / "state.db").read_bytes()
    reader = read_only(tmp_path, scratch)
    assert built(reader) > 0
    assert reader.check() == []
    reader.close()
    assert (tmp_path / "state.db").read_bytes() == before


def test_a_newer_version_is_refused(tmp_path: Path, scratch: Path) -> None:
    opened(tmp_path).close()
    sql(tmp_path, "UPDATE meta SET value = '999' WHERE key = 'version'")
    with pytest.raises(StoreTooNewError):
        open_read_only(url_of(tmp_path), scratch)


def test_what_is_no_store_is_refused(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"no database at all, but long enough" * 100)
    with pytest.raises(StateError, match="damaged, or is not a database"):
        open_read_only(url_of(tmp_path), scratch)


def test_a_folder_that_can_not_be_written_is_enough(scratch: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = opened(folder)
        publish(store, "k1", "k2")
        store.close()
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        folder.chmod(0o555)
        try:
            assert found_by_nobody(folder, scratch) == 2
        finally:
            folder.chmod(0o755)


def found_by_nobody(folder: Path, scratch: Path) -> int:
    """How many records a user without rights reads. A fork: see `test_state.message_for_nobody`."""
    child = os.fork()
    if child == 0:
        found = 255
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            found = built(read_only(folder, scratch))
        finally:
            os._exit(found)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
