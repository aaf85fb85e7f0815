"""A flipped bit in stored data is told by asset and partition, never served, and mended."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from crashing import ASSETS, STORES, World, check, read, served, version_of

from assets_core.errors import AssetsError, CorruptDataError
from assets_core.project import Project

pytestmark = [pytest.mark.crash, pytest.mark.slow]

KEY = "2024-01-01"


@pytest.fixture
def built(world: World) -> World:
    world.scale = 50 if world.store == "parquet" else 5_000
    world.write(1)
    with world.project() as project:
        assert project.materialize(jobs=1).ok
    return world


def file_of(world: World) -> Path:
    if world.store == "duckdb":
        return world.root / "data" / "warehouse.duckdb"
    with world.project() as project:
        fact = project.state.materializations("prod", "orders", KEY, limit=1)[0]
        return world.root / "data" / ".versions" / fact.receipt.location


def flip(file: Path, bit: int) -> None:
    """Flip one bit, behind the back of whoever made the file read-only."""
    file.chmod(0o644)
    with file.open("r+b") as opened:
        opened.seek(bit // 8)
        byte = opened.read(1)[0]
        opened.seek(bit // 8)
        opened.write(bytes([byte ^ (1 << bit % 8)]))


def test_no_flipped_bit_is_ever_served_as_data(built: World) -> None:
    file = file_of(built)
    chance = random.Random(11)
    found = 0
    for _ in range(60):
        bit = chance.randrange(file.stat().st_size * 8)
        flip(file, bit)
        with built.project() as project:
            try:
                assert served_by(built, project) == 1
            except CorruptDataError as error:
                found += 1
                assert_named(error)
        flip(file, bit)
    # In a version every byte counts; a database has free space and spare headers.
    assert found == 60 if built.store == "parquet" else found >= 10
    assert served(built) == {asset: [1, 1] for asset in ASSETS}


def served_by(world: World, project: Project) -> int:
    return read(world, project, "orders", KEY)


def assert_named(error: AssetsError) -> None:
    text = str(error)
    assert "orders" in text, text
    assert KEY in text, text
    assert f"assets materialize orders --partition {KEY} --force" in text


def a_bit_that_counts(world: World) -> int:
    """A bit of the file that a reader of the partition stumbles over."""
    file = file_of(world)
    chance = random.Random(5)
    for _ in range(200):
        bit = chance.randrange(file.stat().st_size * 8)
        flip(file, bit)
        with world.project() as project:
            try:
                served_by(world, project)
            except CorruptDataError as error:
                if "opened" not in error.message:
                    return bit
        flip(file, bit)
    raise AssertionError("no bit of 200 counts")


def test_verify_finds_the_damage_and_force_mends_it(tmp_path: Path) -> None:
    world = World(tmp_path, "parquet", scale=50)
    world.write(1)
    with world.project() as project:
        assert project.materialize(jobs=1).ok
    a_bit_that_counts(world)
    with world.project() as project:
        found = project.repair(verify=True)["damaged"]
        assert [(one["asset"], one["partition"]) for one in found] == [("orders", KEY)]
        assert f"assets materialize orders --partition {KEY} --force" in found[0]["problem"]
        assert project.plan().must == 0  # it is not stale: it is damaged
        assert project.materialize("orders", KEY, force=True, jobs=1).ok
        assert project.repair(verify=True)["damaged"] == []
    assert served(world) == {asset: [1, 1] for asset in ASSETS}
    check(world)


def test_a_damaged_input_fails_its_reader_and_changes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, "parquet", scale=50)
    world.write(1)
    with world.project() as project:
        assert project.materialize(jobs=1).ok
        before = [version_of(world, m) for m in project.state.materializations("prod", "totals")]
    a_bit_that_counts(world)
    with world.project() as project:
        result = project.materialize("totals", KEY, force=True, jobs=1)
        assert result.counts["failed"] == 1
        assert f"assets materialize orders --partition {KEY} --force" in result.failures[0].details
        after = [version_of(world, m) for m in project.state.materializations("prod", "totals")]
    assert after == before


@pytest.mark.parametrize("store", STORES)
def test_a_version_that_is_gone_is_told_and_mended(tmp_path: Path, store: str) -> None:
    world = World(tmp_path, store)
    world.write(1)
    with world.project() as project:
        assert project.materialize(jobs=1).ok
    file_of(world).unlink()
    with world.project() as project:
        with pytest.raises(AssetsError) as error:
            project.load("orders", KEY)
        assert "--force" in str(error.value)
        assert project.materialize(force=True, jobs=1).ok
    assert served(world) == {asset: [1, 1] for asset in ASSETS}
