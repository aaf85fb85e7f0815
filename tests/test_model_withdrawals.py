"""The model of `test_model`, while partitions of its source vanish, are withdrawn and come back.

What the model knows of it: a withdrawn partition is neither there nor expected; where all that a
partition reads through an input is withdrawn (its own past aside), it is withdrawn itself. A step
that has to read a source's partition which is gone, and not withdrawn, fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test
from test_model import _SETTINGS, KINDS, NOW, World, value_of

from assets_core.declare.asset import Asset
from assets_core.partitions import Partition

Step = tuple[str, str]


class WithdrawalWorld(World):
    """Everything as before, but that what a source has may go away."""

    def _vary(self, data: Any) -> None:
        self.gone: set[str] = set()
        self.withdrawn: set[str] = set()
        self.seen_last: dict[str, int] = {}
        self.lets_go = data.draw(st.booleans())
        self.chosen = set(self.edges)

    def _source(self) -> Asset:
        def find(partition: Partition) -> pa.Table | None:
            if partition.key in self.gone:
                return None
            return pa.table({"v": [self.values["source", partition.key]]})

        return Asset(
            "source",
            "source",
            find,
            partitions=KINDS[self.kind["source"]][0],
            vanished="withdraw" if self.lets_go else None,
        )

    # The model -----------------------------------------------------------------------------

    @property
    def _source_keys(self) -> list[str]:
        return KINDS[self.kind["source"]][1]

    def _is_withdrawn(self, name: str, key: str) -> bool:
        """Whether a partition is withdrawn, or will be by a run of what is chosen."""
        if name == "source":
            return key in self.withdrawn
        nothing_left = False
        for up, mapping in self.edges[name]:
            reads = self._upstream(name, key, up, mapping)
            if up != name and reads:
                nothing_left = nothing_left or all(self._is_withdrawn(up, k) for k in reads)
        return nothing_left and (name in self.chosen or (name, key) not in self.values)

    def _expected_reads(self, name: str, key: str) -> Iterator[Step]:
        return (read for read in self._reads(name, key) if not self._is_withdrawn(*read))

    def _inputs(self, name: str, key: str) -> dict[Any, int] | None:
        found: dict[Any, int] = {}
        for i, (up, mapping) in enumerate(self.edges[name]):
            for k in self._upstream(name, key, up, mapping):
                if (up, k) in self.values:
                    found[f"p{i}", k] = self.values[up, k]
                elif not self._is_withdrawn(up, k):
                    return None
        return found

    def _must(self, name: str, key: str) -> bool:
        if self._is_withdrawn(name, key):
            return (name, key) in self.values
        return super()._must(name, key)

    def _may(self, must: set[Step]) -> set[Step]:
        stale = set(must)
        for step in self._steps():
            if not self._is_withdrawn(*step) and any(r in stale for r in self._reads(*step)):
                stale.add(step)
        return stale - must

    def _run_model(self, chosen: set[str], ran: list[Step], only: set[Step] | None = None) -> None:
        self.chosen = chosen
        self.failed: set[Step] = set()
        broken: set[Step] = set()
        for name, key in self._steps():
            if name not in chosen or (only is not None and (name, key) not in only):
                continue
            if self._is_withdrawn(name, key):
                for kept in (self.values, self.recorded):
                    kept.pop((name, key), None)  # type: ignore[attr-defined]
                self.marked.discard((name, key))
                continue
            reads = set(self._expected_reads(name, key))
            inputs = self._inputs(name, key)
            if reads & broken:
                if self._was_planned(name, key):
                    broken.add((name, key))
                continue
            if inputs is None or not self._must(name, key):
                continue
            if reads & {("source", k) for k in self.gone}:
                self.failed.add((name, key))
                broken.add((name, key))
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
        self.chosen = set(self.edges)

    def _let_go(self) -> None:
        """What the next look at the whole source does by itself."""
        going = self.gone - self.withdrawn
        there = len(self._source_keys) - len(self.gone)
        if self.lets_go and len(going) <= there:
            for key in going:
                self._withdraw(key)

    def _withdraw(self, key: str) -> None:
        self.withdrawn.add(key)
        self.seen_last[key] = self.values.pop(("source", key))

    # Actions -------------------------------------------------------------------------------

    @rule(data=st.data(), value=st.integers(0, 6))
    def change_source(self, data: Any, value: int) -> None:
        """Also what was gone, and withdrawn, is there again."""
        key = data.draw(st.sampled_from(self._source_keys))
        self.gone.discard(key)
        self.withdrawn.discard(key)
        self.values["source", key] = value

    @rule(data=st.data())
    def vanish(self, data: Any) -> None:
        self.gone |= data.draw(st.sets(st.sampled_from(self._source_keys), max_size=3))

    @rule(data=st.data())
    def withdraw(self, data: Any) -> None:
        going = sorted(self.gone - self.withdrawn)
        if going:
            keys = data.draw(st.lists(st.sampled_from(going), min_size=1, unique=True))
            made = self.project.withdraw("source", keys, reason="taken back", now=NOW)
            assert len(made) == len(keys)
            for key in keys:
                self._withdraw(key)

    @rule(data=st.data())
    def undo(self, data: Any) -> None:
        if self.withdrawn and not self.lets_go:
            key = data.draw(st.sampled_from(sorted(self.withdrawn)))
            self.project.withdraw("source", key, undo=True, now=NOW)
            self.withdrawn.discard(key)
            self.values["source", key] = self.seen_last[key]

    def _materialize(self, chosen: set[str], jobs: int) -> None:
        self.called = []
        plan = self.project.plan(sorted(chosen), now=self.now)
        self.planned = {(s.asset, s.partition) for s in plan.steps()}
        result = self.project.materialize(plan=plan, jobs=jobs)
        expected: list[Step] = []
        self._run_model(chosen, expected)
        assert sorted(self.called) == sorted(expected), result.failures
        failed = {(f.asset, f.partition) for f in result.failures}
        assert failed == (self.failing & set(expected)) | self.failed

    @invariant()
    def plans_agree(self) -> None:
        if hasattr(self, "project"):
            self.project.plan(now=self.now)  # looks at the source
            self._let_go()
        super().plans_agree()

    @invariant()
    def what_is_read_agrees(self) -> None:
        """What is there is what the model holds, and the status says which is withdrawn."""
        if not hasattr(self, "project"):
            return
        snapshot = self.project.state.snapshot("prod", list(self.edges)).assets
        there = {
            (name, key)
            for name, columns in snapshot.items()
            for key, has in zip(columns.keys, (columns.data != 0).any(axis=1), strict=True)
            if has
        }
        assert there == {step for step in self.values if step[0] != "source"}
        status = self.project.status(now=NOW)
        for name, key in self._steps():
            out = self._is_withdrawn(name, key) and (name, key) not in self.values
            assert (status[name].state(key) == "withdrawn") == out


class ParquetWorld(WithdrawalWorld):
    store_kind = "parquet"


class DuckDBWorld(WithdrawalWorld):
    store_kind = "duckdb"


@pytest.mark.slow
@pytest.mark.parametrize(
    "world", [WithdrawalWorld, ParquetWorld, DuckDBWorld], ids=["memory", "parquet", "duckdb"]
)
def test_engine_and_model_agree_on_what_is_withdrawn(world: type[World]) -> None:
    run_state_machine_as_test(world, settings=_SETTINGS)
