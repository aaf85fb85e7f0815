"""Code versions: fingerprints of everything that would build an asset.

Follows a function to all of the project's own that it reaches, and names each part, so that a
later comparison can say which one changed. Reading and normalising source is in ``syntax``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import site
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from types import (
    BuiltinFunctionType,
    CellType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import Any

from assets_core.hashing import UnhashableError, digest, is_known
from assets_core.syntax import (
    Chain,
    Decorator,
    Import,
    Source,
    Unit,
    Uses,
    code_digest,
    expression_unit,
    function_source,
    names_of,
    source_of,
    sql_tokens,
)

_SHORT = 12
_MAX_WRAPPERS = 20
_MISSING = object()
_ABOUT_THE_MODULE = frozenset(
    {"__file__", "__path__", "__spec__", "__cached__", "__loader__", "__name__", "__package__"}
)


@dataclass(frozen=True, slots=True)
class CodeVersion:
    """What would build an asset, as one fingerprint and as its named parts.

    ``hex`` is 32 hexadecimal digits. ``parts`` maps a readable name of each component
    ("function clean", "helper definitions.cleaning.scale", "constant definitions.cleaning.LIMIT",
    "config threshold", "library numpy 2.4.6", …) to a short hash of it. ``warnings`` say what
    could not be followed and what counts in its stead.
    """

    hex: str
    parts: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def code_version(
    fn: Callable[..., Any] | None,
    *,
    version: str | None = None,
    extra: Mapping[str, object] | None = None,
    project_roots: Sequence[Path] = (),
    libraries: Sequence[str] = (),
    sql: str | None = None,
) -> CodeVersion:
    """The code version of a function, an SQL text, or both.

    Args:
        fn: the function as its author wrote it, without our own decorators; None for SQL alone.
        version: stands for all of the code; ``extra`` and ``libraries`` still count.
        extra: other things that decide the output, by name; a mapping counts key by key
            (``{"config": {"limit": 3}, "io": ("parquet", "zstd")}``).
        project_roots: what lies below them is the project's own; without any, everything that is
            neither the standard library nor installed.
        libraries: installed distributions whose version counts.
        sql: a query, counted as `sql_version` does.

    Raises:
        UnhashableError: an ``extra`` that has no canonical content.
    """
    session = Fingerprints(project_roots)
    return session.of(fn, version=version, extra=extra, libraries=libraries, sql=sql)


def sql_version(text: str, dialect: str = "duckdb") -> CodeVersion:
    """The version of a query: comments, white space, the case of keywords don't matter.

    By its tokens and not by a parser's tree, which changes with the parser's releases.
    """
    warnings: list[str] = []
    return _assemble({"sql": _sql_digest(text, dialect, warnings)}, warnings)


def _sql_digest(text: str, dialect: str, warnings: list[str]) -> bytes:
    tokens = sql_tokens(text)
    if tokens is None:
        warnings.append("The SQL ends inside a string, a name or a comment; its text counts.")
        return digest("sql text", dialect, text.split())
    return digest("sql", dialect, tokens)


def changed_parts(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """What changed between two code versions' parts, as readable words, in order of name.

    >>> changed_parts({"helper a.scale": "1"}, {"helper a.scale": "2", "constant a.LIMIT": "3"})
    ['constant LIMIT added', 'helper scale changed']
    """
    removed = {_subject(name): name for name in old.keys() - new.keys()}
    added = {_subject(name): name for name in new.keys() - old.keys()}
    changes = {}
    for name in old.keys() & new.keys():
        if old[name] != new[name]:
            changes[name] = "changed"
    for subject, name in added.items():
        before = removed.pop(subject, None)
        changes[subject] = "added" if before is None else f"{_detail(before)} → {_detail(name)}"
    changes.update(dict.fromkeys(removed, "removed"))
    shown = _shortened(changes)
    return sorted(f"{shown[name]} {change}" for name, change in changes.items())


def _subject(name: str) -> str:
    """A part's name without the value that some names end with."""
    kind, _, rest = name.partition(" ")
    if kind == "library":
        return f"library {rest.rpartition(' ')[0]}"
    return kind if kind == "version" else name


def _detail(name: str) -> str:
    return name.rpartition(" ")[2]


def _shortened(names: Iterable[str]) -> dict[str, str]:
    """Names without their modules, as long as two don't become one."""
    short: dict[str, list[str]] = {}
    for name in names:
        kind, _, path = name.partition(" ")
        whole = kind in ("library", "config", "version", "default", "closure")
        short.setdefault(name if whole else f"{kind} {path.rpartition('.')[2]}".strip(), []).append(
            name
        )
    return {
        name: brief if len(several) == 1 else name
        for brief, several in short.items()
        for name in several
    }


def _assemble(parts: Mapping[str, bytes], warnings: Iterable[str]) -> CodeVersion:
    ordered = dict(sorted(parts.items()))
    return CodeVersion(
        digest("code1", ordered).hex(),
        {name: content.hex()[:_SHORT] for name, content in ordered.items()},
        tuple(dict.fromkeys(warnings)),
    )


# --------------------------------------------------------------------------------------------
# What is the project's own


def _installed_prefixes() -> tuple[str, ...]:
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    packages = [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    found = [*paths, *packages, *site.getsitepackages(), site.getusersitepackages()]
    return tuple({str(Path(path).resolve()) + "/" for path in found if path})


_INSTALLED = _installed_prefixes()
_OURS = ("assets_core", "io_managers")


@dataclass(frozen=True, slots=True)
class _Own:
    """Tells the project's own modules and files from everybody else's."""

    roots: tuple[str, ...]
    packages: frozenset[str] = frozenset({"__main__"})
    files: dict[str, bool] = field(default_factory=dict)

    def module(self, name: str) -> bool:
        top = name.partition(".")[0]
        if top in self.packages:
            return True
        if top in _OURS or top in sys.stdlib_module_names or top in sys.builtin_module_names:
            return False
        module = sys.modules.get(name)
        if module is None:
            return self._unloaded(top)
        file = getattr(module, "__file__", None)
        if file is None:
            return any(self.file(path + "/x") for path in getattr(module, "__path__", ()))
        return self.file(file)

    def _unloaded(self, top: str) -> bool:
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return False
        if spec is None:
            return False
        places = [spec.origin] if spec.origin else []
        places += [path + "/x" for path in spec.submodule_search_locations or ()]
        return any(self.file(place) for place in places)

    def file(self, filename: str) -> bool:
        known = self.files.get(filename)
        if known is None:
            known = self.files[filename] = self._is_own(filename)
        return known

    def _is_own(self, filename: str) -> bool:
        if filename.startswith("<"):
            return filename.startswith(("<ipython", "<stdin", "<string", "<doctest"))
        path = str(Path(filename).resolve())
        parts = Path(path).parts
        if "site-packages" in parts or "dist-packages" in parts:
            return False
        if self.roots and "ipykernel" not in path:
            return any(path == root or path.startswith(root + "/") for root in self.roots)
        return not path.startswith(_INSTALLED)

    def function(self, fn: FunctionType) -> bool:
        top = _module_name(fn).partition(".")[0]
        if top in self.packages:
            return True
        return top not in _OURS and self.file(fn.__code__.co_filename)

    def type(self, kind: type) -> bool:
        return self.module(kind.__module__)


def _is_ours(value: object) -> bool:
    """Whether an object is of this library: such objects count by their identity alone."""
    kind = value if isinstance(value, type) else type(value)
    if isinstance(value, FunctionType):
        return value.__module__ is not None and value.__module__.partition(".")[0] in _OURS
    return kind.__module__.partition(".")[0] in _OURS


# --------------------------------------------------------------------------------------------
# Components

_Names = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """Something reached: ``kind`` and ``name`` are what people read, ``key`` tells items apart."""

    kind: str
    name: str
    key: object
    value: object
    holder: ModuleType | None = None


@dataclass(slots=True)
class _Component:
    """An item's own content, and what it names: (name as written, item or opaque text)."""

    content: list[object] = field(default_factory=list)
    links: list[tuple[str, _Item | str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Scope:
    """Where names are looked up: imports inside the function, closure, module."""

    imports: Mapping[str, Import]
    closure: Mapping[str, CellType]
    module: _Names
    owner: str


class Fingerprints:
    """Code versions of many functions in one go: what they share is read once.

    Use one for one moment: it does not notice what changes while it lives.
    """

    def __init__(self, project_roots: Sequence[str | Path] = ()) -> None:
        self._own = _Own(tuple(str(Path(root).resolve()) for root in project_roots))
        self._components: dict[object, tuple[_Item, _Component]] = {}
        self._elsewhere: dict[str, Fingerprints] = {}

    def _session_for(self, fn: object) -> Fingerprints:
        """This session, or one for a function that lies outside of the project's roots.

        An asset's function is the project's own wherever it lies (installed as a package, say),
        and so is the top-level package that it is in.
        """
        function = _function_behind(fn)
        if function is None or self._own.function(function) or _is_ours(function):
            return self
        top = _module_name(function).partition(".")[0]
        other = self._elsewhere.get(top)
        if other is None:
            other = self._elsewhere[top] = Fingerprints()
            other._own = _Own((), frozenset({"__main__", top}))
        return other

    def of(
        self,
        fn: Callable[..., Any] | None,
        *,
        version: str | None = None,
        extra: Mapping[str, object] | None = None,
        libraries: Sequence[str] = (),
        sql: str | None = None,
    ) -> CodeVersion:
        """See :func:`code_version`."""
        parts: dict[str, bytes] = {}
        warnings: list[str] = []
        if version is not None:
            parts[f"version {version}"] = digest("version", version)
        else:
            if fn is not None:
                self._session_for(fn)._follow(fn, parts, warnings)
            if sql is not None:
                parts["sql"] = _sql_digest(sql, "duckdb", warnings)
        self._add_extra(extra or {}, parts, warnings)
        for name in libraries:
            parts.update(_library_part(name, warnings))
        return _assemble(parts, warnings)

    def _add_extra(
        self, extra: Mapping[str, object], parts: dict[str, bytes], warnings: list[str]
    ) -> None:
        for name, value in extra.items():
            if isinstance(value, Mapping):
                items = {f"{name} {key}": item for key, item in value.items()}
            else:
                items = {name: value}
            for label, item in items.items():
                reader = _ValueReader(self, strict=True)
                parts[label] = digest("extra", reader.digest(item))
                self._walk(reader.links, parts, warnings)

    # -- the walk ---------------------------------------------------------------------------

    def _follow(self, fn: Callable[..., Any], parts: dict[str, bytes], warnings: list[str]) -> None:
        found = self.target(fn, "function")
        if isinstance(found, str):
            parts[f"function {_dotted(fn)}"] = digest("opaque", found)
            return
        if found.kind == "function":
            found = _Item(
                "function", found.name.rpartition(".")[2], ("root", found.key), found.value
            )
        self._walk([("", found)], parts, warnings)

    def _walk(
        self,
        links: Sequence[tuple[str, _Item | str]],
        parts: dict[str, bytes],
        warnings: list[str],
    ) -> None:
        """Add a part for everything reached. Labels are given in order of appearance."""
        labels: dict[object, str] = {}
        taken = set(parts)
        queue = [item for _, item in links if isinstance(item, _Item)]
        reached: list[_Item] = []
        for item in queue:  # grows while it is walked
            if item.key in labels:
                continue
            labels[item.key] = _free_label(f"{item.kind} {item.name}", taken)
            reached.append(item)
            queue += [to for _, to in self._component(item).links if isinstance(to, _Item)]
        for item in reached:
            component = self._component(item)
            bound = sorted(
                {
                    (name, to if isinstance(to, str) else labels[to.key])
                    for name, to in component.links
                }
            )
            parts[labels[item.key]] = digest(component.content, bound)
            warnings += component.warnings

    def _component(self, item: _Item) -> _Component:
        known = self._components.get(item.key)
        if known is None:
            component = _Component()
            # Kept before it is filled, as what it reaches may reach it; with the item itself,
            # so that the addresses that keys are made of are not used again.
            known = self._components[item.key] = (item, component)
            _EXPAND[item.kind](self, item, component)
        return known[1]

    # -- values -----------------------------------------------------------------------------

    def target(self, value: object, kind: str = "helper") -> _Item | str:
        """A function or class of the project as an item; anything else as opaque text."""
        for _ in range(_MAX_WRAPPERS):
            if isinstance(value, FunctionType | type | MethodType):
                break
            value = getattr(value, "__wrapped__", value)
        if isinstance(value, MethodType):
            value = value.__func__
        if _is_ours(value):
            return _identity(value)
        if isinstance(value, FunctionType) and (
            self._own.function(value) or next(self._hidden(value), None) is not None
        ):
            return _Item(kind, _dotted(value), id(value), value)
        if isinstance(value, type) and self._own.type(value):
            return _Item("class", _dotted(value), id(value), value)
        if isinstance(value, type | FunctionType | BuiltinFunctionType):
            return "library"
        return _Item("callable", _dotted(type(value)), ("callable", id(value)), value)

    # -- names ------------------------------------------------------------------------------

    def bind(self, uses: Uses, scope: _Scope, into: _Component, only: set[str] | None) -> None:
        """Link every name that is used to what it stands for."""
        for dotted, found in scope.imports.items():
            if "." in dotted and self._own_import(found, scope):
                self._load(_absolute(found, scope.module), into)
        for chain in uses.chains:
            if only is None or chain[0] in only or chain[0] in scope.imports:
                self._bind_chain(chain, scope, into, called=chain in uses.called)
        for name in uses.dynamic:
            if name not in scope.module:
                self._whole_module(scope.owner, f"{name}() in {scope.owner}", into)

    def _bind_chain(self, chain: Chain, scope: _Scope, into: _Component, *, called: bool) -> None:
        name, rest = chain[0], chain[1:]
        shown = ".".join(chain)
        if name in scope.imports:
            self._bind_import(scope.imports[name], rest, scope, into, called=called)
        elif name in scope.closure:
            self._bind_closure(name, rest, scope, into, called=called)
        elif name in scope.module and name not in _ABOUT_THE_MODULE:
            holder = sys.modules.get(scope.owner)
            library = self._imported_library(holder, name)
            if library:
                into.links.append((name, library))
            value = scope.module[name]
            self._bind_value(shown, value, (holder, scope.owner, name), rest, into, called=called)

    def _imported_library(self, holder: ModuleType | None, name: str) -> str:
        """Where a library's name comes from, as the import says it; empty for the project's own.

        Libraries rearrange their insides, so what an object calls itself must not count.
        """
        source = _module_source(holder)
        found = source.imported.get(name) if source else None
        if holder is None or found is None:
            return ""
        module = _absolute(found, vars(holder))
        return "" if self._own.module(module) else f"import {module} {found[2] or ''}".strip()

    def _bind_closure(
        self, name: str, rest: Chain, scope: _Scope, into: _Component, *, called: bool
    ) -> None:
        cell = scope.closure[name]
        try:
            value = cell.cell_contents
        except ValueError:  # not filled yet
            return
        if name == "__class__":
            return
        where = (None, "", name)
        if isinstance(value, ModuleType | FunctionType | type | MethodType) or _is_ours(value):
            self._bind_value(name, value, where, rest, into, called=called)
        else:
            item = _Item("closure", name, ("closure", id(cell)), value)
            into.links.append((name, item))

    def _own_import(self, found: Import, scope: _Scope) -> bool:
        return self._own.module(_absolute(found, scope.module))

    def _bind_import(
        self, found: Import, rest: Chain, scope: _Scope, into: _Component, *, called: bool
    ) -> None:
        """A name bound by an import inside the function."""
        name, attribute = _absolute(found, scope.module), found[2]
        if not self._own.module(name):
            return
        module = self._load(name, into)
        if module is None:
            return
        rest = rest if attribute is None else (attribute, *rest)
        self._bind_value(name, module, (None, "", name), rest, into, called=called)

    def _load(self, name: str, into: _Component) -> ModuleType | None:
        """A module of the project that a function imports; importing it is what it would do."""
        try:
            return importlib.import_module(name)
        except Exception as error:  # noqa: BLE001  # a module's own code may raise anything
            into.warnings.append(f"{name} can't be imported ({error}); its source counts.")
            into.content.append(("source of", name, _file_text(name)))
            return None

    def _bind_value(
        self,
        shown: str,
        value: object,
        where: tuple[ModuleType | None, str, str],
        rest: Chain,
        into: _Component,
        *,
        called: bool,
    ) -> None:
        """Link a value that was found under a name, having walked through modules first."""
        while isinstance(value, ModuleType):
            if not self._own.module(value.__name__):
                return
            if not rest:
                self._whole_module(value.__name__, f"{shown} is used as a value", into)
                return
            holder, attribute, rest = value, rest[0], rest[1:]
            value = _attribute(holder, attribute)
            where = (holder, holder.__name__, attribute)
            if value is _MISSING:
                into.warnings.append(f"{holder.__name__} has no {attribute!r}.")
                return
        if _is_ours(value):
            self._bind_ours(shown, value, into, called=called)
        elif isinstance(value, FunctionType | type | MethodType) or hasattr(value, "__wrapped__"):
            into.links.append((shown, self.target(value)))
            self._bind_function_attribute(value, rest, into)
            if isinstance(value, MethodType):
                self._constant(shown, value.__self__, where, into)
        else:
            self._constant(shown, value, where, into)

    def _bind_ours(self, shown: str, value: object, into: _Component, *, called: bool) -> None:
        """An asset and the like: its identity alone, unless the code calls its function."""
        into.links.append((shown, _identity(value)))
        function = None if isinstance(value, type) else getattr(value, "function", None)
        if called and callable(function):
            into.links.append((f"{shown}()", self.target(function)))

    @staticmethod
    def _bind_function_attribute(value: object, rest: Chain, into: _Component) -> None:
        own = getattr(value, "__dict__", {})
        if rest and isinstance(value, FunctionType) and rest[0] in own:
            item = _Item(
                "constant", f"{_dotted(value)}.{rest[0]}", (id(value), rest[0]), own[rest[0]]
            )
            into.links.append((".".join(rest), item))

    def _constant(
        self,
        shown: str,
        value: object,
        where: tuple[ModuleType | None, str, str],
        into: _Component,
    ) -> None:
        holder, module, name = self._origin(*where)
        if isinstance(holder, ModuleType) and not self._own.module(module):
            return
        item = _Item(
            "constant", f"{module}.{name}", ("constant", module, name, id(value)), value, holder
        )
        into.links.append((shown, item))

    def _origin(
        self, holder: ModuleType | None, module: str, name: str
    ) -> tuple[ModuleType | None, str, str]:
        """The module that a name was imported from, step by step."""
        for _ in range(20):
            source = _module_source(holder)
            found = source.imported.get(name) if source else None
            if source is None or found is None or found[2] is None or name in source.assigned:
                break
            origin = sys.modules.get(_absolute(found, vars(holder)))
            if origin is None:
                break
            holder, module, name = origin, origin.__name__, found[2]
        return holder, module, name

    def _whole_module(self, name: str, why: str, into: _Component) -> None:
        into.warnings.append(f"{why}: all of {name} counts.")
        into.links.append((name, _Item("module", name, ("module", name), name)))

    # -- expanding items --------------------------------------------------------------------

    def expand_function(self, item: _Item, into: _Component) -> None:
        fn = item.value
        assert isinstance(fn, FunctionType)
        if not self._own.function(fn):
            # A library's wrapper around something of the project: only what it hides counts.
            into.links += [(name, self.target(value)) for name, value in self._hidden(fn)]
            return
        unit = _unit_of(fn, annotated=item.kind == "function")
        cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False))
        scope = _Scope(unit.uses.imports if unit else {}, cells, fn.__globals__, _module_name(fn))
        if unit is None:
            self._without_source(fn, scope, into)
        else:
            into.content.append(unit.digest)
            self.bind(unit.uses, scope, into, names_of(fn.__code__))
            self.bind(unit.signature, scope, into, None)
            self._bind_decorators(unit.decorators, scope, into)
        self._bind_defaults(fn, item, into)
        wrapped = getattr(fn, "__wrapped__", None)
        if wrapped is not None:
            into.links.append(("__wrapped__", self.target(wrapped)))

    def _without_source(self, fn: FunctionType, scope: _Scope, into: _Component) -> None:
        into.warnings.append(
            f"The source of {_dotted(fn)} is not at hand or has changed since it was loaded; "
            "its bytecode counts."
        )
        into.content.append(("bytecode", code_digest(fn.__code__)))
        uses = Uses(chains=dict.fromkeys((name,) for name in sorted(names_of(fn.__code__))))
        self.bind(uses, scope, into, None)

    def _hidden(self, fn: FunctionType, depth: int = 5) -> Iterator[tuple[str, object]]:
        """Functions and classes of the project inside a library's wrapper (its closure)."""
        for name, value in _inside(fn):
            if isinstance(value, type):
                if self._own.type(value):
                    yield name, value
            elif self._own.function(value):
                yield name, value
            elif depth:
                yield from self._hidden(value, depth - 1)

    def _bind_decorators(
        self, decorators: Iterable[Decorator], scope: _Scope, into: _Component
    ) -> None:
        """Decorators of the project count; ours don't, as owner or checks don't change data."""
        for decorator in decorators:
            root = next(iter(decorator.uses.chains), None)
            value = _lookup(root[0], scope) if root else None
            if isinstance(value, ModuleType) and value.__name__.partition(".")[0] in _OURS:
                continue
            if value is not None and _is_ours(value):
                continue
            into.content.append(decorator.digest)
            self.bind(decorator.uses, scope, into, None)

    def _bind_defaults(self, fn: FunctionType, item: _Item, into: _Component) -> None:
        code = fn.__code__
        positional = code.co_varnames[: code.co_argcount]
        values = fn.__defaults__ or ()
        defaults = dict(zip(positional[len(positional) - len(values) :], values, strict=True))
        defaults.update(fn.__kwdefaults__ or {})
        prefix = "" if item.kind == "function" else f"{item.name.rpartition('.')[2]}."
        for name, value in defaults.items():
            found = _Item("default", prefix + name, ("default", id(fn), name), value)
            into.links.append((f"{name}=", found))

    def expand_class(self, item: _Item, into: _Component) -> None:
        kind = item.value
        assert isinstance(kind, type)
        module = sys.modules.get(kind.__module__)
        names: _Names = vars(module) if module else {}
        scope = _Scope({}, {}, names, kind.__module__)
        for base in kind.__bases__:
            into.links.append(("base", self.target(base)))
        if type(kind) is not type:
            into.links.append(("metaclass", self.target(type(kind))))
        source = _module_source(module) or _source_of_methods(kind)
        nodes = source.classes.get(kind.__qualname__) if source else None
        if source is None or not nodes:
            self._class_without_source(kind, source, scope, into)
            return
        for node in nodes:  # several where conditions decide which one it is
            unit = source.unit(node)
            into.content.append(unit.digest)
            self.bind(unit.uses, scope, into, None)
            self._bind_decorators(unit.decorators, scope, into)
            self._bind_methods(kind, unit.methods, into)

    def _bind_methods(self, kind: type, names: Iterable[str], into: _Component) -> None:
        own = vars(kind)
        added = [n for n, v in own.items() if isinstance(v, FunctionType) and self._written(v)]
        for name in dict.fromkeys([*names, *added]):
            for index, fn in enumerate(_functions_of(own.get(name))):
                into.links.append((f".{name}[{index}]", self.target(fn)))

    def _written(self, fn: FunctionType) -> bool:
        """Whether a person wrote the function (dataclasses and the like generate some)."""
        return self._own.function(fn) and not fn.__code__.co_filename.startswith("<string")

    def _class_without_source(
        self, kind: type, source: Source | None, scope: _Scope, into: _Component
    ) -> None:
        """A class made by a call (``namedtuple("P", "x y")``): the call counts, and its methods."""
        statements = source.assigned.get(kind.__qualname__) if source else None
        if statements:
            unit = expression_unit(statements)
            into.content.append(unit.digest)
            self.bind(_without(unit.uses, kind.__qualname__), scope, into, None)
        else:
            names = sorted(name for name in vars(kind) if not name.startswith("__"))
            into.content.append(("class", _dotted(kind), names))
            into.warnings.append(f"The source of class {_dotted(kind)} is not at hand.")
        self._bind_methods(kind, (), into)

    def expand_constant(self, item: _Item, into: _Component) -> None:
        source = _module_source(item.holder)
        name = item.name.rpartition(".")[2]
        state = source is not None and name in source.state
        places = (*self._own.roots, *_places(item.holder))
        reader = _ValueReader(self, strict=source is not None, places=places)
        if isinstance(item.value, str) and source is not None:
            # Where the project lies must not count: it may be moved, or cloned elsewhere.
            state = state or item.value.startswith(places)
        if not state:
            try:
                into.content.append(reader.digest(item.value))
            except UnhashableError:
                state = True
            else:
                into.links += reader.links
                into.warnings += reader.warnings
        if state:
            self._constant_by_source(item, name, source, into)
            # A registry that decorators fill while modules load: what it holds is code.
            held = (self.target(value) for value in _code_in(item.value))
            into.links += [("held", found) for found in held if isinstance(found, _Item)]

    def _constant_by_source(
        self, item: _Item, name: str, source: Source | None, into: _Component
    ) -> None:
        statements = source.assigned.get(name) if source else None
        if not statements or item.holder is None:
            kind = _dotted(type(item.value))
            into.content.append(("type", kind))
            into.warnings.append(f"{item.name} is no plain value; only its type counts ({kind}).")
            return
        unit = expression_unit(statements)
        into.content.append(unit.digest)
        scope = _Scope({}, {}, vars(item.holder), item.holder.__name__)
        self.bind(_without(unit.uses, name), scope, into, None)

    def expand_value(self, item: _Item, into: _Component) -> None:
        reader = _ValueReader(self)
        try:
            into.content.append(reader.digest(item.value))
        except UnhashableError as error:
            into.content.append(("type", _dotted(type(item.value))))
            reader.warnings.append(f"{error.message} Only its type counts.")
        into.links += reader.links
        into.warnings += [f"{item.kind} {item.name}: {text}" for text in reader.warnings]

    def expand_module(self, item: _Item, into: _Component) -> None:
        module = sys.modules.get(item.name)
        source = _module_source(module)
        if source is None or module is None:
            into.content.append(("module", item.name))
            return
        unit = expression_unit(source.tree.body)
        into.content.append(unit.digest)
        uses = Uses(unit.uses.chains, unit.uses.called)
        self.bind(uses, _Scope({}, {}, vars(module), item.name), into, None)


_EXPAND: dict[str, Callable[[Fingerprints, _Item, _Component], None]] = {
    "function": Fingerprints.expand_function,
    "helper": Fingerprints.expand_function,
    "class": Fingerprints.expand_class,
    "constant": Fingerprints.expand_constant,
    "closure": Fingerprints.expand_value,
    "default": Fingerprints.expand_value,
    "callable": Fingerprints.expand_value,
    "module": Fingerprints.expand_module,
}


class _ValueReader:
    """The digest of a value, with links to the functions and classes found inside it.

    Strict: UnhashableError for what is not plain. Otherwise an object of the project counts by
    its attributes, and anything else by its type, with a warning.
    """

    def __init__(
        self, session: Fingerprints, *, strict: bool = False, places: tuple[str, ...] = ()
    ) -> None:
        self._session = session
        self._strict = strict
        self._places = places or session._own.roots
        self._inside: dict[int, int] = {}
        self.links: list[tuple[str, _Item | str]] = []
        self.warnings: list[str] = []

    def digest(self, value: object) -> bytes:
        return digest(value, other=self._replace)

    def _replace(self, value: object) -> object:
        if isinstance(value, ModuleType):
            return ("module", value.__name__)
        if isinstance(value, FunctionType | type | BuiltinFunctionType):
            return self._link(value)
        if _is_ours(value):
            return _identity(value)
        if isinstance(value, PurePath):
            return self._replace_path(value)
        return self._replace_callable(value)

    def _replace_path(self, value: PurePath) -> object:
        """Where the project lies must not count: it may be moved, or cloned elsewhere."""
        place = next((p for p in self._places if value.is_relative_to(p)), None)
        if place is None:
            return NotImplemented
        if self._strict:
            raise UnhashableError(f"{value} lies inside the project.")
        return ("path in the project", value.relative_to(place).as_posix())

    def _link(self, value: object) -> object:
        found = self._session.target(value)
        self.links.append(("value", found))
        if isinstance(found, str):
            module, _, name = _dotted(value).rpartition(".")
            return ("library", module.partition(".")[0], name)
        return ("reference", f"{found.kind} {found.name}")

    def _replace_callable(self, value: Any) -> object:
        if isinstance(value, MethodType):
            return ("method", value.__func__, value.__self__)
        if isinstance(value, functools.partial):
            return ("partial", value.func, value.args, value.keywords)
        if isinstance(value, staticmethod | classmethod):
            return (type(value).__name__, value.__func__)
        if isinstance(value, MappingProxyType):
            return dict(value)
        if isinstance(value, defaultdict):
            return ("defaultdict", value.default_factory, dict(value))
        if hasattr(value, "__wrapped__") and callable(value):
            return self._link(value)
        return self._replace_object(value)

    def _replace_object(self, value: object) -> object:
        kind = type(value)
        own = self._session._own.type(kind)
        if own:
            self.links.append(("class", self._session.target(kind)))
        if is_known(value):
            return NotImplemented
        if self._strict:
            raise UnhashableError(f"{_dotted(kind)} is no plain value.")
        if own:
            return self._by_attributes(value)
        if kind.__eq__ is not object.__eq__ and (parts := _pickled(value)) is not None:
            return parts
        self.warnings.append(f"{_dotted(kind)} is no plain value; only its type counts.")
        return ("type", _dotted(kind))

    def _by_attributes(self, value: object) -> object:
        if id(value) in self._inside:
            return ("seen", self._inside[id(value)])
        self._inside[id(value)] = len(self._inside)
        return ("object", _dotted(type(value)), _attributes(value))


# --------------------------------------------------------------------------------------------
# Small helpers


def _library_part(name: str, warnings: list[str]) -> dict[str, bytes]:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        warnings.append(f"The library {name!r} is not installed; its version can't count.")
        version = "missing"
    return {f"library {name} {version}": digest("library", name, version)}


def _free_label(label: str, taken: set[str]) -> str:
    number, free = 1, label
    while free in taken:
        number += 1
        free = f"{label} ({number})"
    taken.add(free)
    return free


def _dotted(value: Any) -> str:
    module = getattr(value, "__module__", None) or ""
    name = getattr(value, "__qualname__", None) or type(value).__qualname__
    return f"{module}.{name}".lstrip(".")


def _identity(value: Any) -> str:
    """The opaque text for an object of this library, without where in it its class lies."""
    kind = value if isinstance(value, type | FunctionType) else type(value)
    describe = getattr(value, "identity", None)
    if describe is None or isinstance(value, type):
        return f"ours {kind.__qualname__}"
    return f"ours {kind.__qualname__} {digest(describe(), other=_unfollowed).hex()}"


def _unfollowed(value: object) -> object:
    return NotImplemented if is_known(value) else type(value).__qualname__


def _function_behind(fn: object) -> FunctionType | None:
    """The plain function inside wrappers, partials, methods and callable objects."""
    for _ in range(_MAX_WRAPPERS):
        if isinstance(fn, FunctionType):
            return fn
        if isinstance(fn, MethodType):
            fn = fn.__func__
        elif isinstance(fn, functools.partial):
            fn = fn.func
        else:
            method = getattr(type(fn), "__call__", None)  # noqa: B004  # the method itself
            fn = getattr(fn, "__wrapped__", None) or method
    return None


def _without(uses: Uses, name: str) -> Uses:
    """The uses of a name's assignment, but for the name itself."""
    return Uses({c: None for c in uses.chains if c[0] != name}, uses.called, uses.imports)


def _module_name(fn: FunctionType) -> str:
    return str(fn.__globals__.get("__name__", "__main__"))


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


def _lookup(name: str, scope: _Scope) -> object:
    if name in scope.closure:
        try:
            return scope.closure[name].cell_contents
        except ValueError:
            return None
    return scope.module.get(name)


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


def _code_in(value: object) -> list[FunctionType | type]:
    """Functions and classes that a dict or a list holds, in its order."""
    values: Iterable[object] = ()
    if isinstance(value, dict):
        values = value.values()
    elif isinstance(value, list):
        values = value
    return [one for one in values if isinstance(one, FunctionType | type)]


def _functions_of(value: object) -> Iterator[FunctionType]:
    """The functions behind an attribute of a class."""
    if isinstance(value, FunctionType):
        yield value
    elif isinstance(value, staticmethod | classmethod):
        yield from _functions_of(value.__func__)
    elif isinstance(value, property):
        for part in (value.fget, value.fset, value.fdel):
            yield from _functions_of(part)
    elif value is not None:
        for name in ("func", "fget", "__wrapped__"):
            inner = getattr(value, name, None)
            if inner is not None:
                yield from _functions_of(inner)
                return


def _pickled(value: object) -> tuple[object, ...] | None:
    """What a library's object that compares by its value would be made of again, None if nothing.

    One that is compared by identity (a connection, a lock) is no value.
    """
    try:
        made = value.__reduce_ex__(4)
    except Exception:  # noqa: BLE001  # a library's code may raise anything
        return None
    if isinstance(made, str):
        return ("pickled", made)
    make, arguments, state, items, pairs = (*made, None, None, None)[:5]
    module, _, name = _dotted(make).rpartition(".")
    origin = ("library", module.partition(".")[0], name)
    return ("pickled", origin, arguments, state, list(items or ()), list(pairs or ()))


def _attributes(value: object) -> dict[str, object]:
    found = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                found[name] = getattr(value, name)
    return found


def _module_source(module: ModuleType | None) -> Source | None:
    file = getattr(module, "__file__", None)
    return source_of(file) if file else None


def _source_of_methods(kind: type) -> Source | None:
    """The source of a class made in a notebook's cell, found through its functions."""
    for value in vars(kind).values():
        for fn in _functions_of(value) if not isinstance(value, type) else ():
            return source_of(fn.__code__.co_filename)
    return None


def _unit_of(fn: FunctionType, *, annotated: bool) -> Unit | None:
    found = function_source(fn.__code__)
    return found[0].unit(found[1], annotated=annotated) if found else None


def _file_text(module: str) -> str:
    """The text of a module that can't be imported."""
    try:
        spec = importlib.util.find_spec(module)
        return Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    except (ImportError, ValueError, OSError):
        return ""
