"""Random edits of files, variables, code and orders against a model of what must be built again."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets_core import Definitions, Partition, Project, any_order, asset, sql_asset, static

KEYS = ["x", "y", "z"]
VARIABLE = "ASSETS_TEST_RATE"
EXAMPLES = int(os.environ.get("ASSETS_MODEL_EXAMPLES", "15"))


def definitions(folder: Path, factor: int, direction: str) -> Definitions:
    @functools.cache
    def shared() -> int:
        try:
            return int((folder / "shared.txt").read_text())
        except FileNotFoundError:
            return 0

    @asset(partitions=static(KEYS))
    def made(partition: Partition) -> pa.Table:
        path = folder / f"{partition.key}.txt"
        try:
            number = int(path.read_text())
        except FileNotFoundError:
            number = 0
        names = len(list((folder / "more").iterdir()))
        rate = int(os.environ.get(VARIABLE, "1")) if partition.key == "x" else 1
        return pa.table({"n": [number * factor * rate + names, number + shared()]})

    ranked = sql_asset(
        "ranked", f"SELECT n FROM made ORDER BY n {direction}, n", partitions=static(KEYS)
    )

    @asset(partitions=static(KEYS))
    def first(ranked: pa.Table) -> pa.Table:
        return ranked.slice(0, 1)

    @asset(partitions=static(KEYS))
    def total(ranked: Annotated[pa.Table, any_order()]) -> pa.Table:
        return pa.table({"n": [sum(ranked["n"].to_pylist())]})

    return Definitions([made, ranked, first, total])


@dataclass
class World:
    """What the project reads, and what it was built from."""

    folder: Path
    files: dict[str, int] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    rate: str | None = None
    shared: int | None = None
    factor: int = 1
    direction: str = "ASC"
    built: dict[str, Any] = field(default_factory=dict)

    def rows(self, key: str) -> list[int]:
        number = self.files.get(key, 0)
        rate = int(self.rate or 1) if key == "x" else 1
        rows = [number * self.factor * rate + len(self.names), number + (self.shared or 0)]
        return sorted(rows, reverse=self.direction == "DESC")

    def source(self, key: str) -> Any:
        """All that decides what ``made`` holds, as far as it reads it."""
        rate = self.rate if key == "x" else None
        return self.files.get(key), tuple(sorted(self.names)), rate, self.factor, self.shared

    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, ns=(10**18, 10**18 + len(self.built) + hash(text) % 10**6))

    def apply(self, step: tuple[str, Any]) -> None:
        kind, value = step
        if kind == "file":
            key, number = value
            path = self.folder / f"{key}.txt"
            self.files.pop(key, None)
            path.unlink(missing_ok=True)
            if number is not None:
                self.files[key] = number
                self.write(path, str(number))
        elif kind == "shared":
            self.shared = value
            (self.folder / "shared.txt").unlink(missing_ok=True)
            if value is not None:
                self.write(self.folder / "shared.txt", str(value))
        elif kind == "name":
            path = self.folder / "more" / value
            if value in self.names:
                self.names.remove(value)
                path.unlink()
            else:
                self.names.add(value)
                self.write(path, "")
        elif kind == "rate":
            self.rate = value
            os.environ.pop(VARIABLE, None)
            if value is not None:
                os.environ[VARIABLE] = value
        elif kind == "factor":
            self.factor = value
        else:
            self.direction = value


STEPS = st.one_of(
    st.tuples(st.just("file"), st.tuples(st.sampled_from(KEYS), st.none() | st.integers(0, 3))),
    st.tuples(st.just("name"), st.sampled_from(["a", "b"])),
    st.tuples(st.just("rate"), st.sampled_from([None, "1", "2"])),
    st.tuples(st.just("shared"), st.none() | st.integers(0, 2)),
    st.tuples(st.just("factor"), st.integers(1, 2)),
    st.tuples(st.just("order"), st.sampled_from(["ASC", "DESC"])),
)


def check(steps: list[list[tuple[str, Any]]]) -> None:
    os.environ.pop(VARIABLE, None)
    with TemporaryDirectory() as name:
        folder = Path(name) / "rules"
        (folder / "more").mkdir(parents=True)
        world = World(folder)
        for each in [[], *steps]:
            for step in each:
                world.apply(step)
            made = definitions(folder, world.factor, world.direction)
            with Project(made, root=name) as project:
                plan = project.plan("made")
                must = {step.partition for step in plan.steps() if step.status == "must"}
                expected = {k for k in KEYS if world.built.get(k) != world.source(k)}
                assert must == expected, each
                project.materialize()
                assert not project.plan()
                for key in KEYS:
                    rows = world.rows(key)
                    assert project.read("ranked", key)["n"].to_pylist() == rows
                    assert project.read("first", key)["n"].to_pylist() == rows[:1]
                    assert project.read("total", key)["n"].to_pylist() == [sum(rows)]
            world.built = {key: world.source(key) for key in KEYS}


@pytest.mark.slow
@settings(max_examples=EXAMPLES)
@given(st.lists(st.lists(STEPS, min_size=1, max_size=3), max_size=5))
def test_what_reads_what_changed_is_built_again_and_nothing_else(
    steps: list[list[tuple[str, Any]]],
) -> None:
    check(steps)
