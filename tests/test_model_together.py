"""The reference model again, with much to do at a time: calls for many partitions, marks on many.

What `test_model` does step by step happens here in bulk, so that most calls are for several
partitions, some of which fail, are fresh, or were declared stale.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from test_model import _SETTINGS, KINDS, DuckDBWorld, ParquetWorld, World

_MOST = st.sampled_from([2, 3, 100])
_JOBS = st.sampled_from([1, 2])


class Together(World):
    """Every asset is built by calls for several partitions; all of it was built before."""

    @initialize(data=st.data(), size=st.integers(2, 4))
    def build(self, data: Any, size: int) -> None:
        super().build(data=data, size=size)
        self.batch = {name: data.draw(_MOST) for name in self.edges}
        self.project.close()
        self.project = self._open()
        self._materialize(set(self.edges), 2)

    @rule(data=st.data(), jobs=_JOBS)
    def change_much_and_build(self, data: Any, jobs: int) -> None:
        keys = KINDS[self.kind["source"]][1]
        for key in data.draw(st.sets(st.sampled_from(keys), min_size=1)):
            self.values["source", key] = data.draw(st.integers(0, 6))
        self._break(data)
        self._materialize(set(self.edges), jobs)

    @rule(data=st.data(), jobs=_JOBS)
    def change_code_and_build(self, data: Any, jobs: int) -> None:
        self.code[data.draw(st.sampled_from(sorted(self.edges)))] += 1
        self.project.close()
        self.project = self._open()
        self._break(data)
        self._materialize(set(self.edges), jobs)

    @rule(data=st.data(), downstream=st.booleans(), jobs=_JOBS)
    def invalidate_and_build(self, data: Any, downstream: bool, jobs: int) -> None:
        for _ in range(data.draw(st.integers(1, 3))):
            self.invalidate(data=data, downstream=downstream)
        self._break(data)
        self._materialize(set(self.edges), jobs)

    def _break(self, data: Any) -> None:
        """Some of the steps, often none, fail from now on."""
        few = st.sets(st.sampled_from(self._steps()), max_size=2)
        self.failing = data.draw(st.one_of(st.just(set()), few))


class TogetherInParquet(Together, ParquetWorld):
    """The same in files."""


class TogetherInDuckDB(Together, DuckDBWorld):
    """The same in one database."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "world",
    [Together, TogetherInParquet, TogetherInDuckDB],
    ids=["memory", "parquet", "duckdb"],
)
def test_calls_for_many_and_marks_on_many_agree_with_the_model(world: type[World]) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(world, settings=_SETTINGS)
