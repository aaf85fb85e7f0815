"""Planning: what is stale and why, and plans that are stored, reviewed and run as they are.

What makes a partition stale is in `planning`; here the facts for it are gathered.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets_core.errors import UsageError
from assets_core.operations.arguments import Select, instant
from assets_core.operations.observe import gather, look
from assets_core.operations.recover import recover
from assets_core.operations.runs import first_record

if TYPE_CHECKING:
    from datetime import datetime

    from assets_core.planning.plan import Plan
    from assets_core.planning.replay import Replay
    from assets_core.workspace.workspace import Workspace


def plan(
    workspace: Workspace,
    select: Select = None,
    partitions: Any = None,
    *,
    force: bool = False,
    resume: str = "",
    include_open: bool = False,
    now: datetime | None = None,
    since: int = 0,
) -> Plan:
    """Which asset partitions of the selection are stale, and why.

    ``select`` as for `Graph.select`; ``partitions`` a key, ``"A..B"``, a list of these, or
    ``"date=…,station=*"``. Sources of the selection are observed first, and what moved is
    recorded; what could not be looked at blocks what reads it, see `Plan.unseen`. ``force``
    plans the whole selection, whatever its state; ``resume`` leaves out of that what the run of
    this id, or one after it, has built, ``since`` what was recorded at this log position or
    after it.

    Raises UnknownAssetError, PartitionError for a selection that names nothing.
    """
    from assets_core.planning.plan import make_plan

    recover(workspace)
    at = instant(workspace, now)
    chosen = workspace.graph.select(select)
    found = gather(workspace, chosen, partitions, at, include_open=include_open)
    codes = workspace.codes
    return make_plan(
        workspace.graph,
        found.facts,
        {name: code.hex for name, code in codes.items()},
        now=at,
        assets=None if select is None else chosen,
        partitions=found.selection,
        force=force,
        resume_at=first_record(workspace, resume) if resume else since,
        environment=workspace.environment,
        parts={name: code.parts for name, code in codes.items()},
        resolved=found.resolved,
        observations=found.observations,
    )


def store_plan(
    workspace: Workspace, plan: Plan, path: str | Path, *, jobs: int | None = None
) -> str:
    """Write a plan to a file, to be reviewed and then run as it is; its id.

    Raises UsageError where it can't be written.
    """
    from assets_core.planning.planfile import plan_file, write_plan_file

    made = plan_file(plan, workspace.codes, workspace.state, jobs or workspace.settings.jobs)
    write_plan_file(made, Path(path))
    return made.id


def replay(workspace: Workspace, path: str | Path) -> Replay:
    """The steps of a stored plan that no earlier try of it has built.

    They are for the instant that it was made for: a window that closed since is not among
    them. Hand ``replay(path).plan`` to `materialize`.

    Raises UsageError for a file that is no plan or was changed, PlanMovedError when code,
    partitions or versions that its steps depend on have moved since, naming them.
    """
    from assets_core.planning import replay as replaying
    from assets_core.planning.planfile import read_plan_file

    stored = read_plan_file(Path(path))
    if stored.environment != workspace.environment:
        raise UsageError(
            f"The plan is for environment {stored.environment!r}, not {workspace.environment!r}.",
            hint=f"Give --environment {stored.environment}, or plan again for this one.",
        )
    recover(workspace)
    spaces = workspace.spaces(replaying.stored_time(stored), include_open=stored.include_open)
    world = replaying.ReplayContext(
        graph=workspace.graph,
        state=workspace.state,
        codes=workspace.codes,
        spaces=spaces,
        facts=lambda: workspace.facts(spaces),
        look=lambda wanted, facts: look(
            workspace, wanted, facts, now=workspace.now()
        ).observations(),
    )
    return replaying.replay(stored, world)
