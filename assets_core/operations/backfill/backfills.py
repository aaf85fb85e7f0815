"""Backfills: work over many partitions that outlives the process that does it.

What is to be done is stored; what was done is in the log, so there is no progress to lose. Each
time that a backfill is taken up it plans what is left and executes that as one ordinary run, which
bears its name. Nothing here decides what is stale or builds anything.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from assets_core.errors import PlanMovedError, UsageError
from assets_core.execution.execution import Control
from assets_core.operations.arguments import user_name
from assets_core.operations.backfill.masks import ranges_of_steps
from assets_core.operations.backfill.plans import only_failed, plan_of_request, plan_of_rest
from assets_core.operations.backfill.progress import Progress, progress_of, run_at_work
from assets_core.operations.backfill.request import BackfillRequest, refuse_costly
from assets_core.operations.run_plan import run_plan
from assets_core.records import Backfill, BackfillStatus
from assets_core.wording import count
from assets_core.workspace.workspace import Workspace

if TYPE_CHECKING:
    from assets_core.execution.events import StepEvent
    from assets_core.execution.result import RunResult
    from assets_core.planning.plan import Plan

_OPEN: tuple[BackfillStatus, ...] = ("running", "paused", "failed")


class Backfills:
    """A project's backfills: ``project.backfills``."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._state = workspace.state

    # ---------------------------------------------------------------------------------------
    # Beginning

    def plan(self, request: BackfillRequest) -> Plan:
        """What a backfill would do, were it begun now."""
        request.check()
        return plan_of_request(self._workspace, request)

    def begin(self, request: BackfillRequest, plan: Plan) -> Backfill:
        """Store a backfill of this plan; `proceed` executes it.

        Raises UsageError when it is expected to cost more than it may.
        """
        if request.max_cost:
            jobs = request.jobs or self._workspace.settings.jobs
            refuse_costly(plan, request.max_cost, jobs)
        codes, targets = self._workspace.codes, ranges_of_steps(plan)
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
            options=request.stored(),
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
        plan = plan_of_rest(self._workspace, one)
        return only_failed(self._workspace, plan) if failed_only else plan

    def changed(self, one: Backfill) -> list[str]:
        """The assets of a backfill whose code is another than when it was begun."""
        codes = self._workspace.codes
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
            result = run_plan(
                self._workspace,
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
        run = run_at_work(self._workspace, one)
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
        known = self._state.backfills(self._workspace.environment)
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
        found = self._state.backfills(self._workspace.environment)
        return [progress_of(self._workspace, one) for one in found]

    def open(self) -> list[Progress]:
        """Those that are neither done nor cancelled."""
        found = self._state.backfills(self._workspace.environment)
        return [progress_of(self._workspace, one) for one in found if one.status in _OPEN]

    def progress(self, backfill_id: str) -> Progress:
        """How one stands."""
        return progress_of(self._workspace, self.get(backfill_id))


def _refuse_cancelled(one: Backfill) -> None:
    if one.status == "cancelled":
        raise UsageError(
            f"Backfill {one.id} was cancelled.", hint="Begin another: assets backfill …"
        )
