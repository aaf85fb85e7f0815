"""Random graphs, changes, failures and crashes against a reference model of a few lines.

The model knows recorded facts and nothing of columns, digests, leases or threads. After every
action the planner's must and may equal the model's, and a run calls exactly what the model runs.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from assets_core.declare.asset import Asset, Reference
from assets_core.declare.definitions import Definitions
from assets_core.declare.policies import Batch
from assets_core.partitions import (
    UNPARTITIONED,
    Partition,
    Partitions,
    all_partitions,
    daily,
    lag,
    last,
    latest,
    monthly,
    product,
    static,
    window,
)
from assets_core.project import Project
from io_managers.duckdb import DuckDBTables
from io_managers.memory import Memory
from io_managers.parquet import ParquetFiles

NOW = datetime(2024, 3, 1, tzinfo=UTC)
DAYS = ["2024-01-30", "2024-01-31", "2024-02-01", "2024-02-02", "2024-02-03"]
PLACES = ["x", "y"]
MONTHS = ["2024-01", "2024-02"]
# Windows are counted along the calendar, also where an asset has no partition (any more).
CALENDAR = {
    "month": [f"{y}-{m:02d}" for y in (2023, 2024) for m in range(1, 13)],
    "day": [
        (datetime(2023, 11, 1, tzinfo=UTC) + timedelta(days=i)).strftime("%Y-%m-%d")
        for i in range(200)
    ],
}

_days = daily("2024-01-30", "2024-02-04")
_places = static(PLACES, name="place")
KINDS = {
    "day": (_days, DAYS),
    "month": (monthly("2024-01", "2024-03"), MONTHS),
    "place": (_places, PLACES),
    "both": (
        product(date=_days, place=_places),
        [f"{d}|{p}" for d, p in itertools.product(DAYS, PLACES)],
    ),
    "one": (UNPARTITIONED, ["all"]),
}
MAPPINGS = {
    "default": None,
    "lag1": lag(1),
    "last2": last(2),
    "window": window(1, 1),
    "all": all_partitions(),
    "latest": latest(),
}


def upstream_keys(down: str, key: str, up: str, mapping: str) -> list[str]:
    """What a partition reads, by brute force over keys: the model's own idea of every mapping."""
    if mapping == "all" or "one" in (up, down):
        return latest_of(KINDS[up][1]) if mapping == "latest" else list(KINDS[up][1])
    return [
        k for k in KINDS[up][1] if _date_fits(down, key, up, k, mapping) and _place_fits(key, k)
    ]


def latest_of(keys: list[str]) -> list[str]:
    newest = max(k.split("|")[0] for k in keys)
    return [k for k in keys if k.split("|")[0] == newest]


def _parts(key: str) -> tuple[str | None, str | None]:
    """The date and the place in a key."""
    if key in PLACES:
        return None, key
    date, _, place = key.partition("|")
    return date, place or None


def _place_fits(key: str, up_key: str) -> bool:
    own, theirs = _parts(key)[1], _parts(up_key)[1]
    return own is None or theirs is None or own == theirs


def _date_fits(down: str, key: str, up: str, up_key: str, mapping: str) -> bool:
    own, theirs = _parts(key)[0], _parts(up_key)[0]
    if own is None or theirs is None:
        return True
    if mapping == "latest":
        return theirs == (MONTHS if up == "month" else DAYS)[-1]
    dates = CALENDAR["month" if up == "month" else "day"]
    overlapping = [i for i, d in enumerate(dates) if d.startswith(own) or own.startswith(d)]
    low, high = overlapping[0], overlapping[-1]
    wanted = {
        "default": range(low, high + 1),
        "lag1": range(low - 1, high),
        "last2": range(high - 1, high + 1),
        "window": range(low - 1, high + 2),
    }[mapping]
    return dates.index(theirs) in wanted


def mappings_that_fit(down: str, up: str) -> list[str]:
    timed = {"day", "month", "both"}
    if down in timed and up in timed:
        return list(MAPPINGS)
    if "one" in (down, up):
        return ["all"] + (["latest"] if up in timed else [])
    if {down, up} == {"place"} or {down, up} == {"place", "both"}:
        return ["default", "all"]
    return ["all"]  # a day and a place have nothing in common


def value_of(code: int, inputs: dict[str, dict[str, int]]) -> int:
    """What an asset computes: lossy on purpose, so that changes are often cut off."""
    total = sum(sum(values.values()) + len(values) for values in inputs.values())
    return (total + code) // 3 % 4


def keys_of(me: Partition | Partitions) -> Sequence[str]:
    return me.keys if isinstance(me, Partitions) else [me.key]


class Boom(Exception):
    """A failure on purpose."""


_BATCHES = st.sampled_from([None, 1, 2, 3, 100])
"""The most partitions of a call; None: each has its own."""


class World(RuleBasedStateMachine):
    """The engine on one side, the model on the other."""

    store_kind = "memory"

    @initialize(data=st.data(), size=st.integers(2, 5))
    def build(self, data: Any, size: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="model-"))
        self.manager = {
            "memory": lambda: Memory(),
            "parquet": lambda: ParquetFiles("data"),
            "duckdb": lambda: DuckDBTables("data.duckdb"),
        }[self.store_kind]()
        self.values: dict[tuple[str, str], int] = {}
        self.kind = {"source": data.draw(st.sampled_from(["day", "both"]))}
        self.edges: dict[str, list[tuple[str, str]]] = {}
        for i in range(size):
            name = f"a{i}"
            self.kind[name] = data.draw(st.sampled_from(list(KINDS)))
            names = list(self.kind)[:-1]
            ups = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
            self.edges[name] = [
                (up, data.draw(st.sampled_from(mappings_that_fit(self.kind[name], self.kind[up]))))
                for up in ups
            ]
            if self.kind[name] in ("day", "month") and data.draw(st.booleans()):
                self.edges[name].append((name, "lag1"))
        self.code = dict.fromkeys(self.edges, 0)
        self.batch = {name: data.draw(_BATCHES) for name in self.edges}
        self.now, self.include_open = NOW, False
        self.marked: set[tuple[str, str]] = set()
        self.recorded: dict[tuple[str, str], tuple[int, dict[Any, int], int]] = {}
        self.failing: set[tuple[str, str]] = set()
        self.crash_at = -1
        for key in KINDS[self.kind["source"]][1]:
            self.values["source", key] = 1
        self._vary(data)
        self.project = self._open()

    def _vary(self, data: Any) -> None:
        """What else is drawn before the project is opened."""

    def _open(self) -> Project:
        definitions = [self._source(), *(self._asset(name) for name in self.edges)]
        return Project(
            Definitions(definitions, io_managers={"default": self.manager}), root=self.folder
        )

    def _source(self) -> Asset:
        def find(partition: Partition) -> pa.Table:
            return pa.table({"v": [self.values["source", partition.key]]})

        return Asset("source", "source", find, partitions=KINDS[self.kind["source"]][0])

    def _asset(self, name: str) -> Asset:
        reads = {
            f"p{i}": self._reference(name, i, Reference(up, MAPPINGS[mapping]))
            for i, (up, mapping) in enumerate(self.edges[name])
        }
        code, batch = self.code[name], self.batch[name]

        def build(given: dict[str, Any], keys: Sequence[str]) -> pa.Table:
            """The rows of all partitions of a call; it counts once it is over, or blames one."""
            broken = [key for key in keys if (name, key) in self.failing]
            if not broken or len(keys) == 1:
                self.called += [(name, key) for key in keys]
            if broken:
                raise Boom
            values = []
            for key in keys:
                inputs = {}
                for i, (up, mapping) in enumerate(self.edges[name]):
                    own = set(self._upstream(name, key, up, mapping))
                    tables = given[f"p{i}"] or {}
                    assert batch is not None or set(tables) <= own
                    inputs[f"p{i}"] = {k: tables[k]["v"][0].as_py() for k in own & set(tables)}
                values.append(value_of(code, inputs))
            return pa.table({"part": list(keys), "v": values})

        functions = {
            1: lambda p0, me: build({"p0": p0}, keys_of(me)),
            2: lambda p0, p1, me: build({"p0": p0, "p1": p1}, keys_of(me)),
            3: lambda p0, p1, p2, me: build({"p0": p0, "p1": p1, "p2": p2}, keys_of(me)),
        }
        function: Any = functions[len(reads)]
        together = batch is not None and self.kind[name] != "one"
        me = Partitions if together else Partition
        function.__annotations__ = {**dict.fromkeys(reads, dict[str, pa.Table]), "me": me}
        return Asset(
            name,
            function=function,
            inputs=reads,
            version=str(code),
            partitions=KINDS[self.kind[name]][0],
            partition_column="part" if self.kind[name] != "one" else None,
            batch=Batch(batch) if together else None,
        )

    def _reference(self, name: str, number: int, plain: Reference) -> Reference:
        """How an asset reads its input of this number."""
        return plain

    # The model -----------------------------------------------------------------------------

    def _upstream(self, name: str, key: str, up: str, mapping: str) -> list[str]:
        """What a partition reads of an upstream asset."""
        return upstream_keys(self.kind[name], key, self.kind[up], mapping)

    def _inputs(self, name: str, key: str) -> dict[Any, int] | None:
        """The data that a partition reads now; None while some of it is missing."""
        found: dict[Any, int] = {}
        for i, (up, mapping) in enumerate(self.edges[name]):
            for k in self._upstream(name, key, up, mapping):
                if (up, k) not in self.values:
                    return None
                found[f"p{i}", k] = self.values[up, k]
        return found

    def _must(self, name: str, key: str) -> bool:
        if (name, key) not in self.recorded:
            return True
        if (name, key) in self.marked:
            return True
        code, inputs, _ = self.recorded[name, key]
        return code != self.code[name] or inputs != self._inputs(name, key)

    def _steps(self) -> list[tuple[str, str]]:
        return [(name, key) for name in self.edges for key in KINDS[self.kind[name]][1]]

    def _may(self, must: set[tuple[str, str]]) -> set[tuple[str, str]]:
        stale = set(must)
        for name, key in self._steps():
            reads = (
                (up, k)
                for up, mapping in self.edges[name]
                for k in self._upstream(name, key, up, mapping)
            )
            if any(read in stale for read in reads):
                stale.add((name, key))
        return stale - must

    def _run_model(
        self,
        chosen: set[str],
        ran: list[tuple[str, str]],
        only: set[tuple[str, str]] | None = None,
    ) -> None:
        """Run what is stale in topological order, partition by partition."""
        broken: set[tuple[str, str]] = set()
        for name, key in self._steps():
            if name not in chosen or (only is not None and (name, key) not in only):
                continue
            reads = {
                (up, k)
                for up, mapping in self.edges[name]
                for k in self._upstream(name, key, up, mapping)
            }
            inputs = self._inputs(name, key)
            if reads & broken:
                if self._was_planned(name, key):
                    broken.add((name, key))
                continue
            if inputs is None or not self._must(name, key):
                continue
            ran.append((name, key))
            if (name, key) in self.failing:
                broken.add((name, key))
                continue
            grouped: dict[str, dict[str, int]] = {f"p{i}": {} for i in range(len(self.edges[name]))}
            for (p, k), v in inputs.items():
                grouped[p][k] = v
            value = value_of(self.code[name], grouped)
            self.marked.discard((name, key))
            self.recorded[name, key] = (self.code[name], inputs, value)
            self.values[name, key] = value

    def _was_planned(self, name: str, key: str) -> bool:
        return (name, key) in self.planned

    # Actions -------------------------------------------------------------------------------

    @rule(data=st.data(), value=st.integers(0, 6))
    def change_source(self, data: Any, value: int) -> None:
        key = data.draw(st.sampled_from(KINDS[self.kind["source"]][1]))
        self.values["source", key] = value

    @rule(data=st.data(), by=st.integers(1, 3))
    def change_code(self, data: Any, by: int) -> None:
        self.code[data.draw(st.sampled_from(list(self.edges)))] += by
        self.project.close()
        self.project = self._open()

    @rule(data=st.data())
    def change_batch(self, data: Any) -> None:
        """How many are built together is no part of what is built."""
        self.batch[data.draw(st.sampled_from(list(self.edges)))] = data.draw(_BATCHES)
        self.project.close()
        self.project = self._open()

    @rule(data=st.data(), downstream=st.booleans())
    def invalidate(self, data: Any, downstream: bool) -> None:
        name, key = data.draw(st.sampled_from(self._steps()))
        self.project.invalidate(name, key, reason="why not", downstream=downstream, now=self.now)
        marked = {(name, key)} & set(self.recorded)
        if downstream:
            for step in self._steps():
                if step in self.recorded and set(self._reads(*step)) & marked:
                    marked.add(step)
        self.marked |= marked

    def _reads(self, name: str, key: str) -> Iterator[tuple[str, str]]:
        for up, mapping in self.edges[name]:
            for k in self._upstream(name, key, up, mapping):
                yield up, k

    @rule(data=st.data())
    def break_or_mend(self, data: Any) -> None:
        self.failing ^= {data.draw(st.sampled_from(self._steps()))}

    @rule(data=st.data(), jobs=st.sampled_from([1, 3]))
    def materialize(self, data: Any, jobs: int) -> None:
        chosen = data.draw(st.sets(st.sampled_from(list(self.edges)), min_size=1))
        self._materialize(chosen, jobs)

    @rule(jobs=st.sampled_from([1, 2]))
    def materialize_everything(self, jobs: int) -> None:
        self._materialize(set(self.edges), jobs)

    def _materialize(self, chosen: set[str], jobs: int) -> None:
        self.called: list[tuple[str, str]] = []
        plan = self.project.plan(sorted(chosen), now=self.now, include_open=self.include_open)
        self.planned = {(s.asset, s.partition) for s in plan.steps()}
        result = self.project.materialize(plan=plan, jobs=jobs)
        expected: list[tuple[str, str]] = []
        self._run_model(chosen, expected)
        assert sorted(self.called) == sorted(expected), result.failures
        assert {(f.asset, f.partition) for f in result.failures} == self.failing & set(expected)

    @rule(after=st.integers(0, 8), jobs=st.sampled_from([1, 2]))
    def crash(self, after: int, jobs: int) -> None:
        """The state store goes away in the middle of a run; the next command finds a dead run.

        Which steps got through is the engine's to say; each must be one that the model would
        have run, with the inputs that the model would have given it.
        """
        before = self._recorded_ids()
        self.called = []
        plan = self.project.plan(now=self.now)
        self.planned = {(s.asset, s.partition) for s in plan.steps()}
        self._failing_store(after)
        with contextlib.suppress(Boom, sqlite3.OperationalError):
            self.project.materialize(plan=plan, jobs=jobs)
        self.project.close()
        self.project = self._open()
        self.project.recover()
        through = {step for step, i in self._recorded_ids().items() if before.get(step) != i}
        self._run_model(set(self.edges), [], only=through)

    def _failing_store(self, after: int) -> None:
        store, left = self.project.state, itertools.count(after, -1)
        real = store.transact

        def transact(operations: Any) -> Any:
            if next(left) <= 0:
                raise Boom("the state store is gone")
            return real(operations)

        store.transact = transact  # type: ignore[method-assign]

    def _recorded_ids(self) -> dict[tuple[str, str], int]:
        snapshot = self.project.state.snapshot("prod", list(self.edges))
        return {
            (name, key): recorded
            for name, columns in snapshot.assets.items()
            for key, recorded in zip(columns.keys, columns.id.tolist(), strict=True)
        }

    @invariant()
    def plans_agree(self) -> None:
        if not hasattr(self, "project"):
            return
        plan = self.project.plan(now=self.now)
        steps = [*((s.asset, s.partition, s.status) for s in plan.steps())]
        must = {(a, p) for a, p, status in steps if status == "must"}
        may = {(a, p) for a, p, status in steps if status == "may"}
        assert not list(plan.waiting())
        expected = {step for step in self._steps() if self._must(*step)}
        assert must == expected
        assert may == self._may(expected)

    def teardown(self) -> None:
        if hasattr(self, "project"):
            self.project.close()
            shutil.rmtree(self.folder, ignore_errors=True)


_EXAMPLES = int(os.environ.get("ASSETS_MODEL_EXAMPLES", "15"))
_SETTINGS = settings(
    max_examples=_EXAMPLES,
    stateful_step_count=8,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


class ParquetWorld(World):
    store_kind = "parquet"


class DuckDBWorld(World):
    store_kind = "duckdb"


@pytest.mark.slow
@pytest.mark.parametrize(
    "world", [World, ParquetWorld, DuckDBWorld], ids=["memory", "parquet", "duckdb"]
)
def test_engine_and_model_agree(world: type[World]) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(world, settings=_SETTINGS)
