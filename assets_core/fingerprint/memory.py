"""What a process may keep in memory from one step to the next: globals, caches, objects, modules.

Whoever reads a file once and keeps it opens nothing the next time. So all that code could keep
something in is looked at before its first read and after its last: what has changed meanwhile may
hold what was read, and whoever reaches that later is taken to have read it, too. Looking calls
nobody's code. What is noted of reads is no matter of this module.
"""

from __future__ import annotations

import datetime
import decimal
import functools
import gc
import pathlib
import re
import sys
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from types import CellType, CodeType, FunctionType, ModuleType, NoneType
from typing import Any

from assets_core.fingerprint.ownership import Own
from assets_core.fingerprint.sources.code_objects import names_of
from assets_core.ours import is_our_module

Holder = object
Holders = dict[Holder, tuple[object, object]]
"""Where something may be kept → what it is (held, so that ids are not used again), and a mark of
what it holds: equal marks, equal content."""

_MOST = 20_000
"""Objects that are looked at; where there are more, all of them may have changed."""

_ATOMS = frozenset(
    {str, bytes, int, float, complex, bool, NoneType, type(...), range, re.Pattern, uuid.UUID}
    | {decimal.Decimal, datetime.date, datetime.datetime, datetime.time, datetime.timedelta}
    | {datetime.timezone, pathlib.PosixPath, pathlib.PurePosixPath, pathlib.WindowsPath}
)
"""Kinds of objects that never change, compared by what they are."""

_PASSED_BY = frozenset(
    {"pyarrow", "polars", "pandas", "numpy", "zoneinfo", "logging", "typing", "_abc"}
    | {"_thread", "threading", "queue", "concurrent", "multiprocessing", "asyncio"}
)
"""Whose objects hold what they were made of, or order work and hold nothing."""

_CLOSED = ("sqlite3", "duckdb", "_duckdb")
"""Whose objects may hold anything, and don't show it."""

CACHE: type = type(functools.lru_cache(lambda: None))
"""The kind of `functools` caches: each is one place, and holds what its function gave."""

_HAS_REFERENTS = 1 << 14  # Py_TPFLAGS_HAVE_GC

_BY_COMPUTED_NAME = frozenset(
    {"import_module", "__import__", "exec", "eval", "run_path", "run_module", "modules"}
    | {"spec_from_file_location", "entry_points", "iter_modules", "walk_packages", "resolve_name"}
)


def places(roots: Iterable[object], own: Own) -> Holders:
    """All places that code reaches from some functions and objects, each with its mark."""
    return _Look(own).at(roots)


def changed(before: Holders, after: Holders) -> dict[Holder, object]:
    """Holders that hold something else than before, with the objects that they are."""
    return {
        place: held
        for place, (held, mark) in after.items()
        if place in before and before[place][1] != mark
    }


class _Name:
    """A name of a module: whether it is bound, and to what, may change."""

    __slots__ = ("name", "names")

    def __init__(self, names: Mapping[str, Any], name: str) -> None:
        self.names = names
        self.name = name


class _Look:
    """One look at all places; those that are found are looked into in turn."""

    def __init__(self, own: Own) -> None:
        self._own = own
        self._found: Holders = {}
        self._queue: list[object] = []

    def at(self, roots: Iterable[object]) -> Holders:
        self._queue += roots
        for value in self._queue:  # grows while it is walked
            place = _place_of(value)
            if place in self._found:
                continue
            held = list(self._held_by(value))
            self._found[place] = (value, _NEVER_THE_SAME if self._is_closed(value) else _mark(held))
            self._queue += [one for one in held if self._is_looked_into(one)]
            if len(self._found) > _MOST:
                return {place: (one, _NEVER_THE_SAME) for place, (one, _) in self._found.items()}
        return self._found

    def _is_looked_into(self, value: object) -> bool:
        kind = type(value)
        if kind in _ATOMS or kind is CodeType or kind.__name__ == "_lru_list_elem":
            return False
        if issubclass(kind, type):
            return self._is_own(value)
        return issubclass(kind, threading.local) or _library(kind) not in _PASSED_BY

    def _is_own(self, kind: Any) -> bool:
        return self._own.module(_module_of(kind))

    def _is_closed(self, value: object) -> bool:
        kind = type(value)
        if kind in (_Name, object) or self._is_own(kind):
            return False
        return not kind.__flags__ & _HAS_REFERENTS or _library(kind) in _CLOSED

    def _held_by(self, value: Any) -> Iterable[object]:
        # By its type alone: what it says of itself (``__class__``) may be anybody's code.
        kind = type(value)
        if kind is _Name:
            return (value.names.get(value.name, _UNBOUND),)
        if kind is FunctionType:
            return self._of_function(value)
        if issubclass(kind, type):
            return (*vars(value).values(), *value.__bases__, *type.__subclasses__(value))
        if issubclass(kind, ModuleType):
            return self._of_module(value, vars(value))
        if is_our_module(_module_of(kind)):
            return (getattr(value, "function", None),)
        if issubclass(kind, threading.local):
            return tuple(value.__dict__.values())  # of this thread
        if kind is ContextVar:
            return (_of_context(value),)
        if kind is CACHE:
            return _of_cache(value)
        if value is sys.modules:
            return [one for name, one in list(value.items()) if self._own.module(name)]
        return gc.get_referents(value)

    def _of_function(self, fn: FunctionType) -> Iterator[object]:
        yield from (fn.__closure__ or (), fn.__defaults__, fn.__kwdefaults__, fn.__dict__)
        if self._own.function(fn):
            names = _names_of(fn.__code__)
            yield from self._of_names(fn.__globals__, names)
            yield from self._imported_by(fn.__globals__, names)

    def _of_names(self, module: Mapping[str, Any], names: Iterable[str]) -> Iterator[object]:
        """The names of a module that code may mean, and of the modules that these are."""
        for name in names:
            value = module.get(name, _UNBOUND)
            if issubclass(type(value), ModuleType):
                yield from self._of_module(value, names)
            else:
                yield _Name(module, name)  # also what is not there yet

    def _of_module(self, module: ModuleType, names: Iterable[str]) -> Iterator[object]:
        inside = vars(module)
        own = str(inside.get("__name__"))
        if not self._own.module(own):
            return
        for name in names:
            value = inside.get(name, _UNBOUND)
            if issubclass(type(value), ModuleType) and value is not module:
                if str(vars(value).get("__name__")).startswith(f"{own}."):
                    yield from self._of_module(value, names)
            elif value is not _UNBOUND:
                yield _Name(inside, name)

    def _imported_by(self, module: Mapping[str, Any], names: frozenset[str]) -> Iterator[object]:
        """Modules that are imported while code runs; whichever, where their names are computed."""
        package = module.get("__package__") or ""
        if names & _BY_COMPUTED_NAME:
            yield sys.modules
            return
        for name in names:
            for full in (name, f"{package}.{name}"):
                found = sys.modules.get(full)
                if found is not None:
                    yield from self._of_module(found, names)


_UNBOUND = object()
_NEVER_THE_SAME = float("nan")

_names_of = functools.lru_cache(maxsize=None)(lambda code: frozenset(names_of(code)))


def _place_of(value: object) -> Holder:
    if type(value) is _Name:
        return (id(value.names), value.name)
    return id(value)


def _of_cache(cache: object) -> Iterator[object]:
    """What a cache is wrapped around, and what it holds: a place of its own, not its parts."""
    for one in gc.get_referents(cache):
        if type(one) is dict:
            yield from list(one.values())
        else:
            yield one


def _of_context(variable: ContextVar[Any]) -> object:
    try:
        return variable.get()
    except LookupError:
        return _UNBOUND


def _module_of(kind: Any) -> str:
    name = type.__getattribute__(kind, "__module__")
    return name if type(name) is str else ""


def _library(kind: type) -> str:
    return _module_of(kind).partition(".")[0]


def _mark(held: Iterable[object]) -> object:
    return tuple(map(_mark_of, held))


def _mark_of(value: object) -> object:
    kind = type(value)
    if type(value) is _Name:
        return _place_of(value)
    if kind is CellType:
        return id(value)
    return (kind, value) if kind in _ATOMS else id(value)
