"""A change of code looked at before it is merged: a base found, facts read, both compared.

Reads only. The state store is read in one transaction and never written to; sources are not
observed; what runs is the loading of the base's definitions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets_core.operations.arguments import Select, instant, partition_selection

if TYPE_CHECKING:
    from datetime import datetime

    from assets_core.contracts import StateStore
    from assets_core.partitions import KeySpace
    from assets_core.planning.comparison import Comparison
    from assets_core.planning.description import Described
    from assets_core.planning.facts import Facts
    from assets_core.workspace.workspace import Workspace


def against(
    workspace: Workspace,
    base: str,
    select: Select = None,
    partitions: Any = None,
    *,
    now: datetime | None = None,
) -> Comparison:
    """What these definitions make stale that those of ``base`` did not.

    ``base`` is a git revision (compared with where it and ``HEAD`` parted), or a file that
    `store_code` wrote. Writes nowhere and observes no source; loading the definitions of a
    revision runs their module in a process of its own.

    Raises UsageError for a base that can't be found or does not load, UnknownAssetError and
    PartitionError for a selection that names nothing.
    """
    from assets_core.planning.comparison import Comparison, Scope, find_changes, plan_against
    from assets_core.planning.description import describe
    from assets_core.workspace.facts import key_spaces

    graph, at = workspace.graph, instant(workspace, now)
    chosen = graph.select(select)
    name, described = _base(workspace, base)
    mine = describe(graph, workspace.codes, workspace.environment, str(workspace.root))
    state = workspace.keep(_as_it_is(workspace.state_url))
    spaces = key_spaces(graph, at, state.dynamic_keys() if state is not None else {})
    selection = partition_selection(partitions, chosen, spaces)
    facts, recorded = _facts(workspace, state, spaces)
    scope = Scope(at, None if select is None else chosen, selection)
    plan, anyway = plan_against(described, mine, graph, facts, scope, recorded=recorded)
    changes = find_changes(described, mine)
    return Comparison(name, plan, changes, anyway, recorded, tuple(described.notes))


@contextmanager
def _as_it_is(url: str) -> Iterator[StateStore | None]:
    """The state store as it is now, None where there is none."""
    from assets_core.state.reading_only import open_read_only

    with tempfile.TemporaryDirectory(prefix="assets-") as folder:
        store = open_read_only(url, Path(folder))
        try:
            yield store
        finally:
            if store is not None:
                store.close()


def _facts(
    workspace: Workspace, state: StateStore | None, spaces: dict[str, KeySpace]
) -> tuple[Facts, bool]:
    """What is recorded, and whether anything was ever built here."""
    from assets_core.planning.facts import Facts
    from assets_core.workspace.ledger import StoreLookup

    if state is None:
        return Facts.empty(spaces), False
    assets, environment = workspace.graph.assets, workspace.environment
    lookup = StoreLookup(state, environment, spaces)
    facts = Facts.of(state.snapshot(environment, assets), spaces, lookup)
    built = (name for name, asset in assets.items() if asset.kind != "source")
    return facts, any(facts.assets[name].id.any() for name in built)


def _base(workspace: Workspace, base: str) -> tuple[str, Described]:
    from assets_core.operations.compare.revisions import describe_revision, find_revision
    from assets_core.planning.description import read_description

    path = Path(base)
    if path.is_file():
        return base, read_description(path)
    revision = find_revision(base, workspace.root)
    return revision.told, describe_revision(revision, workspace)
