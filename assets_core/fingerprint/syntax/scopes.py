"""The names that functions, classes and comprehensions bind, read off their statements."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from assets_core.fingerprint.syntax.unit import Import


@dataclass(slots=True)
class BoundNames:
    """The names that one function, class or comprehension binds.

    ``imports``: names that only imports bind, with these. ``keep``: names that stay as written.
    ``given``: parameters that nothing else binds.
    """

    kind: Literal["function", "class", "module"]
    bound: set[str] = field(default_factory=set)
    imports: dict[str, list[Import]] = field(default_factory=dict)
    outer: set[str] = field(default_factory=set)
    module: set[str] = field(default_factory=set)
    keep: set[str] = field(default_factory=set)
    given: set[str] = field(default_factory=set)


class _Binder(ast.NodeVisitor):
    """Collects what the statements of one scope bind, without going into scopes within it."""

    def __init__(self, scope: BoundNames) -> None:
        self.scope = scope

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.scope.bound.add(node.id)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.scope.bound.add(node.name)
        # What `:=` binds in these is bound here: they are evaluated around the function.
        self._all([*node.decorator_list, *node.args.defaults, *node.args.kw_defaults])

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815  # named after the node

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.scope.bound.add(node.name)
        self._all([*node.decorator_list, *node.bases, *node.keywords])

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._all([*node.args.defaults, *node.args.kw_defaults])

    def _comprehension(self, node: ast.AST) -> None:
        # Only what `:=` binds belongs to the function around it.
        for inner in ast.walk(node):
            if isinstance(inner, ast.NamedExpr):
                self.scope.bound.add(inner.target.id)

    visit_ListComp = _comprehension  # noqa: N815  # named after the node
    visit_SetComp = _comprehension  # noqa: N815  # named after the node
    visit_DictComp = _comprehension  # noqa: N815  # named after the node
    visit_GeneratorExp = _comprehension  # noqa: N815  # named after the node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.scope.bound.add(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        if node.name:
            self.scope.bound.add(node.name)
        self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        if node.name:
            self.scope.bound.add(node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self.scope.bound.add(node.rest)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        self.scope.module.update(node.names)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self.scope.outer.update(node.names)

    def visit_Import(self, node: ast.Import) -> None:
        for name, found in imports_of(node):
            self.scope.imports.setdefault(name, []).append(found)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for name, found in imports_of(node):
            self.scope.imports.setdefault(name, []).append(found)

    def _all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)


def imports_of(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Import]]:
    """Name bound → what an import statement binds it to."""
    if isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name, (node.level, node.module or "", alias.name)
        return
    for alias in node.names:
        if alias.asname:
            yield alias.asname, (0, alias.name, None)
        else:
            yield alias.name.split(".")[0], (0, alias.name, "")


def scope_of(
    kind: Literal["function", "class"], nodes: Sequence[ast.AST], args: ast.arguments | None = None
) -> BoundNames:
    scope = BoundNames(kind)
    binder = _Binder(scope)
    for node in nodes:
        binder.visit(node)
    if args is not None:
        given = {one.arg for one in parameters(args)}
        scope.given = given - scope.bound
        scope.bound |= given
    scope.bound -= scope.outer | scope.module
    for name in scope.imports.keys() & (scope.bound | scope.outer | scope.module):
        del scope.imports[name]  # an assignment binds it, too: it is a variable like any other
        scope.bound.update({name} - scope.outer - scope.module)
    return scope


def scope_of_targets(generators: Sequence[ast.comprehension]) -> BoundNames:
    """What a comprehension binds: its targets alone, `:=` binds around it."""
    scope = BoundNames("function")
    for generator in generators:
        _Binder(scope).visit(generator.target)
    return scope


def parameters(args: ast.arguments) -> list[ast.arg]:
    """All parameters, in the order in which they are written."""
    every = [*args.posonlyargs, *args.args, args.vararg, *args.kwonlyargs, args.kwarg]
    return [one for one in every if one is not None]
