"""Source text as normalised syntax: what a function or query says, and by which names.

Files are parsed once and looked up by where a code object says it came from. What the names stand
for is not decided here but in ``fingerprint``.
"""

from __future__ import annotations

import ast
import copy
import linecache
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any, TypeGuard

from assets_core.hashing import digest

Chain = tuple[str, ...]
"""A name and the attributes that follow it: ``helpers.scale.limit``."""

Import = tuple[int, str, str | None]
"""Level of dots, module, and the name taken from it (None: the module itself)."""

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_DYNAMIC = frozenset({"eval", "exec", "globals", "__import__"})
_IMPORTING = frozenset({("import_module",), ("importlib", "import_module")})
_MUTATING = frozenset(
    {"append", "appendleft", "extend", "insert", "add", "update", "setdefault"}
    | {"pop", "popitem", "popleft", "remove", "discard", "clear", "__setitem__"}
)


@dataclass(slots=True)
class Uses:
    """Names that a piece of syntax uses, each kind in order of appearance."""

    chains: dict[Chain, None] = field(default_factory=dict)
    called: set[Chain] = field(default_factory=set)
    imports: dict[str, Import] = field(default_factory=dict)
    dynamic: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decorator:
    """One decorator: its syntax and the names it uses."""

    digest: bytes
    uses: Uses


@dataclass(frozen=True, slots=True)
class Unit:
    """A function's, class's or module's normalised syntax.

    ``signature`` holds the names in the annotations of parameters, where these count.
    ``methods`` are the names of the functions in a class's body, which are units of their own.
    """

    digest: bytes
    uses: Uses
    decorators: tuple[Decorator, ...] = ()
    signature: Uses = field(default_factory=Uses)
    methods: tuple[str, ...] = ()


# --------------------------------------------------------------------------------------------
# Normalising

_SKIPPED = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


class _Normaliser:
    """Turns syntax into nested plain tuples without comments, docstrings, positions, no-ops."""

    def __init__(self) -> None:
        self.uses = Uses()
        self.in_class = False

    def plain(self, node: Any) -> object:
        """The canonical form of a node, a list of nodes or a plain field."""
        if isinstance(node, list):
            return tuple(self.plain(item) for item in node if not _is_noise(item))
        if not isinstance(node, ast.AST):
            return node
        handler = getattr(self, f"on_{type(node).__name__}", None)
        return handler(node) if handler is not None else self.fields(node)

    def fields(self, node: ast.AST, skip: frozenset[str] = frozenset()) -> tuple[object, ...]:
        parts: list[object] = [type(node).__name__]
        for name in node._fields:
            if name in _SKIPPED or name in skip:
                continue
            value = getattr(node, name, None)
            if value is None or value == []:
                continue
            plain = self.plain(value)
            if plain != ():
                parts += (name, plain)
        return tuple(parts)

    def on_Constant(self, node: ast.Constant) -> object:  # noqa: N802  # named after the node
        return ("Constant", node.value)

    def on_Name(self, node: ast.Name) -> object:  # noqa: N802  # named after the node
        self.uses.chains[(node.id,)] = None
        return ("Name", node.id)

    def on_Attribute(self, node: ast.Attribute) -> object:  # noqa: N802  # named after the node
        chain = chain_of(node)
        if chain is None:
            return self.fields(node)
        self.uses.chains[chain] = None
        return ("Chain", chain)

    def on_Call(self, node: ast.Call) -> object:  # noqa: N802  # named after the node
        chain = chain_of(node.func)
        if chain is not None:
            self.uses.called.add(chain)
            if len(chain) == 1 and chain[0] in _DYNAMIC:
                self.uses.dynamic[chain[0]] = None
            elif chain in _IMPORTING:
                self._imported_by_name(node)
        return self.fields(node)

    def _imported_by_name(self, node: ast.Call) -> None:
        """``import_module("a.b")`` uses all of that module; with a computed name, who knows."""
        name = node.args[0] if node.args else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            level = len(name.value) - len(name.value.lstrip("."))
            self.uses.imports[name.value] = (level, name.value[level:], None)
            self.uses.chains[(name.value,)] = None
        else:
            self.uses.dynamic["import_module"] = None

    def on_Import(self, node: ast.Import) -> object:  # noqa: N802  # named after the node
        for alias in node.names:
            if alias.asname:
                self.uses.imports[alias.asname] = (0, alias.name, None)
            else:
                top = alias.name.split(".")[0]
                self.uses.imports.setdefault(top, (0, top, None))
                self.uses.imports[alias.name] = (0, alias.name, None)
        return self.fields(node)

    def on_ImportFrom(self, node: ast.ImportFrom) -> object:  # noqa: N802  # named after the node
        for alias in node.names:
            name = alias.asname or alias.name
            self.uses.imports[name] = (node.level, node.module or "", alias.name)
        return self.fields(node)

    def on_AnnAssign(self, node: ast.AnnAssign) -> object:  # noqa: N802  # named after the node
        if self.in_class:
            return self.fields(node)
        if node.value is None:
            return ()
        return ("Assign", "targets", (self.plain(node.target),), "value", self.plain(node.value))

    def on_arg(self, node: ast.arg) -> object:
        return ("arg", node.arg)

    def on_FunctionDef(self, node: ast.FunctionDef) -> object:  # noqa: N802  # named after the node
        outer, self.in_class = self.in_class, False
        plain = self.fields(node, frozenset({"returns"}))
        self.in_class = outer
        return plain

    on_AsyncFunctionDef = on_FunctionDef  # noqa: N815  # named after the node

    def on_ClassDef(self, node: ast.ClassDef) -> object:  # noqa: N802  # named after the node
        outer, self.in_class = self.in_class, True
        plain = self.fields(node)
        self.in_class = outer
        return plain


def _is_noise(node: object) -> bool:
    """Docstrings, ``pass``, ``...`` and other statements that do nothing."""
    return isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


def chain_of(node: ast.AST) -> Chain | None:
    """``a.b.c`` as a chain; None when it does not begin with a name."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return (node.id, *reversed(attributes)) if isinstance(node, ast.Name) else None


def function_unit(node: FunctionNode, *, annotated: bool) -> Unit:
    """The unit of a function; defaults are left to their values, annotations to ``annotated``."""
    body = _Normaliser()
    arguments = [
        *node.args.posonlyargs,
        "/",
        *node.args.args,
        "*",
        node.args.vararg,
        *node.args.kwonlyargs,
        "**",
        node.args.kwarg,
    ]
    names = [a.arg if isinstance(a, ast.arg) else a for a in arguments]
    signature = _Normaliser()
    notes = _annotations(arguments, signature) if annotated else ()
    kind = "async" if isinstance(node, ast.AsyncFunctionDef) else "def"
    statements = [ast.Return(node.body)] if isinstance(node, ast.Lambda) else node.body
    content = digest(kind, names, notes, body.plain(statements))
    decorators = () if isinstance(node, ast.Lambda) else _decorators(node.decorator_list)
    return Unit(content, body.uses, decorators, signature.uses)


def _annotations(arguments: Sequence[Any], into: _Normaliser) -> tuple[object, ...]:
    found = []
    for argument in arguments:
        note = getattr(argument, "annotation", None)
        if isinstance(note, ast.Constant) and isinstance(note.value, str):
            note = _parsed_annotation(note)
        if note is not None:
            found.append((argument.arg, into.plain(_without_policy(note))))
    return tuple(found)


def _without_policy(note: ast.AST) -> ast.AST:
    """An annotation without ``require(…)``: that says when to build, and not what."""
    if not any(isinstance(inner, ast.Call) and _is_policy(inner) for inner in ast.walk(note)):
        return note
    found: ast.AST = _Policies().visit(copy.deepcopy(note))
    return found


def _is_policy(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
    return name == "require"


class _Policies(ast.NodeTransformer):
    """Takes the policies out of ``Annotated[…]``; ``orders.require(0.9)`` becomes ``orders``."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if not isinstance(node.slice, ast.Tuple):
            return self.generic_visit(node)
        kept = [e for e in node.slice.elts if not (_is_plain(e) and _is_policy(e))]
        dropped = len(node.slice.elts) - len(kept)
        node.slice.elts = kept
        self.generic_visit(node)
        return node.slice.elts[0] if dropped and len(kept) == 1 else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if _is_policy(node) and isinstance(node.func, ast.Attribute):
            return node.func.value
        return node


def _is_plain(node: ast.expr) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def _parsed_annotation(note: ast.Constant) -> ast.AST:
    try:
        return ast.parse(str(note.value), mode="eval").body
    except SyntaxError:
        return note


def _decorators(nodes: list[ast.expr]) -> tuple[Decorator, ...]:
    found = []
    for node in nodes:
        one = _Normaliser()
        found.append(Decorator(digest(one.plain(node)), one.uses))
    return tuple(found)


def class_unit(node: ast.ClassDef) -> Unit:
    """The unit of a class: its body without its functions, which are units of their own."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    methods = [child for child in node.body if isinstance(child, functions)]
    body = _Normaliser()
    body.in_class = True
    content = digest(
        body.plain(node.bases),
        body.plain(node.keywords),
        body.plain([child for child in node.body if not isinstance(child, functions)]),
        [(m.name, [d.digest for d in _decorators(m.decorator_list)]) for m in methods],
    )
    for method in methods:
        for decorator in method.decorator_list:
            body.plain(decorator)
    names = tuple(dict.fromkeys(method.name for method in methods))
    return Unit(content, body.uses, _decorators(node.decorator_list), methods=names)


def expression_unit(nodes: Sequence[ast.AST]) -> Unit:
    """The unit of some statements or expressions."""
    body = _Normaliser()
    return Unit(digest(body.plain(list(nodes))), body.uses)


# --------------------------------------------------------------------------------------------
# Files


class Source:
    """One parsed file: its functions, classes and assignments by where or what they are."""

    def __init__(self, text: str, filename: str) -> None:
        self.tree = ast.parse(text)
        self.filename = filename
        self._compiled: dict[tuple[int, str], list[CodeType]] | None = None
        self._text = text
        self.functions: dict[tuple[int, str], list[FunctionNode]] = {}
        self.classes: dict[str, list[ast.ClassDef]] = {}
        self._index(self.tree, "")
        self.assigned: dict[str, list[ast.AST]] = {}
        self.imported: dict[str, Import] = {}
        self._index_names(self.tree.body)
        self.state = _mutated_in_functions(self.tree)
        self._units: dict[tuple[int, bool], Unit] = {}

    def _index(self, node: ast.AST, path: str) -> None:
        for child in ast.iter_child_nodes(node):
            below = path
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                line = min([child.lineno, *(d.lineno for d in child.decorator_list)])
                self.functions.setdefault((line, child.name), []).append(child)
                below = f"{path}{child.name}.<locals>."
            elif isinstance(child, ast.Lambda):
                self.functions.setdefault((child.lineno, "<lambda>"), []).append(child)
                below = f"{path}<lambda>.<locals>."
            elif isinstance(child, ast.ClassDef):
                self.classes.setdefault(path + child.name, []).append(child)
                below = f"{path}{child.name}."
            self._index(child, below)

    def _index_names(self, statements: Sequence[ast.stmt], top: ast.stmt | None = None) -> None:
        """What the module's own statements bind, also inside ``if``, ``try``, ``with``, ``for``.

        A name is assigned by the outermost statement, as what stands around it may decide.
        """
        for statement in statements:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if isinstance(statement, ast.Import | ast.ImportFrom):
                one = _Normaliser()
                one.plain(statement)
                self.imported.update(one.uses.imports)
                continue
            for name in _targets(statement):
                known = self.assigned.setdefault(name, [])
                if (top or statement) not in known:
                    known.append(top or statement)
            for block in ("body", "orelse", "finalbody"):
                self._index_names(getattr(statement, block, ()), top or statement)
            for handler in getattr(statement, "handlers", ()):
                self._index_names(handler.body, top or statement)

    def function(self, code: CodeType) -> FunctionNode | None:
        """The node that a code object was compiled from; None when the file says otherwise now."""
        for compiled in self._candidates(code):
            if same_code(compiled, code):
                nodes = self.functions.get((compiled.co_firstlineno, compiled.co_name), [])
                return nodes[0] if len(nodes) == 1 else _node_at(nodes, compiled)
        return None

    def _candidates(self, code: CodeType) -> Iterator[CodeType]:
        """Code objects of this name: those of the same line first, then those that moved."""
        if self._compiled is None:
            self._compiled = {}
            top = compile(self._text, self.filename, "exec", dont_inherit=True)
            for found in _nested_code(top):
                key = (found.co_firstlineno, found.co_name)
                self._compiled.setdefault(key, []).append(found)
        here = (code.co_firstlineno, code.co_name)
        for found in self._compiled.get(here, []):
            if found.co_qualname == code.co_qualname:
                yield found
        for key, several in self._compiled.items():
            if key != here and key[1] == code.co_name:
                yield from (c for c in several if c.co_qualname == code.co_qualname)

    def unit(self, node: FunctionNode | ast.ClassDef, *, annotated: bool = False) -> Unit:
        """The node's unit, made once."""
        key = (id(node), annotated)
        unit = self._units.get(key)
        if unit is None:
            if isinstance(node, ast.ClassDef):
                unit = class_unit(node)
            else:
                unit = function_unit(node, annotated=annotated)
            self._units[key] = unit
        return unit


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


def same_code(one: CodeType, two: CodeType) -> bool:
    """Whether two code objects do the same, wherever their lines stand."""
    if one is two:
        return True
    same = (
        one.co_code == two.co_code
        and one.co_names == two.co_names
        and one.co_varnames == two.co_varnames
        and one.co_freevars == two.co_freevars
        and len(one.co_consts) == len(two.co_consts)
    )
    return same and all(map(_same_constant, one.co_consts, two.co_consts))


def _same_constant(one: object, two: object) -> bool:
    if isinstance(one, CodeType) and isinstance(two, CodeType):
        return same_code(one, two)
    return type(one) is type(two) and (one == two or repr(one) == repr(two))


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
# SQL

_TOKEN = re.compile(
    r"""
      (?P<skip>   \s+ | --[^\n]* )
    | (?P<open>   /\* )
    | (?P<text>   [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | (\$(?:[^\W\d]\w*)?\$).*?\4 )
    | (?P<quoted> "(?:[^"]|"")*" | `[^`]*` )
    | (?P<bound>  \$\w+ | \? )
    | (?P<number> \d[\d_]*(?:\.\d*)?(?:[eE][+-]?\d+)? | \.\d+(?:[eE][+-]?\d+)? )
    | (?P<word>   [^\W\d]\w* )
    | (?P<sign>   !~~\* | <=> | ->> | !~~ | ~~~ | ~~\* | !~\* | <-> | <= | >= | <> | != | == | =>
                | := | :: | \|\| | -> | << | >> | <@ | @> | && | \^@ | \*\* | // | ~~ | !~ | ~\*
                | [^\s\w'"`$] )
    """,
    re.VERBOSE | re.DOTALL,
)
_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """
    all and any array as asc asof anti between both by case cast collate cross default desc distinct
    else end except exclude exists false fetch filter following for from full glob group having
    ilike in inner intersect interval is isnull join lateral leading left like limit natural not
    notnull null nulls offset on only or order outer over partition pivot positional preceding
    qualify recursive right rows select semi similar some struct symmetric table tablesample then
    to trailing true unbounded union unique unpivot using values when where window with within
    """,
    )
)


def sql_tokens(text: str) -> list[tuple[str, str]] | None:
    """A query's tokens without comments, white space and the case of keywords and functions.

    Names keep their case, as it shows in the columns that come out. None when the text is cut off
    inside a string, a name or a comment.
    """
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            return None
        kind, token, at = match.lastgroup or "", match.group(), match.end()
        if kind == "open":
            at = _end_of_comment(text, at)
            if at < 0:
                return None
        elif kind != "skip":
            found.append((kind, _folded(token, found, text, at) if kind == "word" else token))
    while found and found[-1] == ("sign", ";"):
        found.pop()
    return found


def _end_of_comment(text: str, at: int) -> int:
    """Where a comment, which may hold others, ends; -1 when it does not."""
    depth = 1
    for match in re.compile(r"/\*|\*/").finditer(text, at):
        depth += 1 if match.group() == "/*" else -1
        if not depth:
            return match.end()
    return -1


def _folded(word: str, before: list[tuple[str, str]], text: str, at: int) -> str:
    previous = before[-1] if before else ("", "")
    if previous in (("word", "as"), ("sign", ".")):
        return word  # a name, whatever it is
    called = text[at : at + 20].lstrip()[:1] == "("
    folds = called or previous == ("sign", "::") or word.lower() in _KEYWORDS
    return word.lower() if folds else word


# --------------------------------------------------------------------------------------------
# Finding sources

_sources: dict[str, tuple[object, list[Source]]] = {}
_KEPT = 4


def source_of(filename: str) -> Source | None:
    """The parsed file (or notebook cell), read again when it changed; None without any source."""
    return next(iter(_versions_of(filename)), None)


def function_source(code: CodeType) -> tuple[Source, FunctionNode] | None:
    """The source and node that a code object was compiled from.

    A file may have been edited since it was imported: then the text that was read before is the
    one that counts, and where nobody read that, None.
    """
    for source in _versions_of(code.co_filename):
        node = source.function(code)
        if node is not None:
            return source, node
    return None


def _versions_of(filename: str) -> list[Source]:
    """What the file says now, then what it said when it was read before."""
    stamp = _stamp(filename)
    known = _sources.get(filename)
    if known is not None and known[0] == stamp:
        return known[1]
    older = known[1][: _KEPT - 1] if known else []
    try:
        text = _read(filename)
        versions = [Source(text, filename), *older] if text else older
    except (SyntaxError, ValueError):
        versions = older
    _sources[filename] = (stamp, versions)
    return versions


def _stamp(filename: str) -> object:
    try:
        found = Path(filename).stat()
    except (OSError, ValueError):
        entry = linecache.cache.get(filename)
        return id(entry) if entry is not None else None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(filename: str) -> str:
    if filename.endswith(".pyc"):
        return ""
    try:
        with tokenize.open(filename) as file:
            return file.read()
    except (OSError, ValueError):
        return "".join(linecache.getlines(filename))
