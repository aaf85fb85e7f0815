"""Annotations, as far as they say what is built and not when."""

from __future__ import annotations

import ast
import copy
from typing import TypeGuard


def parsed(note: ast.expr) -> ast.expr:
    """An annotation, also where it is written as text."""
    if not isinstance(note, ast.Constant) or not isinstance(note.value, str):
        return note
    try:
        return ast.parse(note.value, mode="eval").body
    except SyntaxError:
        return note


def without_policy(note: ast.AST) -> ast.AST:
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
