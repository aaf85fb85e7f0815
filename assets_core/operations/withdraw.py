"""Withdrawing partitions of a source: neither there nor expected from now on, or that undone.

Which they are and how it is recorded is in `withdrawal`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assets_core.operations.agreement import require_agreement
from assets_core.operations.arguments import asset_name, checked_reason, instant, user_name
from assets_core.operations.recover import recover
from assets_core.wording import one_line

if TYPE_CHECKING:
    from datetime import datetime

    from assets_core.declare.asset import Asset
    from assets_core.operations.withdrawal import Withdrawn
    from assets_core.workspace.workspace import Workspace

_REASON_NEEDED = "A withdrawal needs a reason: whoever misses the data reads it."


def withdraw(
    workspace: Workspace,
    source: str | Asset,
    partitions: Any = None,
    *,
    reason: str = "",
    undo: bool = False,
    by: str = "",
    dry_run: bool = False,
    now: datetime | None = None,
) -> Withdrawn:
    """Take partitions of a source out: neither there nor expected from now on.

    What read them is built again without them; where nothing is left to read, the next run
    withdraws the partition itself. They are looked at first: one that is still there is
    refused. Without ``partitions`` all that were seen and are not there any more. It holds
    until the partition is there again, or ``undo``, which brings back the version seen last.
    ``by`` is the user's name unless given; with ``dry_run`` nothing is withdrawn.

    Raises UsageError for an empty reason, what is still there, and what is no source;
    UnknownAssetError, PartitionError.
    """
    from assets_core.operations.withdrawal import Withdrawn, ask, gone, record, undoable

    require_agreement(workspace)
    recover(workspace)
    if not undo:
        reason = checked_reason(reason, _REASON_NEEDED)
    asked = ask(workspace, asset_name(source), partitions, instant(workspace, now))
    ordinals = undoable(asked) if undo else gone(workspace, asked)
    who = one_line(by) or user_name()
    found = Withdrawn(asked.source.name, asked.space, ordinals, one_line(reason), who, undo)
    if not dry_run and len(ordinals):
        record(workspace, found)
    return found
