"""Mending what runs left behind that died, before anything else is done.

How it is mended is in `execution.recovery`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from assets_core.operations.agreement import disagreement

if TYPE_CHECKING:
    from assets_core.execution.recovery import Recovered
    from assets_core.workspace.workspace import Workspace


def recover(workspace: Workspace) -> list[Recovered]:
    """Mend what dead runs left behind; cheap when there are none.

    A state store that does not belong to the data mends nothing: what it says is older.
    """
    workspace.disagreement = disagreement(workspace)
    dead = workspace.state.dead_runs()
    if workspace.disagreement or not dead:
        return []
    from assets_core.execution import recovery

    found = recovery.recover(workspace.runtime, workspace.state, dead)
    workspace.recovered += found
    return found


def take_recovered(workspace: Workspace) -> list[Recovered]:
    """What was recovered since this was last asked, for whoever tells the user."""
    found, workspace.recovered = workspace.recovered, []
    return found
