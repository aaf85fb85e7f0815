"""Syntax as nested plain tuples, with a gap for each use of an outside name."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

from assets_core.fingerprint.hashing import digest
from assets_core.fingerprint.syntax.names import IMPORTING, ScopedNames
from assets_core.fingerprint.syntax.overview import (
    QUERYING,
    Overview,
    chain_of,
    is_message,
    is_noise,
)
from assets_core.fingerprint.syntax.scopes import (
    BoundNames,
    imports_of,
    parameters,
    scope_of,
    scope_of_targets,
)
from assets_core.fingerprint.syntax.unit import Chain, Use

_SKIPPED = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


class Normaliser:
    """Writes one form of a piece of code, the lean or the full one."""

    def __init__(self, about: Overview, *, full: bool) -> None:
        self.full = full
        self.names = ScopedNames(about, full=full)
        self.texts: list[tuple[Chain, bytes]] = []
        self.queries = False
        self._valued = about.valued
        self._loaded = about.loaded

    def plain(self, node: Any) -> object:
        """The canonical form of a node, a list of nodes or a plain field."""
        if isinstance(node, list):
            kept = node if self.full else [item for item in node if not is_noise(item)]
            return tuple(plain for item in kept if (plain := self.plain(item)) != ())
        if not isinstance(node, ast.AST):
            return node
        handler = _HANDLERS.get(type(node))
        return handler(self, node) if handler is not None else self.fields(node)

    def fields(self, node: ast.AST) -> tuple[object, ...]:
        """A node of a kind that needs no care, field by field; empty ones are left out."""
        parts: list[object] = [type(node).__name__]
        for name in node._fields:
            if name in _SKIPPED:
                continue
            value = getattr(node, name, None)
            if value is None or value == []:
                continue
            plain = self.plain(value)
            if plain != ():
                parts += (name, plain)
        return tuple(parts)

    def on_name(self, node: ast.Name) -> object:
        if isinstance(node.ctx, ast.Load):
            return self.names.read((node.id,))
        return ("set", self.names.bind(node.id))

    def on_attribute(self, node: ast.Attribute) -> object:
        chain = chain_of(node)
        if chain is None:
            self.names.look(node.attr)
            return self.fields(node)
        found = self.names.read(chain)
        return found if isinstance(node.ctx, ast.Load) else (type(node.ctx).__name__, found)

    def on_call(self, node: ast.Call) -> object:
        chain = chain_of(node.func)
        if isinstance(node.func, ast.Attribute) and node.func.attr in QUERYING:
            self.queries = True
        if chain is None:
            return self.fields(node)
        if chain in IMPORTING:
            self.names.import_by_name(node)
        called = self.names.read(chain, "keywords" if node.keywords else "call")
        return ("Call", called, self.plain(node.args), self.plain(node.keywords))

    def on_expr(self, node: ast.Expr) -> object:
        if is_message(node.value):
            return self.fields(node) if self.full else self._message(node.value)
        if isinstance(node.value, ast.Call):
            self.names.act(node.value)
        return self.fields(node)

    def on_assign(self, node: ast.Assign | ast.AugAssign | ast.Delete) -> object:
        targets = [node.target] if isinstance(node, ast.AugAssign) else node.targets
        for target in targets:
            if isinstance(target, ast.Attribute | ast.Subscript):
                self.names.act(target)
        return self.fields(node)

    def _message(self, node: ast.Call) -> object:
        """A call that logs or prints: the text of its message does not count by itself.

        Whether it is a logger that is called turns out where names are looked up, see `texts`.
        """
        chain = chain_of(node.func)
        assert chain is not None
        before = len(self.names.uses)
        called = self.names.read(chain, "log")
        outside = len(self.names.uses) > before
        texts: list[object] = []
        arguments = [self._without_texts(argument, texts) for argument in node.args]
        given = len(self.names.scopes) == 1 and chain[0] in self.names.scopes[0].given
        if outside or given:
            self.texts.append((chain, digest(texts)))
        else:  # a local variable: nobody can tell what it is
            arguments.append(tuple(texts))
        return ("Call", called, tuple(arguments), self.plain(node.keywords))

    def _without_texts(self, node: ast.expr, texts: list[object]) -> object:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
            return ("text",)
        if isinstance(node, ast.JoinedStr):
            parts = [self._without_texts(value, texts) for value in node.values]
            return ("text", *[part for part in parts if part != ("text",)])
        return self.plain(node)

    def on_import(self, node: ast.Import | ast.ImportFrom) -> object:
        """What an import binds counts where it is used; by itself only as far as it is not.

        Of a module, what names stand for is seen by their values.
        """
        if not self.names.scopes:
            return ()
        parts: list[object] = []
        scope = self.names.scopes[-1]
        for name, found in imports_of(node):
            if name in scope.imports and name not in self._loaded:
                parts.append(self.names.use(Use((name,), "value", (found,))))
            elif name not in scope.imports:
                parts.append(
                    (self.names.bind(name), self.names.use(Use((name,), "value", (found,))))
                )
        return ("import", tuple(parts)) if parts else ()

    def on_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> object:
        # Who only ever calls it, by position, can't tell its name or those of its parameters.
        keep = bool(node.decorator_list) or node.name in self._valued
        name = node.name if keep else self.names.bind(node.name)
        decorators = self.plain(node.decorator_list)
        defaults = self._defaults(node.args)
        notes = self._notes(node.args) if self.full or node.decorator_list else ()
        scope = scope_of("function", node.body, node.args)
        with self.names.inside(scope):
            body = self.function(node.args, node.body, scope, keep=keep)
        return (type(node).__name__, name, decorators, defaults, notes, body)

    def on_lambda(self, node: ast.Lambda) -> object:
        defaults = self._defaults(node.args)
        scope = scope_of("function", [node.body], node.args)
        body: list[ast.AST] = [ast.Return(node.body)]
        with self.names.inside(scope):
            inner = self.function(node.args, body, scope, keep=True)
        return ("Lambda", defaults, inner)

    def _defaults(self, args: ast.arguments) -> object:
        return self.plain([*args.defaults, *(one for one in args.kw_defaults if one is not None)])

    def function(
        self, args: ast.arguments, body: Sequence[ast.AST], scope: BoundNames, *, keep: bool
    ) -> object:
        """Parameters and body, within their scope. ``keep``: names of parameters matter."""
        kwonly = [one.arg for one in args.kwonlyargs]
        scope.keep.update([one.arg for one in parameters(args)] if keep else kwonly)
        header = (
            tuple(self.names.local(scope, one.arg) for one in args.posonlyargs),
            tuple(self.names.local(scope, one.arg) for one in args.args),
            self.names.local(scope, args.vararg.arg) if args.vararg else None,
            tuple(kwonly),
            self.names.local(scope, args.kwarg.arg) if args.kwarg else None,
            len(args.defaults),
            tuple(default is not None for default in args.kw_defaults),
        )
        return (header, self.plain(list(body)))

    def _notes(self, args: ast.arguments) -> object:
        return tuple(
            (one.arg, self.plain(one.annotation)) for one in parameters(args) if one.annotation
        )

    def on_class(self, node: ast.ClassDef) -> object:
        heads = (self.plain(node.decorator_list), self.plain(node.bases), self.plain(node.keywords))
        scope = scope_of("class", node.body)
        with self.names.inside(scope):
            return ("ClassDef", node.name, *heads, self.plain(node.body))

    def on_comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
    ) -> object:
        first = self.plain(node.generators[0].iter)  # evaluated outside
        with self.names.inside(scope_of_targets(node.generators)):
            return (type(node).__name__, first, self._inner(node))

    def _inner(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> object:
        parts: list[object] = []
        for at, one in enumerate(node.generators):
            source = self.plain(one.iter) if at else ()
            parts.append((self.plain(one.target), source, self.plain(one.ifs), one.is_async))
        if isinstance(node, ast.DictComp):
            return (*parts, self.plain(node.key), self.plain(node.value))
        return (*parts, self.plain(node.elt))

    def on_ann_assign(self, node: ast.AnnAssign) -> object:
        if self.full or (self.names.scopes and self.names.scopes[-1].kind == "class"):
            return self.fields(node)
        if node.value is None:
            return ()
        return ("Assign", "targets", (self.plain(node.target),), "value", self.plain(node.value))

    def on_handler(self, node: ast.ExceptHandler) -> object:
        # Bound first, as variables are numbered in order: another order is another code version.
        name = self.names.bind(node.name) if node.name else None
        return ("ExceptHandler", self.plain(node.type), name, self.plain(node.body))

    def on_match_as(self, node: ast.MatchAs) -> object:
        return (
            "MatchAs",
            self.plain(node.pattern),
            self.names.bind(node.name) if node.name else None,
        )

    def on_match_star(self, node: ast.MatchStar) -> object:
        return ("MatchStar", self.names.bind(node.name) if node.name else None)

    def on_match_mapping(self, node: ast.MatchMapping) -> object:
        rest = self.names.bind(node.rest) if node.rest else None
        return ("MatchMapping", self.plain(node.keys), self.plain(node.patterns), rest)


_HANDLERS: dict[type[ast.AST], Callable[[Normaliser, Any], object]] = {
    ast.Name: Normaliser.on_name,
    ast.Attribute: Normaliser.on_attribute,
    ast.Call: Normaliser.on_call,
    ast.Expr: Normaliser.on_expr,
    ast.Assign: Normaliser.on_assign,
    ast.AugAssign: Normaliser.on_assign,
    ast.Delete: Normaliser.on_assign,
    ast.Constant: lambda _, node: ("Constant", node.value),
    ast.Import: Normaliser.on_import,
    ast.ImportFrom: Normaliser.on_import,
    ast.FunctionDef: Normaliser.on_function,
    ast.AsyncFunctionDef: Normaliser.on_function,
    ast.Lambda: Normaliser.on_lambda,
    ast.ClassDef: Normaliser.on_class,
    ast.ListComp: Normaliser.on_comprehension,
    ast.SetComp: Normaliser.on_comprehension,
    ast.DictComp: Normaliser.on_comprehension,
    ast.GeneratorExp: Normaliser.on_comprehension,
    ast.AnnAssign: Normaliser.on_ann_assign,
    ast.ExceptHandler: Normaliser.on_handler,
    ast.MatchAs: Normaliser.on_match_as,
    ast.MatchStar: Normaliser.on_match_star,
    ast.MatchMapping: Normaliser.on_match_mapping,
    # Heeded where names are looked up.
    ast.Global: lambda *_: (),
    ast.Nonlocal: lambda *_: (),
}
