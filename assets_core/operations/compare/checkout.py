"""Describing another checkout of a project: what `revisions` runs in a process of its own.

The checkout's modules take the place of those of now; this library stays the one that asks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from assets_core.errors import AssetsError, UsageError
from assets_core.ours import PACKAGES
from assets_core.planning.description import Described, describe
from assets_core.workspace.codes import stored
from assets_core.workspace.workspace import Workspace


def main(text: str) -> None:
    """Describe the project that ``text`` (JSON) tells of, into the file that it names.

    ``top`` is the checkout, ``holder`` the folder around it; ``own_top`` and ``own_root`` are where
    the project lies that asks. The file holds what was found, or ``{"error": ...}``.
    """
    task = json.loads(text)
    answer = Path(task["answer"])
    try:
        found = _described(task)
    except AssetsError as error:
        answer.write_text(json.dumps({"error": str(error)}), encoding="utf-8")
        return
    answer.write_text(found.model_dump_json(by_alias=True), encoding="utf-8")


def _described(task: Mapping[str, Any]) -> Described:
    own_top, top = Path(task["own_top"]), Path(task["top"])
    # As it is where the project is asked from, with the project's own folder before all others.
    moved = (_moved(entry, own_top, top) for entry in task["path"])
    sys.path[:] = list(dict.fromkeys([task["root"], *moved]))
    with _loaded(task) as workspace:
        codes = stored(workspace.code_versions_with(_identities(workspace, task)))
        found = describe(workspace.graph, codes, workspace.environment, str(workspace.root))
    return found.model_copy(update={"notes": list(_strangers(own_top, top))})


def _loaded(task: Mapping[str, Any]) -> Workspace:
    given = {name: task[name] for name in ("root", "environment", "config")}
    try:
        return Workspace.from_module(task["module"], **given)
    except UsageError:
        # The revision may keep its definitions where only its own settings know.
        try:
            return Workspace.from_module(None, **given)
        except AssetsError:
            pass
        raise


def _moved(entry: str, own_top: Path, top: Path) -> str:
    """A folder of the import path, or its counterpart in the checkout where there is one."""
    path = Path(entry)
    if not entry or not path.is_absolute() or not path.is_relative_to(own_top):
        return entry
    there = top / path.relative_to(own_top)
    return str(there) if there.exists() else entry


def _identities(workspace: Workspace, task: Mapping[str, Any]) -> dict[str, tuple[object, ...]]:
    """What the IO managers tell of themselves where the project lies that asks.

    Inside the project a place counts from its folder; one outside (``../lake``) is told by its
    absolute path, which in a checkout elsewhere would be another.
    """
    found = {}
    for name, manager in workspace.io.items():
        identity = manager.identity()
        if task["holder"] in str(identity):
            manager.bind(name, Path(task["own_root"]))
            identity = _replaced(manager.identity(), task["top"], task["own_top"])
        found[name] = identity
    return found


def _replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, tuple):
        return tuple(_replaced(one, old, new) for one in value)
    return value.replace(old, new) if isinstance(value, str) else value


def _strangers(own_top: Path, top: Path) -> Iterator[str]:
    """Modules that came from the files of now although the checkout has its own of them."""
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or "." in name or name in PACKAGES:
            continue
        path = Path(file)
        if path.is_relative_to(own_top) and (top / path.relative_to(own_top)).exists():
            yield f"{name} was imported from {path}: what changed in it is not seen"
