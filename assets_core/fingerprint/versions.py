"""Code versions: one fingerprint of everything that would build an asset, and its named parts."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

from assets_core.fingerprint.following.follower import Follower
from assets_core.fingerprint.following.items import (
    SEES_NAMES,
    SEES_SOURCE,
    About,
    Component,
    Item,
)
from assets_core.fingerprint.hashing import digest
from assets_core.fingerprint.linked import Link, Rooted
from assets_core.fingerprint.ownership import Own, dotted, is_ours, module_name
from assets_core.fingerprint.sql_tokens import sql_tokens
from assets_core.fingerprint.values import MAX_WRAPPERS, ValueReader

_SHORT = 12

FORM = "2"
"""The form of fingerprints of functions; those of SQL alone still have the first."""
FORM_PART = "fingerprint"
"""The name under which the form of a code version is kept with its parts, from the second on."""


@dataclass(frozen=True, slots=True)
class CodeVersion:
    """What would build an asset, as one fingerprint and as its named parts.

    ``hex`` is 32 hexadecimal digits. ``parts`` maps a readable name of each component
    ("function clean", "helper definitions.cleaning.scale", "constant definitions.cleaning.LIMIT",
    "config threshold", "library numpy 2.4.6", …) to a short hash of it. ``warnings`` say what
    could not be followed and what counts in its stead. ``form`` is that of the fingerprint:
    versions of different forms can't be compared.
    """

    hex: str
    parts: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    form: str = "1"


def stored_parts(version: CodeVersion) -> dict[str, str]:
    """The parts of a version as they are recorded: with its form, where that is not the first."""
    return {**version.parts, **({FORM_PART: version.form} if version.form != "1" else {})}


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
        project_roots: folders whose location does not count in values: the project may be moved.
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
    return _assemble({"sql": _sql_digest(text, dialect, warnings)}, {}, warnings)


def _sql_digest(text: str, dialect: str, warnings: list[str]) -> bytes:
    tokens = sql_tokens(text)
    if tokens is None:
        warnings.append("The SQL ends inside a string, a name or a comment; its text counts.")
        return digest("sql text", dialect, text.split())
    return digest("sql", dialect, tokens)


def _assemble(
    content: Mapping[str, bytes], parts: Mapping[str, str], warnings: Iterable[str]
) -> CodeVersion:
    """``content`` decides; ``parts`` are what is shown of it in more detail."""
    own = {name: one.hex()[:_SHORT] for name, one in content.items() if name != _FUNCTION}
    shown = dict(sorted({**parts, **own}.items()))
    # What is made by SQL alone has the form that it always had.
    form = FORM if _FUNCTION in content else "1"
    hex_version = digest(f"code{form}", dict(content)).hex()
    return CodeVersion(hex_version, shown, tuple(dict.fromkeys(warnings)), form)


_FUNCTION = "function"


class Fingerprints:
    """Code versions of many functions in one go: what they share is read once.

    Use one for one moment: it does not notice what changes while it lives.
    """

    def __init__(
        self,
        project_roots: Sequence[str | Path] = (),
        *,
        own_folders: Sequence[str] = (),
        about: About | None = None,
    ) -> None:
        """``own_folders`` hold code of the project wherever they lie."""
        roots = tuple(str(Path(root).resolve()) for root in project_roots)
        self._about = about or About()
        self._sessions = {"": self._session(Own(roots, tuple(own_folders)))}

    def _session(self, own: Own) -> _Session:
        return _Session(Follower(own, self._about))

    def _session_for(self, fn: object) -> _Session:
        """The session for a function: one of its own for an installed package's.

        An asset's function is the project's own wherever it lies (installed as a package, say),
        and so is the top-level package that it is in.
        """
        first = self._sessions[""]
        function = _function_behind(fn)
        if function is None or first.follower.own.function(function) or is_ours(function):
            return first
        top = module_name(function).partition(".")[0]
        if top not in self._sessions:
            self._sessions[top] = self._session(Own((), (), frozenset({"__main__", top})))
        return self._sessions[top]

    def of(
        self,
        fn: Callable[..., Any] | None,
        *,
        version: str | None = None,
        extra: Mapping[str, object] | None = None,
        libraries: Sequence[str] = (),
        sql: str | None = None,
        read: Mapping[str, bytes] | None = None,
    ) -> CodeVersion:
        """See :func:`code_version`. ``read`` are parts that count as they are, by name."""
        content: dict[str, bytes] = dict(read or {})
        parts: dict[str, str] = {}
        warnings: list[str] = []
        if version is not None:
            content[f"version {version}"] = digest("version", version)
        else:
            if fn is not None:
                content[_FUNCTION] = self._session_for(fn).function(fn, parts, warnings)
            if sql is not None:
                content["sql"] = _sql_digest(sql, "duckdb", warnings)
        for name, value in (extra or {}).items():
            items: dict[str, object] = {name: value}
            if isinstance(value, Mapping):
                items = {f"{name} {key}": item for key, item in value.items()}
            for label, item in items.items():
                content[label] = self._sessions[""].extra(item, parts, warnings)
        for name in libraries:
            content.update(_library_part(name, warnings))
        return _assemble(content, parts, warnings)


class _Session:
    """The digests of what one follower finds, in both forms."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self._lean: Rooted = Rooted(functools.partial(self._look, full=False))
        self._full: Rooted = Rooted(functools.partial(self._look, full=True))
        self._parts: dict[tuple[Item, bool], str] = {}

    def _look(self, item: Any, *, full: bool) -> tuple[object, Sequence[Link], frozenset[str]]:
        component = self.follower.component(item)
        content = [component.content, component.full if full else component.lean]
        found = [*component.links, *component.more] if full else component.links
        links: list[Link] = [
            ((to, tail), None) if isinstance(to, str) else (tail, to) for _, to, tail in found
        ]
        return content, links, frozenset(component.marks)

    def function(self, fn: Any, parts: dict[str, str], warnings: list[str]) -> bytes:
        """The digest of a function with all that it reaches; adds its parts and warnings."""
        root = self.follower.root(fn)
        if isinstance(root, str):
            parts[f"function {dotted(fn)}"] = digest("opaque", root).hex()[:_SHORT]
            return digest("opaque", root)
        function = _function_behind(fn)
        module = module_name(function) if function is not None else ""
        items = [root, *self.follower.modules.effects(module, self._lean.marks)]
        if any(SEES_SOURCE in self._lean.marks(item) for item in items):
            items += self.follower.modules.texts(module)
        return self._roots(items, parts, warnings)

    def extra(self, value: object, parts: dict[str, str], warnings: list[str]) -> bytes:
        """The digest of a value, with all that it refers to."""
        found = Component()
        reader = ValueReader(
            lambda one: self.follower.held.referred(one, found),
            self.follower.own.type,
            self.follower.own.roots,
            in_order=False,
            in_code=False,
        )
        content = reader.digest(value)
        items = [to for _, to, _ in found.links if isinstance(to, Item)]
        return digest("extra", content, *([self._roots(items, parts, warnings)] if items else []))

    def _roots(self, items: Sequence[Item], parts: dict[str, str], warnings: list[str]) -> bytes:
        full = any(SEES_NAMES in self._lean.marks(item) for item in items)
        self._add_parts(items, full, parts, warnings)
        form = self._full if full else self._lean
        return digest("roots", [form.digest(item) for item in items])

    def _add_parts(
        self, items: Sequence[Item], full: bool, parts: dict[str, str], warnings: list[str]
    ) -> None:
        """A part for everything reached. Labels are given in order of appearance."""
        queue, seen = list(items), set()
        taken = set(parts)
        for item in queue:  # grows while it is walked
            if item.key in seen:
                continue
            seen.add(item.key)
            component = self.follower.component(item)
            if item.kind not in _UNSHOWN:
                parts[_free_label(f"{_shown_kind(item)} {item.name}", taken)] = self._part(
                    item, component, full
                )
            warnings += component.warnings
            links = [*component.links, *component.more] if full else component.links
            queue += [to for _, to, _ in links if isinstance(to, Item)]

    def _part(self, item: Item, component: Component, full: bool) -> str:
        known = self._parts.get((item, full))
        if known is None:
            own = component.full if full else component.lean
            bound = [
                (shown, to if isinstance(to, str) else f"{to.kind} {to.name}", tail)
                for shown, to, tail in component.links
            ]
            known = digest(component.content, own, bound).hex()[:_SHORT]
            self._parts[item, full] = known
        return known


_UNSHOWN = frozenset({"callable"})
_KINDS = {"attribute": "class value", "with imports": "module"}


def _shown_kind(item: Item) -> str:
    return _KINDS.get(item.kind, item.kind)


def _free_label(label: str, taken: set[str]) -> str:
    number, free = 1, label
    while free in taken:
        number += 1
        free = f"{label} ({number})"
    taken.add(free)
    return free


def _library_part(name: str, warnings: list[str]) -> dict[str, bytes]:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        warnings.append(f"The library {name!r} is not installed; its version can't count.")
        version = "missing"
    return {f"library {name} {version}": digest("library", name, version)}


def _function_behind(fn: object) -> FunctionType | None:
    """The plain function inside wrappers, partials, methods and callable objects."""
    for _ in range(MAX_WRAPPERS):
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


# --------------------------------------------------------------------------------------------
# Telling what changed


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
        brief = f"{kind} {path.rpartition('.')[2]}".strip() if kind in _WITH_MODULE else name
        short.setdefault(brief, []).append(name)
    return {
        name: brief if len(several) == 1 else name
        for brief, several in short.items()
        for name in several
    }


_WITH_MODULE = frozenset({"function", "helper", "class", "constant"})
