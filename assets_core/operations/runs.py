"""Recorded runs: which there were, what each published and did not, what its steps printed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from assets_core.errors import UsageError
from assets_core.operations.arguments import recorded_key
from assets_core.operations.recover import recover
from assets_core.workspace.workspace import FOLDER

if TYPE_CHECKING:
    from assets_core.execution.run_log import RunLog
    from assets_core.records import Attempt, Materialization, Run
    from assets_core.workspace.workspace import Workspace


def runs(workspace: Workspace, limit: int | None = 20) -> list[Run]:
    """Recorded runs, newest first."""
    recover(workspace)
    return workspace.state.runs(workspace.environment, limit=limit)


def run(workspace: Workspace, run_id: str) -> Run:
    """One run, by its id or an unambiguous beginning of it; ``latest`` is the newest."""
    if run_id == "latest":
        newest = workspace.state.runs(workspace.environment, limit=1)
        found = newest[0] if newest else None
    else:
        found = workspace.state.run(run_id)
    if found is None:
        raise UsageError(f"There is no run {run_id!r}.", hint="See: assets runs")
    return found


def attempts(workspace: Workspace, run_id: str) -> list[Attempt]:
    """The attempts of a run that did not publish."""
    return workspace.state.attempts(run=run(workspace, run_id).id)


def materialized_by(workspace: Workspace, run_id: str) -> list[Materialization]:
    """What a run published."""
    found = run(workspace, run_id)
    return workspace.state.materializations(found.environment, None, run=found.id)


def first_record(workspace: Workspace, run_id: str) -> int:
    """The log position of the first thing that a run recorded; 0 when it recorded nothing."""
    return min((fact.id for fact in materialized_by(workspace, run_id)), default=0)


def logs(
    workspace: Workspace, run_id: str, asset: str | None = None, partition: str | None = None
) -> list[dict[str, Any]]:
    """What a run's steps printed and logged: asset, partition, attempt, at, stream, text.

    Raises UsageError, UnknownAssetError or PartitionError for what there is not.
    """
    return list(log_lines(workspace, run_id, asset, partition))


def log_lines(
    workspace: Workspace, run_id: str, asset: str | None = None, partition: str | None = None
) -> Iterator[dict[str, Any]]:
    """The same as `logs`, one line after the other."""
    log = run_log(workspace, run(workspace, run_id).id)
    # What is gone from the definitions may still have printed; a misspelt name has not.
    if asset is not None and next(log.read(asset, partition), None) is None:
        # The outputs of one function share what it printed.
        asset = workspace.graph.op_of[workspace.graph.asset(asset).name].name
        partition = None if partition is None else recorded_key(workspace, asset, partition)
    return log.read(asset, partition)


def run_log(workspace: Workspace, run_id: str) -> RunLog:
    """The file that keeps a run's output."""
    from assets_core.execution.run_log import RunLog

    return RunLog(workspace.root / FOLDER / "logs", run_id)
