"""What users hand to operations, made certain: names, keys, selections, instants, reasons."""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from assets_core.declare.asset import Asset
from assets_core.errors import UsageError
from assets_core.wording import one_line

if TYPE_CHECKING:
    from assets_core.partitions import KeySpace, PartitionSelection
    from assets_core.workspace.workspace import Workspace

Select = str | Sequence[str] | None
"""What `Graph.select` takes; None stands for everything."""

_LONGEST_REASON = 1_000
"""Characters."""


def asset_name(asset: str | Asset) -> str:
    return asset.name if isinstance(asset, Asset) else asset


def split_reference(asset: str | Asset, partition: Any) -> tuple[str, Any]:
    """``asset@partition`` → both parts."""
    text = asset_name(asset)
    name, at, key = text.partition("@")
    if at and partition is not None:
        raise UsageError(f"The partition is given twice: {text!r} and {partition!r}.")
    return name, key if at else partition


def recorded_key(workspace: Workspace, asset: str, partition: str) -> str:
    """The canonical form of a key, or PartitionError.

    What has left the key space is known as long as something is recorded of it.
    """
    from assets_core.partitions.keys import visible

    space, key = workspace.spaces(include_open=True)[asset], visible(partition)
    left = int(space.ordinals([key])[0]) < 0
    if left and workspace.state.materializations(workspace.environment, asset, key, limit=1):
        return key
    return space.key(space.ordinal(key))


def partition_selection(
    partitions: Any, chosen: Iterable[str], spaces: Mapping[str, KeySpace]
) -> PartitionSelection | None:
    """What ``partitions`` selects of the chosen assets; None: all of them.

    Raises PartitionError for what none of them has.
    """
    from assets_core.partitions import PartitionSelection, parse_selection

    if partitions is None:
        return None
    selection = (
        partitions if isinstance(partitions, PartitionSelection) else parse_selection(partitions)
    )
    selection.check([spaces[name] for name in chosen])
    return selection


def instant(workspace: Workspace, given: datetime | None) -> datetime:
    """The given instant in UTC, or the one of now. Raises UsageError for one without a zone."""
    if given is None:
        return workspace.now()
    if not isinstance(given, datetime) or given.tzinfo is None:
        raise UsageError(
            "now= is no time with a zone.",
            hint="Give an aware datetime, such as datetime.now(UTC).",
        )
    try:
        return given.astimezone(UTC)
    except OverflowError:
        raise UsageError(f"now={given.isoformat()} lies outside the calendar in UTC.") from None


def checked_jobs(jobs: int | None, purpose: str) -> None:
    """Raise UsageError for no number of jobs."""
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs={jobs} can't {purpose} anything.", hint="At least 1.")


def checked_reason(
    reason: str, needed: str = "An invalidation needs a reason: whoever rebuilds will read it."
) -> str:
    """A reason in one line. Raises UsageError for none (``needed`` says why), or a long one."""
    found = one_line(reason)
    if not found:
        raise UsageError(
            needed,
            hint='For example: --reason "the supplier sent May twice"',
        )
    if len(found) > _LONGEST_REASON:
        raise UsageError(
            f"The reason has {len(found):,} characters; {_LONGEST_REASON:,} are the most."
        )
    return found


def user_name() -> str:
    """Who does it, by the name that the system knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may have no name for its user
        return "unknown"
