"""Binds a unit of syntax: links for its names, and what its texts and calls ask for besides."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FunctionType, ModuleType

from assets_core.fingerprint.following.items import (
    ACTS,
    SEES_NAMES,
    SEES_SOURCE,
    Binding,
    Component,
    Item,
    Items,
)
from assets_core.fingerprint.following.names import Resolver
from assets_core.fingerprint.following.scopes import NameScope, logs
from assets_core.fingerprint.ownership import is_ours
from assets_core.fingerprint.sql_tokens import files_named
from assets_core.fingerprint.syntax.unit import Unit, Use


class Binder:
    """Links what units of syntax use."""

    def __init__(self, found: Items, resolver: Resolver) -> None:
        self._items = found
        self._resolver = resolver

    def bind(self, unit: Unit, scope: NameScope, into: Component) -> None:
        """Binding every name that a unit uses to what it stands for."""
        resolved: dict[Use, list[Binding]] = {}
        for at, use in enumerate(unit.uses):
            links = resolved.get(use)
            if links is None:
                links = resolved[use] = self._resolver.resolve(use, scope, into)
            if len(links) != 1:
                into.content.append(("uses", at, len(links)))
            into.links += links
        into.lean += [text for chain, text in unit.texts if not logs(chain, scope)]
        if unit.sees:
            into.marks.add(SEES_NAMES)
        if unit.sees == "source":
            into.marks.add(SEES_SOURCE)
        if any(self._resolver.acts_on_a_library(use, scope, into) for use in unit.acts):
            into.marks.add(ACTS)
        for name in unit.dynamic:
            if name not in scope.module:
                self._dynamic(name, scope, into)
        if unit.queries:
            self._bind_query(unit, scope, into)
        for text in unit.files:
            self._bind_named(text, scope, into)
        if unit.resources is not None:
            for name in self._items.about.resources:
                if not unit.resources or name in unit.resources:
                    into.links.append(self._resource(name))

    def _bind_named(self, text: str, scope: NameScope, into: Component) -> None:
        """A text that names a file beside the module, or in the project: whoever says its name may
        read it, by native code, too."""
        module = str(scope.module.get("__file__") or "")
        beside = [str(Path(module).parent)] if module else []
        for folder in dict.fromkeys([*beside, *self._items.own.roots]):
            for name, digest in self._items.about.named_files(str(Path(folder, text))):
                item = self._items.item("file", name, ("read", "file", name), digest)
                into.links.append((text, item, ("file", name)))

    def _resource(self, name: str) -> Binding:
        value = self._items.about.resources[name]
        return (name, self._items.item("resource", name, ("resource", name), value), ())

    def _bind_query(self, unit: Unit, scope: NameScope, into: Component) -> None:
        """A query may read variables of the module by the names in its text, wherever that comes
        from: what is named in a text that is seen counts, and whatever is a table."""
        words = set(unit.words)
        for _, target, _ in tuple(into.links):
            if isinstance(target, Item) and isinstance(target.value, str | dict | list | tuple):
                words.update(_WORD.findall(repr(target.value)))
            if isinstance(target, Item) and isinstance(target.value, str):
                for text in files_named(target.value):
                    self._bind_named(text, scope, into)
        for name, value in sorted(scope.module.items(), key=lambda pair: pair[0]):
            code = isinstance(value, ModuleType | type | FunctionType) or is_ours(value)
            if not code and not name.startswith("__") and (name in words or _is_table(value)):
                into.links += self._resolver.resolve(Use((name,)), scope, into)

    def _dynamic(self, name: str, scope: NameScope, into: Component) -> None:
        """Code that finds other code by computed names: everything that it may find counts."""
        if name != "import_module":
            module = sys.modules.get(scope.owner)
            if module is not None:
                why = f"{name}() in {scope.owner}"
                into.links += self._items.whole_module(module, why, into)
            return
        top = scope.owner.partition(".")[0]
        into.warnings.append(f"{scope.owner} imports by computed names: all of {top} counts.")
        found = [n for n in sorted(sys.modules) if n == top or n.startswith(f"{top}.")]
        into.links += [self._items.floor(n) for n in found if self._items.own.module(n)]
        loaded = {getattr(sys.modules[n], "__file__", None) for n in found}
        for folder in getattr(sys.modules.get(top), "__path__", ()):
            for path in sorted(Path(folder).rglob("*.py")):
                if str(path) not in loaded and self._items.own.file(str(path)):
                    shown = path.relative_to(folder).as_posix()
                    key = ("unloaded", str(path))
                    item = self._items.item("unloaded", f"{top}/{shown}", key, path)
                    into.links.append((shown, item, (shown,)))


_WORD = re.compile(r"[^\W\d]\w*")


def _is_table(value: object) -> bool:
    """Whether a query could read a value as a table."""
    kind = type(value)
    tables = ("__arrow_c_stream__", "__dataframe__", "to_arrow_table")
    return kind.__module__ != "builtins" and any(hasattr(kind, name) for name in tables)
