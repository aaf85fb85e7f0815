"""Source files: found, parsed, and looked up by the code objects that were compiled from them.

Parsing and normalising a file is slow, and files seldom change; what was found out about a text is
therefore kept by the text's own hash, in memory and (see `remembered`) in a cache on disk.
"""

from __future__ import annotations

import ast
import json
import linecache
import os
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, TypeVar, cast

from assets_core.fingerprint.syntax import (
    FunctionNode,
    Import,
    Sees,
    Unit,
    Use,
    class_unit,
    expression_unit,
    function_unit,
    imports_of,
)
from assets_core.hashing import digest

_MUTATING = frozenset(
    {"append", "appendleft", "extend", "insert", "add", "update", "setdefault"}
    | {"pop", "popitem", "popleft", "remove", "discard", "clear", "__setitem__"}
)


@dataclass(slots=True)
class Source:
    """What a file says.

    ``functions``: units by the key of the code that was compiled from them, with their lines.
    ``classes``: units by qualified name, several where conditions choose. ``imported``: what the
    module's own statements import, by name; ``modules``: all modules that they import.
    ``assigned``: the statements that bind a name (or change what it holds), as one unit.
    ``state``: names that functions change while they run. ``unordered``: names made of sets.
    ``effects``: statements that do something instead of binding a name.
    """

    text: str = field(default="", repr=False)
    functions: Mapping[str, list[tuple[int, Unit]]] = field(default_factory=dict)
    classes: Mapping[str, list[Unit]] = field(default_factory=dict)
    imported: dict[str, Import] = field(default_factory=dict)
    modules: list[Import] = field(default_factory=list)
    assigned: Mapping[str, Unit] = field(default_factory=dict)
    state: frozenset[str] = frozenset()
    unordered: frozenset[str] = frozenset()
    effects: list[Unit] = field(default_factory=list)
    _whole: Unit | None = field(default=None, repr=False)

    @property
    def whole(self) -> Unit:
        """All of it as one unit; made when it is asked for, as that is seldom."""
        if self._whole is None:
            self._whole = expression_unit(ast.parse(self.text).body)
        return self._whole

    def function(self, code: CodeType) -> Unit | None:
        """The unit that a code object was compiled from; None when the file says otherwise now."""
        found = self.functions.get(code_key(code))
        if not found:
            return None
        # Equal code stands at several places (two lambdas, say): the one of this line first.
        return next((unit for line, unit in found if line == code.co_firstlineno), found[0][1])


# --------------------------------------------------------------------------------------------
# Reading a text


def read_source(text: str, filename: str) -> Source:
    """Everything about a text. SyntaxError or ValueError when it is no Python."""
    tree = ast.parse(text)
    nodes: dict[tuple[int, str], list[FunctionNode]] = {}
    classes: dict[str, list[Unit]] = {}
    _index(tree, "", nodes, classes)
    functions = _place(compile(text, filename, "exec", dont_inherit=True), nodes)
    source = Source(text, functions, classes)
    statements: dict[str, list[ast.stmt]] = {}
    _index_names(tree.body, source, statements)
    source.assigned = {name: expression_unit(found) for name, found in statements.items()}
    source.unordered = frozenset(
        name for name, found in statements.items() if any(map(_makes_sets, found))
    )
    source.state = _mutated_in_functions(tree)
    source.effects = [expression_unit([one]) for one in _effects(tree.body)]
    return source


def _index(
    node: ast.AST,
    path: str,
    nodes: dict[tuple[int, str], list[FunctionNode]],
    classes: dict[str, list[Unit]],
) -> None:
    for child in ast.iter_child_nodes(node):
        below = path
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            line = min([child.lineno, *(d.lineno for d in child.decorator_list)])
            nodes.setdefault((line, child.name), []).append(child)
            below = f"{path}{child.name}.<locals>."
        elif isinstance(child, ast.Lambda):
            nodes.setdefault((child.lineno, "<lambda>"), []).append(child)
            below = f"{path}<lambda>.<locals>."
        elif isinstance(child, ast.ClassDef):
            classes.setdefault(path + child.name, []).append(class_unit(child))
            below = f"{path}{child.name}."
        _index(child, below, nodes, classes)


def _place(
    top: CodeType, nodes: Mapping[tuple[int, str], list[FunctionNode]]
) -> dict[str, list[tuple[int, Unit]]]:
    """The unit of each code object, by what it does."""
    placed: dict[str, list[tuple[int, Unit]]] = {}
    units: dict[int, Unit] = {}
    for code in _nested_code(top):
        found = nodes.get((code.co_firstlineno, code.co_name), [])
        node = found[0] if len(found) == 1 else _node_at(found, code)
        if node is None:
            continue
        if id(node) not in units:
            units[id(node)] = function_unit(node)
        placed.setdefault(code_key(code), []).append((code.co_firstlineno, units[id(node)]))
    return placed


def _index_names(
    statements: Sequence[ast.stmt],
    into: Source,
    assigned: dict[str, list[ast.stmt]],
    top: ast.stmt | None = None,
) -> None:
    """What the module's own statements bind, also inside ``if``, ``try``, ``with``, ``for``.

    A name is assigned by the outermost statement, as what stands around it may decide.
    """
    for statement in statements:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for name, found in imports_of(statement):
                into.imported[name] = found
                into.modules.append(found)
            continue
        for name in _targets(statement):
            known = assigned.setdefault(name, [])
            if (top or statement) not in known:
                known.append(top or statement)
        for block in _blocks(statement):
            _index_names(block, into, assigned, top or statement)


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        yield getattr(statement, name, [])
    for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        yield part.body


def _targets(statement: ast.stmt) -> set[str]:
    """Module names that a simple statement (or the head of a compound one) sets or changes."""
    names: set[str] = set()
    for node in _head(statement):
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store | ast.Del):
                names.add(part.id)
        names.update(_changed(node))
    return names


def _head(statement: ast.stmt) -> list[ast.AST]:
    """The statement itself, or what a compound statement says before its blocks."""
    if not hasattr(statement, "body"):
        return [statement]
    blocks = ("body", "orelse", "finalbody", "handlers", "cases")
    return [
        node
        for name, value in ast.iter_fields(statement)
        if name not in blocks
        for node in (value if isinstance(value, list) else [value])
        if isinstance(node, ast.AST)
    ]


def _changed(tree: ast.AST) -> Iterator[str]:
    """Names whose objects are changed: ``x[k] = v``, ``x.a = v``, ``x.append(v)``, ``x += v``."""
    for node in ast.walk(tree):
        target: ast.AST | None = None
        if isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load):
            target = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            target = node.func.value if node.func.attr in _MUTATING else None
        while isinstance(target, ast.Subscript | ast.Attribute):
            target = target.value
        if isinstance(target, ast.Name):
            yield target.id


def _mutated_in_functions(tree: ast.Module) -> frozenset[str]:
    """Module names that functions change while they run: state, not constants."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            own = {a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)}
            own |= {
                n.id
                for n in ast.walk(node)
                if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
            }
            names.update(set(_changed(node)) - own)
            for statement in ast.walk(node):
                if isinstance(statement, ast.Global):
                    names.update(statement.names)
    return frozenset(names)


def _makes_sets(statement: ast.stmt) -> bool:
    """Whether the order of what a statement makes may come from a set."""
    return any(
        isinstance(node, ast.Set | ast.SetComp)
        or (isinstance(node, ast.Name) and node.id in ("set", "frozenset"))
        for node in ast.walk(statement)
    )


def _effects(statements: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, the outermost, in which something is done and no name is bound."""
    for statement in statements:
        if not _is_main_guard(statement) and any(_acts(one) for one in _simple(statement)):
            yield statement


def _simple(statement: ast.stmt) -> Iterator[ast.stmt]:
    """The statement, or those within a compound one that the module runs itself."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return
    yield statement
    for block in _blocks(statement):
        for inner in block:
            yield from _simple(inner)


def _acts(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Call | ast.Await)
    if isinstance(statement, ast.Delete):
        return True
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AugAssign | ast.AnnAssign):
        targets = [statement.target]
    return any(isinstance(one, ast.Attribute | ast.Subscript) for one in targets)


def _is_main_guard(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and any(
        isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(statement.test)
    )


# --------------------------------------------------------------------------------------------
# Code objects


def _nested_code(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _nested_code(constant)


def _node_at(nodes: list[FunctionNode], code: CodeType) -> FunctionNode | None:
    """Which of several functions of one line: the innermost that holds the code's positions."""
    spots = [(p[0], p[2]) for p in code.co_positions() if p[0] is not None and p[2] is not None]
    spots = [spot for spot in spots if spot != (code.co_firstlineno, 0)]
    if not spots:
        return None
    line, column = spots[-1]
    inside = [n for n in nodes if (n.lineno, n.col_offset) <= (line, column) <= _end(n)]
    return max(inside, key=lambda n: (n.lineno, n.col_offset), default=None)


def _end(node: FunctionNode) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or node.col_offset


def code_key(code: CodeType) -> str:
    """What a code object is called and does, wherever its lines stand; of this interpreter only."""
    hasher = blake2b(code.co_qualname.encode(), digest_size=12)
    _feed(hasher, code)
    return hasher.hexdigest()


def _feed(hasher: Any, code: CodeType) -> None:
    hasher.update(code.co_code)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_argcount)
    hasher.update(repr((names, code.co_flags)).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            hasher.update(constant.co_name.encode())
            _feed(hasher, constant)
        elif isinstance(constant, frozenset):  # in another order in each process
            hasher.update(repr(sorted(map(repr, constant))).encode())
        else:
            hasher.update(repr(constant).encode())


def names_of(code: CodeType) -> set[str]:
    """Every global, free and attribute name of a code object and of those within it."""
    names = {*code.co_names, *code.co_freevars}
    for inner in _nested_code(code):
        names.update(inner.co_names)
    return names


def code_digest(code: CodeType) -> bytes:
    """A code object's content without positions and docstrings, where there is no source."""
    constants = [
        code_digest(constant) if isinstance(constant, CodeType) else constant
        for constant in code.co_consts
    ]
    if constants and isinstance(constants[0], str) and code.co_flags & 0x2:
        constants[0] = None  # CO_NEWLOCALS: a function, whose first constant is its docstring
    return digest(code.co_code, code.co_names, code.co_varnames, code.co_freevars, tuple(constants))


# --------------------------------------------------------------------------------------------
# Finding sources

_sources: dict[str, tuple[object, list[Source]]] = {}
_known: dict[str, Source | list[Any]] = {}
"""What was found out about texts, by their hash: as it is used, or as it was kept."""
_KEPT = 4
_Made = TypeVar("_Made")


class Files:
    """Source files as they are at one moment: each is looked at once."""

    def __init__(self) -> None:
        self._seen: dict[str, list[Source]] = {}

    def of(self, filename: str) -> Source | None:
        """The file (or notebook cell); None without any source."""
        return next(iter(self._versions(filename)), None)

    def of_module(self, module: ModuleType | None) -> Source | None:
        """The source of a module that lies in a file."""
        file = getattr(module, "__file__", None)
        return self.of(file) if file else None

    def unit(self, code: CodeType) -> Unit | None:
        """The unit that a code object was compiled from.

        A file may have been edited since it was imported: then the text that was read before is
        the one that counts, and where nobody read that, None.
        """
        found = (source.function(code) for source in self._versions(code.co_filename))
        return next((unit for unit in found if unit is not None), None)

    def _versions(self, filename: str) -> list[Source]:
        known = self._seen.get(filename)
        if known is None:
            known = self._seen[filename] = _versions_of(filename)
        return known


def _versions_of(filename: str) -> list[Source]:
    """What the file says now, then what it said when it was read before."""
    stamp = _stamp(filename)
    known = _sources.get(filename)
    if known is not None and known[0] == stamp:
        return known[1]
    older = known[1][: _KEPT - 1] if known else []
    try:
        text = _read(filename)
        versions = [_of_text(text, filename), *older] if text else older
    except (SyntaxError, ValueError):
        versions = older
    _sources[filename] = (stamp, versions)
    return versions


def _of_text(text: str, filename: str) -> Source:
    key = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    found = _known.get(key)
    if isinstance(found, list):
        with suppress(ValueError, TypeError, KeyError, IndexError):
            found = _restored(found, text)
    if not isinstance(found, Source):
        found = read_source(text, filename)
        _fresh.add(key)
    _known[key] = found
    _used.add(key)
    return found


def _stamp(filename: str) -> object:
    try:
        found = os.stat(filename)  # noqa: PTH116  # asked for every file of every command
    except (OSError, ValueError):
        entry = linecache.cache.get(filename)
        return id(entry) if entry is not None else None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(filename: str) -> str:
    if filename.endswith((".pyc", ".so", ".pyd")):
        return ""
    try:
        with tokenize.open(filename) as file:
            return file.read()
    except (OSError, ValueError):
        return "".join(linecache.getlines(filename))


# --------------------------------------------------------------------------------------------
# The cache on disk

_CACHE = "code.json"
_FORM = f"10 {sys.implementation.cache_tag} {sys.flags.optimize}"
"""What a cache must have been written by: keys of code objects are the interpreter's own."""
_fresh: set[str] = set()
_used: set[str] = set()


@contextmanager
def remembered(folder: Path) -> Iterator[None]:
    """Keep what is found out about texts in ``folder``, and use what was kept there.

    A cache: it may be deleted, and where it can't be written nothing is kept.
    """
    path = folder / _CACHE
    with suppress(OSError, ValueError):
        kept = json.loads(path.read_bytes())
        if isinstance(kept, dict) and kept.get("form") == _FORM:
            for key, rows in kept["texts"].items():
                _known.setdefault(key, rows)
    _fresh.clear()
    yield
    if not _fresh:
        return
    texts = {key: _rows(_known[key]) for key in _used}
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps({"form": _FORM, "texts": texts}), encoding="utf-8")
        fresh.replace(path)


def _rows(source: Source | list[Any]) -> list[Any]:
    """A source as JSON has it: its units in one list, and what refers to them by number."""
    if isinstance(source, list):
        return source
    units: list[list[Any]] = []
    numbers: dict[Unit, int] = {}
    uses: dict[Use, int] = {}

    def used(several: Iterable[Use]) -> list[int]:
        return [uses.setdefault(one, len(uses)) for one in several]

    def number(unit: Unit | None) -> int:
        if unit is None:
            return -1
        if unit not in numbers:
            row = [
                unit.lean.hex(),
                unit.full.hex(),
                used(unit.uses),
                [[list(chain), text.hex()] for chain, text in unit.texts],
                list(unit.dynamic),
                unit.sees,
                unit.queries,
                list(unit.files),
                unit.resources,
                list(unit.words),
                [number(one) for one in unit.decorators],
                number(unit.notes),
                number(unit.returns),
                used(unit.acts),
                list(unit.methods),
                unit.name,
            ]
            numbers[unit] = len(units)
            units.append(row)
        return numbers[unit]

    rest = [
        {k: [[line, number(u)] for line, u in found] for k, found in source.functions.items()},
        {k: [number(u) for u in found] for k, found in source.classes.items()},
        {k: list(i) for k, i in source.imported.items()},
        [list(i) for i in source.modules],
        {k: number(u) for k, u in source.assigned.items()},
        sorted(source.state),
        sorted(source.unordered),
        [number(u) for u in source.effects],
    ]
    return [[_use_row(one) for one in uses], units, *rest]


def _restored(rows: list[Any], text: str) -> Source:
    uses, of_units, functions, classes, imported, modules, assigned, state, sets, effects = rows
    units = _Units(of_units, [_use(*one) for one in uses])
    return Source(
        text,
        functions=_Lazy(functions, lambda found: [(line, units[i]) for line, i in found]),
        classes=_Lazy(classes, lambda found: [units[i] for i in found]),
        imported={k: _import(i) for k, i in imported.items()},
        modules=[_import(i) for i in modules],
        assigned=_Lazy(assigned, lambda i: units[i]),
        state=frozenset(state),
        unordered=frozenset(sets),
        effects=[units[i] for i in effects],
    )


class _Units:
    """Units made of their rows when they are asked for: most of a file's are not."""

    def __init__(self, rows: list[list[Any]], uses: list[Use]) -> None:
        self._rows = rows
        self._uses = uses
        self._made: dict[int, Unit] = {}

    def __getitem__(self, number: int) -> Unit:
        made = self._made.get(number)
        if made is None:
            made = self._made[number] = self._make(*self._rows[number])
        return made

    def _make(
        self,
        lean: str,
        full: str,
        uses: list[int],
        texts: list[Any],
        dynamic: list[str],
        sees: Sees,
        queries: bool,
        files: list[str],
        resources: list[str] | None,
        words: list[str],
        decorators: list[int],
        notes: int,
        returns: int,
        acts: list[int],
        methods: list[str],
        name: str,
    ) -> Unit:
        return Unit(
            lean=bytes.fromhex(lean),
            full=bytes.fromhex(full),
            uses=tuple([self._uses[i] for i in uses]),
            texts=tuple((tuple(chain), bytes.fromhex(text)) for chain, text in texts),
            dynamic=tuple(dynamic),
            sees=sees,
            queries=queries,
            files=tuple(files),
            resources=None if resources is None else tuple(resources),
            words=tuple(words),
            decorators=tuple(self[i] for i in decorators),
            notes=self[notes] if notes >= 0 else None,
            returns=self[returns] if returns >= 0 else None,
            acts=tuple([self._uses[i] for i in acts]),
            methods=tuple(methods),
            name=name,
        )


class _Lazy(Mapping[str, _Made]):
    """A mapping whose values are made of what was kept, when they are asked for."""

    def __init__(self, kept: dict[str, Any], make: Callable[[Any], _Made]) -> None:
        self._kept = kept
        self._make = make
        self._values: dict[str, _Made] = {}

    def __getitem__(self, key: str) -> _Made:
        if key not in self._values:
            self._values[key] = self._make(self._kept[key])
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


def _use_row(use: Use) -> list[Any]:
    return [list(use.chain), use.how, [list(one) for one in use.imports]]


def _use(chain: list[str], how: str, imports: Iterable[list[Any]]) -> Use:
    return Use(tuple(chain), cast("Any", how), tuple(map(_import, imports)))


def _import(row: list[Any]) -> Import:
    level, module, name = row
    return level, module, name
