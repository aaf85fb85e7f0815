"""Bringing views, stores and records back in line, and telling what is wrong with a set-up."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from assets_core.errors import AssetsError, CorruptDataError, MissingDataError, StorageError
from assets_core.execute.recovery import expose, places_of

if TYPE_CHECKING:
    from assets_core.project import Project


def repair(project: Project, *, verify: bool) -> dict[str, Any]:
    """See `Project.repair`; counts of views exposed, leftovers swept, versions verified.

    A damaged version is told under ``damaged`` and is none of the verified ones.
    """
    exposed = swept = verified = 0
    damaged: list[dict[str, str]] = []
    state, environment = project.state, project.environment
    for name, asset in project.graph.assets.items():
        if asset.kind == "source":
            continue
        columns = state.snapshot(environment, [name]).assets[name]
        facts = state.materializations(
            environment, name, ids=[i for i in columns.id.tolist() if i > 0]
        )
        if verify:
            for fact in facts:
                problem = _verify(project, fact)
                if not problem:
                    verified += 1
                else:
                    damaged.append(_damage(fact, problem))
        bad = {entry["partition"] for entry in damaged if entry["asset"] == name}
        shown, gone = _expose(project, [f for f in facts if f.partition not in bad])
        exposed += shown
        damaged += gone
    swept = sum(_sweep_run(project, run.id) for run in state.runs(environment) if _ended(run))
    return {"exposed": exposed, "swept": swept, "verified": verified, "damaged": damaged}


def _damage(fact: Any, problem: str) -> dict[str, str]:
    return {"asset": fact.asset, "partition": fact.partition, "problem": problem}


def _expose(project: Project, facts: Sequence[Any]) -> tuple[int, list[dict[str, str]]]:
    """Bring the views of these in line: how many there are, and what is not there to be shown."""
    try:
        places = places_of(facts)
        return expose(project.runtime, project.state, project.environment, places), []
    except (MissingDataError, CorruptDataError) as error:
        if len(facts) == 1:
            return 0, [_damage(facts[0], str(error))]
    half = len(facts) // 2  # one that is gone must not keep the others from being mended
    (few, bad), (more, worse) = (_expose(project, f) for f in (facts[:half], facts[half:]))
    return few + more, bad + worse


def _ended(run: Any) -> bool:
    return bool(run.status != "running")


def _sweep_run(project: Project, run_id: str) -> int:
    facts = project.state.materializations(project.environment, None, run=run_id)
    keep = {part for f in facts for part in (f.receipt.location, f.receipt.rejects) if part}
    return sum(manager.sweep(run_id, keep) for manager in project.io.values())


def _verify(project: Project, fact: Any) -> str:
    if fact.receipt.kind == "none":
        return ""
    try:
        project.io[fact.receipt.store].verify(fact.receipt)
    except StorageError as error:
        return str(error)
    return ""


def doctor(project: Project) -> list[dict[str, str]]:
    """See `Project.doctor`; each entry has name, status (ok, warn, error), detail and hint."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", lambda: f"{platform.python_version()} at {sys.executable}"),
        ("libraries", _libraries),
        ("settings", lambda: _settings(project)),
        ("definitions", lambda: f"{len(project.graph.assets)} assets, no problem found"),
        ("config", lambda: f"{len(project.config)} assets with a config model"),
        ("state store", lambda: _state(project)),
        ("runs", lambda: _runs(project)),
        ("data", lambda: _data(project)),
    ]
    checks += [
        (f"io manager {name}", partial(_io, manager)) for name, manager in project.io.items()
    ]
    found = [_run_check(name, check) for name, check in [*checks, ("code", lambda: _code(project))]]
    found += [
        {"name": f"code of {name}", "status": "warn", "detail": warning, "hint": ""}
        for name, warnings in project.code_warnings.items()
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
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"


def _settings(project: Project) -> str:
    settings = project.settings
    return (
        f"root {project.root}, environment {settings.environment}, jobs {settings.jobs}, "
        f"leases {settings.lease_seconds:g} s"
    )


def _state(project: Project) -> str:
    from assets_core.errors import StateError

    problems = project.state.check()
    if problems:
        raise StateError("; ".join(problems), hint="Run: assets repair --verify")
    return project.state_url


def _runs(project: Project) -> str:
    from assets_core.errors import StateError

    dead = project.state.dead_runs()
    if dead:
        raise StateError(
            f"{len(dead)} runs died and are not recovered: {', '.join(run.id for run in dead)}",
            hint="Run: assets repair",
        )
    return "no dead run"


def _data(project: Project) -> str:
    """The newest version of each asset is looked for; to read them all is for `repair`."""
    built = [name for name, asset in project.graph.assets.items() if asset.kind != "source"]
    newest = [
        fact
        for name in built
        for fact in project.state.materializations(project.environment, name, limit=1)
    ]
    gone = [fact.asset for fact in newest if not _is_there(project, fact)]
    if gone:
        more = f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
        raise StorageError(
            f"The newest version is damaged or not there: {', '.join(gone[:_NAMED])}{more}",
            hint="See what is damaged, and how to build it again: assets repair --verify",
        )
    return f"{len(newest)} of {len(built)} assets have some, sources aside"


_NAMED = 5


def _is_there(project: Project, fact: Any) -> bool:
    manager = project.io.get(fact.receipt.store)
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


def _code(project: Project) -> str:
    return f"{len(project.codes)} code versions"


def _io(manager: Any) -> str:
    return " ".join(str(part) for part in manager.identity())
