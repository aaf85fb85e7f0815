"""A change of code looked at before it is merged: a base found, facts read, both compared.

Reads only. The state store is copied, never opened itself; sources are not observed; what runs is
the loading of the base's definitions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets_core.review.against import Against, Scope, find_changes, plan_against
from assets_core.review.describing import Described, describe, read_description
from assets_core.staleness import Facts

if TYPE_CHECKING:
    from assets_core.contracts import StateStore
    from assets_core.partitions import KeySpace
    from assets_core.project import Project


def review(
    project: Project, base: str, select: Any = None, partitions: Any = None, *, now: datetime
) -> Against:
    """What the definitions of now make stale against ``base``, a git revision or a file.

    Raises UsageError for a base that can't be found or loaded, UnknownAssetError and
    PartitionError for a selection that names nothing.
    """
    from assets_core.partitions import parse_selection

    chosen = project.graph.select(select)
    name, described = _base(project, base)
    mine = describe(project)
    state = project.keep(_copied(project.state_url))
    spaces = _spaces(project, state, now)
    selection = None if partitions is None else parse_selection(partitions)
    if selection is not None:
        selection.check([spaces[one] for one in chosen])
    facts, recorded = _facts(project, state, spaces)
    scope = Scope(now, None if select is None else chosen, selection)
    plan, anyway = plan_against(described, mine, project.graph, facts, scope, recorded=recorded)
    changes = find_changes(described, mine)
    return Against(name, plan, changes, anyway, recorded, tuple(described.notes))


@contextmanager
def _copied(url: str) -> Iterator[StateStore | None]:
    """The state store as it is now, None where there is none."""
    from assets_core.state.copying import open_copy

    with tempfile.TemporaryDirectory(prefix="assets-") as folder:
        copy = open_copy(url, Path(folder))
        try:
            yield copy
        finally:
            if copy is not None:
                copy.close()


def _spaces(project: Project, state: StateStore | None, now: datetime) -> dict[str, KeySpace]:
    """Each asset's key space; assets of one definition share one."""
    dynamic = state.dynamic_keys() if state is not None else {}
    made: dict[Any, KeySpace] = {}
    for asset in project.graph.assets.values():
        if asset.partitions not in made:
            made[asset.partitions] = asset.partitions.resolve(now, dynamic=dynamic)
    return {name: made[asset.partitions] for name, asset in project.graph.assets.items()}


def _facts(
    project: Project, state: StateStore | None, spaces: dict[str, KeySpace]
) -> tuple[Facts, bool]:
    """What is recorded, and whether anything was ever built here."""
    if state is None:
        return Facts.empty(spaces), False
    from assets_core.recalling import StoreRecall

    environment = project.environment
    recall = StoreRecall(state, environment, spaces)
    facts = Facts.of(state.snapshot(environment, project.graph.assets), spaces, recall)
    built = (name for name, asset in project.graph.assets.items() if asset.kind != "source")
    return facts, any(facts.assets[name].id.any() for name in built)


def _base(project: Project, base: str) -> tuple[str, Described]:
    path = Path(base)
    if path.is_file():
        return base, read_description(path)
    from assets_core.review.revisions import describe_revision, find_revision

    revision = find_revision(base, project.root)
    return revision.told, describe_revision(revision, project)
