"""The outside view follows the definitions: what these no longer have goes out of sight.

A note beside the data says which definitions the view follows, so that a run that finds nothing
changed looks no further. Nothing is deleted; what comes back into the definitions is shown again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assets_core.contracts import (
    Columns,
    InView,
    NotingIOManager,
    RestrictingIOManager,
    Snapshot,
)
from assets_core.fingerprint.hashing import hexdigest
from assets_core.workspace.facts import has_dynamic_keys

if TYPE_CHECKING:
    from assets_core.partitions import KeySpace, PartitionsDefinition
    from assets_core.workspace.workspace import Workspace

_NOTE = "views"
_NOT_ALL = "in part"
"""What is followed but for partitions of other code: the next run looks at them again."""


@dataclass(frozen=True, slots=True)
class _Followed:
    """What the view of one asset follows: a definition, of the module that was loaded then.

    ``hidden`` counts the partitions that are recorded and not in it.
    """

    definition: str
    module: str
    hidden: int = 0


def follow_definitions(workspace: Workspace, *, all_assets: bool = False) -> None:
    """Bring the views of assets whose definitions changed in line; with ``all_assets`` of all."""
    for name, manager in workspace.io.items():
        if not isinstance(manager, RestrictingIOManager):
            continue
        noted, wanted = _noted(workspace, manager), _wanted(workspace, name)
        changed = dict(wanted if all_assets else _changed(noted, wanted))
        changed |= _removed(workspace, noted, wanted)
        if not changed and noted.keys() == wanted.keys():
            continue
        known = {asset: one for asset, one in noted.items() if asset not in changed}
        for asset, (hidden, left_out) in _restrict_all(workspace, name, manager, changed).items():
            one = changed[asset]
            if asset in wanted or hidden:
                follows = f"{one.definition} {_NOT_ALL}" if left_out else one.definition
                known[asset] = _Followed(follows, one.module, hidden)
        manager.flush()
        _note(workspace, manager, known)


def out_of_sight(workspace: Workspace) -> dict[str, int]:
    """How many partitions of each asset are kept out of sight, the definitions having none."""
    found = {}
    for manager in workspace.io.values():
        if isinstance(manager, RestrictingIOManager):
            noted = _noted(workspace, manager)
            found.update({name: one.hidden for name, one in noted.items() if one.hidden})
    return found


def not_followed(workspace: Workspace) -> list[str]:
    """Assets of which outside readers may still see what the definitions no longer have."""
    found: set[str] = set()
    for name, manager in workspace.io.items():
        if isinstance(manager, RestrictingIOManager):
            noted, wanted = _noted(workspace, manager), _wanted(workspace, name)
            moved = dict(_changed(noted, wanted)) | _removed(workspace, noted, wanted)
            found |= {name for name in moved if name in noted and not _in_part(noted[name])}
    return sorted(found)


def _wanted(workspace: Workspace, store: str) -> dict[str, _Followed]:
    """What the views of a store should follow."""
    graph, module = workspace.graph, workspace.origin.module if workspace.origin else ""
    texts: dict[PartitionsDefinition, str] = {}
    dynamic = workspace.state.dynamic_keys() if has_dynamic_keys(graph) else {}
    found = {}
    for name, asset in graph.assets.items():
        if asset.kind != "source" and asset.io == store:
            definition = asset.partitions
            if definition not in texts:
                texts[definition] = _text(definition, dynamic)
            found[name] = _Followed(texts[definition], module)
    return found


def _text(definition: PartitionsDefinition, dynamic: Mapping[str, tuple[str, ...]]) -> str:
    """What tells a definition from another, with the keys that were registered for it."""
    keys = sorted(dynamic.items()) if definition.is_dynamic else []
    return hexdigest("view", definition.identity(), definition.dimensions, keys)[:16]


def _in_part(one: _Followed) -> bool:
    return one.definition.endswith(_NOT_ALL)


def _changed(
    noted: Mapping[str, _Followed], wanted: Mapping[str, _Followed]
) -> Iterator[tuple[str, _Followed]]:
    for asset, one in wanted.items():
        if asset not in noted or noted[asset].definition != one.definition:
            yield asset, one


def _removed(
    workspace: Workspace, noted: Mapping[str, _Followed], wanted: Mapping[str, _Followed]
) -> dict[str, _Followed]:
    """Assets that this module had, still in sight. Another module's are none of our business."""
    module = workspace.origin.module if workspace.origin else ""
    return {
        asset: _Followed("", one.module)
        for asset, one in noted.items()
        if asset not in wanted and one.module == module and one.definition
    }


def _restrict_all(
    workspace: Workspace, store: str, manager: RestrictingIOManager, assets: Iterable[str]
) -> dict[str, tuple[int, int]]:
    """Leave of each asset what its definition has; how many recorded partitions it has not, and
    how many it has that are not in sight all the same."""
    snapshot = workspace.state.snapshot(workspace.environment, assets)
    found = dict.fromkeys(snapshot.assets, (0, 0))
    if not any(columns.keys for columns in snapshot.assets.values()):
        return found  # what may lie there is not ours to judge
    spaces = workspace.spaces(include_open=True)
    for asset, columns in snapshot.assets.items():
        if columns.keys:
            inside = _inside(workspace, store, asset, columns, spaces)
            shown = _in_view(workspace, asset, snapshot, inside)
            left_out = manager.restrict(workspace.environment, asset, shown)
            found[asset] = (len(columns.keys) - len(inside), left_out)
    return found


def _inside(
    workspace: Workspace,
    store: str,
    asset: str,
    columns: Columns,
    spaces: Mapping[str, KeySpace],
) -> list[int]:
    """Which of the recorded partitions of an asset lie in its definition, by their rows."""
    declared = workspace.graph.assets.get(asset)
    if declared is None or declared.kind == "source" or declared.io != store:
        return []
    inside: list[int] = (spaces[asset].ordinals(columns.keys) >= 0).nonzero()[0].tolist()
    return inside


def _in_view(
    workspace: Workspace, asset: str, snapshot: Snapshot, inside: Sequence[int]
) -> list[InView]:
    """These as outside readers may see them; what is withdrawn, nobody sees."""
    columns = snapshot.assets[asset]
    there = [i for i in inside if columns.data[i].any()]
    if not there:
        return []
    code = workspace.codes[asset].hex
    current = [i for i in there if snapshot.codes[int(columns.code[i])].startswith(code)]
    receipts = workspace.state.receipts(columns.id[current].tolist())
    folders = workspace.graph.assets[asset].partitions.path_parts
    return [
        InView(key, folders(key), receipts.get(int(columns.id[i])))
        for i, key in ((i, columns.keys[i]) for i in there)
    ]


def _noted(workspace: Workspace, manager: NotingIOManager) -> dict[str, _Followed]:
    text = manager.noted(workspace.environment, _NOTE)
    try:
        return {name: _Followed(*one) for name, one in json.loads(text or "{}").items()}
    except (ValueError, TypeError):
        return {}  # damaged: all is looked at again


def _note(
    workspace: Workspace, manager: NotingIOManager, followed: Mapping[str, _Followed]
) -> None:
    plain = {name: [one.definition, one.module, one.hidden] for name, one in followed.items()}
    manager.note(workspace.environment, _NOTE, json.dumps(plain))
