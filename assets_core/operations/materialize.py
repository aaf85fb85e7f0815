"""Building what is stale: a plan is made unless one is given, and executed as one run."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from assets_core.errors import UsageError
from assets_core.operations.arguments import Select, checked_jobs
from assets_core.operations.plan import plan as make_plan
from assets_core.operations.runs import first_record, run

if TYPE_CHECKING:
    from datetime import datetime

    from assets_core.execution.events import StepEvent
    from assets_core.execution.result import RunResult
    from assets_core.planning.plan import Plan
    from assets_core.workspace.workspace import Workspace

EXECUTORS = ("thread", "process")

_NOTHING_SAID = (None, None, False, False, None)


def materialize(
    workspace: Workspace,
    select: Select = None,
    partitions: Any = None,
    *,
    plan: Plan | None = None,
    force: bool = False,
    resume: str = "",
    include_open: bool = False,
    jobs: int | None = None,
    fail_fast: bool = False,
    executor: str | None = None,
    allow_schema_change: bool = False,
    on_event: Callable[[StepEvent], None] | None = None,
    now: datetime | None = None,
    command: str = "",
) -> RunResult:
    """Build what is stale in the selection, and nothing else.

    Selection as for `plan` (or a plan made before). ``jobs`` steps run at a time; a failed
    step fails only what depends on it. Ctrl-C stops cleanly and raises KeyboardInterrupt.
    What failed is told by the result, not raised: see `RunResult.raise_for_status`.
    """
    from assets_core.operations.run_plan import run_plan

    checked_jobs(jobs, "run")
    if executor not in (None, *EXECUTORS):
        raise UsageError(f"executor={executor!r} is none.", hint=f"One of {EXECUTORS}.")
    if plan is not None and (select, partitions, force, include_open, now) != _NOTHING_SAID:
        raise UsageError(
            "plan= says what runs: no selection, force, include_open or now= goes with it.",
            hint="Select when the plan is made: project.plan(select, partitions)",
        )
    # An empty plan is false, and still a plan.
    made = (
        plan
        if plan is not None
        else make_plan(
            workspace,
            select,
            partitions,
            force=force,
            resume=resume,
            include_open=include_open,
            now=now,
        )
    )
    return run_plan(
        workspace,
        made,
        jobs=jobs,
        fail_fast=fail_fast,
        executor=executor,
        allow_schema_change=allow_schema_change,
        on_event=on_event,
        command=command or command_of(select, partitions, made.forced, include_open),
        resumes=run(workspace, resume).id if resume and first_record(workspace, resume) else "",
    )


def command_of(select: Select, partitions: Any, force: bool, include_open: bool) -> str:
    """The command that does the same again (what is done by then is skipped, unless forced)."""
    words = ["assets", "materialize"]
    for text in _each(select):
        words += ["--select", text]
    for key in _each(partitions):
        words += ["--partitions" if ".." in str(key) else "--partition", str(key)]
    words += [*(["--force"] if force else []), *(["--include-open"] if include_open else [])]
    return " ".join(shlex.quote(word) for word in words)


def _each(given: Any) -> Sequence[Any]:
    return [given] if isinstance(given, str) else list(given or ())
