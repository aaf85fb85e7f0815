"""What counts as an asset's code, and why; code versions written down, to compare with later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from assets_core.operations.arguments import asset_name

if TYPE_CHECKING:
    from assets_core.declare.asset import Asset
    from assets_core.workspace.codes import CodePart
    from assets_core.workspace.workspace import Workspace


def code_parts(workspace: Workspace, asset: str | Asset) -> list[CodePart]:
    """Everything that counts as an asset's code, and why: what is seen statically, what is
    declared, and what its current builds were seen to read."""
    import numpy as np

    from assets_core.fingerprint.versions import FORM_PART
    from assets_core.workspace import codes

    declared = workspace.graph.asset(asset_name(asset))
    facts, name = workspace.facts(), declared.name
    current = workspace.codes[name]
    traced: dict[str, str] = {}
    for number in np.unique(facts.assets[name].code).tolist():
        recorded = facts.codes.get(number, "")
        if recorded.startswith(f"{current.hex}+"):
            traced.update(facts.reads_now(recorded))
    own = dict(current.parts)
    own.pop(FORM_PART, None)
    return codes.code_parts(declared, own, traced)


def store_code(workspace: Workspace, path: str | Path) -> None:
    """Write the code versions of now to a file, to compare with later or elsewhere.

    Raises UsageError where it can't be written.
    """
    from assets_core.planning.description import describe, write_description

    graph, environment = workspace.graph, workspace.environment
    found = describe(graph, workspace.codes, environment, str(workspace.root))
    write_description(found, Path(path))
