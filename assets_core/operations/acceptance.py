"""Re-stamping stale partitions with the current code and inputs, without running anything.

What is stale was found by a plan; which of it may be accepted, and how that is recorded, is here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from assets_core.contracts import Acquire, Finish, Lease, Operation, Publish, Published
from assets_core.errors import LeaseLostError, UsageError
from assets_core.execution.inputs import read_of
from assets_core.execution.result import new_run_id, this_run
from assets_core.graph import Op
from assets_core.planning.digests import Digests
from assets_core.planning.plan import Plan
from assets_core.planning.reasons import only_upgraded
from assets_core.planning.staleness import CODE, WITHDRAWN
from assets_core.records import Code, Materialization, as_reads, with_reads
from assets_core.workspace.workspace import Workspace

_GROUP = 500


def acceptable(plan: Plan, *, upgraded: bool) -> Iterator[tuple[Op, str, np.ndarray]]:
    """What of a plan can be accepted: op, output and ordinals of what has a materialization.

    With ``upgraded`` only what is stale for no other reason than that its code was fingerprinted
    in an older form.
    """
    for batch in plan.batches:
        for asset in batch.op.outputs:
            there = plan.facts.assets[asset].there_at(batch.ordinals)
            there &= batch.reasons & WITHDRAWN == 0
            if upgraded:
                there &= batch.reasons == CODE
                parts = plan.parts.get(asset, {})
                there &= only_upgraded(plan.facts, asset, batch.ordinals, parts)
            if there.any():
                yield batch.op, asset, batch.ordinals[there]


def stamp(workspace: Workspace, plan: Plan, *, upgraded: bool) -> list[tuple[str, str]]:
    """Accept all of a plan that is `acceptable`; what was accepted.

    Raises LeaseLostError when another run is building one of them, UsageError when one was built
    or invalidated after the plan was made.
    """
    wanted = _recorded(workspace, plan, upgraded=upgraded)
    if not wanted:
        return []
    run_id = new_run_id(workspace.now())
    command = "assets accept --upgraded" if upgraded else "assets accept"
    workspace.state.begin(this_run(run_id, plan.environment, command), 60.0)
    status = "failed"
    try:
        for start in range(0, len(wanted), _GROUP):
            _accept_group(workspace, plan, run_id, wanted[start : start + _GROUP])
        status = "done"
    finally:
        counts = {"accepted": len(wanted) if status == "done" else 0}
        finish = Finish(run_id, status, time.time_ns() // 1000, counts)  # type: ignore[arg-type]  # one of two literals
        workspace.state.transact([finish])
    return [(fact.asset, fact.partition) for fact in wanted]


def _recorded(workspace: Workspace, plan: Plan, *, upgraded: bool) -> list[Materialization]:
    """The stale facts as they would be if they had just been built: current code and digest.

    Each has the id of the record that it is made from.
    """
    digests = Digests(plan.resolved, plan.facts)
    facts: list[Materialization] = []
    for op, asset, ordinals in acceptable(plan, upgraded=upgraded):
        space = plan.facts.spaces[op.name]
        ids = plan.facts.assets[asset].id[ordinals].tolist()
        found = workspace.state.materializations(plan.environment, asset, ids=ids)
        known = {fact.partition: fact for fact in found}
        for ordinal in ordinals.tolist():
            digest, sums = digests.one(op, ordinal)
            reads = tuple(
                read_of(plan.facts, read, plan.resolved.edge(op, read), ordinal, total)
                for read, total in zip(op.inputs, sums, strict=True)
            )
            fact = known[space.key(ordinal)]
            facts.append(
                replace(
                    fact,
                    code=_code_now(workspace, plan, fact),
                    input_digest=digest,
                    inputs=reads,
                    kind="accepted",
                )
            )
    return facts


def _code_now(workspace: Workspace, plan: Plan, fact: Materialization) -> Code:
    """The code of now, with what the accepted build was seen to read as it is now: it is that
    which is taken as right, and a later change of it must be noticed."""
    reads = plan.facts.reads_now(fact.code.hex)
    return with_reads(workspace.codes[fact.asset], as_reads(reads))


def _accept_group(
    workspace: Workspace, plan: Plan, run_id: str, facts: list[Materialization]
) -> None:
    slots = tuple((fact.asset, fact.partition) for fact in facts)
    leases = workspace.state.transact([Acquire(run_id, plan.environment, slots)])[0]
    _refuse_newer(workspace, plan)
    now = time.time_ns() // 1000
    operations: list[Operation] = []
    for fact, lease in zip(facts, leases, strict=True):
        if not isinstance(lease, Lease):
            raise LeaseLostError(
                f"{fact.asset}@{fact.partition} is being built by run {lease.run}.",
                hint="Wait for that run, then accept again.",
            )
        if lease.current != fact.id:
            raise UsageError(
                f"{fact.asset}@{fact.partition} was built meanwhile.",
                hint="Nothing more was accepted. Look at the plan again, then accept.",
            )
        accepted = replace(fact, id=0, run=run_id, token=lease.token, started=now, finished=now)
        operations.append(Publish(accepted))
    for fact, result in zip(facts, workspace.state.transact(operations), strict=True):
        if not isinstance(result, Published):
            raise LeaseLostError(f"{fact.asset}@{fact.partition} was taken over by another run.")


def _refuse_newer(workspace: Workspace, plan: Plan) -> None:
    """Raise UsageError when something of the plan was invalidated after it was made: whoever
    accepts has not seen that."""
    names = {name for batch in plan.batches for name in batch.op.outputs}
    for one in workspace.state.invalidations(plan.environment):
        if one.id <= plan.facts.revision:
            break
        if one.asset in names:
            raise UsageError(
                f"{one.asset} was invalidated meanwhile, {one}.",
                hint="Nothing more was accepted. Look at the plan again, then accept.",
            )
