"""Telling what is wrong with a set-up: settings, libraries, definitions, stores, recorded data.

Changes nothing; mending is for `repair`.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from assets_core.errors import AssetsError, StateError, StorageError
from assets_core.operations.agreement import disagreement

if TYPE_CHECKING:
    from assets_core.workspace.workspace import Workspace

_NAMED = 5
"""So many assets are named of those that have the same trouble."""


def doctor(workspace: Workspace) -> list[dict[str, str]]:
    """Checks of settings, versions, definitions and stores: name, status, detail, hint.

    The status is ``ok``, ``warn`` or ``error``.
    """
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", lambda: f"{platform.python_version()} at {sys.executable}"),
        ("libraries", _libraries),
        ("settings", lambda: _settings(workspace)),
        ("definitions", lambda: f"{len(workspace.graph.assets)} assets, no problem found"),
        ("config", lambda: f"{len(workspace.config)} assets with a config model"),
        ("state store", lambda: _state(workspace)),
        ("runs", lambda: _runs(workspace)),
        ("data", lambda: _data(workspace)),
        ("outside view", lambda: _view(workspace)),
        ("agreement", lambda: _agreement(workspace)),
    ]
    checks += [
        (f"io manager {name}", partial(_io, manager)) for name, manager in workspace.io.items()
    ]
    found = [
        _run_check(name, check) for name, check in [*checks, ("code", lambda: _code(workspace))]
    ]
    found += [
        {"name": f"code of {name}", "status": "warn", "detail": warning, "hint": ""}
        for name, warnings in workspace.code_warnings.items()
        for warning in warnings
    ]
    return found


def _run_check(name: str, check: Callable[[], str]) -> dict[str, str]:
    try:
        return {"name": name, "status": "ok", "detail": check(), "hint": ""}
    except AssetsError as error:
        return {"name": name, "status": "error", "detail": error.message, "hint": error.hint}


def _libraries() -> str:
    names = ("assets-core", "numpy", "pyarrow", "duckdb", "sqlalchemy", "pydantic", "sqlglot")
    return ", ".join(f"{name} {_version(name)}" for name in names)


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"


def _settings(workspace: Workspace) -> str:
    settings = workspace.settings
    return (
        f"root {workspace.root}, environment {settings.environment}, jobs {settings.jobs}, "
        f"leases {settings.lease_seconds:g} s"
    )


def _state(workspace: Workspace) -> str:
    problems = workspace.state.check()
    if problems:
        raise StateError("; ".join(problems), hint="Run: assets repair --verify")
    return workspace.state_url


def _runs(workspace: Workspace) -> str:
    dead = workspace.state.dead_runs()
    if dead:
        raise StateError(
            f"{len(dead)} runs died and are not recovered: {', '.join(run.id for run in dead)}",
            hint="Run: assets repair",
        )
    return "no dead run"


def _data(workspace: Workspace) -> str:
    """The newest version of each asset is looked for; to read them all is for `repair`."""
    built = [name for name, asset in workspace.graph.assets.items() if asset.kind != "source"]
    newest = [
        fact
        for name in built
        for fact in workspace.state.materializations(workspace.environment, name, limit=1)
    ]
    gone = [fact.asset for fact in newest if not _is_there(workspace, fact)]
    if gone:
        more = f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
        raise StorageError(
            f"The newest version is damaged or not there: {', '.join(gone[:_NAMED])}{more}",
            hint="See what is damaged, and how to build it again: assets repair --verify",
        )
    return f"{len(newest)} of {len(built)} assets have some, sources aside"


def _is_there(workspace: Workspace, fact: Any) -> bool:
    manager = workspace.io.get(fact.receipt.store)
    if manager is None or fact.receipt.kind == "none":
        return True  # it is not ours to look at
    try:
        if fact.receipt.kind == "file":
            manager.path(fact.receipt)
        else:
            manager.open([fact.receipt]).close()
    except StorageError:
        return False
    return True


def _view(workspace: Workspace) -> str:
    from assets_core.operations.views import not_followed, out_of_sight

    late = not_followed(workspace)
    if late:
        more = f" and {len(late) - _NAMED} more" if len(late) > _NAMED else ""
        raise StorageError(
            "The definitions changed, and outside readers may still see partitions that they no "
            f"longer have: {', '.join(late[:_NAMED])}{more}",
            hint="The next run takes them out of sight, and so does: assets repair",
        )
    hidden = out_of_sight(workspace)
    if not hidden:
        return "shows what the definitions have"
    told = ", ".join(f"{name} ({n:,})" for name, n in sorted(hidden.items()))
    return f"partitions that the definitions no longer have are kept out of sight: {told}"


def _agreement(workspace: Workspace) -> str:
    found = disagreement(workspace)
    if found is not None:
        raise StateError(f"{found.message} Newer: {found.facts['newer']}", hint=found.hint)
    return "state store and data belong together"


def _code(workspace: Workspace) -> str:
    return f"{len(workspace.codes)} code versions"


def _io(manager: Any) -> str:
    return " ".join(str(part) for part in manager.identity())
