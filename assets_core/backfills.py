"""Backfills: work over many partitions that outlives the process that does it.

What is to be done is stored; what was done is in the log, so there is no progress to lose. Each
time that a backfill is taken up it plans what is left and executes that as one ordinary run, which
bears its name. Nothing here decides what is stale or builds anything.
"""

from __future__ import annotations

import getpass
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from assets_core.durations import parse_duration
from assets_core.errors import PlanMovedError, UsageError
from assets_core.execute.engine import Control, StepEvent
from assets_core.execute.result import RunResult
from assets_core.execute.running import execute_plan
from assets_core.observe.format import count, human_duration, iso_time
from assets_core.partitions import KeySpace
from assets_core.plan import Batch, Plan
from assets_core.records import Backfill, BackfillStatus, Run
from assets_core.staleness import assess, keys_to_ranges

if TYPE_CHECKING:
    from assets_core.project import Project

Reprocess = Literal["stale", "missing", "failed", "all"]
REPROCESS: tuple[Reprocess, ...] = ("stale", "missing", "failed", "all")
ORDERS = ("oldest", "newest")

BELOW_NORMAL = -10
"""The priority of a backfill unless it says another; that of other runs is 0."""

_OPEN: tuple[BackfillStatus, ...] = ("running", "paused", "failed")
_SIZES = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a backfill is asked for.

    ``reprocess``: what is ``stale``, ``missing``, what ``failed`` last, or ``all`` selected.
    ``pin_code``: go on only with the code that it was begun with. ``max_cost``: a length of time,
    ``"500 GB"`` or ``"1000000 rows"``, refused when the plan is expected to take more or when
    nothing is known. ``max_failures`` failed steps stop it (0: any number).
    """

    select: tuple[str, ...] | None = None
    partitions: tuple[str, ...] | None = None
    reprocess: Reprocess = "stale"
    order: str = "oldest"
    jobs: int | None = None
    priority: int = BELOW_NORMAL
    pin_code: bool = False
    max_failures: int = 0
    max_cost: str = ""

    def check(self) -> None:
        """Raise UsageError for what can't be."""
        if self.reprocess not in REPROCESS:
            raise UsageError(f"--reprocess is one of {', '.join(REPROCESS)}: {self.reprocess!r}.")
        if self.order not in ORDERS:
            raise UsageError(f"--order is oldest or newest: {self.order!r}.")
        if self.jobs is not None and self.jobs < 1:
            raise UsageError(f"jobs={self.jobs} can't run anything.", hint="At least 1.")
        if self.max_failures < 0:
            raise UsageError(f"max_failures={self.max_failures} is no number of steps.")
        if self.max_cost:
            _limit(self.max_cost)


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


class Backfills:
    """A project's backfills: ``project.backfills``."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._state = project.state

    # ---------------------------------------------------------------------------------------
    # Beginning

    def plan(self, wish: Wish) -> Plan:
        """What a backfill would do, were it begun now."""
        wish.check()
        return self._reprocessed(self._plan(wish, since=0), wish.reprocess)

    def begin(self, wish: Wish, plan: Plan) -> Backfill:
        """Store a backfill of this plan; `proceed` executes it.

        Raises UsageError when it is expected to cost more than it may.
        """
        if wish.max_cost:
            _check_cost(plan, wish.max_cost, wish.jobs or self._project.settings.jobs)
        codes = self._project.codes
        targets = _targets(plan)
        one = Backfill(
            id=f"b{secrets.token_hex(3)}",
            environment=plan.environment,
            status="running",
            created=time.time_ns() // 1000,
            by=f"{user_name()}@{socket.gethostname()}",
            revision=plan.revision,
            total=len(plan) + plan.blocked,
            targets=targets,
            codes={name: codes[name].hex for name in targets},
            options={
                "select": list(wish.select) if wish.select is not None else None,
                "partitions": list(wish.partitions) if wish.partitions is not None else None,
                "reprocess": wish.reprocess,
                "order": wish.order,
                "jobs": wish.jobs,
                "priority": wish.priority,
                "pin_code": wish.pin_code,
                "max_failures": wish.max_failures,
            },
        )
        self._state.add_backfill(one)
        return one

    # ---------------------------------------------------------------------------------------
    # Going on

    def left(self, backfill_id: str, *, failed_only: bool = False) -> Plan:
        """What is still to be done of a backfill, planned anew.

        With ``failed_only`` what failed last, and what waits for that. Raises UsageError when the
        backfill was cancelled, PlanMovedError when it is pinned to code that has changed.
        """
        one = self.get(backfill_id)
        _refuse_cancelled(one)
        changed = self.changed(one)
        if changed and one.options["pin_code"]:
            raise PlanMovedError(
                f"Backfill {one.id} is pinned to the code it was begun with, and that has changed.",
                facts={"changed": ", ".join(changed)},
                hint="Go back to that code, or cancel it and begin another.",
            )
        wish = _wish(one)
        # Of what is reprocessed whole, whatever is newer than the backfill is done.
        plan = self._plan(wish, since=one.revision + 1)
        plan = self._reprocessed(_within(plan, one.targets), wish.reprocess)
        return self._with_followers(plan) if failed_only else plan

    def changed(self, one: Backfill) -> list[str]:
        """The assets of a backfill whose code is another than when it was begun."""
        codes = self._project.codes
        return [n for n, was in one.codes.items() if n in codes and codes[n].hex != was]

    def proceed(
        self,
        backfill_id: str,
        plan: Plan | None = None,
        *,
        failed_only: bool = False,
        on_event: Callable[[StepEvent], None] | None = None,
        jobs: int | None = None,
        command: str = "",
    ) -> RunResult:
        """Execute what is left of a backfill, or this plan of it, as one run.

        ``failed_only`` as for `left`: it is done only when nothing else was left. Raises
        UsageError when it is at work already or was cancelled.
        """
        one = self.get(backfill_id)
        _refuse_cancelled(one)
        self._refuse_when_at_work(one)
        made = plan if plan is not None else self.left(one.id, failed_only=failed_only)
        self._state.change_backfill(one.id, "running")
        try:
            result = execute_plan(
                self._project,
                made,
                jobs=jobs or one.options["jobs"],
                fail_fast=False,
                executor=None,
                allow_schema_change=False,
                on_event=on_event,
                command=command or f"assets backfill resume {one.id}",
                priority=one.options["priority"],
                backfill=one.id,
                newest_first=one.options["order"] == "newest",
                max_failures=one.options["max_failures"],
                control=lambda: self._control(one),
            )
        except BaseException:
            self._end(one, "failed", "the run broke off")
            raise
        self._conclude(one, result, failed_only)
        return replace(result, resume=f"assets backfill resume {one.id}")

    def _refuse_when_at_work(self, one: Backfill) -> None:
        run = self._at_work(one)
        if run is None:
            return
        facts = {"run": run.id, "process": f"{run.pid} on {run.host}"}
        if one.status == "running":
            raise UsageError(
                f"Backfill {one.id} is at work already.",
                facts=facts,
                hint=f"See it with 'assets backfill show {one.id}', stop it with 'pause'.",
            )
        raise UsageError(
            f"Backfill {one.id} is {one.status}, but still finishing the steps that it was in.",
            facts=facts,
            hint=f"Try again when 'assets runs {run.id}' says that it is over.",
        )

    def _control(self, one: Backfill) -> Control:
        """Asked a few times a second while it is at work."""
        status = self._status(one.id)
        if status != "running":
            return Control(stop=f"the backfill was {status}")
        return Control(hold=self._state.outranked(one.options["priority"]))

    def _status(self, backfill_id: str) -> BackfillStatus:
        return next(b.status for b in self._state.backfills() if b.id == backfill_id)

    def _conclude(self, one: Backfill, result: RunResult, failed_only: bool) -> None:
        if self._status(one.id) != "running":
            return
        if result.status == "interrupted":
            self._end(one, "paused", "stopped by Ctrl-C")
        elif result.failures:
            self._end(one, "failed", f"{count(len(result.failures), 'step')} failed")
        elif result.blocked:
            self._end(one, "failed", f"{count(len(result.blocked), 'step')} blocked")
        elif failed_only and not self.left(one.id).idle:
            self._end(one, "paused", "what had failed is done")
        else:
            self._end(one, "done", "")

    def _end(self, one: Backfill, status: BackfillStatus, note: str) -> None:
        """Unless somebody paused or cancelled it meanwhile: that stands."""
        if self._status(one.id) == "running":
            self._state.change_backfill(one.id, status, note)

    # ---------------------------------------------------------------------------------------
    # From another terminal

    def pause(self, backfill_id: str) -> Backfill:
        """Stop it cleanly within about a second, to be resumed."""
        return self._change(backfill_id, "paused")

    def cancel(self, backfill_id: str) -> Backfill:
        """Stop it for good. What it built stays."""
        return self._change(backfill_id, "cancelled")

    def _change(self, backfill_id: str, status: BackfillStatus) -> Backfill:
        one = self.get(backfill_id)
        if one.status not in _OPEN:
            raise UsageError(f"Backfill {one.id} is {one.status}; there is nothing to stop.")
        self._state.change_backfill(one.id, status, f"{status} by {user_name()}")
        return self.get(one.id)

    # ---------------------------------------------------------------------------------------
    # Looking

    def get(self, backfill_id: str) -> Backfill:
        """One backfill, by its id or an unambiguous beginning of it, or ``latest``."""
        known = self._state.backfills(self._project.environment)
        if backfill_id == "latest" and known:
            return known[0]
        found = [b for b in known if b.id == backfill_id]
        found = found or [b for b in known if backfill_id and b.id.startswith(backfill_id)]
        if len(found) == 1:
            return found[0]
        ids = ", ".join(b.id for b in (found or known)[:10])
        what = "More than one backfill begins with" if found else "There is no backfill"
        raise UsageError(
            f"{what} {backfill_id!r}.",
            facts={"known": ids} if ids else {},
            hint="See: assets backfill list",
        )

    def all(self) -> list[Progress]:
        """Every backfill of the environment, newest first."""
        found = self._state.backfills(self._project.environment)
        return [self._progress(one) for one in found]

    def open(self) -> list[Progress]:
        """Those that are neither done nor cancelled."""
        found = self._state.backfills(self._project.environment)
        return [self._progress(one) for one in found if one.status in _OPEN]

    def progress(self, backfill_id: str) -> Progress:
        """How one stands."""
        return self._progress(self.get(backfill_id))

    def _progress(self, one: Backfill) -> Progress:
        runs, spaces = self._state.runs_of(one.id), self._project.spaces()
        state, failed = self._state_of(one), self._failed(one, spaces)
        totals = {name: _size(spaces.get(name), at) for name, at in one.targets.items()}
        if state == "cancelled":  # what it came to; what goes stale later is not its concern
            recorded = self._state.recorded_by([run.id for run in runs])
            done = {name: min(recorded.get(name, 0), n) for name, n in totals.items()}
        else:
            left = {} if state == "done" else self._left(one, spaces)
            done = {name: n - left.get(name, 0) for name, n in totals.items()}
        by_asset = {
            name: (n, min(done[name], n - failed.get(name, 0)), failed.get(name, 0))
            for name, n in totals.items()
        }
        now = time.time_ns() // 1000
        lengths = [((run.finished or now) - run.started) / 1e6 for run in runs]
        last = sum(self._state.recorded_by([run.id for run in runs[-1:]]).values())
        newest = last / lengths[-1] if runs and lengths[-1] > 0 else 0.0
        return Progress(
            one,
            state,
            one.total - sum(failed.values())
            if state == "done"
            else sum(done for _, done, _ in by_asset.values()),
            sum(failed.values()),
            by_asset,
            sum(lengths),
            newest,
            tuple(runs),
        )

    def _left(self, one: Backfill, spaces: Mapping[str, KeySpace]) -> dict[str, int]:
        """How many of a backfill's partitions are stale, by what is recorded and the code of now.

        No source is looked at for this: it is asked from beside the work, again and again.
        """
        graph, facts = self._project.graph, self._project.facts(spaces)
        inside = {name: _inside(spaces[name], one.targets.get(name, ())) for name in graph.op_of}
        chosen = {
            op.name: np.logical_or.reduce([inside[n] for n in op.outputs]) for op in graph.ops
        }
        codes = {name: code.hex for name, code in self._project.codes.items()}
        reprocess = one.options["reprocess"]
        found = assess(
            graph,
            facts,
            codes,
            chosen=chosen.get,
            force=reprocess == "all",
            resume_at=one.revision + 1,
        )
        failed = self._state.failed(one.environment) if reprocess == "failed" else {}
        left = {}
        for name in one.targets.keys() & spaces.keys():
            stale = found[graph.op_of[name].name].stale & inside[name]
            if reprocess == "missing":
                stale &= ~facts.assets[name].there
            elif reprocess == "failed":
                stale &= _marked(spaces[name], failed.get(name, ()))
            left[name] = int(stale.sum())
        return left

    def _state_of(self, one: Backfill) -> str:
        """Its status; ``interrupted`` where it says that it is at work and no process is."""
        if one.status != "running":
            return one.status
        return "running" if self._at_work(one) else "interrupted"

    def _at_work(self, one: Backfill) -> Run | None:
        """The run that executes it, whatever its status: a paused one first ends its steps."""
        dead = {run.id for run in self._state.dead_runs()}
        runs = self._state.runs_of(one.id)
        alive = (run for run in runs if run.status == "running" and run.id not in dead)
        return next(alive, None)

    def _failed(self, one: Backfill, spaces: Mapping[str, KeySpace]) -> dict[str, int]:
        """How many of a backfill's partitions failed in it and have not been built since."""
        runs = {run.id for run in self._state.runs_of(one.id)}
        found = {}
        for name, attempts in self._state.failed(one.environment).items():
            if name not in one.targets or name not in spaces:
                continue
            mine = [key for key, attempt in attempts.items() if attempt.run in runs]
            inside = _inside(spaces[name], one.targets[name])
            at = spaces[name].ordinals(mine)
            number = int(inside[at[at >= 0]].sum())
            if number:
                found[name] = number
        return found

    # ---------------------------------------------------------------------------------------
    # Planning

    def _plan(self, wish: Wish, since: int) -> Plan:
        return self._project.plan(
            list(wish.select) if wish.select is not None else None,
            list(wish.partitions) if wish.partitions is not None else None,
            force=wish.reprocess == "all",
            since=since,
        )

    def _reprocessed(self, plan: Plan, reprocess: Reprocess) -> Plan:
        if reprocess == "missing":
            return _kept(plan, lambda batch: _missing(plan, batch))
        if reprocess == "failed":
            failed = self._state.failed(plan.environment)
            return _kept(plan, lambda batch: _at(plan, batch, failed))
        return plan

    def _with_followers(self, plan: Plan) -> Plan:
        """Of a plan, what failed last and all of it that reads that."""
        failed = self._state.failed(plan.environment)
        marked: dict[str, np.ndarray] = {}
        for batch in sorted(
            (*plan.batches, *plan.waiting_batches), key=lambda b: plan.graph.ops.index(b.op)
        ):
            op, space = batch.op, plan.facts.spaces[batch.op.name]
            mask = np.zeros(space.n, bool)
            mask[batch.ordinals[_at(plan, batch, failed)]] = True
            for read in op.inputs:
                upstream = marked.get(plan.graph.op_of[read.asset].name)
                if upstream is not None and read.asset not in op.outputs:
                    mask |= plan.wiring.edge(op, read).any(upstream)
            marked[op.name] = mask | marked.get(op.name, False)
        return _kept(plan, lambda batch: marked[batch.op.name][batch.ordinals])


def _refuse_cancelled(one: Backfill) -> None:
    if one.status == "cancelled":
        raise UsageError(
            f"Backfill {one.id} was cancelled.", hint="Begin another: assets backfill …"
        )


# --------------------------------------------------------------------------------------------
# Parts of plans


def _kept(plan: Plan, wanted: Callable[[Batch], np.ndarray]) -> Plan:
    """The plan with only those steps that ``wanted`` says of each batch (bool)."""

    def parts(batches: Iterable[Batch]) -> tuple[Batch, ...]:
        kept = []
        for batch in batches:
            mask = wanted(batch)
            if mask.any():
                kept.append(Batch(batch.op, batch.ordinals[mask], batch.reasons[mask]))
        return tuple(kept)

    return replace(plan, batches=parts(plan.batches), waiting_batches=parts(plan.waiting_batches))


def _within(plan: Plan, targets: Mapping[str, Sequence[tuple[str, str]]]) -> Plan:
    def wanted(batch: Batch) -> np.ndarray:
        inside = np.zeros(plan.facts.spaces[batch.op.name].n, bool)
        for name in batch.op.outputs:
            inside |= _inside(plan.facts.spaces[name], targets.get(name, ()))
        within: np.ndarray = inside[batch.ordinals]
        return within

    return _kept(plan, wanted)


def _inside(space: KeySpace, ranges: Sequence[tuple[str, str]]) -> np.ndarray:
    inside = np.zeros(space.n, bool)
    for lo, hi in _bounds(space, ranges):
        inside[lo : hi + 1] = True
    return inside


def _bounds(space: KeySpace, ranges: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
    """Inclusive ordinals; a range of which an end has left the key space is left out."""
    ends = space.ordinals([key for pair in ranges for key in pair]).tolist()
    pairs = zip(ends[::2], ends[1::2], strict=True)
    return [(lo, hi) for lo, hi in pairs if 0 <= lo <= hi]


def _size(space: KeySpace | None, ranges: Sequence[tuple[str, str]]) -> int:
    return 0 if space is None else sum(hi - lo + 1 for lo, hi in _bounds(space, ranges))


def _missing(plan: Plan, batch: Batch) -> np.ndarray:
    gone = [~plan.facts.assets[name].there_at(batch.ordinals) for name in batch.op.outputs]
    return np.asarray(np.logical_or.reduce(gone))


def _at(plan: Plan, batch: Batch, keys: Mapping[str, Mapping[str, Any]]) -> np.ndarray:
    """Which steps of a batch are of these partitions."""
    space = plan.facts.spaces[batch.op.name]
    masks = [_marked(space, keys.get(name, ())) for name in batch.op.outputs]
    found: np.ndarray = np.logical_or.reduce(masks)[batch.ordinals]
    return found


def _marked(space: KeySpace, keys: Iterable[str]) -> np.ndarray:
    mask = np.zeros(space.n, bool)
    at = space.ordinals(list(keys))
    mask[at[at >= 0]] = True
    return mask


def _targets(plan: Plan) -> dict[str, tuple[tuple[str, str], ...]]:
    """The steps of a plan as ranges of keys, by asset."""
    ordinals: dict[str, list[np.ndarray]] = {}
    for batch in (*plan.batches, *plan.waiting_batches):
        for name in batch.op.outputs:
            ordinals.setdefault(name, []).append(batch.ordinals)
    return {
        name: keys_to_ranges(plan.facts.spaces[name], np.sort(np.concatenate(parts)).tolist())
        for name, parts in ordinals.items()
    }


def _wish(one: Backfill) -> Wish:
    told = dict(one.options)
    for name in ("select", "partitions"):
        told[name] = tuple(told[name]) if told[name] is not None else None
    return Wish(**told)


def _check_cost(plan: Plan, limit: str, jobs: int) -> None:
    from assets_core.observe.cost import cost_line, estimate

    cost = estimate(plan, jobs)
    kind, amount = _limit(limit)
    total = {"seconds": cost.wall_all, "rows": cost.total.rows, "bytes": cost.total.bytes}
    if cost.unknown:
        raise UsageError(
            "What this costs can't be told: some of it was never built here.",
            facts={"unknown": ", ".join(cost.unknown), "limit": limit},
            hint="Build one partition of each first, or leave out --max-cost.",
        )
    if total[kind] > amount:
        raise UsageError(
            f"This is expected to cost more than {limit}.",
            facts={"expected": cost_line(cost)},
            hint="Take fewer partitions, or allow more with --max-cost. Nothing was stored.",
        )


def _limit(text: str) -> tuple[str, float]:
    """A limit's kind (``seconds``, ``rows`` or ``bytes``) and amount."""
    found = re.fullmatch(r"\s*(\d[\d_,]*(?:\.\d+)?)\s*(rows?|kb|mb|gb|tb)\s*", text.lower())
    if found is None:
        return "seconds", parse_duration(text).total_seconds()
    number = float(re.sub("[_,]", "", found[1]))
    if found[2].startswith("row"):
        return "rows", number
    return "bytes", number * _SIZES[found[2]]


def user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may have no name for its user
        return "unknown"
