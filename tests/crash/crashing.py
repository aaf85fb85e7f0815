"""What the crash tests share: a world with a pipeline in it, processes, and what must hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import shop

from assets_core.errors import MissingDataError
from assets_core.fingerprint.row_hash.hasher import data_version
from assets_core.project import Project

HERE = Path(__file__).parent
STORES = ("parquet", "duckdb")
ASSETS = ("orders", "totals")
EMPTY = 7_000
"""The generation without rows."""


def rows_of(generation: int) -> int:
    """How many rows a partition of this generation has."""
    return 4 + 3 * (generation % 7)


@dataclass
class World:
    """A project's folder, its store and its days."""

    root: Path
    store: str
    days: int = 2
    scale: int = 1

    @property
    def keys(self) -> list[str]:
        """The partitions, in order."""
        return [(shop.FIRST + timedelta(day)).isoformat() for day in range(self.days)]

    def write(self, generation: int, note: str = "") -> None:
        """Give every day a raw file of this generation; ``note`` changes the file alone.

        Generation EMPTY has no rows.
        """
        folder = self.root / "raw"
        folder.mkdir(exist_ok=True)
        for key in self.keys:
            # Whole or not at all, like anybody who delivers files; dated so that no two
            # generations and no two notes look alike.
            new, file = folder / f".{key}", folder / f"{key}.txt"
            new.write_text(f"{generation} {self.rows(generation)} {note}")
            os.utime(new, (1e9 + generation, 1e9 + generation + len(note)))
            new.replace(file)

    def rows(self, generation: int) -> int:
        """How many rows a partition of this generation has here."""
        return 0 if generation == EMPTY else rows_of(generation) * self.scale

    @contextmanager
    def project(self) -> Iterator[Project]:
        """The project, opened afresh."""
        with Project(shop.make(self.root, self.store, self.days), root=self.root) as project:
            yield project

    def calls(self) -> list[str]:
        """Every call of a function so far: asset, partition and, for orders, the generation."""
        file = self.root / "calls"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def hold(self) -> Path:
        """While this file is there, ``orders`` does not return."""
        return self.root / "hold"

    # ---- processes

    def start(self, *, environ: dict[str, str] | None = None, **options: Any) -> Any:
        """A process that materializes; its output is JSON, see `ended`."""
        path = os.pathsep.join([str(HERE), *sys.path])
        return subprocess.Popen(
            [
                sys.executable,
                str(HERE / "drive.py"),
                str(self.root),
                self.store,
                str(self.days),
                json.dumps({"jobs": 1, **options}),
            ],
            env={**os.environ, "PYTHONPATH": path, **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stopped(self, at: str, *, lease_seconds: float = 1.0, **options: Any) -> Any:
        """A process that materializes and has stopped at the crash point ``at``."""
        environ = {
            "ASSETS_CRASH_AT": f"{at}:stop",
            "ASSETS_LEASE_SECONDS": str(lease_seconds),
        }
        process = self.start(environ=environ, **options)
        wait_for(lambda: process.poll() is not None or is_stopped(process))
        assert process.poll() is None, process.communicate()
        return process

    def crash(self, at: str, **options: Any) -> None:
        """Materialize in a process that is killed at the crash point ``at``."""
        process = self.start(environ={"ASSETS_CRASH_AT": at}, **options)
        out, err = process.communicate(timeout=60)
        assert process.returncode == -9, f"not killed at {at}: {out}\n{err}"


def ended(process: Any, timeout: float = 60) -> dict[str, Any]:
    """What a process printed before it ended by itself, with its exit code."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode >= 0, f"killed by signal {-process.returncode}\n{err}"
    lines = out.splitlines()
    assert lines, err
    told: dict[str, Any] = json.loads(lines[-1])
    return {"exit": process.returncode, "stderr": err, **told}


def is_stopped(process: Any) -> bool:
    """Whether every thread of the process has stopped."""
    states = [
        task.read_text().rpartition(")")[2].split()[0]
        for task in Path(f"/proc/{process.pid}/task").glob("*/stat")
    ]
    return bool(states) and set(states) == {"T"}


def wait_for(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """The condition's first true value; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
    return found


# ---- what readers see


def generation_of(rows: Any, world: World) -> int:
    """The one generation of a partition's rows, of which every row is there once, unaltered."""
    generations = rows["generation"].unique().to_pylist()
    assert len(generations) <= 1, f"torn: generations {generations}"
    generation = int(generations[0]) if generations else EMPTY
    expected = shop.table(generation, world.rows(generation))
    found = rows.select(expected.column_names).sort_by("id").combine_chunks()
    assert len(found) == len(expected), f"rows lost or doubled: {len(found)} of {len(expected)}"
    assert found.equals(expected), "other rows than were written"
    return generation


def read(world: World, project: Project, asset: str, key: str) -> int:
    """The generation that the framework serves of a partition; 0 where nothing is."""
    try:
        return generation_of(project.load(asset, key), world)
    except MissingDataError as error:
        if "Nothing of" not in error.message:
            raise  # recorded, and gone
        return 0


def served(world: World) -> dict[str, list[int]]:
    """The generations that readers get, by asset, in the order of the keys."""
    with world.project() as project:
        return {asset: [read(world, project, asset, k) for k in world.keys] for asset in ASSETS}


def view_file(world: World, asset: str, key: str) -> Path:
    """Where the outside world reads a partition of a file store."""
    return world.root / "data" / asset / f"date={key}" / "data.parquet"


def seen_outside(world: World) -> dict[str, list[int]]:
    """What another program sees: DuckDB on the folder of files, or on the closed database."""
    return {asset: [_outside(world, asset, key) for key in world.keys] for asset in ASSETS}


def _outside(world: World, asset: str, key: str) -> int:
    if world.store == "parquet":
        file = view_file(world, asset, key)
        if not file.exists():
            return 0
        query = "SELECT * EXCLUDE (date) FROM read_parquet(?, hive_partitioning = true)"
        rows = duckdb.sql(query, params=[str(file.parent / "*.parquet")]).to_arrow_table()
        return generation_of(rows, world)
    file = world.root / "data" / "warehouse.duckdb"
    if not file.exists():
        return 0
    with duckdb.connect(str(file), read_only=True) as connection:
        names = {row[0] for row in connection.execute("FROM duckdb_tables()").fetchall()}
        if not names or not _has_table(connection, asset):
            return 0
        query = f"SELECT * FROM {asset} WHERE _partition = ?"
        rows = connection.sql(query, params=[key]).to_arrow_table()
    return generation_of(rows, world) if len(rows) else 0


def _has_table(connection: Any, name: str) -> bool:
    query = "SELECT 1 FROM duckdb_tables() WHERE table_name = ? AND schema_name = 'main'"
    return bool(connection.execute(query, [name]).fetchall())


# ---- what must hold after recovery


def check(world: World) -> None:
    """P7: records, data and outside view tell the same, and nothing is left lying about."""
    with world.project() as project:
        for asset in ASSETS:
            _check_asset(world, project, asset)
        recorded = {
            part
            for fact in project.state.materializations("prod", None)
            for part in (fact.receipt.location, fact.receipt.rejects)
        }
        assert project.state.check() == []
        assert project.state.dead_runs() == []
    leftovers = staged_leftovers(world, recorded)
    assert leftovers == [], f"staged leftovers: {leftovers}"


def _check_asset(world: World, project: Project, asset: str) -> None:
    columns = project.state.snapshot("prod", [asset]).assets[asset]
    current = dict(zip(columns.keys, columns.id.tolist(), strict=True))
    facts = {
        m.partition: m for m in project.state.materializations("prod", asset, ids=current.values())
    }
    for key in world.keys:
        fact = facts.get(key)
        if fact is None:
            assert outside_version(world, asset, key) is None, f"{asset}@{key} is not recorded"
            continue
        if fact.kind == "withdrawn":
            project.io["default"].close()
            assert _outside(world, asset, key) == 0, f"{asset}@{key} is withdrawn, and shown"
            continue
        rows = project.load(asset, key)
        generation_of(rows, world)
        assert rows.num_rows == fact.receipt.rows
        assert tuple(data_version(rows)) == fact.data_version, f"{asset}@{key}"
        assert outside_version(world, asset, key, project) == version_of(world, fact)


def version_of(world: World, fact: Any) -> object:
    """What tells the recorded version from any other."""
    if world.store == "parquet":
        return (world.root / "data" / ".versions" / fact.receipt.location).stat().st_ino
    return (fact.receipt.token, fact.receipt.location)


def outside_version(world: World, asset: str, key: str, project: Project | None = None) -> object:
    """The version that the outside view shows; None where there is none."""
    if world.store == "parquet":
        file = view_file(world, asset, key)
        return file.stat().st_ino if file.exists() else None
    if project is not None:
        project.io["default"].close()
    file = world.root / "data" / "warehouse.duckdb"
    if not file.exists():
        return None
    with duckdb.connect(str(file), read_only=True) as connection:
        query = "SELECT token, location FROM _assets.fences WHERE asset = ? AND partition = ?"
        found = connection.execute(query, [asset, key]).fetchall()
    return found[0] if found else None


def staged_leftovers(world: World, recorded: set[str]) -> Sequence[str]:
    """What lies in the store and that no record knows."""
    if world.store == "parquet":
        data = world.root / "data"
        files = [p.relative_to(data / ".versions") for p in (data / ".versions").glob("*/*")]
        half = [str(p) for p in data.rglob("*.tmp")]
        return [str(f) for f in files if str(f) not in recorded] + half
    file = world.root / "data" / "warehouse.duckdb"
    if not file.exists():
        return []
    with duckdb.connect(str(file), read_only=True) as connection:
        query = "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 's\\_%' ESCAPE '\\'"
        return [row[0] for row in connection.execute(query).fetchall()]
