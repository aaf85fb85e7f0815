"""A whole run: recorded from its beginning to its end, executed, its views made durable."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from assets_core.contracts import Executor, Finish
from assets_core.errors import ConfigError
from assets_core.execution.engine import Engine
from assets_core.execution.events import RESULTS, RunTotals, StepEvent
from assets_core.execution.execution import Control, Execution, Options
from assets_core.execution.recovery import expose, settle
from assets_core.execution.result import RunResult, new_run_id, this_run
from assets_core.execution.task import AnyOutcome, AnyTask, Runtime
from assets_core.executors.by_asset import ExecutorByAsset
from assets_core.executors.threads import ThreadExecutor
from assets_core.faults import reach
from assets_core.operations.agreement import require_agreement, sign
from assets_core.operations.recover import take_recovered
from assets_core.operations.runs import run_log
from assets_core.operations.views import follow_definitions
from assets_core.planning.plan import Plan
from assets_core.records import Code, RunStatus

if TYPE_CHECKING:
    from assets_core.workspace.workspace import Origin, Workspace


def run_plan(
    workspace: Workspace,
    plan: Plan,
    *,
    jobs: int | None,
    fail_fast: bool,
    executor: str | None,
    allow_schema_change: bool,
    on_event: Callable[[StepEvent], None] | None,
    command: str,
    resumes: str = "",
    priority: int = 0,
    backfill: str = "",
    newest_first: bool = False,
    max_failures: int = 0,
    control: Callable[[], Control] | None = None,
) -> RunResult:
    """Execute a plan as one recorded run. A plan with nothing to do makes no run.

    ``command`` would do the same again. ``resumes`` is the run whose forced steps go on in this;
    ``backfill`` is what the run is part of. For the others see `Options`.
    """
    began = time.monotonic()
    settings = workspace.settings
    recovered = tuple(take_recovered(workspace))
    options = Options(
        jobs=jobs or settings.jobs,
        max_failures=1 if fail_fast else max_failures,
        executor=executor,
        lease_seconds=settings.lease_seconds,
        newest_first=newest_first,
        control=control,
    )
    runtime = replace(workspace.runtime, allow_schema_change=allow_schema_change)
    require_agreement(workspace)
    follow_definitions(workspace)
    if plan.idle:
        return RunResult(
            "", "done", dict.fromkeys(RESULTS, 0), {}, (), (), 0.0, 0, 0, 0, recovered=recovered
        )
    run_id = new_run_id(workspace.now())
    typed = f"{command} --resume {resumes}" if resumes else command
    run = replace(
        this_run(run_id, plan.environment, typed),
        priority=priority,
        backfill=backfill,
        note=plan.note,
    )
    workspace.state.begin(run, options.lease_seconds)
    reach("run.begun")
    log = run_log(workspace, run_id)
    status: RunStatus = "interrupted"
    engine: Engine | None = None
    try:
        sign(workspace, (output for batch in plan.batches for output in batch.op.outputs), run_id)
        with _executor(runtime, plan, options, workspace.origin, workspace.codes) as executing:
            execution = Execution(
                plan,
                runtime,
                workspace.state,
                run_id,
                dict(workspace.codes),
                options,
                log,
                on_event,
            )
            engine = Engine(execution, executing)
            engine.execute()
        status = _status(engine)
    except KeyboardInterrupt:
        status = "interrupted"
    except BaseException:
        status = "failed"
        raise
    finally:
        _end(workspace, runtime, engine, run_id, status)
    totals = engine.execution.totals if engine is not None else RunTotals()
    return RunResult(
        run_id=run_id,
        status=status,
        counts={name: totals.counts[name] for name in RESULTS},
        by_asset={name: dict(counts) for name, counts in totals.by_asset.items()},
        failures=tuple(totals.failures),
        blocked=tuple(totals.blocked),
        seconds=time.monotonic() - began,
        rows=totals.rows,
        rejected=totals.rejected,
        warnings=totals.warnings,
        # What is done is fresh, and skipped by itself; what was forced must not be done twice.
        # A stored plan knows by its note what is done of it.
        resume=f"{command} --resume {resumes or run_id}"
        if plan.forced and not plan.note
        else command,
        recovered=recovered,
    )


def _status(engine: Engine) -> RunStatus:
    execution = engine.execution
    if execution.totals.failures or (execution.stopped and not engine.interrupted):
        return "failed"
    if engine.interrupted:
        return "interrupted"
    return "blocked" if execution.totals.blocked else "done"


def _end(
    workspace: Workspace, runtime: Runtime, engine: Engine | None, run_id: str, status: RunStatus
) -> None:
    """Make the views durable, sweep what was abandoned, release the leases, close the run.

    An error of this leaves the run as it is: the next command recovers it like one that died.
    """
    reach("flush.begin")
    for manager in runtime.io.values():
        manager.flush()
    execution = engine.execution if engine is not None else None
    note = execution.stopped if execution is not None else ""
    if note and execution is not None and execution.plan.note:
        note = f"{execution.plan.note}; {note}"
    if engine is not None:
        expose(runtime, workspace.state, runtime.environment, engine.views.outdated())
    if status != "done":
        held = workspace.state.held(run_id)
        settle(runtime, workspace.state, run_id, runtime.environment, held)
    if status == "interrupted" or (execution is not None and execution.left_behind):
        _sweep(workspace, runtime, run_id)
    reach("run.ending")
    finished = time.time_ns() // 1000
    # Steps may still be at work, though the run was stopped and will not publish them.
    busy = execution is not None and execution.busy > 0
    counts = dict(execution.totals.counts) if execution is not None else {}
    workspace.state.transact([Finish(run_id, status, finished, counts, note, unswept=busy)])


def _sweep(workspace: Workspace, runtime: Runtime, run_id: str) -> None:
    facts = workspace.state.materializations(runtime.environment, None, run=run_id)
    keep = {part for f in facts for part in (f.receipt.location, f.receipt.rejects) if part}
    for manager in runtime.io.values():
        manager.sweep(run_id, keep)


@contextlib.contextmanager
def _executor(
    runtime: Runtime,
    plan: Plan,
    options: Options,
    origin: Origin | None,
    codes: Mapping[str, Code],
) -> Iterator[Executor[AnyTask, AnyOutcome]]:
    """Where tasks run: in this process, or in worker processes for the assets that want it."""
    wanted = {
        batch.op.name
        for batch in plan.batches
        if (runtime.graph.assets[batch.op.name].executor or options.executor) == "process"
    }
    threads = ThreadExecutor(runtime)
    if not wanted:
        yield threads
        return
    if origin is None:
        raise ConfigError(
            "Worker processes need definitions that can be imported again.",
            facts={"assets": ", ".join(sorted(wanted))},
            hint="Load the project from a module (Project.load), or leave out executor='process'.",
        )
    from assets_core.executors.processes import ProcessExecutor
    from assets_core.workspace.workspace import worker_runtime

    planned = {name: codes[name] for op in wanted for name in runtime.graph.op_of[op].outputs}
    processes = ProcessExecutor(
        options.jobs, worker_runtime, (origin, runtime.allow_schema_change), planned
    )
    executor = ExecutorByAsset(threads, dict.fromkeys(wanted, processes))
    try:
        yield executor
    finally:
        executor.stop()
