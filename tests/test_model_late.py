"""The model of `test_model`, while time goes on: late sources, open windows, policies.

The clock moves, source partitions land when their window is long over or change after it, plans are
made with and without open windows, and inputs need not be there as a whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test
from test_model import KINDS, PLACES, World, mappings_that_fit, upstream_keys, value_of

from assets_core.declare.asset import Asset, Reference
from assets_core.partitions import Partition, require

CLOCKS = [
    datetime(2024, *rest, 12, tzinfo=UTC)
    for rest in [(1, 31), (2, 1), (2, 2), (2, 3), (2, 4), (3, 1)]
]
Step = tuple[str, str]


def first_and_last(present: Sequence[str], expected: Sequence[str]) -> bool:
    return {expected[0], expected[-1]} <= set(present)


POLICIES: dict[str, Any] = {"all": "all", "any": "any", "0.5": 0.5, "rule": first_and_last}
ENOUGH: dict[str, Callable[[list[str], list[str]], bool]] = {
    "all": lambda present, expected: len(present) == len(expected),
    "any": lambda present, expected: bool(present) or not expected,
    "0.5": lambda present, expected: 2 * len(present) >= len(expected),
    "rule": lambda present, expected: not expected or first_and_last(present, expected),
}


def window_of(key: str) -> tuple[datetime, datetime] | None:
    """The window of a key; None for one without."""
    date = key.split("|")[0]
    if date in PLACES or date == "all":
        return None
    if len(date) == 7:
        start = datetime.fromisoformat(f"{date}-01").replace(tzinfo=UTC)
        return start, (start + timedelta(days=32)).replace(day=1)
    start = datetime.fromisoformat(date).replace(tzinfo=UTC)
    return start, start + timedelta(days=1)


class LateWorld(World):
    """Everything as before, but for what is there and when."""

    def _vary(self, data: Any) -> None:
        self.now = data.draw(st.sampled_from(CLOCKS[1:4]))
        keys = KINDS[self.kind["source"]][1]
        late = data.draw(st.sets(st.sampled_from(keys), max_size=len(keys) // 2))
        self.values = {("source", key): 1 for key in keys if key not in late}
        draw = st.sampled_from(list(POLICIES))
        self.policy = {name: [data.draw(draw) for _ in ups] for name, ups in self.edges.items()}
        self.built_open: set[Step] = set()

    def _reference(self, name: str, number: int, plain: Reference) -> Reference:
        policy = self.policy[name][number]
        return replace(plain, required=require(POLICIES[policy]))

    def _source(self) -> Asset:
        def find(partition: Partition) -> pa.Table | None:
            value = self.values.get(("source", partition.key))
            return None if value is None else pa.table({"v": [value]})

        return Asset("source", "source", find, partitions=KINDS[self.kind["source"]][0])

    # The model -----------------------------------------------------------------------------

    def _is_open(self, key: str) -> bool:
        window = window_of(key)
        return window is not None and window[0] <= self.now < window[1]

    def _is_closed(self, key: str) -> bool:
        window = window_of(key)
        return window is None or window[1] <= self.now

    def _there(self, key: str) -> bool:
        """Whether a partition exists now."""
        return self._is_closed(key) or (self.include_open and self._is_open(key))

    def _steps(self) -> list[Step]:
        return [step for step in super()._steps() if self._there(step[1])]

    def _upstream(self, name: str, key: str, up: str, mapping: str) -> list[str]:
        """What a partition maps to: only an open window reads open windows."""
        as_open = self.include_open and self._is_open(key)
        seen = [
            k
            for k in KINDS[self.kind[up]][1]
            if self._is_closed(k) or (as_open and self._is_open(k))
        ]
        if mapping == "latest":
            newest = max((k.split("|")[0] for k in seen), default="")
            mine = upstream_keys(self.kind[name], key, self.kind[up], "all")
            fits = set(self._of_its_place(key, mine))
            return [k for k in seen if k.split("|")[0] == newest and k in fits]
        wanted = set(upstream_keys(self.kind[name], key, self.kind[up], mapping))
        return [k for k in seen if k in wanted]

    def _of_its_place(self, key: str, keys: list[str]) -> Iterator[str]:
        own = key.rpartition("|")[2]
        for k in keys:
            theirs = k.rpartition("|")[2]
            if own not in PLACES or theirs not in PLACES or own == theirs:
                yield k

    def _too_early(self, name: str, key: str) -> bool:
        """Whether a closed window maps to windows that will close later."""
        if window_of(key) is None or not self._is_closed(key):
            return False
        return any(
            not self._is_closed(k)
            for up, mapping in self.edges[name]
            if mapping not in ("all", "latest")
            for k in upstream_keys(self.kind[name], key, self.kind[up], mapping)
        )

    def _edges(self, name: str, key: str) -> Iterator[tuple[str, str, list[str]]]:
        """The policy, the upstream asset and the keys of each input."""
        for policy, (up, mapping) in zip(self.policy[name], self.edges[name], strict=True):
            yield policy, up, self._upstream(name, key, up, mapping)

    def _inputs(self, name: str, key: str) -> dict[Any, int]:
        found = {}
        for i, (_, up, keys) in enumerate(self._edges(name, key)):
            found |= {(f"p{i}", k): self.values[up, k] for k in keys if (up, k) in self.values}
        return found

    def _must(self, name: str, key: str) -> bool:
        as_open = (name, key) in self.built_open
        return super()._must(name, key) or as_open != self._is_open(key)

    def _classify(self, chosen: set[str]) -> tuple[set[Step], set[Step]]:
        """What runs and what waits, one partition after the other."""
        runs, waits = set[Step](), set[Step]()
        for name, key in self._steps():
            if name not in chosen:
                continue
            stale, blocked = self._must(name, key), self._too_early(name, key)
            for policy, up, keys in self._edges(name, key):
                reads = {(up, k) for k in keys}
                coming = reads & runs
                # What waits counts as missing, though an older version of it may be there.
                there = (reads & self.values.keys() | coming) - waits
                blocked |= not ENOUGH[policy]([k for k in keys if (up, k) in there], keys)
                stale |= bool(coming) or (policy == "all" and bool(reads & waits))
            if stale:
                (waits if blocked else runs).add((name, key))
        return runs, waits

    def _run_model(self, chosen: set[str], ran: list[Step], only: set[Step] | None = None) -> None:
        broken = self._classify(chosen)[1]
        for name, key in self._steps():
            if (name, key) not in (self.planned if only is None else only):
                continue
            if only is None and self._is_broken(name, key, broken):
                broken.add((name, key))
                continue
            if not self._must(name, key):
                continue
            ran.append((name, key))
            if (name, key) in self.failing and only is None:
                broken.add((name, key))
                continue
            self._record(name, key)

    def _is_broken(self, name: str, key: str, broken: set[Step]) -> bool:
        """Whether too much of what a partition reads failed, or was blocked, in this run."""
        for policy, up, keys in self._edges(name, key):
            came = [k for k in keys if (up, k) in self.values and (up, k) not in broken]
            if not ENOUGH[policy](came, keys):
                return True
        return False

    def _record(self, name: str, key: str) -> None:
        inputs = self._inputs(name, key)
        grouped: dict[str, dict[str, int]] = {f"p{i}": {} for i in range(len(self.edges[name]))}
        for (p, k), v in inputs.items():
            grouped[p][k] = v
        value = value_of(self.code[name], grouped)
        self.marked.discard((name, key))
        self.built_open.discard((name, key))
        if self._is_open(key):
            self.built_open.add((name, key))
        self.recorded[name, key] = (self.code[name], inputs, value)
        self.values[name, key] = value

    # Actions -------------------------------------------------------------------------------

    @rule(data=st.data(), by=st.integers(0, 2), include_open=st.booleans())
    def morning(self, data: Any, by: int, include_open: bool) -> None:
        """Time goes on, some of what is late comes, not in order, and everything is built."""
        self.now = CLOCKS[min(CLOCKS.index(self.now) + by, len(CLOCKS) - 1)]
        missing = [k for k in KINDS[self.kind["source"]][1] if ("source", k) not in self.values]
        for key in data.draw(st.permutations(missing))[: data.draw(st.integers(0, 2))]:
            self.values["source", key] = data.draw(st.integers(0, 6))
        self.include_open = include_open
        self._materialize(set(self.edges), data.draw(st.sampled_from([1, 3])))
        self.include_open = False

    @rule(data=st.data())
    def evening(self, data: Any) -> None:
        """The same day again, with today as far as it has come."""
        self.morning(data, 0, True)

    @rule(data=st.data(), jobs=st.sampled_from([1, 3]))
    def quiet_night(self, data: Any, jobs: int) -> None:
        """Time goes on, nothing comes, and everything is written anew: what needs the new day is
        blocked, though an older version of it serves."""
        self.now = CLOCKS[min(CLOCKS.index(self.now) + 1, len(CLOCKS) - 1)]
        self.code = {name: code + 1 for name, code in self.code.items()}
        self.project.close()
        self.project = self._open()
        self._materialize(data.draw(st.sampled_from([set(self.edges), {max(self.edges)}])), jobs)

    @rule(data=st.data(), downstream=st.booleans())
    def invalidate(self, data: Any, downstream: bool) -> None:
        self.include_open = True
        if self._steps():
            super().invalidate(data, downstream)
        self.include_open = False

    @rule(data=st.data())
    def break_or_mend(self, data: Any) -> None:
        if self._steps():
            super().break_or_mend(data)

    @invariant()
    def plans_agree(self) -> None:
        if not hasattr(self, "project"):
            return
        for include_open in (True, False):
            self.include_open = include_open
            plan = self.project.plan(now=self.now, include_open=include_open)
            runs, waits = self._classify(set(self.edges))
            told = {(s.asset, s.partition): s.status for s in plan.steps()}
            assert told == {s: "must" if self._must(*s) else "may" for s in runs}
            waiting = {(w.asset, w.partition): set(w.missing) for w in plan.waiting()}
            assert waiting == {step: self._lacking(*step, runs, waits) for step in waits}

    def _lacking(self, name: str, key: str, runs: set[Step], waits: set[Step]) -> set[Step]:
        """What is told that a partition waits for."""
        found = set()
        for policy, up, keys in self._edges(name, key):
            reads = {(up, k) for k in keys}
            missing = reads - runs - (self.values.keys() - waits)
            present = [k for k in keys if (up, k) not in missing]
            if not ENOUGH[policy](present, keys):
                found |= missing
        return found

    def teardown(self) -> None:
        if hasattr(self, "project"):
            self.project.close()
            shutil.rmtree(self.folder, ignore_errors=True)


class LateParquet(LateWorld):
    store_kind = "parquet"


class LateDuckDB(LateWorld):
    store_kind = "duckdb"


class BlockedWorld(LateWorld):
    """What has been built of everything so far waits for each new day, and is read by others."""

    def _vary(self, data: Any) -> None:
        self.kind = {"source": "day", "a0": "one"}
        self.edges = {"a0": [("source", "all")]}
        for name, ups in (("a1", ["a0"]), ("a2", ["a1", "a0"]), ("a3", ["a2", "source"])):
            self.kind[name] = data.draw(st.sampled_from(["one", "day", "month", "place"]))
            fits = ((up, mappings_that_fit(self.kind[name], self.kind[up])) for up in ups)
            self.edges[name] = [(up, data.draw(st.sampled_from(known))) for up, known in fits]
        if self.kind["a1"] in ("day", "month") and data.draw(st.booleans()):
            self.edges["a1"].append(("a1", "lag1"))
        self.code = dict.fromkeys(self.edges, 0)
        self.batch = dict.fromkeys(self.edges, None)
        super()._vary(data)
        self.now = CLOCKS[1]
        self.values = {("source", k): 1 for k in KINDS["day"][1] if self._is_closed(k)}


_EXAMPLES = int(os.environ.get("ASSETS_MODEL_EXAMPLES", "15"))
_SETTINGS = settings(
    max_examples=_EXAMPLES,
    stateful_step_count=12,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    # A machine of this size takes many minutes to shrink; the drawn values are told anyway.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "world",
    [LateWorld, LateParquet, LateDuckDB, BlockedWorld],
    ids=["memory", "parquet", "duckdb", "blocked"],
)
def test_engine_and_model_agree_while_time_goes_on(world: type[LateWorld]) -> None:
    run_state_machine_as_test(world, settings=_SETTINGS)
