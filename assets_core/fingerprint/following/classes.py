"""Classes as components: their bodies, bases, methods, and the values that they hold."""

from __future__ import annotations

import abc
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from types import FunctionType
from typing import Any

from assets_core.fingerprint.following.functions import Functions
from assets_core.fingerprint.following.items import Component, Item, Items
from assets_core.fingerprint.following.scopes import NameScope
from assets_core.fingerprint.following.targets import Targets
from assets_core.fingerprint.following.units import Binder
from assets_core.fingerprint.ownership import dotted
from assets_core.fingerprint.sources.source import Source
from assets_core.fingerprint.values import functions_of


class Classes:
    """Expands classes."""

    def __init__(
        self, found: Items, targets: Targets, binder: Binder, functions: Functions
    ) -> None:
        self._items = found
        self._targets = targets
        self._binder = binder
        self._functions = functions

    def expand_class(self, item: Item, into: Component) -> None:
        kind = item.value
        module = sys.modules.get(kind.__module__)
        scope = NameScope({}, vars(module) if module else {}, kind.__module__)
        into.content.append(kind.__name__)
        into.full += [kind.__qualname__, kind.__module__]
        for base in kind.__bases__:
            into.links.append(("base", self._targets.target(base), ()))
        if type(kind) is not type:
            into.links.append(("metaclass", self._targets.target(type(kind)), ()))
        for one in type.__subclasses__(kind):
            into.more.append(("subclass", self._targets.target(one), ()))
        source = self._items.files.of_module(module) or self._source_of_methods(kind)
        units = source.classes.get(kind.__qualname__, []) if source else []
        for unit in units:  # several where conditions decide which one it is
            into.lean.append(unit.lean)
            into.full.append(unit.full)
            self._binder.bind(unit, scope, into)
            self._functions.bind_decorators(unit.decorators, scope, into)
        made = source.assigned.get(kind.__qualname__) if source and not units else None
        if made is not None:  # by a call: ``namedtuple("P", "x y")``
            into.lean.append(made.lean)
            into.full.append(made.full)
            self._binder.bind(made, scope, into)
        for one in _registered(kind):
            into.links.append(("registered", self._targets.target(one), ()))
        self._bind_methods(kind, [name for unit in units for name in unit.methods], into)
        self._bind_class_values(kind, into)

    def _bind_methods(self, kind: type, names: Iterable[str], into: Component) -> None:
        own = vars(kind)
        added = [n for n, v in own.items() if isinstance(v, FunctionType) and self._written(v)]
        for name in dict.fromkeys([*names, *added]):
            for index, fn in enumerate(functions_of(own.get(name))):
                if self._items.own.function(fn) or next(self._targets.hidden(fn), None):
                    into.links += self._targets.links_to(f".{name}[{index}]", fn, (), "value")

    def _source_of_methods(self, kind: type) -> Source | None:
        """The source of a class made in a notebook's cell, found through its functions."""
        for value in vars(kind).values():
            for fn in functions_of(value):
                return self._items.files.of(fn.__code__.co_filename)
        return None

    def _written(self, fn: FunctionType) -> bool:
        """Whether a person wrote the function (dataclasses and the like generate some)."""
        return self._items.own.function(fn) and not fn.__code__.co_filename.startswith("<string")

    def _bind_class_values(self, kind: type, into: Component) -> None:
        """What the class holds besides its methods, as it is now: its body alone may not tell."""
        holder = sys.modules.get(kind.__module__)
        for name, value in _values_of(kind):
            shown, key = f"{dotted(kind)}.{name}", ("class value", id(kind), name)
            item = self._items.item("attribute", shown, key, (kind, value), holder)
            into.links.append((name, item, ()))


def _registered(kind: type) -> list[type]:
    """Classes that were registered as subclasses of an abstract one."""
    if not isinstance(kind, abc.ABCMeta):
        return []
    told: set[Callable[[], type | None]]
    told, *_ = abc._get_dump(kind)  # type: ignore[attr-defined]  # noqa: SLF001  # nothing else tells
    found = [one for one in (reference() for reference in told) if one is not None]
    return sorted(found, key=dotted)


def _values_of(kind: type) -> Iterator[tuple[str, object]]:
    """What a class holds that is neither a function nor made by the machinery of classes."""
    if issubclass(kind, Enum):
        yield "members", [(one.name, one.value) for one in kind]
        return
    for name, value in vars(kind).items():
        special = name.startswith("__") or name.startswith(("_abc_", "model_")) or name == "_fields"
        if special or isinstance(value, FunctionType | property | staticmethod | classmethod):
            continue
        if isinstance(value, functools.cached_property) or hasattr(value, "__objclass__"):
            continue
        yield name, value
    for name in ("__dataclass_fields__", "model_fields", "__attrs_attrs__", "_field_defaults"):
        fields = vars(kind).get(name) or getattr(kind, name, None) if name in dir(kind) else None
        if fields:
            yield name, _defaults(fields)


def _defaults(fields: Any) -> list[tuple[object, ...]]:
    """The defaults of a dataclass's, a model's, an attrs class's or a named tuple's fields."""
    if not isinstance(fields, dict):
        fields = {one.name: one for one in fields}
    found: list[tuple[object, ...]] = []
    for name, one in fields.items():
        values = [getattr(one, part, None) for part in ("default", "default_factory")]
        plain = [None if _is_unset(value) else value for value in values]
        found.append((name, *(plain if hasattr(one, "default") else [one])))
    return found


def _is_unset(value: object) -> bool:
    kind = type(value)
    return kind.__name__ in ("_MISSING_TYPE", "PydanticUndefinedType", "_Nothing")
