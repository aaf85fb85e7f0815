"""Links each name that code uses to what it stands for: in its closure, its module, an import."""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import sys
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from assets_core.fingerprint.following.items import (
    DECLARES,
    Binding,
    Component,
    Item,
    Items,
)
from assets_core.fingerprint.following.scopes import (
    MISSING,
    NameScope,
    absolute,
    attribute_of,
)
from assets_core.fingerprint.following.targets import Targets
from assets_core.fingerprint.ownership import is_ours
from assets_core.fingerprint.syntax.unit import Chain, How, Use
from assets_core.fingerprint.values import MAX_WRAPPERS, identity, is_bound

_ABOUT_THE_MODULE = frozenset(
    {"__file__", "__path__", "__spec__", "__cached__", "__loader__", "__name__", "__package__"}
)


class Resolver:
    """Finds what names stand for."""

    def __init__(self, found: Items, targets: Targets) -> None:
        self._items = found
        self._targets = targets

    def resolve(self, use: Use, scope: NameScope, into: Component) -> list[Binding]:
        name, rest = use.chain[0], use.chain[1:]
        if use.imports:
            return self._resolve_imports(use, scope, into)
        if name in scope.closure:
            return self._closure(use, scope, into)
        if name in _ABOUT_THE_MODULE:
            return [(name, f"the module's {name}", rest)]
        if name in scope.module:
            holder = sys.modules.get(scope.owner)
            value = scope.module[name]
            where = (holder, scope.owner, name)
            return self._value(".".join(use.chain), value, where, rest, use.how, into)
        known = "builtin" if hasattr(builtins, name) else "unbound"
        return [(name, f"{known} {'.'.join(use.chain)}", ())]

    def _resolve_imports(self, use: Use, scope: NameScope, into: Component) -> list[Binding]:
        """A name that imports within the code bind: whichever it is, all of them count."""
        links: list[Binding] = []
        plain = [one for one in use.imports if one[2] == ""]
        for found in use.imports:
            name, attribute = absolute(found, scope.module), found[2]
            if not self._items.own.module(name):
                links.append((use.chain[0], _library(name, attribute, use.chain[1:]), ()))
                continue
            module = self._load(name, into)
            if module is None or (found in plain and found is not plain[-1]):
                continue  # `import a.b, a.c` binds `a` once
            rest = use.chain[1:]
            if attribute == "":
                module = sys.modules[name.partition(".")[0]]
            elif attribute is not None:
                rest = (attribute, *rest)
            shown = ".".join(use.chain)
            links += self._value(shown, module, (None, "", name), rest, use.how, into)
        return links

    def _load(self, name: str, into: Component) -> ModuleType | None:
        """A module of the project that a function imports; importing it is what it would do."""
        try:
            return importlib.import_module(name)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a module's code may raise anything
            into.warnings.append(f"{name} can't be imported ({error}); its source counts.")
            into.content.append(("source of", _file_text(name)))
            return None

    def _closure(self, use: Use, scope: NameScope, into: Component) -> list[Binding]:
        name, rest = use.chain[0], use.chain[1:]
        cell = scope.closure[name]
        try:
            value = cell.cell_contents
        except ValueError:  # not filled yet
            return [(name, "nothing", ())]
        if name == "__class__":
            return [(name, "the class", ())]
        if isinstance(value, ModuleType | FunctionType | type | MethodType) or is_ours(value):
            return self._value(name, value, (None, "", name), rest, use.how, into)
        holder = sys.modules.get(scope.owner)
        item = self._items.item("closure", name, ("closure", id(cell)), value, holder)
        return [(name, item, rest)]

    def _value(
        self,
        shown: str,
        value: Any,
        where: tuple[ModuleType | None, str, str],
        rest: Chain,
        how: How,
        into: Component,
    ) -> list[Binding]:
        """Binding a value that was found under a name, having walked through modules first."""
        library = self._imported_library(where[0], where[2], rest)
        while not library and isinstance(value, ModuleType):
            if not self._items.own.module(value.__name__):
                return [(shown, _library(value.__name__, None, rest), ())]
            if not rest or rest[0] == "__dict__":
                return self._items.whole_module(value, f"{shown} is used as a value", into)
            holder, attribute, rest = value, rest[0], rest[1:]
            value, where = attribute_of(holder, attribute), (holder, holder.__name__, attribute)
            if value is MISSING:
                into.warnings.append(f"{holder.__name__} has no {attribute!r}.")
                return [(shown, "missing", ())]
            library = self._imported_library(holder, attribute, rest)
        if library:
            return [(shown, library, ())]
        if is_ours(value):
            return self._ours(shown, value, how, into)
        if isinstance(value, BuiltinFunctionType) and self._targets.binary(value) is not None:
            return [(shown, self._targets.target(value), (value.__name__, *rest))]
        if is_bound(value):
            return self._constant(shown, value, where, rest)
        if isinstance(value, MethodType):
            bound = self._constant(shown, value.__self__, where)
            return [*self._targets.links_to(shown, value, rest, how), *bound]
        if isinstance(self._targets.unwrapped(value), FunctionType | type):
            links = self._targets.links_to(shown, value, rest, how)
            made = self._made(*where) if isinstance(links[0][1], str) else None
            return links if made is None else [*links, (shown, made, ())]
        return self._constant(shown, value, where, rest)

    def _made(self, holder: ModuleType | None, module: str, name: str) -> Item | None:
        """The statement that makes what calls itself a library's: ``make_dataclass(…)``."""
        holder, module, name = self._origin(holder, module, name)
        source = self._items.files.of_module(holder)
        if source is None or name not in source.assigned or not self._items.own.module(module):
            return None
        unit = source.assigned[name]
        return self._items.item("made", f"{module}.{name}", ("made", module, name), unit, holder)

    def _imported_library(self, holder: ModuleType | None, name: str, rest: Chain) -> str:
        """Where a library's name comes from, as the import says it; empty for the project's own.

        Libraries rearrange their insides, so what an object calls itself must not count.
        """
        source = self._items.files.of_module(holder)
        found = source.imported.get(name) if source else None
        if holder is None or source is None or found is None or name in source.assigned:
            return ""
        module = absolute(found, vars(holder))
        return "" if self._items.own.module(module) else _library(module, found[2], rest)

    def _ours(self, shown: str, value: Any, how: How, into: Component) -> list[Binding]:
        """An asset and the like: its identity alone, unless the code calls its function."""
        into.marks.add(DECLARES)
        links: list[Binding] = [(shown, identity(value), ())]
        function = None if isinstance(value, type) else getattr(value, "function", None)
        if how in ("call", "keywords") and callable(function):
            links.append((f"{shown}()", self._targets.target(function), ()))
        return links

    def _constant(
        self, shown: str, value: Any, where: tuple[ModuleType | None, str, str], rest: Chain = ()
    ) -> list[Binding]:
        holder, module, name = self._origin(*where)
        if holder is not None and not self._items.own.module(module):
            return [(shown, _library(module, name, rest), ())]
        key = ("constant", module, name, id(value))
        return [(shown, self._items.item("constant", f"{module}.{name}", key, value, holder), rest)]

    def _origin(
        self, holder: ModuleType | None, module: str, name: str
    ) -> tuple[ModuleType | None, str, str]:
        """The module that a name was imported from, step by step."""
        for _ in range(MAX_WRAPPERS):
            source = self._items.files.of_module(holder)
            found = source.imported.get(name) if source else None
            if source is None or holder is None or found is None or not found[2]:
                break
            if name in source.assigned:
                break
            origin = sys.modules.get(absolute(found, vars(holder)))
            if origin is None:
                break
            holder, module, name = origin, origin.__name__, found[2]
        return holder, module, name

    def acts_on_a_library(self, use: Use, scope: NameScope, into: Component) -> bool:
        links = self.resolve(use, scope, into)
        texts = [to for _, to, _ in links if isinstance(to, str) and to.startswith("library ")]
        return any(not text.startswith(_HARMLESS) for text in texts)


_HARMLESS = tuple(f"library {name}" for name in ("logging", "sys.path", "typing", "atexit", "abc"))
"""What a module may act on without that changing what is computed."""


def _library(module: str, attribute: str | None, rest: Chain) -> str:
    """The opaque text for something of a library: how the project gets at it."""
    start = module.partition(".")[0] if attribute == "" else module
    return f"library {'.'.join([start, *([attribute] if attribute else []), *rest])}"


def _file_text(module: str) -> str:
    """The text of a module that can't be imported."""
    try:
        spec = importlib.util.find_spec(module)
        return Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    except (ImportError, ValueError, OSError):
        return ""
