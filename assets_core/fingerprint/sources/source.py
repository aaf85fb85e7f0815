"""What the text of a module says: its functions, classes and names, and what it does besides."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import CodeType

from assets_core.fingerprint.sources.code_objects import code_key, nested_code, node_at
from assets_core.fingerprint.syntax.scopes import imports_of
from assets_core.fingerprint.syntax.unit import FunctionNode, Import, Unit
from assets_core.fingerprint.syntax.units import class_unit, expression_unit, function_unit

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
    for code in nested_code(top):
        found = nodes.get((code.co_firstlineno, code.co_name), [])
        node = found[0] if len(found) == 1 else node_at(found, code)
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
