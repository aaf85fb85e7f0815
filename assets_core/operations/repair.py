"""Bringing the outside views and the stores back in line with what is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from assets_core.errors import CorruptDataError, MissingDataError, StorageError
from assets_core.operations.agreement import newer_than_recorded, require_agreement, settle
from assets_core.operations.recover import recover

if TYPE_CHECKING:
    from assets_core.workspace.workspace import Workspace


def repair(workspace: Workspace, *, verify: bool = False, views: bool = False) -> dict[str, Any]:
    """Bring the outside views in line with the pointers, and remove leftovers of ended runs.

    ``views`` says that the state store is right where the data has moved on without it: what is
    newer goes out of sight. (A store that keeps only the newest version has no older one to
    show; there the newer is recorded.) Otherwise that is a StateBehindError.

    With ``verify`` every current version is read and its checksums compared. Counts of views
    exposed, leftovers swept, versions verified; a damaged version is told under ``damaged`` and
    is none of the verified ones.
    """
    from assets_core.operations.views import follow_definitions

    if views:
        _go_back(workspace)
    require_agreement(workspace)
    recover(workspace)
    follow_definitions(workspace, all_assets=True)
    spaces = workspace.spaces(include_open=True)
    exposed = swept = verified = 0
    damaged: list[dict[str, str]] = []
    state, environment = workspace.state, workspace.environment
    for name, asset in workspace.graph.assets.items():
        if asset.kind == "source":
            continue
        columns = state.snapshot(environment, [name]).assets[name]
        facts = state.materializations(
            environment, name, ids=[i for i in columns.id.tolist() if i > 0]
        )
        if verify:
            for fact in facts:
                problem = _verify(workspace, fact)
                if not problem:
                    verified += 1
                else:
                    damaged.append(_damage(fact, problem))
        bad = {entry["partition"] for entry in damaged if entry["asset"] == name}
        shown, gone = _expose(
            workspace,
            [f for f in facts if f.partition not in bad and spaces[name].find(f.partition) >= 0],
        )
        exposed += shown
        damaged += gone
    swept = sum(_sweep_run(workspace, run.id) for run in state.runs(environment) if _ended(run))
    return {"exposed": exposed, "swept": swept, "verified": verified, "damaged": damaged}


def _go_back(workspace: Workspace) -> None:
    """Take what the state store does not know out of sight, or record it where that is all."""
    from assets_core.contracts import ConcealingIOManager
    from assets_core.operations.unrecorded import record

    kept = []
    for manager, found in newer_than_recorded(workspace):
        if manager.transactional:
            kept.append((manager, found))
        elif isinstance(manager, ConcealingIOManager):
            manager.conceal(found.environment, found.asset, found.path_parts)
    record(workspace, kept)
    settle(workspace)


def _damage(fact: Any, problem: str) -> dict[str, str]:
    return {"asset": fact.asset, "partition": fact.partition, "problem": problem}


def _expose(workspace: Workspace, facts: Sequence[Any]) -> tuple[int, list[dict[str, str]]]:
    """Bring the views of these in line: how many there are, and what is not there to be shown."""
    from assets_core.execution.recovery import expose, places_of

    try:
        places = places_of(facts)
        return expose(workspace.runtime, workspace.state, workspace.environment, places), []
    except (MissingDataError, CorruptDataError) as error:
        if len(facts) == 1:
            return 0, [_damage(facts[0], str(error))]
    half = len(facts) // 2  # one that is gone must not keep the others from being mended
    (few, bad), (more, worse) = (_expose(workspace, f) for f in (facts[:half], facts[half:]))
    return few + more, bad + worse


def _ended(run: Any) -> bool:
    return bool(run.status != "running")


def _sweep_run(workspace: Workspace, run_id: str) -> int:
    facts = workspace.state.materializations(workspace.environment, None, run=run_id)
    keep = {part for f in facts for part in (f.receipt.location, f.receipt.rejects) if part}
    return sum(manager.sweep(run_id, keep) for manager in workspace.io.values())


def _verify(workspace: Workspace, fact: Any) -> str:
    if fact.receipt.kind == "none":
        return ""
    try:
        workspace.io[fact.receipt.store].verify(fact.receipt)
    except StorageError as error:
        return str(error)
    return ""
