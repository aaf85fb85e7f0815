"""Modules as components, and what they do when they are loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable
from hashlib import blake2b

from assets_core.fingerprint.following.items import ACTS, DECLARES, Component, Item, Items
from assets_core.fingerprint.following.names import Resolver
from assets_core.fingerprint.following.scopes import NameScope, absolute
from assets_core.fingerprint.following.targets import Targets
from assets_core.fingerprint.following.units import Binder


class Modules:
    """Expands modules, their statements and files."""

    def __init__(self, found: Items, targets: Targets, resolver: Resolver, binder: Binder) -> None:
        self._items = found
        self._targets = targets
        self._resolver = resolver
        self._binder = binder
        self._effects: dict[str, list[Item]] = {}
        self._imported: dict[str, list[str]] = {}

    def expand_binary(self, item: Item, into: Component) -> None:
        """Compiled code: its file."""
        path = self._targets.binary(item.value)
        assert path is not None
        into.content.append(blake2b(path.read_bytes(), digest_size=16).digest())

    def expand_module(self, item: Item, into: Component) -> None:
        module = sys.modules.get(item.name)
        source = self._items.files.of_module(module)
        if source is None or module is None:
            into.content.append(("module", item.name))
            return
        into.lean.append(source.whole.lean)
        into.full.append(source.whole.full)
        for use in dict.fromkeys(source.whole.uses):
            into.links += self._resolver.resolve(use, NameScope({}, vars(module), item.name), into)

    def expand_with_imports(self, item: Item, into: Component) -> None:
        module = sys.modules.get(item.name)
        source = self._items.files.of_module(module)
        self.expand_module(item, into)
        into.warnings.clear()
        self._bind_reads(item.name, into)
        if source is None or module is None:
            return
        names = {absolute(one, vars(module)) for one in source.modules}
        names |= {f"{absolute(one, vars(module))}.{one[2]}" for one in source.modules if one[2]}
        for name in sorted(names & sys.modules.keys()):
            if self._items.own.module(name) and name != item.name:
                into.links.append(self._items.floor(name))

    def _bind_reads(self, module: str, into: Component) -> None:
        """What a module read while it was imported: values made of that may be anywhere."""
        for kind, name, digest in self._items.about.read_at_import(module):
            item = self._items.item(kind, name, ("read", kind, name), digest)
            into.links.append((name, item, (kind, name)))

    def expand_read(self, item: Item, into: Component) -> None:
        """A file, folder or variable that was read at import: by its digest."""
        into.content.append(item.value)

    def expand_file(self, item: Item, into: Component) -> None:
        """A module that was not loaded: its text."""
        source = self._items.files.of(str(item.value))
        if source is not None:
            into.lean.append(source.whole.lean)
            into.full.append(source.whole.full)

    def effects(self, module: str, marks: Callable[[Item], frozenset[str]]) -> list[Item]:
        """Statements that act on libraries (``random.seed(1)``), of a module and of those that it
        imports, in the order of imports: they concern whatever runs afterwards."""
        found: list[Item] = []
        for name in self._imported_by(module):
            if name not in self._effects:
                self._effects[name] = self._effects_of(name, marks)
            found += self._effects[name]
        return found

    def texts(self, module: str) -> list[Item]:
        """A module of the project and those that it imports, each by its whole text."""
        found = []
        for name in self._imported_by(module):
            source = self._items.files.of_module(sys.modules[name])
            if source is not None:
                found.append(self._items.item("text", name, ("text", name), source.text))
        return found

    def expand_text(self, item: Item, into: Component) -> None:
        into.content.append(item.value)

    def _imported_by(self, module: str) -> list[str]:
        """The project's own modules that loading a module loads, itself last to first."""
        if module in self._imported:
            return self._imported[module]
        seen: dict[str, None] = {}
        queue = [module]
        for name in queue:
            if name in seen or not self._items.own.module(name):
                continue
            seen[name] = None
            loaded = sys.modules.get(name)
            source = self._items.files.of_module(loaded)
            parts = name.split(".")
            queue += [".".join(parts[:n]) for n in range(1, len(parts))]
            for one in source.modules if source is not None and loaded is not None else ():
                target = absolute(one, vars(loaded))
                queue += [target, *([f"{target}.{one[2]}"] if one[2] else [])]
        self._imported[module] = [name for name in seen if name in sys.modules]
        return self._imported[module]

    def _effects_of(self, name: str, marks: Callable[[Item], frozenset[str]]) -> list[Item]:
        module = sys.modules.get(name)
        source = self._items.files.of_module(module)
        found = []
        for number, unit in enumerate(source.effects if source else ()):
            item = self._items.item(
                "effect", f"{name}:{number + 1}", ("effect", name, number), unit, module
            )
            if ACTS in (told := marks(item)) and DECLARES not in told:
                found.append(item)
        return found

    def expand_unit(self, item: Item, into: Component) -> None:
        """A statement of a module."""
        unit, module = item.value, item.holder
        assert module is not None
        into.lean.append(unit.lean)
        into.full.append(unit.full)
        self._binder.bind(unit, NameScope({}, vars(module), module.__name__), into)
        if item.kind == "effect":
            self._bind_reads(module.__name__, into)
