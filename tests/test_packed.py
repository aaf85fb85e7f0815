"""The packed facts: always what the log says, whatever became of the file."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_core import daily, product, static
from assets_core.contracts import Invalidate, Publish, Snapshot, StateStore, Withdraw
from assets_core.partitions import KeySpace
from assets_core.planning.facts import Facts
from assets_core.records import Code, Invalidation, Materialization, Receipt
from assets_core.state import open_store, packed
from assets_core.state.packed import PackedFacts

START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = daily("2024-01-01")


@pytest.fixture(autouse=True)
def _pack_also_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_WORTH_PACKING", 1)


@pytest.fixture
def store(tmp_path: Path) -> Iterable[StateStore]:
    opened = open_store(f"sqlite:///{tmp_path}/state.db")
    yield opened
    opened.close()


def fact(asset: str, key: str, number: int) -> Materialization:
    return Materialization(
        environment="prod",
        asset=asset,
        partition=key,
        code=Code(f"{number % 3:032x}"),
        input_digest=(number, 2**64 - 1 - number),
        data_version=(number + 1, 2**63 + number),
        receipt=Receipt("", "none", "", 0, rows=number),
        started=number,
        finished=1_700_000_000_000_000 + number,
        kind="observed",
    )


def publish(store: StateStore, asset: str, keys: Iterable[str], number: int) -> None:
    store.transact([Publish(fact(asset, key, number), lease=False) for key in keys])


def days(count: int) -> KeySpace:
    return DAYS.resolve(START + timedelta(days=count, hours=1))


def told(facts: Facts) -> dict[str, Any]:
    """All that facts hold, code versions by their text."""
    return {
        name: [
            (facts.spaces[name].key(i), *row)
            for i in np.flatnonzero(own.id).tolist()
            for row in [
                (
                    int(own.id[i]),
                    own.version(i),
                    tuple(own.digest[i].tolist()),
                    facts.codes[int(own.code[i])],
                    int(own.finished[i]),
                    int(own.rows[i]),
                )
            ]
        ]
        for name, own in facts.assets.items()
    }


def check(store: StateStore, path: Path, spaces: Mapping[str, KeySpace]) -> Facts:
    """Packed facts are the log's, at its revision."""
    snapshot = store.snapshot("prod", spaces)
    found = PackedFacts(path, store, "prod").facts(spaces)
    assert told(found) == told(Facts.of(snapshot, spaces))
    assert found.invalidations == Facts.of(snapshot, spaces).invalidations
    assert found.revision == snapshot.revision
    return found


class Watched:
    """A store that notes what was asked of its log."""

    def __init__(self, store: StateStore) -> None:
        self.store = store
        self.asked: list[tuple[set[str], int]] = []

    def snapshot(self, environment: str, assets: Iterable[str], since: int = 0) -> Snapshot:
        self.asked.append((set(assets), since))
        return self.store.snapshot(environment, assets, since)

    def mark(self, revision: int) -> str:
        return self.store.mark(revision)


def asked(store: StateStore, path: Path, spaces: Mapping[str, KeySpace]) -> list[Any]:
    watched: Any = Watched(store)
    PackedFacts(path, watched, "prod").facts(spaces)
    return watched.asked


def test_what_is_packed_is_not_read_from_the_log_again(tmp_path: Path, store: StateStore) -> None:
    path, spaces = tmp_path / "facts.bin", {"a": days(50), "b": days(50)}
    publish(store, "a", spaces["a"].keys(), 1)
    assert asked(store, path, spaces) == [({"a", "b"}, 0)]
    revision = store.snapshot("prod", ["a"]).revision
    assert asked(store, path, spaces) == [({"a", "b"}, revision)]


def test_a_small_tail_is_laid_over_and_not_packed(tmp_path: Path, store: StateStore) -> None:
    path, spaces = tmp_path / "facts.bin", {"a": days(200)}
    publish(store, "a", spaces["a"].keys(), 1)
    check(store, path, spaces)
    before = path.read_bytes()
    publish(store, "a", ["2024-01-05"], 2)
    check(store, path, spaces)
    assert path.read_bytes() == before


def test_a_large_tail_is_packed(tmp_path: Path, store: StateStore) -> None:
    path, spaces = tmp_path / "facts.bin", {"a": days(200)}
    publish(store, "a", spaces["a"].keys(), 1)
    check(store, path, spaces)
    publish(store, "a", spaces["a"].keys(range(100)), 2)
    check(store, path, spaces)
    revision = store.snapshot("prod", ["a"]).revision
    assert asked(store, path, spaces) == [({"a"}, revision)]


def test_writing_to_the_columns_does_not_change_the_file(tmp_path: Path, store: StateStore) -> None:
    path, spaces = tmp_path / "facts.bin", {"a": days(20)}
    publish(store, "a", spaces["a"].keys(), 1)
    check(store, path, spaces)
    found = check(store, path, spaces)
    found.assets["a"].data[:] = 7
    check(store, path, spaces)


@pytest.mark.parametrize("count", [7, 8, 9, 30, 500])
def test_time_goes_on_and_back(tmp_path: Path, store: StateStore, count: int) -> None:
    path = tmp_path / "facts.bin"
    publish(store, "a", days(8).keys(), 1)
    check(store, path, {"a": days(8)})
    check(store, path, {"a": days(count)})
    check(store, path, {"a": days(8)})


def test_a_window_built_while_open_is_there_when_it_has_closed(
    tmp_path: Path, store: StateStore
) -> None:
    """Packed by a command for which the window was not there yet."""
    path = tmp_path / "facts.bin"
    publish(store, "a", days(9).keys(), 1)
    check(store, path, {"a": days(8)})
    found = check(store, path, {"a": days(9)})
    assert found.assets["a"].id[8]


def test_a_definition_that_starts_earlier_reads_the_log(tmp_path: Path, store: StateStore) -> None:
    path = tmp_path / "facts.bin"
    publish(store, "a", days(30).keys(), 1)
    publish(store, "b", days(30).keys(), 2)
    check(store, path, {"a": days(30), "b": days(30)})
    earlier = daily("2023-12-01").resolve(START + timedelta(days=30, hours=1))
    spaces = {"a": earlier, "b": days(30)}
    watched = asked(store, path, spaces)
    assert watched[0] == ({"a"}, 0)
    check(store, path, spaces)


def test_a_product_that_gets_another_value_reads_the_log(tmp_path: Path, store: StateStore) -> None:
    path, now = tmp_path / "facts.bin", START + timedelta(days=5, hours=1)
    two = product(date=DAYS, place=static(["x", "y"])).resolve(now)
    three = product(date=DAYS, place=static(["x", "w", "y"])).resolve(now)
    publish(store, "a", two.keys(), 1)
    check(store, path, {"a": two})
    check(store, path, {"a": three})


def test_a_withdrawn_partition_is_gone(tmp_path: Path, store: StateStore) -> None:
    path, spaces = tmp_path / "facts.bin", {"a": days(20)}
    publish(store, "a", spaces["a"].keys(), 1)
    check(store, path, spaces)
    store.transact([Withdraw("prod", "a", "2024-01-03")])
    assert not check(store, path, spaces).assets["a"].id[2]


def test_invalidations_are_of_the_log_wherever_they_lie(tmp_path: Path, store: StateStore) -> None:
    path, spaces = tmp_path / "facts.bin", {"a": days(20), "b": days(20)}
    publish(store, "a", spaces["a"].keys(), 1)

    def mark(name: str, *ranges: tuple[str, str]) -> None:
        what = Invalidation("prod", name, ranges, "no", "ann", 1)
        store.transact([Invalidate(what, spaces[name])])

    mark("a", ("2024-01-03", "2024-01-05"))
    check(store, path, spaces)  # packed
    mark("b")
    check(store, path, spaces)  # in the tail
    publish(store, "b", spaces["b"].keys(), 2)
    found = check(store, path, spaces)  # packed again
    assert found.invalidated("a") is not None
    check(store, path, {"a": days(25), "b": days(20)})


def test_another_store_in_the_same_place_is_not_believed(tmp_path: Path) -> None:
    path, spaces = tmp_path / "facts.bin", {"a": days(20)}
    for number in (1, 2):
        store = open_store(f"sqlite:///{tmp_path}/{number}.db")
        publish(store, "a", spaces["a"].keys(), number)
        check(store, path, spaces)
        store.close()


def test_a_store_restored_from_a_backup_is_read_anew(tmp_path: Path) -> None:
    path, spaces = tmp_path / "facts.bin", {"a": days(20)}
    url = f"sqlite:///{tmp_path}/state.db"
    store = open_store(url)
    publish(store, "a", spaces["a"].keys(range(10)), 1)
    store.close()
    shutil.copy(tmp_path / "state.db", tmp_path / "backup.db")
    store = open_store(url)
    publish(store, "a", spaces["a"].keys(), 2)
    check(store, path, spaces)
    store.close()
    for file in tmp_path.glob("state.db*"):
        if file.is_file():
            file.unlink()
    shutil.copy(tmp_path / "backup.db", tmp_path / "state.db")
    store = open_store(url)
    check(store, path, spaces)
    publish(store, "a", spaces["a"].keys(), 3)
    check(store, path, spaces)
    store.close()


@pytest.mark.slow
@settings(max_examples=150)
@given(data=st.data())
def test_no_damage_gives_wrong_facts(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    path, spaces = folder / "facts.bin", {"a": days(40), "b": days(40)}
    store = open_store(f"sqlite:///{folder}/state.db")
    for number, name in enumerate(spaces):
        publish(store, name, spaces[name].keys(), number)
    check(store, path, spaces)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), "cut"):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    check(store, path, spaces)
    check(store, path, spaces)
    store.close()


def test_a_folder_that_can_not_be_written_costs_only_time(
    tmp_path: Path, store: StateStore
) -> None:
    (tmp_path / "file").write_text("in the way")
    spaces = {"a": days(20)}
    publish(store, "a", spaces["a"].keys(), 1)
    check(store, tmp_path / "file" / "facts.bin", spaces)


class OutOfOrder:
    """A store in which commits become visible later than others with a higher id.

    Like a database that gives ids before it commits: what is in flight is left out of a snapshot,
    and the revision stays below it.
    """

    def __init__(self, store: StateStore) -> None:
        self.store = store
        self.in_flight: set[str] = set()

    def snapshot(self, environment: str, assets: Iterable[str], since: int = 0) -> Snapshot:
        found = self.store.snapshot(environment, assets, since)
        lowest = found.revision + 1
        for columns in self.store.snapshot(environment, assets).assets.values():
            hidden = [
                i for k, i in zip(columns.keys, columns.id, strict=True) if k in self.in_flight
            ]
            lowest = min([lowest, *hidden])
        for columns in found.assets.values():
            seen = [row for row, key in enumerate(columns.keys) if key not in self.in_flight]
            columns.keys = [columns.keys[row] for row in seen]
            for name in ("id", "token", "data", "digest", "code", "finished", "rows"):
                setattr(columns, name, getattr(columns, name)[seen])
        found.revision = int(lowest) - 1
        return found

    def mark(self, revision: int) -> str:
        return self.store.mark(revision)


def test_a_commit_that_becomes_visible_late_is_not_missed(
    tmp_path: Path, store: StateStore
) -> None:
    path, spaces = tmp_path / "facts.bin", {"a": days(20)}
    keys = spaces["a"].keys()
    publish(store, "a", keys[:5], 1)
    publish(store, "a", keys[5:6], 2)  # given its id first, visible last
    publish(store, "a", keys[6:], 3)
    late: Any = OutOfOrder(store)
    late.in_flight = {keys[5]}
    first = PackedFacts(path, late, "prod").facts(spaces)
    assert not first.assets["a"].id[5]
    assert first.assets["a"].id[6]
    late.in_flight = set()
    second = PackedFacts(path, late, "prod").facts(spaces)
    assert second.assets["a"].id[5]
    assert told(second) == told(Facts.of(store.snapshot("prod", spaces), spaces))


def _pack_for_ever(folder: str, seed: int) -> None:
    packed._WORTH_PACKING = 1  # type: ignore[misc]
    store = open_store(f"sqlite:///{folder}/state.db")
    spaces = {"a": days(50)}
    rng = np.random.default_rng(seed)
    for number in range(60):
        keys = spaces["a"].keys(rng.choice(50, 20, replace=False))
        publish(store, "a", keys, number)
        PackedFacts(Path(folder) / "facts.bin", store, "prod").facts(spaces)
    store.close()


@pytest.mark.crash
def test_several_processes_pack_while_one_is_killed(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    packers = [spawn.Process(target=_pack_for_ever, args=(str(tmp_path), i)) for i in range(3)]
    for one in packers:
        one.start()
    store = open_store(f"sqlite:///{tmp_path}/state.db")
    spaces = {"a": days(50)}
    path = tmp_path / "facts.bin"
    while not path.exists():
        PackedFacts(path, store, "prod").facts(spaces)
    packers[0].kill()
    seen = 0
    while any(one.is_alive() for one in packers[1:]):
        found = PackedFacts(path, store, "prod").facts(spaces)
        assert found.revision >= seen
        seen = found.revision
    for one in packers:
        one.join()
    check(store, path, spaces)
    assert [one.exitcode for one in packers[1:]] == [0, 0]
    store.close()
