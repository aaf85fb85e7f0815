"""How a backfill stands: what is done, failed and left of it, and how fast it goes.

Nothing of that is stored: it is counted in the log, whoever asks.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assets_core.operations.backfill.masks import mask_of_keys, mask_of_ranges, size_of_ranges
from assets_core.partitions import KeySpace
from assets_core.planning.staleness import assess
from assets_core.records import Backfill, Run
from assets_core.wording import human_duration, iso_time
from assets_core.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Progress:
    """How a backfill stands. ``state`` is its status, or ``interrupted`` when its process is gone.

    Numbers are of asset partitions; ``seconds`` of work so far, ``rate`` done a second in the
    newest run, ``seconds_left`` at that rate (None: can't be told).
    """

    backfill: Backfill
    state: str
    done: int
    failed: int
    by_asset: Mapping[str, tuple[int, int, int]]
    seconds: float
    rate: float
    runs: tuple[Run, ...]

    @property
    def left(self) -> int:
        """Asset partitions that are neither done nor failed."""
        return max(self.backfill.total - self.done - self.failed, 0)

    @property
    def seconds_left(self) -> float | None:
        """At the rate of the newest run."""
        return self.left / self.rate if self.rate and self.left else None

    @property
    def title(self) -> str:
        """``Backfill b12ab34: 120 done, 240 left, 2 failed, 8.1 a second, about 30 s to go``."""
        text = f"Backfill {self.backfill.id}: {self.done:,} done, "
        text += f"{self.left:,} left" if self.left else "nothing left"
        text += f", {self.failed:,} failed" if self.failed else ""
        if self.state != "running":
            return text
        text += f", {self.rate:,.1f} a second" if self.rate else ""
        when = self.seconds_left
        return text + (f", about {human_duration(when)} to go" if when else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        one = self.backfill
        return {
            "backfill": one.id,
            "status": self.state,
            "environment": one.environment,
            "created": iso_time(one.created),
            "by": one.by,
            "note": one.note,
            "options": dict(one.options),
            "total": one.total,
            "done": self.done,
            "left": self.left,
            "failed": self.failed,
            "seconds": round(self.seconds, 3),
            "per_second": round(self.rate, 3),
            "seconds_left": None if self.seconds_left is None else round(self.seconds_left, 3),
            "assets": {
                name: {"total": total, "done": done, "failed": failed}
                for name, (total, done, failed) in self.by_asset.items()
            },
            "runs": [run.id for run in self.runs],
        }


def progress_of(workspace: Workspace, one: Backfill) -> Progress:
    """How a backfill stands now."""
    state = state_of(workspace, one)
    spaces, runs = workspace.spaces(), workspace.state.runs_of(one.id)
    failed = _failed(workspace, one, spaces, {run.id for run in runs})
    by_asset = {
        name: (total, min(done, total - failed.get(name, 0)), failed.get(name, 0))
        for name, (total, done) in _totals_and_done(workspace, one, state, spaces, runs).items()
    }
    now = time.time_ns() // 1000
    lengths = [((run.finished or now) - run.started) / 1e6 for run in runs]
    last = sum(workspace.state.recorded_by([run.id for run in runs[-1:]]).values())
    all_failed = sum(failed.values())
    return Progress(
        backfill=one,
        state=state,
        done=one.total - all_failed
        if state == "done"
        else sum(done for _, done, _ in by_asset.values()),
        failed=all_failed,
        by_asset=by_asset,
        seconds=sum(lengths),
        rate=last / lengths[-1] if runs and lengths[-1] > 0 else 0.0,
        runs=tuple(runs),
    )


def state_of(workspace: Workspace, one: Backfill) -> str:
    """Its status; ``interrupted`` where it says that it is at work and no process is."""
    if one.status != "running":
        return one.status
    return "running" if run_at_work(workspace, one) else "interrupted"


def run_at_work(workspace: Workspace, one: Backfill) -> Run | None:
    """The run that executes it, whatever its status: a paused one first ends its steps."""
    dead = {run.id for run in workspace.state.dead_runs()}
    runs = workspace.state.runs_of(one.id)
    alive = (run for run in runs if run.status == "running" and run.id not in dead)
    return next(alive, None)


def _totals_and_done(
    workspace: Workspace,
    one: Backfill,
    state: str,
    spaces: Mapping[str, KeySpace],
    runs: Sequence[Run],
) -> dict[str, tuple[int, int]]:
    """By asset: how many partitions a backfill has, and how many of them are done."""
    totals = {name: size_of_ranges(spaces.get(name), at) for name, at in one.targets.items()}
    if state == "cancelled":  # what it came to; what goes stale later is not its concern
        recorded = workspace.state.recorded_by([run.id for run in runs])
        return {name: (n, min(recorded.get(name, 0), n)) for name, n in totals.items()}
    left = {} if state == "done" else _left(workspace, one, spaces)
    return {name: (n, n - left.get(name, 0)) for name, n in totals.items()}


def _left(workspace: Workspace, one: Backfill, spaces: Mapping[str, KeySpace]) -> dict[str, int]:
    """How many of a backfill's partitions are stale, by what is recorded and the code of now.

    No source is looked at for this: it is asked from beside the work, again and again.
    """
    graph, facts = workspace.graph, workspace.facts(spaces)
    inside = {name: mask_of_ranges(spaces[name], one.targets.get(name, ())) for name in graph.op_of}
    chosen = {op.name: np.logical_or.reduce([inside[n] for n in op.outputs]) for op in graph.ops}
    reprocess = one.options["reprocess"]
    found = assess(
        graph,
        facts,
        {name: code.hex for name, code in workspace.codes.items()},
        chosen=chosen.get,
        force=reprocess == "all",
        resume_at=one.revision + 1,
    )
    failed = workspace.state.failed(one.environment) if reprocess == "failed" else {}
    left = {}
    for name in one.targets.keys() & spaces.keys():
        stale = found[graph.op_of[name].name].stale & inside[name]
        if reprocess == "missing":
            stale &= ~facts.assets[name].there
        elif reprocess == "failed":
            stale &= mask_of_keys(spaces[name], failed.get(name, ()))
        left[name] = int(stale.sum())
    return left


def _failed(
    workspace: Workspace, one: Backfill, spaces: Mapping[str, KeySpace], runs: Collection[str]
) -> dict[str, int]:
    """How many of a backfill's partitions failed in its runs and have not been built since."""
    found = {}
    for name, attempts in workspace.state.failed(one.environment).items():
        if name in one.targets and name in spaces:
            mine = (key for key, attempt in attempts.items() if attempt.run in runs)
            space = spaces[name]
            at = mask_of_keys(space, mine) & mask_of_ranges(space, one.targets[name])
            if at.any():
                found[name] = int(at.sum())
    return found
