"""Functions as components: their syntax, defaults, attributes, and the decorators they have."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterable
from types import FunctionType, ModuleType

from assets_core.fingerprint.following.items import DECLARES, Component, Item, Items
from assets_core.fingerprint.following.names import Resolver
from assets_core.fingerprint.following.scopes import NameScope, annotated, lookup
from assets_core.fingerprint.following.targets import Targets
from assets_core.fingerprint.following.units import Binder
from assets_core.fingerprint.ownership import dotted, is_ours, module_name
from assets_core.fingerprint.sources.code_objects import code_digest, names_of
from assets_core.fingerprint.syntax.unit import Unit, Use
from assets_core.ours import is_our_module

_PLAIN_DECORATORS: tuple[object, ...] = (
    *(staticmethod, classmethod, property, functools.cache, functools.lru_cache),
    *(functools.cached_property, contextlib.contextmanager, contextlib.asynccontextmanager),
)
"""Decorators that hand on neither the name nor the annotations of what they decorate."""


class Functions:
    """Expands functions."""

    def __init__(self, found: Items, targets: Targets, resolver: Resolver, binder: Binder) -> None:
        self._items = found
        self._targets = targets
        self._resolver = resolver
        self._binder = binder

    def expand_function(self, item: Item, into: Component) -> None:
        fn = item.value
        assert isinstance(fn, FunctionType)
        if not self._items.own.function(fn):
            # A library's wrapper around something of the project: only what it hides counts.
            for name, value in self._targets.hidden(fn):
                into.links.append((name, self._targets.target(value), ()))
            return
        unit = self._items.files.unit(fn.__code__)
        cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False))
        scope = NameScope(cells, fn.__globals__, module_name(fn), annotated(fn))
        if unit is None:
            self._without_source(fn, scope, into)
        else:
            self._with_source(fn, unit, scope, item, into)
        self._bind_defaults(fn, item, into)
        self._bind_attributes(fn, into)

    def _with_source(
        self, fn: FunctionType, unit: Unit, scope: NameScope, item: Item, into: Component
    ) -> None:
        into.lean.append(unit.lean)
        into.full += [unit.full, fn.__qualname__, fn.__module__]
        self._binder.bind(unit, scope, into)
        is_root = item.kind == "function"
        told = self.bind_decorators(unit.decorators, scope, into)
        if is_root:
            code = fn.__code__
            into.content.append(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
        elif told:
            into.content.append(("named", unit.name))
        for notes in (unit.notes, unit.returns if told and not is_root else None):
            if notes is not None and (told or is_root):
                into.content.append(notes.lean)
                self._binder.bind(notes, scope, into)

    def expand_signature(self, item: Item, into: Component) -> None:
        """The annotations of a function that is handed on: a library may go by them."""
        fn = item.value
        unit = self._items.files.unit(fn.__code__)
        if unit is None:
            return
        cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False))
        scope = NameScope(cells, fn.__globals__, module_name(fn))
        for notes in (unit.notes, unit.returns):
            if notes is not None:
                into.content.append(notes.lean)
                self._binder.bind(notes, scope, into)

    def _without_source(self, fn: FunctionType, scope: NameScope, into: Component) -> None:
        into.warnings.append(
            f"The source of {dotted(fn)} is not at hand or has changed since it was loaded; "
            "its bytecode counts."
        )
        into.content.append(("bytecode", code_digest(fn.__code__)))
        for name in sorted(names_of(fn.__code__)):
            if name in scope.closure or name in scope.module:
                into.links += self._resolver.resolve(Use((name,)), scope, into)

    def bind_decorators(
        self, decorators: Iterable[Unit], scope: NameScope, into: Component
    ) -> bool:
        """Decorators of the project count; ours don't, as owner or checks don't change data.

        Gives whether one of them may see the name and the annotations of what it decorates.
        """
        told = False
        for decorator in decorators:
            root = next(iter(decorator.uses), None)
            value = lookup(root.chain[0], scope) if root else None
            for name in root.chain[1:] if root else ():
                value = getattr(value, name, None)
            top = getattr(value, "__name__", "") if isinstance(value, ModuleType) else ""
            if value is not None and (is_ours(value) or is_our_module(top)):
                into.marks.add(DECLARES)
                continue
            if root is not None and is_ours(lookup(root.chain[0], scope)):
                continue
            told = told or value not in _PLAIN_DECORATORS
            into.content.append(decorator.lean)
            self._binder.bind(decorator, scope, into)
        return told

    def _bind_defaults(self, fn: FunctionType, item: Item, into: Component) -> None:
        code = fn.__code__
        positional = code.co_varnames[: code.co_argcount]
        values = fn.__defaults__ or ()
        defaults = dict(zip(positional[len(positional) - len(values) :], values, strict=True))
        defaults.update(fn.__kwdefaults__ or {})
        prefix = "" if item.kind == "function" else f"{item.name.rpartition('.')[2]}."
        holder = sys.modules.get(module_name(fn))
        for name, value in defaults.items():
            key = ("default", id(fn), name)
            into.links.append(
                (f"{name}=", self._items.item("default", prefix + name, key, value, holder), ())
            )

    def _bind_attributes(self, fn: FunctionType, into: Component) -> None:
        for name, value in fn.__dict__.items():
            if name == "__wrapped__":
                into.links.append((name, self._targets.target(value), ()))
            else:
                key = ("attribute", id(fn), name)
                holder = sys.modules.get(module_name(fn))
                item = self._items.item("constant", f"{dotted(fn)}.{name}", key, value, holder)
                into.links.append((name, item, ()))
