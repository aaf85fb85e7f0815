"""What values stand for: functions, classes and callables of the project, or opaque text."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import (
    BuiltinFunctionType,
    FunctionType,
    MappingProxyType,
    MethodType,
)
from typing import Any

from assets_core.fingerprint.following.items import Binding, Item, Items
from assets_core.fingerprint.ownership import dotted, is_ours
from assets_core.fingerprint.syntax.unit import Chain, How
from assets_core.fingerprint.values import MAX_WRAPPERS, identity


class Targets:
    """Finds what values stand for."""

    def __init__(self, found: Items) -> None:
        self._items = found
        self._own = found.own

    def target(self, value: Any) -> Item | str:
        """A function, class or callable as an item; what is not the project's as opaque text."""
        value = self.unwrapped(value)
        if isinstance(value, MethodType):
            value = value.__func__
        if is_ours(value):
            return identity(value)
        if isinstance(value, FunctionType) and (
            self._own.function(value) or next(self.hidden(value), None) is not None
        ):
            return self._items.item("helper", dotted(value), id(value), value)
        if isinstance(value, type) and self._own.type(value):
            return self._items.item("class", dotted(value), id(value), value)
        if isinstance(value, BuiltinFunctionType) and self.binary(value) is not None:
            name = str(value.__module__)
            return self._items.item("binary", name, ("binary", name), value)
        if isinstance(value, type | FunctionType | BuiltinFunctionType):
            module, _, name = dotted(value).rpartition(".")
            return f"library {module.partition('.')[0]} {name}"
        return self._items.item("callable", dotted(type(value)), ("callable", id(value)), value)

    def unwrapped(self, value: Any) -> Any:
        """What a library's wrapper (a cache, say) wraps; the project's own are looked at."""
        for _ in range(MAX_WRAPPERS):
            if isinstance(value, FunctionType | type | MethodType) or self._own.type(type(value)):
                break
            value = getattr(value, "__wrapped__", value)
        return value

    def binary(self, value: BuiltinFunctionType) -> Path | None:
        """The compiled file of the project that a function comes from."""
        name = getattr(value, "__module__", None)
        file = getattr(sys.modules.get(name or ""), "__file__", None)
        return Path(file) if name and file and self._own.module(name) else None

    def hidden(self, fn: FunctionType, depth: int = 5) -> Iterator[tuple[str, object]]:
        """Functions and classes of the project inside a library's wrapper (its closure)."""
        for name, value in _inside(fn):
            if isinstance(value, type):
                if self._own.type(value):
                    yield name, value
            elif self._own.function(value):
                yield name, value
            elif depth:
                yield from self.hidden(value, depth - 1)

    def links_to(self, shown: str, value: Any, rest: Chain, how: How) -> list[Binding]:
        """Links to a function or a class. Who only calls it by position can't tell its names."""
        target = self.target(value)
        fn = value.__func__ if isinstance(value, MethodType) else value
        if isinstance(target, str) or not isinstance(fn, FunctionType):
            return [(shown, target, rest)]
        if how in ("call", "log") and not rest:
            return [(shown, target, ("called",))]
        names = fn.__code__.co_varnames[: fn.__code__.co_argcount + fn.__code__.co_kwonlyargcount]
        if how == "keywords" and not rest:
            return [(shown, target, ("called", names))]
        links: list[Binding] = [(shown, target, ("used", fn.__name__, names, rest))]
        if fn.__annotations__ and self._own.function(fn):
            key = ("signature", id(fn))
            links.append((shown, self._items.item("signature", dotted(fn), key, fn), ()))
        return links


def _inside(fn: FunctionType) -> Iterator[tuple[str, FunctionType | type]]:
    """Functions and classes that a function wraps, or holds in its closure."""
    wrapped = getattr(fn, "__wrapped__", None)
    if isinstance(wrapped, FunctionType | type):
        yield "__wrapped__", wrapped
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False):
        try:
            value = cell.cell_contents
        except ValueError:
            continue
        values = value.values() if isinstance(value, dict | MappingProxyType) else [value]
        for inner in values if len(values) < 1000 else ():
            if isinstance(inner, FunctionType | type):
                yield name, inner
