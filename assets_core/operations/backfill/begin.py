"""A backfill stored and executed at once; what outlives this process is taken up by its id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from assets_core.operations.arguments import Select

if TYPE_CHECKING:
    from assets_core.execution.events import StepEvent
    from assets_core.execution.result import RunResult
    from assets_core.workspace.workspace import Workspace


def backfill(
    workspace: Workspace,
    select: Select = None,
    partitions: Any = None,
    *,
    on_event: Callable[[StepEvent], None] | None = None,
    **options: Any,
) -> RunResult:
    """Store a backfill of the selection and execute it. For the options see `BackfillRequest`.

    When this process dies, ``project.backfills.proceed(id)`` goes on where it was.
    """
    from assets_core.operations.backfill.backfills import Backfills
    from assets_core.operations.backfill.request import BackfillRequest

    request = BackfillRequest(_tuple(select), _tuple(partitions), **options)
    backfills = Backfills(workspace)
    plan = backfills.plan(request)
    one = backfills.begin(request, plan)
    return backfills.proceed(one.id, plan, on_event=on_event)


def _tuple(names: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    return (names,) if isinstance(names, str) else tuple(names)
