"""The memory store: what is its own beside the contract."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from assets_core.errors import MissingDataError
from assets_core.testing import publish, rows, target
from io_managers import Memory


def test_versions_are_kept_side_by_side() -> None:
    store = Memory()
    old = publish(store, target(token=1), rows(1))
    new = publish(store, target(token=2), rows(2))
    assert store.read([old, new]).column("id").to_pylist() == [1, 2]


def test_nothing_is_copied_on_the_way() -> None:
    store, table = Memory(), rows(1, 2, 3)
    found = store.read([publish(store, target(), table)])
    address = table.column("id").chunk(0).buffers()[1].address
    assert found.column("id").chunk(0).buffers()[1].address == address


def test_another_process_is_told_why_it_finds_nothing() -> None:
    store = Memory()
    receipt = publish(store, target(), rows(1))
    elsewhere = pickle.loads(pickle.dumps(store))
    with pytest.raises(MissingDataError) as caught:
        elsewhere.read([receipt])
    assert "while its process lives" in caught.value.hint


def test_a_receipt_of_an_earlier_process_is_not_taken_for_a_later_ones() -> None:
    earlier, later = Memory(), Memory()
    receipt = publish(earlier, target(), rows(1))
    publish(later, target(), rows(2))
    with pytest.raises(MissingDataError) as caught:
        later.read([receipt])
    assert caught.value.facts["reason"] == "another process, or an earlier one, made it"


def test_temporary_files_go_with_close(tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("x")
    store = Memory()
    path = store.path(store.publish(store.stage(target(), source), ""))
    assert path.read_text() == "x"
    store.close()
    assert not path.exists()
