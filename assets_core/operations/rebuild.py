"""Making the state store out of the data, where it was lost or put back from a backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assets_core.operations.agreement import newer_than_recorded, settle
from assets_core.operations.recover import recover

if TYPE_CHECKING:
    from assets_core.workspace.workspace import Workspace


def rebuild(workspace: Workspace) -> dict[str, int]:
    """Record what lies in the stores and the state store does not know: for one that was lost, or
    put back from a backup.

    Data, code versions and input digests come back, lineage and runs do not. Counts of
    versions recorded, and of damaged ones left out: these will be built again.
    """
    from assets_core.operations.unrecorded import record

    counts = record(workspace, newer_than_recorded(workspace))
    settle(workspace)
    recover(workspace)  # now: before, it would have shown what the older record says
    return counts
