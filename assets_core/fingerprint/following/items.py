"""What is reached from a function, and what each of it says and names: items and components.

One `Items` holds what is found in one go; how it is found is in the modules beside.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from assets_core.fingerprint.ownership import Own
from assets_core.fingerprint.sources.files import Files

SEES_NAMES = "sees names"
SEES_SOURCE = "sees source"
DECLARES = "declares"
ACTS = "acts"


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """Something reached: ``kind`` and ``name`` are what people read, ``key`` tells items apart."""

    kind: str
    name: str
    key: object
    value: Any
    holder: ModuleType | None = None


ReadAtImport = Callable[[str], list[tuple[str, str, str]]]
"""Module → kind, name and digest of each thing that it read while it was imported."""

NamedFiles = Callable[[str], list[tuple[str, str]]]
"""Absolute path or pattern → name and digest of each such file that counts as code."""

Binding = tuple[str, Item | str, tuple[object, ...]]
"""Name as written; what it stands for, an item or opaque text; what counts of how it is used."""


@dataclass(slots=True)
class Component:
    """An item's own content, and what it names, in order.

    ``lean`` and ``full`` are the two forms of its syntax; ``more`` are links that only the full
    form has. ``marks`` tell what it does that concerns all who reach it.
    """

    content: list[object] = field(default_factory=list)
    lean: list[object] = field(default_factory=list)
    full: list[object] = field(default_factory=list)
    links: list[Binding] = field(default_factory=list)
    more: list[Binding] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    marks: set[str] = field(default_factory=set)


def _nothing_read(_: str) -> list[tuple[str, str, str]]:
    return []


def _no_files(_: str) -> list[tuple[str, str]]:
    return []


@dataclass(frozen=True, slots=True)
class About:
    """What is told of the project: ``resources`` are what ``context.resources`` holds, their
    secrets are digested by the key ``secret``."""

    read_at_import: ReadAtImport = _nothing_read
    named_files: NamedFiles = _no_files
    resources: Mapping[str, Any] = field(default_factory=dict)
    secret: bytes = b""


class Items:
    """The items of one moment: what several assets share is one item."""

    def __init__(self, own: Own, about: About) -> None:
        self.own = own
        self.about = about
        self.files = Files()
        self._items: dict[object, Item] = {}

    def item(
        self, kind: str, name: str, key: object, value: Any, holder: ModuleType | None = None
    ) -> Item:
        """The one item of a key. It holds the value, so that ids in keys are not used again."""
        found = self._items.get(key)
        if found is None:
            found = self._items[key] = Item(kind, name, key, value, holder)
        return found

    def floor(self, name: str) -> Binding:
        """A module with all that it imports: for what can't be told apart any further."""
        key = ("with imports", name)
        return (name, self.item("with imports", name, key, sys.modules.get(name)), ())

    def whole_module(self, module: ModuleType, why: str, into: Component) -> list[Binding]:
        into.warnings.append(f"{why}: all of {module.__name__} counts.")
        name = module.__name__
        return [(name, self.item("module", name, ("module", name), module), ())]
