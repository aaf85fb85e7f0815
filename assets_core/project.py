"""The facade: a workspace with what can be done in it, as methods. What notebooks and the command
call.

Each method is a function of `operations`, which says what it does; nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, overload

from assets_core.operations.accept import accept
from assets_core.operations.backfill.begin import backfill
from assets_core.operations.code import code_parts, store_code
from assets_core.operations.compact import compact
from assets_core.operations.compare.review import against
from assets_core.operations.doctor import doctor
from assets_core.operations.history import history, lineage
from assets_core.operations.invalidate import invalidate
from assets_core.operations.materialize import materialize
from assets_core.operations.observe import observe
from assets_core.operations.partitions import add_partitions, partitions, remove_partitions
from assets_core.operations.plan import plan, replay, store_plan
from assets_core.operations.read import columns, read, rejects
from assets_core.operations.rebuild import rebuild
from assets_core.operations.recover import recover, take_recovered
from assets_core.operations.repair import repair
from assets_core.operations.runs import (
    attempts,
    log_lines,
    logs,
    materialized_by,
    run,
    run_log,
    runs,
)
from assets_core.operations.status import freshness, status
from assets_core.operations.withdraw import withdraw
from assets_core.workspace.workspace import Workspace

if TYPE_CHECKING:
    from assets_core.operations.backfill.backfills import Backfills


class _Load:
    """``Project.load("definitions")`` loads a project, ``project.load("orders")`` an asset's data.

    Each is also a method of its own: `Project.from_module` and `Project.read`.
    """

    @overload
    def __get__(self, instance: None, owner: type[Project]) -> Callable[..., Project]: ...

    @overload
    def __get__(self, instance: Project, owner: type[Project]) -> Callable[..., Any]: ...

    def __get__(self, instance: Project | None, owner: type[Project]) -> Callable[..., Any]:
        return owner.from_module if instance is None else instance.read


class Project(Workspace):
    """Definitions, their stores and their recorded facts, in one place.

    ``Project.load("definitions")`` is what the command does; ``Project(Definitions(...))`` is for
    notebooks and tests. Nothing is opened before it is needed; close it, or use it as a context
    manager, when done.
    """

    load = _Load()

    # Planning and running
    plan = plan
    store_plan = store_plan
    replay = replay
    against = against
    observe = observe
    materialize = materialize
    backfill = backfill

    # Reading
    read = read
    rejects = rejects
    columns = columns
    status = status
    freshness = freshness
    history = history
    lineage = lineage
    partitions = partitions
    code_parts = code_parts
    store_code = store_code
    runs = runs
    run = run
    attempts = attempts
    materialized_by = materialized_by
    logs = logs
    log_lines = log_lines
    run_log = run_log

    # Tending
    add_partitions = add_partitions
    remove_partitions = remove_partitions
    accept = accept
    invalidate = invalidate
    withdraw = withdraw
    recover = recover
    take_recovered = take_recovered
    repair = repair
    compact = compact
    rebuild = rebuild
    doctor = doctor

    @property
    def backfills(self) -> Backfills:
        """Work over many partitions that outlives this process: begun, resumed, looked at."""
        from assets_core.operations.backfill.backfills import Backfills

        return Backfills(self)
