"""What has to be known of a whole piece of code before it is normalised; what is noise in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from assets_core.fingerprint.sql_tokens import files_named
from assets_core.fingerprint.syntax.unit import Chain

_OWN_FRAME = frozenset({"locals", "vars", "dir", "eval", "exec", "globals"})
QUERYING = frozenset(
    {"sql", "query", "execute", "executemany", "eval", "evaluate", "from_query", "sqldf"}
)
"""Methods that may read variables of their caller by the names in a text (DuckDB, pandas, …)."""

_LOGGING = frozenset(
    {"debug", "info", "warning", "warn", "error", "exception", "critical", "log", "trace"}
)
_WORD = re.compile(r"[^\W\d]\w*")
_READING = re.compile(
    r"_?(read|scan|load|safe_load|open$|from_csv|from_json|from_parquet|i?glob$"
    r"|exists$|is_?file$|stat$|getsize$|getmtime$)"
)
_FILE = re.compile(r"[\w./ *?\[\]-]{1,200}\.\w{1,10}")


@dataclass(frozen=True, slots=True)
class Overview:
    """What has to be known of a whole piece of code before it is normalised.

    ``pinned`` are names of variables that stay as they are written (None: all), ``valued`` names
    that are used otherwise than by calling them by position, ``loaded`` all that are read.
    """

    pinned: frozenset[str] | None
    valued: frozenset[str]
    loaded: frozenset[str]
    words: frozenset[str]
    resources: tuple[str, ...] | None
    files: tuple[str, ...]

    @classmethod
    def of(cls, nodes: Sequence[ast.AST]) -> Overview:
        called: set[int] = set()
        loaded: set[str] = set()
        valued: set[str] = set()
        words: set[str] = set()
        files: dict[str, None] = {}
        own_frame = False
        for node in _walk(nodes):
            if isinstance(node, ast.Call):
                if isinstance(node.func, ast.Name) and not node.keywords:
                    called.add(id(node.func))
                files.update(dict.fromkeys(_files_read(node)))
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                loaded.add(node.id)
                own_frame |= node.id in _OWN_FRAME
                if id(node) not in called:
                    valued.add(node.id)
            elif isinstance(node, ast.Attribute):
                own_frame |= node.attr in QUERYING
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.update(_WORD.findall(node.value))
        return cls(
            # A text may name a variable for whoever looks into this frame.
            pinned=None if own_frame else frozenset(words),
            valued=frozenset(valued),
            loaded=frozenset(loaded),
            words=frozenset(words),
            resources=_resources(nodes),
            files=tuple(files),
        )


def _files_read(call: ast.Call) -> list[str]:
    """The texts in a call that reads, by its name, which look like names of files.

    Not those of a call that may write: what code makes itself would look changed each time.
    """
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    constants = (node.value for node in ast.walk(call) if isinstance(node, ast.Constant))
    if name in QUERYING and isinstance(call.func, ast.Attribute):
        return [f for text in constants if isinstance(text, str) for f in files_named(text)]
    if not _READING.match(name) or (name == "open" and _may_write(call)):
        return []
    return [text for text in constants if isinstance(text, str) and _FILE.fullmatch(text)]


def _may_write(call: ast.Call) -> bool:
    """Whether a call of ``open`` has another mode than one that only reads."""
    is_method = isinstance(call.func, ast.Attribute)
    modes = [k.value for k in call.keywords if k.arg == "mode"] or call.args[
        0 if is_method else 1 :
    ]
    return any(
        not isinstance(mode, ast.Constant)
        or (isinstance(mode.value, str) and not set(mode.value) <= set("rbt"))
        for mode in modes[:1]
    )


def _resources(nodes: Sequence[ast.AST]) -> tuple[str, ...] | None:
    """The names looked up in ``.resources``, empty where one is computed; None without any."""
    every = [node for top in nodes for node in ast.walk(top)]
    found = [n for n in every if isinstance(n, ast.Attribute) and n.attr == "resources"]
    if not found:
        return None
    names = {
        id(node.value): node.slice.value
        for node in every
        if isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
    }
    if any(id(node) not in names for node in found):
        return ()
    return tuple(sorted({names[id(node)] for node in found}))


def _walk(nodes: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Every node, parents first, but for docstrings, annotations and the texts of messages."""
    todo = [node for node in reversed(nodes) if not is_noise(node)]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.Expr) and is_message(node.value):
            yield node.value
            todo += [node.value.func, *(k.value for k in node.value.keywords)]
            for argument in node.value.args:
                parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
                todo += [part for part in parts if not isinstance(part, ast.Constant)]
            continue
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns") and not isinstance(node, ast.AnnAssign):
                continue
            inner = value if isinstance(value, list) else [value]
            todo += [n for n in inner if isinstance(n, ast.AST) and not is_noise(n)]


def is_noise(node: object) -> bool:
    """Docstrings, ``pass``, ``...`` and other statements that do nothing."""
    return isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


def is_message(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether a call prints or logs, by its looks."""
    if not isinstance(node, ast.Call):
        return False
    chain = chain_of(node.func)
    if chain == ("print",):
        return all(keyword.arg in ("end", "sep", "flush") for keyword in node.keywords)
    return chain is not None and len(chain) > 1 and chain[-1] in _LOGGING


def chain_of(node: ast.AST) -> Chain | None:
    """``a.b.c`` as a chain; None when it does not begin with a name."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return (node.id, *reversed(attributes)) if isinstance(node, ast.Name) else None
