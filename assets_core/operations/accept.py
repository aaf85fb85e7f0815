"""Taking stale partitions as right: stamped with the code and inputs of now, without a run.

How they are stamped is in `acceptance`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assets_core.operations.agreement import require_agreement
from assets_core.operations.arguments import Select
from assets_core.operations.plan import plan as make_plan

if TYPE_CHECKING:
    from datetime import datetime

    from assets_core.planning.plan import Plan
    from assets_core.workspace.workspace import Workspace


def accept(
    workspace: Workspace,
    select: Select = None,
    partitions: Any = None,
    *,
    plan: Plan | None = None,
    upgraded: bool = False,
    dry_run: bool = False,
    now: datetime | None = None,
) -> list[tuple[str, str]]:
    """Re-stamp stale partitions with the current code and inputs, without running anything.

    Selection as for `plan`, or a plan that was looked at: then nothing that it does not hold
    is accepted. For a change that is known not to alter the output; with ``upgraded`` only
    what is stale for no other reason than that fingerprints of code got better. What is
    missing stays missing, what waits is left. Returns the asset partitions accepted; with
    ``dry_run`` those that would be.

    Raises LeaseLostError when another run is building one of them, UsageError when one was built
    or invalidated after the plan was made.
    """
    from assets_core.operations.acceptance import acceptable, stamp

    require_agreement(workspace)
    made = plan if plan is not None else make_plan(workspace, select, partitions, now=now)
    if dry_run:
        found = acceptable(made, upgraded=upgraded)
        spaces = made.facts.spaces
        return [(name, key) for _, name, at in found for key in spaces[name].keys(at)]
    return stamp(workspace, made, upgraded=upgraded)
