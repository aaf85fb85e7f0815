"""Removing records of superseded versions that nothing needs any more. Data is not touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assets_core.durations import parse_duration
from assets_core.errors import UsageError
from assets_core.operations.agreement import require_agreement
from assets_core.operations.recover import recover

if TYPE_CHECKING:
    from assets_core.workspace.workspace import Workspace


def compact(
    workspace: Workspace, keep: str = "90d", *, keep_last: int = 1, dry_run: bool = False
) -> dict[str, int]:
    """Remove records of versions that were superseded longer than ``keep`` ago.

    What is current stays, with all that its lineage leads to, the first record of each
    partition and its last ``keep_last``. Data is not touched. Counts of records removed and
    kept; with ``dry_run`` of those that would be.
    """
    require_agreement(workspace)
    recover(workspace)
    before = int((workspace.now() - parse_duration(keep)).timestamp() * 1_000_000)
    if keep_last < 1:
        raise UsageError(f"keep_last={keep_last} would remove what is current.")
    removed, kept = workspace.state.compact(
        workspace.environment, before, workspace.spaces(), keep_last=keep_last, dry_run=dry_run
    )
    return {"removed": removed, "kept": kept}
