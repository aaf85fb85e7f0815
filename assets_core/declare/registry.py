"""What was declared where, so that assets made in a loop are found without a global name each."""

from __future__ import annotations

from types import CodeType

from assets_core.declare.asset import Asset
from assets_core.declare.places import caller

_declared: dict[str, list[tuple[Asset, CodeType]]] = {}


def declared_in(module: str) -> list[Asset]:
    """Assets declared so far by code of the module, without those that it replaced.

    A module that is imported anew, or a cell that is run again, declares the same name at the
    same place by code that was compiled anew. The same code doing so twice, a loop over a list
    that names something twice, is a mistake that the graph reports.
    """
    declared = _declared.get(module, ())
    newest = {(a.name, a.location): code for a, code in declared}
    return [a for a, code in declared if newest[(a.name, a.location)] is code]


def forget(module: str) -> None:
    """Drop what the module declared, before it is imported anew."""
    _declared.pop(module, None)


def register(asset: Asset, module: str) -> Asset:
    _declared.setdefault(module, []).append((asset, _running()))
    return asset


def _running() -> CodeType:
    """The code of the module, or of the notebook's cell, that is declaring something."""
    frame = caller()
    while not frame.f_code.co_name.startswith(("<module", "<cell")) and frame.f_back is not None:
        frame = frame.f_back
    code: CodeType = frame.f_code
    return code
