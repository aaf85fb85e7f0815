"""The model of `test_model`, with backfills: begun, paused, killed, overtaken, gone on with.

Whatever comes between, each asset partition of a backfill is built when the model builds it, once,
and at its end nothing of it is left.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test
from test_model import Boom, World, upstream_keys

from assets_core.execution.events import StepEvent
from assets_core.operations.backfill.request import BackfillRequest

Step = tuple[str, str]


class BackfillWorld(World):
    """One backfill at a time, among everything else that goes on."""

    request: BackfillRequest | None = None

    @initialize()
    def no_backfill(self) -> None:
        self.request = None
        self.forced: set[Step] = set()

    def _must(self, name: str, key: str) -> bool:
        return (name, key) in self.forced or super()._must(name, key)

    @precondition(lambda self: self.request is None)
    @rule(
        data=st.data(),
        reprocess=st.sampled_from(["stale", "missing", "all"]),
        order=st.sampled_from(["oldest", "newest"]),
        jobs=st.sampled_from([1, 3]),
    )
    def begin_backfill(self, data: Any, reprocess: Any, order: str, jobs: int) -> None:
        chosen = data.draw(st.sets(st.sampled_from(list(self.edges)), min_size=1))
        self.before = self._recorded_ids()
        must = {step for step in self._steps() if step[0] in chosen and self._must(*step)}
        # What is not chosen stays as it is, and nothing comes of its being stale.
        stale = self._spread(must, chosen)
        self.targets = {
            "stale": stale,
            "missing": {step for step in stale if step not in self.recorded},
            "all": {step for step in self._steps() if step[0] in chosen},
        }[reprocess]
        request = BackfillRequest(
            select=tuple(sorted(chosen)), reprocess=reprocess, order=order, jobs=jobs
        )
        plan = self.project.backfills.plan(request)
        told = {(s.asset, s.partition) for s in (*plan.steps(), *plan.waiting())}
        assert told == self.targets
        if told:
            self.project.backfills.begin(request, plan)
            self.request = request
            # Paused soon, or there is seldom anything left to go on with.
            self._proceed(data.draw(st.integers(1, 6)), None)

    def _spread(self, must: set[Step], chosen: set[str]) -> set[Step]:
        stale = set(must)
        for name, key in self._steps():
            if name in chosen and any(
                (up, k) in stale
                for up, mapping in self.edges[name]
                for k in upstream_keys(self.kind[name], key, self.kind[up], mapping)
            ):
                stale.add((name, key))
        return stale

    def _forced_now(self) -> set[Step]:
        """What "all" takes though it is fresh: what has no record newer than the beginning."""
        assert self.request is not None
        if self.request.reprocess != "all":
            return set()
        now = self._recorded_ids()
        return {step for step in self.targets if now.get(step) == self.before.get(step)}

    def _only(self) -> set[Step]:
        assert self.request is not None
        if self.request.reprocess == "missing":
            return {step for step in self.targets if step not in self.recorded}
        return self.targets

    @precondition(lambda self: self.request is not None)
    @rule(
        pause=st.none() | st.integers(1, 8),
        crash=st.none() | st.none() | st.integers(0, 8),
    )
    def proceed(self, pause: int | None, crash: int | None) -> None:
        """To its end, or until it is paused or killed; the rest another time."""
        self._proceed(pause, crash)

    def _proceed(self, pause: int | None, crash: int | None) -> None:
        backfills, before = self.project.backfills, self._recorded_ids()
        self.called = []
        only, forced = self._only(), self._forced_now()
        plan = backfills.left("latest")
        self.planned = {(s.asset, s.partition) for s in plan.steps()}
        if crash is not None:
            self._failing_store(crash)
        result: Any = None
        with contextlib.suppress(Boom, sqlite3.OperationalError):
            result = backfills.proceed("latest", plan, on_event=self._pausing_after(pause))
        assert len(self.called) == len(set(self.called)), "called twice"
        if crash is not None:
            self.project.close()
            self.project = self._open()
            self.project.recover()
        now = self._recorded_ids()
        through = {step for step in now if before.get(step) != now[step]}
        status = self.project.backfills.get("latest").status
        if result is not None and status in ("done", "failed"):
            expected: list[Step] = []
            self._run(only, forced, expected)
            assert sorted(self.called) == sorted(expected)
            assert (status == "failed") == bool(result.failures or result.blocked)
        else:
            assert set(self.called) <= only
            assert through <= only
            self._run(only & through, forced & through, [])
        if status == "done":
            assert self.project.backfills.progress("latest").left == 0
            self.request = None

    def _run(self, only: set[Step], forced: set[Step], ran: list[Step]) -> None:
        self.forced = forced
        try:
            self._run_model(set(self.edges), ran, only=only)
        finally:
            self.forced = set()

    def _pausing_after(self, steps: int | None) -> Any:
        lock, begun = threading.Lock(), [0]

        def on_event(event: StepEvent) -> None:
            with lock:
                begun[0] += event.kind == "started"
                if begun[0] == steps and event.kind == "started":
                    self.project.backfills.pause("latest")

        return on_event

    @precondition(lambda self: self.request is not None)
    @rule()
    def cancel(self) -> None:
        self.project.backfills.cancel("latest")
        self.request = None


_SETTINGS = settings(
    max_examples=int(os.environ.get("ASSETS_MODEL_EXAMPLES", "15")),
    stateful_step_count=12,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


class ParquetBackfills(BackfillWorld):
    store_kind = "parquet"


class DuckDBBackfills(BackfillWorld):
    store_kind = "duckdb"


@pytest.mark.slow
@pytest.mark.parametrize(
    "world",
    [BackfillWorld, ParquetBackfills, DuckDBBackfills],
    ids=["memory", "parquet", "duckdb"],
)
def test_backfills_and_model_agree(world: type[World]) -> None:
    run_state_machine_as_test(world, settings=_SETTINGS)
