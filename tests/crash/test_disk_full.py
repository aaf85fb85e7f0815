"""A disk without room: the old data serves, the message is clear, and with room all goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crashing import ASSETS, STORES, World, check, ended, seen_outside, served

from assets_core.errors import StateError

pytestmark = [pytest.mark.crash, pytest.mark.slow]

MEGABYTE = 1 << 20
SIZES = {"parquet": 16 * MEGABYTE, "duckdb": 64 * MEGABYTE}
"""What holds old, new and staged versions (and DuckDB's log), and not much more."""
BIG = 3
"""The generation that does not fit: 13 rows times the scale."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str, int], Path]]:
    """Makes a folder of the world a disk of its own, of so many bytes."""
    mounted: list[Path] = []

    def mount(name: str, size: int) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        tried = subprocess.run(command, capture_output=True, check=False)
        if tried.returncode != 0:
            pytest.skip(f"no disk can be mounted here: {tried.stderr.decode().strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Fill the disk up to ``leave`` bytes, or as far as it goes."""
    filler = folder / "filler"
    block = b"x" * 4096
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(block)
        except OSError:
            file.truncate(max(0, file.tell() - leave))
    return filler


def no_room(told: dict[str, Any]) -> str:
    """The message of a run that failed for want of room."""
    assert told["exit"] not in (0, 130), told
    texts = [told["details"]] if "details" in told else [one["details"] for one in told["failures"]]
    assert texts
    assert all("no room" in text.lower() for text in texts), texts
    return texts[0]


def whole(found: dict[str, list[int]]) -> None:
    assert {one for every in found.values() for one in every} <= {7, BIG}


def served_or_no_room(world: World) -> None:
    """A full disk may have no room for what SQLite needs to read; then it says so."""
    try:
        whole(served(world))
    except StateError as error:
        if "no room" not in error.message:
            raise


def goes_on(world: World) -> None:
    """With room again the next command builds everything, and nothing is left over."""
    with world.project() as project:
        assert project.materialize(jobs=1).ok
    expected = {asset: [BIG] * world.days for asset in ASSETS}
    assert served(world) == expected
    assert seen_outside(world) == expected
    check(world)


def start(root: Path, store: str) -> World:
    world = World(root, store, scale=6_000)
    world.write(7)  # of the fewest rows
    with world.project() as project:
        assert project.materialize(jobs=1).ok
    world.write(BIG)
    return world


@pytest.mark.parametrize("store", STORES)
def test_the_stores_disk_is_full(
    tmp_path: Path, store: str, small_disk: Callable[[str, int], Path]
) -> None:
    disk = small_disk("data", SIZES[store])
    world = start(tmp_path, store)
    filler = fill(disk, leave=8192)
    text = no_room(ended(world.start()))
    assert "old version still serves" in text
    assert str(disk) in text
    assert served(world) == {asset: [7, 7] for asset in ASSETS}
    filler.unlink()
    assert seen_outside(world) == {asset: [7, 7] for asset in ASSETS}
    check(world)
    goes_on(world)


@pytest.mark.parametrize("store", STORES)
def test_the_disk_fills_up_at_any_step(
    tmp_path: Path, store: str, small_disk: Callable[[str, int], Path]
) -> None:
    disk = small_disk("data", SIZES[store])
    world = start(tmp_path, store)
    for leave in range(0, SIZES[store], SIZES[store] // 20):
        filler = fill(disk, leave)
        told = ended(world.start())
        filler.unlink()
        whole(served(world))
        check(world)
        if told["exit"] == 0:
            break
        no_room(told)
    goes_on(world)


@pytest.mark.parametrize("store", STORES)
def test_the_state_stores_disk_is_full(
    tmp_path: Path, store: str, small_disk: Callable[[str, int], Path]
) -> None:
    disk = small_disk(".assets", 4 * MEGABYTE)
    world = start(tmp_path, store)
    for leave in (0, 4096, 8192, 16384, 32768, 65536):
        filler = fill(disk, leave)
        told = ended(world.start())
        if store == "parquet":  # what other programs read needs no state store
            whole(seen_outside(world))
        served_or_no_room(world)
        filler.unlink()
        with world.project() as project:
            project.status()
        check(world)
        if told["exit"] == 0:
            break
        no_room(told)
    goes_on(world)


@pytest.mark.parametrize("store", STORES)
def test_a_file_may_not_get_as_large_as_needed(tmp_path: Path, store: str) -> None:
    world = start(tmp_path, store)
    limit = MEGABYTE // 2 if store == "parquet" else 2 * MEGABYTE
    text = no_room(ended(world.start(environ={"DRIVE_FILE_BYTES": str(limit)})))
    assert "old version still serves" in text
    whole(served(world))
    with world.project() as project:
        project.status()
    check(world)
    goes_on(world)
