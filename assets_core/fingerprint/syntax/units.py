"""Functions, classes, statements and expressions as units: both forms of each."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

from assets_core.fingerprint.hashing import digest
from assets_core.fingerprint.syntax.annotations import parsed, without_policy
from assets_core.fingerprint.syntax.normaliser import Normaliser
from assets_core.fingerprint.syntax.overview import Overview
from assets_core.fingerprint.syntax.scopes import parameters, scope_of
from assets_core.fingerprint.syntax.unit import FunctionNode, Unit


def _unit(
    about: Overview, write: Callable[[Normaliser], object], name: str = "", **parts: Any
) -> Unit:
    """Both forms of a piece of code; ``write`` gives its canonical form by a normaliser."""
    lean, full = Normaliser(about, full=False), Normaliser(about, full=True)
    return Unit(
        lean=digest(write(lean)),
        full=digest(write(full)),
        uses=tuple(lean.names.uses),
        texts=tuple(lean.texts),
        dynamic=tuple(lean.names.dynamic),
        sees=lean.names.sees,
        acts=tuple(lean.names.acts),
        queries=lean.queries,
        files=about.files,
        resources=about.resources,
        words=tuple(sorted(about.words)) if lean.queries else (),
        name=name,
        **parts,
    )


def function_unit(node: FunctionNode) -> Unit:
    """The unit of a function; defaults are left to their values, annotations to ``notes``."""
    statements: list[ast.AST] = (
        [ast.Return(node.body)] if isinstance(node, ast.Lambda) else list(node.body)
    )
    kind = "async" if isinstance(node, ast.AsyncFunctionDef) else "def"
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list

    def write(into: Normaliser) -> object:
        scope = scope_of("function", statements, node.args)
        with into.names.inside(scope):
            return (kind, into.function(node.args, statements, scope, keep=into.full))

    return _unit(
        Overview.of(statements),
        write,
        getattr(node, "name", "<lambda>"),
        decorators=tuple(expression_unit([one]) for one in decorators),
        notes=_notes_unit(node.args),
        returns=None
        if isinstance(node, ast.Lambda) or not node.returns
        else expression_unit([parsed(node.returns)]),
    )


def _notes_unit(args: ast.arguments) -> Unit | None:
    notes = [
        (one.arg, without_policy(parsed(one.annotation)))
        for one in parameters(args)
        if one.annotation is not None
    ]
    if not notes:
        return None
    nodes = [note for _, note in notes]
    return _unit(
        Overview.of(nodes), lambda into: tuple((name, into.plain(note)) for name, note in notes)
    )


def class_unit(node: ast.ClassDef) -> Unit:
    """The unit of a class: its body without its functions, which are units of their own."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    methods = [child for child in node.body if isinstance(child, functions)]
    rest = [child for child in node.body if not isinstance(child, functions)]
    heads: list[ast.AST] = [*node.bases, *node.keywords]

    def write(into: Normaliser) -> object:
        scope = scope_of("class", node.body)
        with into.names.inside(scope):
            body = into.plain(rest)
            own = (body, tuple((one.name, into.plain(one.decorator_list)) for one in methods))
        return ("class", node.name, into.plain(heads), own)

    return _unit(
        Overview.of([*heads, *rest]),
        write,
        node.name,
        decorators=tuple(expression_unit([one]) for one in node.decorator_list),
        methods=tuple(dict.fromkeys(one.name for one in methods)),
    )


def expression_unit(nodes: Sequence[ast.AST]) -> Unit:
    """The unit of some statements or expressions of a module."""
    return _unit(Overview.of(nodes), lambda into: into.plain(list(nodes)))
