"""Plans of backfills: what one would do, and what is left of one.

What is stale is for `planning`; here that is cut down to what the backfill is about.
"""

from __future__ import annotations

import numpy as np

from assets_core.operations.backfill.masks import (
    only_steps,
    steps_at_keys,
    steps_in_ranges,
    steps_missing,
)
from assets_core.operations.backfill.request import BackfillRequest
from assets_core.operations.plan import plan as make_plan
from assets_core.planning.plan import Plan
from assets_core.records import Backfill
from assets_core.workspace.workspace import Workspace


def plan_of_request(workspace: Workspace, request: BackfillRequest) -> Plan:
    """What a backfill would do, were it begun now."""
    return _reprocessed(workspace, request, _plan(workspace, request, since=0))


def plan_of_rest(workspace: Workspace, one: Backfill) -> Plan:
    """What is still to be done of a backfill."""
    request = BackfillRequest.of(one)
    # Of what is reprocessed whole, whatever is newer than the backfill is done.
    made = _plan(workspace, request, since=one.revision + 1)
    mine = only_steps(made, lambda batch: steps_in_ranges(made, batch, one.targets))
    return _reprocessed(workspace, request, mine)


def only_failed(workspace: Workspace, plan: Plan) -> Plan:
    """Of a plan, what failed last and all of it that reads that."""
    failed = workspace.state.failed(plan.environment)
    marked: dict[str, np.ndarray] = {}
    for batch in sorted(
        (*plan.batches, *plan.waiting_batches), key=lambda b: plan.graph.ops.index(b.op)
    ):
        op, space = batch.op, plan.facts.spaces[batch.op.name]
        mask = np.zeros(space.n, bool)
        mask[batch.ordinals[steps_at_keys(plan, batch, failed)]] = True
        for read in op.inputs:
            upstream = marked.get(plan.graph.op_of[read.asset].name)
            if upstream is not None and read.asset not in op.outputs:
                mask |= plan.resolved.edge(op, read).any(upstream)
        marked[op.name] = mask | marked.get(op.name, False)
    return only_steps(plan, lambda batch: marked[batch.op.name][batch.ordinals])


def _plan(workspace: Workspace, request: BackfillRequest, since: int) -> Plan:
    return make_plan(
        workspace,
        list(request.select) if request.select is not None else None,
        list(request.partitions) if request.partitions is not None else None,
        force=request.reprocess == "all",
        since=since,
    )


def _reprocessed(workspace: Workspace, request: BackfillRequest, plan: Plan) -> Plan:
    if request.reprocess == "missing":
        return only_steps(plan, lambda batch: steps_missing(plan, batch))
    if request.reprocess == "failed":
        failed = workspace.state.failed(plan.environment)
        return only_steps(plan, lambda batch: steps_at_keys(plan, batch, failed))
    return plan
