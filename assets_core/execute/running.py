"""A whole run: recorded from its beginning to its end, executed, its views made durable."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from assets_core.contracts import Finish
from assets_core.errors import ConfigError
from assets_core.execute.engine import RESULTS, Control, Engine, Options, StepEvent, Tally
from assets_core.execute.ranges import AnyOutcome, AnyTask, run_any
from assets_core.execute.recovery import expose, settle
from assets_core.execute.result import RunResult, new_run_id, this_run
from assets_core.execute.step import Runtime
from assets_core.faults import reach
from assets_core.plan import Plan
from assets_core.records import RunStatus

if TYPE_CHECKING:
    from assets_core.project import Origin, Project


def execute_plan(
    project: Project,
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
    ``backfill`` is what the run is part of. For the others see `engine.Options`.
    """
    began = time.monotonic()
    settings = project.settings
    recovered = tuple(project.take_recovered())
    options = Options(
        jobs=jobs or settings.jobs,
        max_failures=1 if fail_fast else max_failures,
        executor=executor,
        lease_seconds=settings.lease_seconds,
        newest_first=newest_first,
        control=control,
    )
    runtime = replace(project.runtime, allow_schema_change=allow_schema_change)
    if plan.idle:
        return RunResult(
            "", "done", dict.fromkeys(RESULTS, 0), {}, (), (), 0.0, 0, 0, 0, recovered=recovered
        )
    run_id = new_run_id(project.now())
    typed = f"{command} --resume {resumes}" if resumes else command
    run = replace(
        this_run(run_id, plan.environment, typed),
        priority=priority,
        backfill=backfill,
        note=plan.note,
    )
    project.state.begin(run, options.lease_seconds)
    reach("run.begun")
    log = project.run_log(run_id)
    status: RunStatus = "interrupted"
    engine: Engine | None = None
    try:
        with _runner(runtime, plan, options, project.origin) as run_task:
            engine = Engine(
                plan,
                runtime,
                project.state,
                run_id,
                dict(project.codes),
                options,
                run_task,
                log,
                on_event,
            )
            tally = engine.execute()
        status = _status(tally, engine)
    except KeyboardInterrupt:
        status = "interrupted"
    except BaseException:
        status = "failed"
        raise
    finally:
        _end(project, runtime, engine, run_id, status)
    tally = engine.tally if engine is not None else Tally()
    return RunResult(
        run_id=run_id,
        status=status,
        counts={name: tally.counts[name] for name in RESULTS},
        by_asset={name: dict(counts) for name, counts in tally.by_asset.items()},
        failures=tuple(tally.failures),
        blocked=tuple(tally.blocked),
        seconds=time.monotonic() - began,
        rows=tally.rows,
        rejected=tally.rejected,
        warnings=tally.warnings,
        # What is done is fresh, and skipped by itself; what was forced must not be done twice.
        # A stored plan knows by its note what is done of it.
        resume=f"{command} --resume {resumes or run_id}"
        if plan.forced and not plan.note
        else command,
        recovered=recovered,
    )


def _status(tally: Tally, engine: Engine) -> RunStatus:
    if tally.failures or (engine.stopped and not engine.interrupted):
        return "failed"
    if engine.interrupted:
        return "interrupted"
    return "blocked" if tally.blocked else "done"


def _end(
    project: Project, runtime: Runtime, engine: Engine | None, run_id: str, status: RunStatus
) -> None:
    """Make the views durable, sweep what was abandoned, release the leases, close the run.

    An error of this leaves the run as it is: the next command recovers it like one that died.
    """
    for manager in runtime.io.values():
        manager.flush()
    tally = engine.tally if engine is not None else Tally()
    note = engine.stopped if engine is not None else ""
    if note and engine is not None and engine.plan.note:
        note = f"{engine.plan.note}; {note}"
    if engine is not None:
        expose(runtime, project.state, runtime.environment, engine.outdated_views())
    if status != "done":
        held = project.state.held(run_id)
        settle(runtime, project.state, run_id, runtime.environment, held)
    if status == "interrupted" or (engine is not None and engine.left_behind):
        _sweep(project, runtime, run_id)
    reach("run.ending")
    finished = time.time_ns() // 1000
    busy = engine is not None and engine.busy
    finish = Finish(run_id, status, finished, dict(tally.counts), note, unswept=busy)
    project.state.transact([finish])


def _sweep(project: Project, runtime: Runtime, run_id: str) -> None:
    facts = project.state.materializations(runtime.environment, None, run=run_id)
    keep = {part for f in facts for part in (f.receipt.location, f.receipt.rejects) if part}
    for manager in runtime.io.values():
        manager.sweep(run_id, keep)


@contextlib.contextmanager
def _runner(
    runtime: Runtime, plan: Plan, options: Options, origin: Origin | None
) -> Iterator[Callable[[AnyTask], AnyOutcome]]:
    """How a task is run: in this thread, or in a worker process for the assets that want it."""
    wanted = {
        batch.op.name
        for batch in plan.batches
        if (runtime.graph.assets[batch.op.name].executor or options.executor) == "process"
    }
    if not wanted:
        yield lambda task: run_any(runtime, task)
        return
    if origin is None:
        raise ConfigError(
            "Worker processes need definitions that can be imported again.",
            facts={"assets": ", ".join(sorted(wanted))},
            hint="Load the project from a module (Project.load), or leave out executor='process'.",
        )
    from assets_core.execute.processes import ProcessRunner

    runner = ProcessRunner(options.jobs, worker_runtime, (origin, runtime.allow_schema_change))
    try:
        yield lambda task: runner.run(task) if task.op in wanted else run_any(runtime, task)
    finally:
        runner.stop()


def worker_runtime(origin: Any, allow_schema_change: bool) -> Runtime:
    """In a worker process: the same project, loaded from its module."""
    from assets_core.project import Project

    project = Project.load(
        origin.module, root=origin.root, environment=origin.environment, config=origin.config
    )
    return replace(project.runtime, allow_schema_change=allow_schema_change)
