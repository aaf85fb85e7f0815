"""Whether the state store and the data belong together: a state store that was lost, or put back
from a backup, does not know what was written since.

Every run signs the stores that it writes to (`NotingIOManager`) once it is recorded itself. So a
signature of a run that is not recorded says that the data has moved on by itself, and only then the
stores are looked through for what is newer than its record. Nothing is built by such a state store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from assets_core.errors import StateBehindError
from assets_core.wording import count

if TYPE_CHECKING:
    from assets_core.contracts import Found, IOManager, NotingIOManager
    from assets_core.workspace.workspace import Workspace

_NAMED = 5
_NOTE = "run"


def sign(workspace: Workspace, assets: Iterable[str], run: str) -> None:
    """Note beside the data that this recorded run writes to the stores of these assets."""
    signed = _signed(workspace)
    for name in {workspace.graph.assets[asset].io for asset in assets} & signed.keys():
        signed[name].note(workspace.environment, _NOTE, run)


def disagreement(workspace: Workspace) -> StateBehindError | None:
    """What the stores hold that the state store should know and does not; None when all is well."""
    strangers = list(_signed_by_strangers(workspace))
    if not strangers:
        return None
    newer = Counter(found.asset for _, found in newer_than_recorded(workspace))
    if not newer:
        settle(workspace)  # what was written is gone again, or is not of this project
        return None
    return StateBehindError(
        "The data has moved on without this state store: it was lost, or put back from a backup.",
        facts={
            "state": workspace.state_url,
            "written by": ", ".join(f"run {run} ({name})" for name, run in strangers),
            "newer": _told(newer),
        },
        hint="Where the data is right, record it: assets repair --rebuild\n"
        "Where the state store is right, show what it says: assets repair --views",
    )


def _told(newer: Counter[str]) -> str:
    told = [f"{name} ({count(n, 'partition')})" for name, n in sorted(newer.items())]
    more = [f"and {count(len(told) - _NAMED, 'more asset')}"] if len(told) > _NAMED else []
    return ", ".join([*told[:_NAMED], *more])


def require_agreement(workspace: Workspace) -> None:
    """Raise StateBehindError where state store and data don't belong together."""
    found = disagreement(workspace)
    if found is not None:
        raise found


def settle(workspace: Workspace) -> None:
    """From now on the stores and this state store belong together."""
    signed = _signed(workspace)
    for name, _ in _signed_by_strangers(workspace):
        signed[name].note(workspace.environment, _NOTE, "")


def _signed_by_strangers(workspace: Workspace) -> Iterator[tuple[str, str]]:
    """Stores that a run wrote to last which is not recorded, and that run."""
    for name, manager in _signed(workspace).items():
        run = manager.noted(workspace.environment, _NOTE)
        if run and workspace.state.run(run) is None:
            yield name, run


def _signed(workspace: Workspace) -> dict[str, NotingIOManager]:
    """The stores that are signed, by name."""
    from assets_core.contracts import NotingIOManager

    return {n: one for n, one in workspace.io.items() if isinstance(one, NotingIOManager)}


def newer_than_recorded(workspace: Workspace) -> Iterator[tuple[IOManager, Found]]:
    """The newest visible version of each partition of which nothing or an older one is recorded."""
    graph, environment = workspace.graph, workspace.environment
    known = {
        name: dict(zip(columns.keys, columns.token.tolist(), strict=True))
        for name, columns in workspace.state.snapshot(environment, graph.assets).assets.items()
    }
    for store_name, manager in workspace.io.items():
        for found in _newest(manager.scan()):
            asset = graph.assets.get(found.asset)
            if found.environment != environment or asset is None or asset.io != store_name:
                continue
            if known[found.asset].get(found.partition, -1) < found.receipt.token:
                yield manager, found


def _newest(versions: Iterable[Found]) -> Iterable[Found]:
    newest: dict[tuple[str, str, str], Found] = {}
    for found in versions:
        at = (found.environment, found.asset, found.partition)
        if found.visible and (at not in newest or newest[at].receipt.token < found.receipt.token):
            newest[at] = found
    return newest.values()
