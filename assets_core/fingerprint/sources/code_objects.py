"""Code objects: what they are called and do, and which function of a source each is of."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from types import CodeType
from typing import Any

from assets_core.fingerprint.hashing import digest
from assets_core.fingerprint.syntax.unit import FunctionNode


def nested_code(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from nested_code(constant)


def node_at(nodes: list[FunctionNode], code: CodeType) -> FunctionNode | None:
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
    for inner in nested_code(code):
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
