"""Follows code to all of the project's own that it reaches.

Every function, class, constant or module that is reached is an item. What an item says by itself
and which others it names is its component; how components make a version is in ``versions``.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib
import importlib.util
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CellType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import Any
from weakref import WeakKeyDictionary

from assets_core.fingerprint.owning import OURS, Own, dotted, is_ours, module_name
from assets_core.fingerprint.sources import (
    Files,
    Source,
    code_digest,
    names_of,
)
from assets_core.fingerprint.syntax import Chain, How, Import, Unit, Use
from assets_core.fingerprint.values import (
    MAX_WRAPPERS,
    ValueReader,
    functions_of,
    identity,
    is_bound,
)
from assets_core.hashing import UnhashableError, is_known
from assets_core.sqltext import files_named

_MISSING = object()
_ABOUT_THE_MODULE = frozenset(
    {"__file__", "__path__", "__spec__", "__cached__", "__loader__", "__name__", "__package__"}
)

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

Link = tuple[str, Item | str, tuple[object, ...]]
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
    links: list[Link] = field(default_factory=list)
    more: list[Link] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    marks: set[str] = field(default_factory=set)


_Names = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Scope:
    """Where names are looked up: closure, then module; and how parameters are annotated."""

    closure: Mapping[str, CellType]
    module: _Names
    owner: str
    parameters: _Names = field(default_factory=dict)


_as_loaded: WeakKeyDictionary[Any, dict[object, tuple[object, Component]]] = WeakKeyDictionary()
"""Components of values that may change while the process runs, as they were when first seen."""

_PLAIN_DECORATORS: tuple[object, ...] = (
    *(staticmethod, classmethod, property, functools.cache, functools.lru_cache),
    *(functools.cached_property, contextlib.contextmanager, contextlib.asynccontextmanager),
)
"""Decorators that hand on neither the name nor the annotations of what they decorate."""


class Follower:
    """Items and their components: what several assets share is looked at once.

    Use one for one moment: it does not notice what changes while it lives.
    """

    def __init__(
        self,
        own: Own,
        read_at_import: ReadAtImport | None = None,
        resources: Mapping[str, Any] | None = None,
        secret: bytes = b"",
        named_files: NamedFiles | None = None,
    ) -> None:
        self.own = own
        self._read_at_import = read_at_import
        self._named_files = named_files
        self._resources = dict(resources or {})
        self._secret = secret
        self.files = Files()
        self._items: dict[object, Item] = {}
        self._components: dict[object, Component] = {}
        self._effects: dict[str, list[Item]] = {}
        self._imported: dict[str, list[str]] = {}

    def item(
        self, kind: str, name: str, key: object, value: Any, holder: ModuleType | None = None
    ) -> Item:
        """The one item of a key. It holds the value, so that ids in keys are not used again."""
        found = self._items.get(key)
        if found is None:
            found = self._items[key] = Item(kind, name, key, value, holder)
        return found

    def component(self, item: Item) -> Component:
        """What an item says and names."""
        known = self._components.get(item.key)
        if known is None:
            # Kept before it is filled, as what it reaches may reach it.
            known = self._components[item.key] = Component()
            _EXPAND[item.kind](self, item, known)
        return known

    def root(self, fn: Callable[..., Any]) -> Item | str:
        """The item of a function that makes an asset: its parameters' names and types count."""
        found = self.target(fn)
        if isinstance(found, str) or found.kind != "helper":
            return found
        name = found.name.rpartition(".")[2]
        return self.item("function", name, ("root", found.key), found.value)

    # -- what values stand for ---------------------------------------------------------------

    def target(self, value: Any) -> Item | str:
        """A function, class or callable as an item; what is not the project's as opaque text."""
        value = self._unwrapped(value)
        if isinstance(value, MethodType):
            value = value.__func__
        if is_ours(value):
            return identity(value)
        if isinstance(value, FunctionType) and (
            self.own.function(value) or next(self._hidden(value), None) is not None
        ):
            return self.item("helper", dotted(value), id(value), value)
        if isinstance(value, type) and self.own.type(value):
            return self.item("class", dotted(value), id(value), value)
        if isinstance(value, BuiltinFunctionType) and self._binary(value) is not None:
            return self.item("binary", str(value.__module__), ("binary", value.__module__), value)
        if isinstance(value, type | FunctionType | BuiltinFunctionType):
            module, _, name = dotted(value).rpartition(".")
            return f"library {module.partition('.')[0]} {name}"
        return self.item("callable", dotted(type(value)), ("callable", id(value)), value)

    def _unwrapped(self, value: Any) -> Any:
        """What a library's wrapper (a cache, say) wraps; the project's own are looked at."""
        for _ in range(MAX_WRAPPERS):
            if isinstance(value, FunctionType | type | MethodType) or self.own.type(type(value)):
                break
            value = getattr(value, "__wrapped__", value)
        return value

    def _binary(self, value: BuiltinFunctionType) -> Path | None:
        """The compiled file of the project that a function comes from."""
        name = getattr(value, "__module__", None)
        file = getattr(sys.modules.get(name or ""), "__file__", None)
        return Path(file) if name and file and self.own.module(name) else None

    def _hidden(self, fn: FunctionType, depth: int = 5) -> Iterator[tuple[str, object]]:
        """Functions and classes of the project inside a library's wrapper (its closure)."""
        for name, value in _inside(fn):
            if isinstance(value, type):
                if self.own.type(value):
                    yield name, value
            elif self.own.function(value):
                yield name, value
            elif depth:
                yield from self._hidden(value, depth - 1)

    def _links_to(self, shown: str, value: Any, rest: Chain, how: How) -> list[Link]:
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
        links: list[Link] = [(shown, target, ("used", fn.__name__, names, rest))]
        if fn.__annotations__ and self.own.function(fn):
            key = ("signature", id(fn))
            links.append((shown, self.item("signature", dotted(fn), key, fn), ()))
        return links

    # -- names ------------------------------------------------------------------------------

    def bind(self, unit: Unit, scope: _Scope, into: Component) -> None:
        """Link every name that a unit uses to what it stands for."""
        resolved: dict[Use, list[Link]] = {}
        for at, use in enumerate(unit.uses):
            links = resolved.get(use)
            if links is None:
                links = resolved[use] = self._resolve(use, scope, into)
            if len(links) != 1:
                into.content.append(("uses", at, len(links)))
            into.links += links
        into.lean += [text for chain, text in unit.texts if not _logs(chain, scope)]
        if unit.sees:
            into.marks.add(SEES_NAMES)
        if unit.sees == "source":
            into.marks.add(SEES_SOURCE)
        if any(self._acts_on_a_library(use, scope, into) for use in unit.acts):
            into.marks.add(ACTS)
        for name in unit.dynamic:
            if name not in scope.module:
                self._dynamic(name, scope, into)
        if unit.queries:
            self._bind_query(unit, scope, into)
        for text in unit.files:
            self._bind_named(text, scope, into)
        if unit.resources is not None and self._resources:
            wanted = [n for n in self._resources if not unit.resources or n in unit.resources]
            into.links += [self._resource(name) for name in wanted]

    def _bind_named(self, text: str, scope: _Scope, into: Component) -> None:
        """A text that names a file beside the module, or in the project: whoever says its name may
        read it, by native code, too."""
        module = str(scope.module.get("__file__") or "")
        folders = dict.fromkeys([*([str(Path(module).parent)] if module else []), *self.own.roots])
        told = self._named_files
        if told is None:
            return
        for folder in folders:
            for name, digest in told(str(Path(folder, text))):
                item = self.item("file", name, ("read", "file", name), digest)
                into.links.append((text, item, ("file", name)))

    def _resource(self, name: str) -> Link:
        return (name, self.item("resource", name, ("resource", name), self._resources[name]), ())

    def expand_resource(self, item: Item, into: Component) -> None:
        """A resource by its config; secrets by a keyed digest. A version stands for all of it."""
        version = getattr(item.value, "version", None) if is_ours(item.value) else None
        if version is not None:
            into.content.append(("version", version))
            return
        found = Component()
        reader = ValueReader(
            lambda one: self.referred(one, found),
            self.own.type,
            self.own.roots,
            secret=self._secret,
        )
        try:
            into.content.append(reader.digest(item.value))
        except UnhashableError as error:
            self._resource_by_its_makers(item, error, into)
        into.links += found.links

    def _resource_by_its_makers(self, item: Item, error: UnhashableError, into: Component) -> None:
        """Count the modules of the project that hold a resource, and that of its class."""
        kind = type(item.value)
        into.content.append(("type", dotted(kind)))
        makers = [
            name
            for name, module in sorted(sys.modules.items())
            if self.own.module(name) and _holds_resource(module, item.value)
        ]
        if self.own.module(kind.__module__):
            makers.append(kind.__module__)
        into.links += [self._floor(name) for name in dict.fromkeys(makers)]
        what = f"all of {', '.join(makers)} counts" if makers else "only its type counts"
        into.warnings.append(
            f"resource {item.name} has no plain form ({_without_form(error)}): {what}. Give its "
            f'version: resources={{"{item.name}": Resource(…, version="1")}}.'
        )

    def _bind_query(self, unit: Unit, scope: _Scope, into: Component) -> None:
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
                into.links += self._resolve(Use((name,)), scope, into)

    def _resolve(self, use: Use, scope: _Scope, into: Component) -> list[Link]:
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

    def _resolve_imports(self, use: Use, scope: _Scope, into: Component) -> list[Link]:
        """A name that imports within the code bind: whichever it is, all of them count."""
        links: list[Link] = []
        plain = [one for one in use.imports if one[2] == ""]
        for found in use.imports:
            name, attribute = _absolute(found, scope.module), found[2]
            if not self.own.module(name):
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

    def _closure(self, use: Use, scope: _Scope, into: Component) -> list[Link]:
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
        return [(name, self.item("closure", name, ("closure", id(cell)), value, holder), rest)]

    def _value(
        self,
        shown: str,
        value: Any,
        where: tuple[ModuleType | None, str, str],
        rest: Chain,
        how: How,
        into: Component,
    ) -> list[Link]:
        """Link a value that was found under a name, having walked through modules first."""
        library = self._imported_library(where[0], where[2], rest)
        while not library and isinstance(value, ModuleType):
            if not self.own.module(value.__name__):
                return [(shown, _library(value.__name__, None, rest), ())]
            if not rest or rest[0] == "__dict__":
                return self._whole_module(value, f"{shown} is used as a value", into)
            holder, attribute, rest = value, rest[0], rest[1:]
            value, where = _attribute(holder, attribute), (holder, holder.__name__, attribute)
            if value is _MISSING:
                into.warnings.append(f"{holder.__name__} has no {attribute!r}.")
                return [(shown, "missing", ())]
            library = self._imported_library(holder, attribute, rest)
        if library:
            return [(shown, library, ())]
        if is_ours(value):
            return self._ours(shown, value, how, into)
        if isinstance(value, BuiltinFunctionType) and self._binary(value) is not None:
            return [(shown, self.target(value), (value.__name__, *rest))]
        if is_bound(value):
            return self._constant(shown, value, where, rest)
        if isinstance(value, MethodType):
            bound = self._constant(shown, value.__self__, where)
            return [*self._links_to(shown, value, rest, how), *bound]
        if isinstance(self._unwrapped(value), FunctionType | type):
            links = self._links_to(shown, value, rest, how)
            made = self._made(*where) if isinstance(links[0][1], str) else None
            return links if made is None else [*links, (shown, made, ())]
        return self._constant(shown, value, where, rest)

    def _made(self, holder: ModuleType | None, module: str, name: str) -> Item | None:
        """The statement that makes what calls itself a library's: ``make_dataclass(…)``."""
        holder, module, name = self._origin(holder, module, name)
        source = self.files.of_module(holder)
        if source is None or name not in source.assigned or not self.own.module(module):
            return None
        unit = source.assigned[name]
        return self.item("made", f"{module}.{name}", ("made", module, name), unit, holder)

    def _imported_library(self, holder: ModuleType | None, name: str, rest: Chain) -> str:
        """Where a library's name comes from, as the import says it; empty for the project's own.

        Libraries rearrange their insides, so what an object calls itself must not count.
        """
        source = self.files.of_module(holder)
        found = source.imported.get(name) if source else None
        if holder is None or source is None or found is None or name in source.assigned:
            return ""
        module = _absolute(found, vars(holder))
        return "" if self.own.module(module) else _library(module, found[2], rest)

    def _ours(self, shown: str, value: Any, how: How, into: Component) -> list[Link]:
        """An asset and the like: its identity alone, unless the code calls its function."""
        into.marks.add(DECLARES)
        links: list[Link] = [(shown, identity(value), ())]
        function = None if isinstance(value, type) else getattr(value, "function", None)
        if how in ("call", "keywords") and callable(function):
            links.append((f"{shown}()", self.target(function), ()))
        return links

    def _constant(
        self, shown: str, value: Any, where: tuple[ModuleType | None, str, str], rest: Chain = ()
    ) -> list[Link]:
        holder, module, name = self._origin(*where)
        if holder is not None and not self.own.module(module):
            return [(shown, _library(module, name, rest), ())]
        key = ("constant", module, name, id(value))
        return [(shown, self.item("constant", f"{module}.{name}", key, value, holder), rest)]

    def _origin(
        self, holder: ModuleType | None, module: str, name: str
    ) -> tuple[ModuleType | None, str, str]:
        """The module that a name was imported from, step by step."""
        for _ in range(MAX_WRAPPERS):
            source = self.files.of_module(holder)
            found = source.imported.get(name) if source else None
            if source is None or holder is None or found is None or not found[2]:
                break
            if name in source.assigned:
                break
            origin = sys.modules.get(_absolute(found, vars(holder)))
            if origin is None:
                break
            holder, module, name = origin, origin.__name__, found[2]
        return holder, module, name

    def _acts_on_a_library(self, use: Use, scope: _Scope, into: Component) -> bool:
        links = self._resolve(use, scope, into)
        texts = [to for _, to, _ in links if isinstance(to, str) and to.startswith("library ")]
        return any(not text.startswith(_HARMLESS) for text in texts)

    # -- modules as a whole -------------------------------------------------------------------

    def _whole_module(self, module: ModuleType, why: str, into: Component) -> list[Link]:
        into.warnings.append(f"{why}: all of {module.__name__} counts.")
        name = module.__name__
        return [(name, self.item("module", name, ("module", name), module), ())]

    def _dynamic(self, name: str, scope: _Scope, into: Component) -> None:
        """Code that finds other code by computed names: everything that it may find counts."""
        if name != "import_module":
            module = sys.modules.get(scope.owner)
            if module is not None:
                why = f"{name}() in {scope.owner}"
                into.links += self._whole_module(module, why, into)
            return
        top = scope.owner.partition(".")[0]
        into.warnings.append(f"{scope.owner} imports by computed names: all of {top} counts.")
        found = [n for n in sorted(sys.modules) if n == top or n.startswith(f"{top}.")]
        into.links += [self._floor(n) for n in found if self.own.module(n)]
        loaded = {getattr(sys.modules[n], "__file__", None) for n in found}
        for folder in getattr(sys.modules.get(top), "__path__", ()):
            for path in sorted(Path(folder).rglob("*.py")):
                if str(path) not in loaded and self.own.file(str(path)):
                    shown = path.relative_to(folder).as_posix()
                    item = self.item("unloaded", f"{top}/{shown}", ("unloaded", str(path)), path)
                    into.links.append((shown, item, (shown,)))

    def _floor(self, name: str) -> Link:
        """A module with all that it imports: for what can't be told apart any further."""
        key = ("with imports", name)
        return (name, self.item("with imports", name, key, sys.modules.get(name)), ())

    def fall_back(
        self, what: str, error: UnhashableError, holder: ModuleType | None, into: Component
    ) -> None:
        """Count all that could have made a value which has no canonical form."""
        into.content.append("no plain form")
        if holder is None or not self.own.module(holder.__name__):
            into.warnings.append(f"{what} has no plain form; only its type counts.")
            return
        into.warnings.append(
            f"{what} has no plain form ({_without_form(error)}): all of {holder.__name__} counts, "
            "with what it imports. Make it of plain values, or inside the function."
        )
        into.links.append(self._floor(holder.__name__))

    # -- expanding items --------------------------------------------------------------------

    def expand_function(self, item: Item, into: Component) -> None:
        fn = item.value
        assert isinstance(fn, FunctionType)
        if not self.own.function(fn):
            # A library's wrapper around something of the project: only what it hides counts.
            for name, value in self._hidden(fn):
                into.links.append((name, self.target(value), ()))
            return
        unit = self.files.unit(fn.__code__)
        cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False))
        scope = _Scope(cells, fn.__globals__, module_name(fn), _annotated(fn))
        if unit is None:
            self._without_source(fn, scope, into)
        else:
            self._with_source(fn, unit, scope, item, into)
        self._bind_defaults(fn, item, into)
        self._bind_attributes(fn, into)

    def _with_source(
        self, fn: FunctionType, unit: Unit, scope: _Scope, item: Item, into: Component
    ) -> None:
        into.lean.append(unit.lean)
        into.full += [unit.full, fn.__qualname__, fn.__module__]
        self.bind(unit, scope, into)
        is_root = item.kind == "function"
        told = self._bind_decorators(unit.decorators, scope, into)
        if is_root:
            code = fn.__code__
            into.content.append(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
        elif told:
            into.content.append(("named", unit.name))
        for notes in (unit.notes, unit.returns if told and not is_root else None):
            if notes is not None and (told or is_root):
                into.content.append(notes.lean)
                self.bind(notes, scope, into)

    def expand_signature(self, item: Item, into: Component) -> None:
        """The annotations of a function that is handed on: a library may go by them."""
        fn = item.value
        unit = self.files.unit(fn.__code__)
        if unit is None:
            return
        cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False))
        scope = _Scope(cells, fn.__globals__, module_name(fn))
        for notes in (unit.notes, unit.returns):
            if notes is not None:
                into.content.append(notes.lean)
                self.bind(notes, scope, into)

    def _without_source(self, fn: FunctionType, scope: _Scope, into: Component) -> None:
        into.warnings.append(
            f"The source of {dotted(fn)} is not at hand or has changed since it was loaded; "
            "its bytecode counts."
        )
        into.content.append(("bytecode", code_digest(fn.__code__)))
        for name in sorted(names_of(fn.__code__)):
            if name in scope.closure or name in scope.module:
                into.links += self._resolve(Use((name,)), scope, into)

    def _bind_decorators(self, decorators: Iterable[Unit], scope: _Scope, into: Component) -> bool:
        """Decorators of the project count; ours don't, as owner or checks don't change data.

        Gives whether one of them may see the name and the annotations of what it decorates.
        """
        told = False
        for decorator in decorators:
            root = next(iter(decorator.uses), None)
            value = _lookup(root.chain[0], scope) if root else None
            for name in root.chain[1:] if root else ():
                value = getattr(value, name, None)
            top = getattr(value, "__name__", "") if isinstance(value, ModuleType) else ""
            if value is not None and (is_ours(value) or top.partition(".")[0] in OURS):
                into.marks.add(DECLARES)
                continue
            if root is not None and is_ours(_lookup(root.chain[0], scope)):
                continue
            told = told or value not in _PLAIN_DECORATORS
            into.content.append(decorator.lean)
            self.bind(decorator, scope, into)
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
                (f"{name}=", self.item("default", prefix + name, key, value, holder), ())
            )

    def _bind_attributes(self, fn: FunctionType, into: Component) -> None:
        for name, value in fn.__dict__.items():
            if name == "__wrapped__":
                into.links.append((name, self.target(value), ()))
            else:
                key = ("attribute", id(fn), name)
                holder = sys.modules.get(module_name(fn))
                shown = f"{dotted(fn)}.{name}"
                into.links.append((name, self.item("constant", shown, key, value, holder), ()))

    def expand_class(self, item: Item, into: Component) -> None:
        kind = item.value
        module = sys.modules.get(kind.__module__)
        scope = _Scope({}, vars(module) if module else {}, kind.__module__)
        into.content.append(kind.__name__)
        into.full += [kind.__qualname__, kind.__module__]
        for base in kind.__bases__:
            into.links.append(("base", self.target(base), ()))
        if type(kind) is not type:
            into.links.append(("metaclass", self.target(type(kind)), ()))
        into.more += [("subclass", self.target(one), ()) for one in type.__subclasses__(kind)]
        source = self.files.of_module(module) or self._source_of_methods(kind)
        units = source.classes.get(kind.__qualname__, []) if source else []
        for unit in units:  # several where conditions decide which one it is
            into.lean.append(unit.lean)
            into.full.append(unit.full)
            self.bind(unit, scope, into)
            self._bind_decorators(unit.decorators, scope, into)
        made = source.assigned.get(kind.__qualname__) if source and not units else None
        if made is not None:  # by a call: ``namedtuple("P", "x y")``
            into.lean.append(made.lean)
            into.full.append(made.full)
            self.bind(made, scope, into)
        self._bind_methods(kind, [name for unit in units for name in unit.methods], into)
        self._bind_class_values(kind, into)

    def _bind_methods(self, kind: type, names: Iterable[str], into: Component) -> None:
        own = vars(kind)
        added = [n for n, v in own.items() if isinstance(v, FunctionType) and self._written(v)]
        for name in dict.fromkeys([*names, *added]):
            for index, fn in enumerate(functions_of(own.get(name))):
                if self.own.function(fn) or next(self._hidden(fn), None):
                    into.links += self._links_to(f".{name}[{index}]", fn, (), "value")

    def _source_of_methods(self, kind: type) -> Source | None:
        """The source of a class made in a notebook's cell, found through its functions."""
        for value in vars(kind).values():
            for fn in functions_of(value):
                return self.files.of(fn.__code__.co_filename)
        return None

    def _written(self, fn: FunctionType) -> bool:
        """Whether a person wrote the function (dataclasses and the like generate some)."""
        return self.own.function(fn) and not fn.__code__.co_filename.startswith("<string")

    def _bind_class_values(self, kind: type, into: Component) -> None:
        """What the class holds besides its methods, as it is now: its body alone may not tell."""
        holder = sys.modules.get(kind.__module__)
        for name, value in _values_of(kind):
            shown, key = f"{dotted(kind)}.{name}", ("class value", id(kind), name)
            into.links.append((name, self.item("attribute", shown, key, (kind, value), holder), ()))

    def expand_attribute(self, item: Item, into: Component) -> None:
        kind, value = item.value
        self._read(item, value, item.holder, into, keep_for=kind)

    def expand_constant(self, item: Item, into: Component) -> None:
        source, holder = self.files.of_module(item.holder), item.holder
        name = item.name.rpartition(".")[2]
        in_order = source is None or name not in source.unordered
        keep_for = holder if holder is not None and holder.__name__ != "__main__" else None
        self._read(item, item.value, holder, into, keep_for=keep_for, in_order=in_order)

    def expand_value(self, item: Item, into: Component) -> None:
        self._read(item, item.value, item.holder, into)

    def _read(
        self,
        item: Item,
        value: Any,
        holder: ModuleType | None,
        into: Component,
        *,
        keep_for: Any = None,
        in_order: bool = True,
    ) -> None:
        """A value by its content; what may change while the process runs, as it was at first.

        ``keep_for``: the object that it belongs to, where a later session finds it again.
        """
        simple = is_known(value) and not isinstance(value, dict | list | set)
        if keep_for is None or (simple and not self._is_state(item)):
            self._read_now(item, value, holder, into, in_order=in_order)
            return
        kept = _as_loaded.setdefault(keep_for, {})
        loaded = getattr(holder, "__spec__", None)
        where = (item.name, id(loaded)) if self._is_state(item) else (item.key, id(loaded))
        if where not in kept:
            self._read_now(item, value, holder, into, in_order=in_order)
            kept[where] = (value, into)
            return
        known = kept[where][1]
        into.content, into.warnings, into.marks = known.content, known.warnings, known.marks
        into.links = [
            (n, self._again(to) if isinstance(to, Item) else to, t) for n, to, t in known.links
        ]

    def _again(self, item: Item) -> Item:
        return self.item(item.kind, item.name, item.key, item.value, item.holder)

    def _is_state(self, item: Item) -> bool:
        source = self.files.of_module(item.holder)
        return source is not None and item.name.rpartition(".")[2] in source.state

    def _read_now(
        self,
        item: Item,
        value: Any,
        holder: ModuleType | None,
        into: Component,
        *,
        in_order: bool,
    ) -> None:
        places = (*self.own.roots, *_places(holder))
        found = Component()
        reader = ValueReader(
            lambda one: self.referred(one, found), self.own.type, places, in_order=in_order
        )
        try:
            into.content.append(reader.digest(value))
        except UnhashableError as error:
            # What it holds of the project counts all the same, as far as it was seen.
            self.fall_back(f"{item.kind} {item.name}", error, holder, into)
        # In the order of names: that of a set is another in each process.
        into.links += sorted(found.links, key=lambda link: (link[0], _label(link[1])))
        into.warnings += found.warnings
        into.marks |= found.marks

    def referred(self, value: Any, into: Component) -> object:
        """The plain stand-in for a function, class or module inside a value, and a link to it."""
        if isinstance(value, ModuleType):
            if self.own.module(value.__name__):
                into.links += self._whole_module(value, "a value holds the module", into)
            return ("module", value.__name__)
        if is_ours(value):
            into.marks.add(DECLARES)
            return identity(value)
        links = self._links_to("value", value, (), "value")
        if isinstance(links[0][1], str):
            return links[0][1]
        into.links += links
        return ("reference", getattr(value, "__qualname__", type(value).__qualname__))

    def expand_binary(self, item: Item, into: Component) -> None:
        """Compiled code: its file."""
        path = self._binary(item.value)
        assert path is not None
        into.content.append(blake2b(path.read_bytes(), digest_size=16).digest())

    def expand_module(self, item: Item, into: Component) -> None:
        module = sys.modules.get(item.name)
        source = self.files.of_module(module)
        if source is None or module is None:
            into.content.append(("module", item.name))
            return
        into.lean.append(source.whole.lean)
        into.full.append(source.whole.full)
        for use in dict.fromkeys(source.whole.uses):
            into.links += self._resolve(use, _Scope({}, vars(module), item.name), into)

    def expand_with_imports(self, item: Item, into: Component) -> None:
        module = sys.modules.get(item.name)
        source = self.files.of_module(module)
        self.expand_module(item, into)
        into.warnings.clear()
        self._bind_reads(item.name, into)
        if source is None or module is None:
            return
        names = {_absolute(one, vars(module)) for one in source.modules}
        names |= {f"{_absolute(one, vars(module))}.{one[2]}" for one in source.modules if one[2]}
        for name in sorted(names & sys.modules.keys()):
            if self.own.module(name) and name != item.name:
                into.links.append(self._floor(name))

    def _bind_reads(self, module: str, into: Component) -> None:
        """What a module read while it was imported: values made of that may be anywhere."""
        for kind, name, digest in self._read_at_import(module) if self._read_at_import else ():
            item = self.item(kind, name, ("read", kind, name), digest)
            into.links.append((name, item, (kind, name)))

    def expand_read(self, item: Item, into: Component) -> None:
        """A file, folder or variable that was read at import: by its digest."""
        into.content.append(item.value)

    def expand_file(self, item: Item, into: Component) -> None:
        """A module that was not loaded: its text."""
        source = self.files.of(str(item.value))
        if source is not None:
            into.lean.append(source.whole.lean)
            into.full.append(source.whole.full)

    # -- what modules do when they are loaded ---------------------------------------------------

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
            source = self.files.of_module(sys.modules[name])
            if source is not None:
                found.append(self.item("text", name, ("text", name), source.text))
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
            if name in seen or not self.own.module(name):
                continue
            seen[name] = None
            loaded = sys.modules.get(name)
            source = self.files.of_module(loaded)
            parts = name.split(".")
            queue += [".".join(parts[:n]) for n in range(1, len(parts))]
            for one in source.modules if source is not None and loaded is not None else ():
                target = _absolute(one, vars(loaded))
                queue += [target, *([f"{target}.{one[2]}"] if one[2] else [])]
        self._imported[module] = [name for name in seen if name in sys.modules]
        return self._imported[module]

    def _effects_of(self, name: str, marks: Callable[[Item], frozenset[str]]) -> list[Item]:
        module = sys.modules.get(name)
        source = self.files.of_module(module)
        found = []
        for number, unit in enumerate(source.effects if source else ()):
            item = self.item(
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
        self.bind(unit, _Scope({}, vars(module), module.__name__), into)
        if item.kind == "effect":
            self._bind_reads(module.__name__, into)


_HARMLESS = tuple(f"library {name}" for name in ("logging", "sys.path", "typing", "atexit", "abc"))
"""What a module may act on without that changing what is computed."""

_EXPAND: dict[str, Callable[[Follower, Item, Component], None]] = {
    "function": Follower.expand_function,
    "helper": Follower.expand_function,
    "signature": Follower.expand_signature,
    "class": Follower.expand_class,
    "attribute": Follower.expand_attribute,
    "constant": Follower.expand_constant,
    "closure": Follower.expand_value,
    "default": Follower.expand_value,
    "callable": Follower.expand_value,
    "text": Follower.expand_text,
    "binary": Follower.expand_binary,
    "module": Follower.expand_module,
    "with imports": Follower.expand_with_imports,
    "unloaded": Follower.expand_file,
    "file": Follower.expand_read,
    "folder": Follower.expand_read,
    "variable": Follower.expand_read,
    "resource": Follower.expand_resource,
    "effect": Follower.expand_unit,
    "made": Follower.expand_unit,
}


# --------------------------------------------------------------------------------------------
# Small helpers


_WORD = re.compile(r"[^\W\d]\w*")


def _is_table(value: object) -> bool:
    """Whether a query could read a value as a table."""
    kind = type(value)
    tables = ("__arrow_c_stream__", "__dataframe__", "to_arrow_table")
    return kind.__module__ != "builtins" and any(hasattr(kind, name) for name in tables)


def _without_form(error: UnhashableError) -> str:
    """What it is that has no canonical form, in few words."""
    return error.message.removesuffix(" has no plain form.").rstrip(".")


def _holds_resource(module: ModuleType, value: object) -> bool:
    """Whether a module has a resource as a global, or definitions that give it."""
    for one in vars(module).values():
        if one is value:
            return True
        resources = getattr(one, "resources", None) if is_ours(one) else None
        if isinstance(resources, dict) and any(given is value for given in resources.values()):
            return True
    return False


def _label(target: Item | str) -> str:
    return target if isinstance(target, str) else f"{target.kind} {target.name}"


def _library(module: str, attribute: str | None, rest: Chain) -> str:
    """The opaque text for something of a library: how the project gets at it."""
    start = module.partition(".")[0] if attribute == "" else module
    return f"library {'.'.join([start, *([attribute] if attribute else []), *rest])}"


def _absolute(found: Import, module: _Names) -> str:
    """The full name of an imported module, relative imports resolved."""
    level, name, _ = found
    if level:
        package = module.get("__package__") or str(module.get("__name__", "")).rpartition(".")[0]
        base = package.rsplit(".", level - 1)[0] if level > 1 else package
        name = f"{base}.{name}".strip(".") if name else base
    return name


def _places(module: ModuleType | None) -> tuple[str, ...]:
    """The folder of a module's file, and the one that its package lies in."""
    file = getattr(module, "__file__", None)
    if module is None or not file:
        return ()
    depth = module.__name__.count(".") + (Path(file).name == "__init__.py")
    parents = Path(file).parents
    return tuple({str(parents[0]), str(parents[min(depth, len(parents) - 2)])})


def _attribute(module: ModuleType, name: str) -> object:
    value = getattr(module, name, _MISSING)
    if value is _MISSING:
        try:
            return importlib.import_module(f"{module.__name__}.{name}")
        except ImportError:
            return _MISSING
    return value


def _lookup(name: str, scope: _Scope) -> Any:
    if name in scope.closure:
        try:
            return scope.closure[name].cell_contents
        except ValueError:
            return None
    return scope.module.get(name, getattr(builtins, name, None))


def _annotated(fn: FunctionType) -> _Names:
    """A function's parameters with their annotations, None where there is none."""
    code = fn.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return {name: fn.__annotations__.get(name) for name in names}


def _logs(chain: Chain, scope: _Scope) -> bool:
    """Whether what is called is ``print`` or a logger, whose text comes out nowhere else."""
    name, *rest = chain
    if name in scope.parameters:
        note = scope.parameters[name]
        named = note if isinstance(note, str) else getattr(note, "__qualname__", "")
        ours = isinstance(note, str) or is_ours(note)
        return ours and named.rpartition(".")[2] == "Context" and rest[:-1] == ["log"]
    if chain == ("print",):
        return "print" not in scope.module and "print" not in scope.closure
    value = _lookup(name, scope)
    for attribute in rest[:-1]:
        value = getattr(value, attribute, None)
    return (
        value is logging
        or isinstance(value, logging.Logger | logging.LoggerAdapter)
        or type(value).__module__.partition(".")[0] in ("structlog", "loguru")
    )


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


def _file_text(module: str) -> str:
    """The text of a module that can't be imported."""
    try:
        spec = importlib.util.find_spec(module)
        return Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    except (ImportError, ValueError, OSError):
        return ""
