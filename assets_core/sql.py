"""Reading SQL assets: which tables a query names. Nothing here runs a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assets_core.errors import DefinitionError
from assets_core.hashing import hexdigest

PARAMETERS = ("partition_key", "partition_start", "partition_end")
"""What may be bound in a query as ``$name``."""


_known: dict[str, tuple[str, ...]] = {}


def tables_of(query: str) -> tuple[str, ...]:
    """The tables that a query reads, in order of appearance, its own CTEs left out.

    Raises DefinitionError when the text is not one query, or binds an unknown parameter.
    """
    key = hexdigest("tables", query)
    found = _known.get(key)
    if found is None:
        found = _known[key] = _parse(query)
    return found


def known_tables() -> dict[str, tuple[str, ...]]:
    """What was found out so far, by a hash of the query; to be kept and given back."""
    return dict(_known)


def remember_tables(known: Mapping[str, Sequence[str]]) -> None:
    """Take back what `known_tables` gave, so that nothing is parsed again."""
    _known.update({key: tuple(tables) for key, tables in known.items()})


def _parse(query: str, dialect: str = "duckdb") -> tuple[str, ...]:
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError
    from sqlglot.optimizer.scope import traverse_scope

    try:
        trees = [tree for tree in sqlglot.parse(query, dialect=dialect) if tree is not None]
    except SqlglotError as error:
        raise DefinitionError(f"The SQL can't be read: {_first_line(error)}") from error
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        raise DefinitionError(
            "An SQL asset is one query.", hint="Write a single SELECT (with CTEs where needed)."
        )
    _refuse_unknown_parameters(trees[0])
    tables: dict[str, None] = {}
    for scope in traverse_scope(trees[0]):
        for found in scope.sources.values():
            if isinstance(found, exp.Table) and found.name and not found.db:
                tables[found.name] = None
    return tuple(tables)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _refuse_unknown_parameters(tree: object) -> None:
    from sqlglot import exp

    assert isinstance(tree, exp.Query)
    used = {node.name for node in tree.find_all(exp.Parameter, exp.Placeholder)}
    unknown = sorted(used - set(PARAMETERS))
    if unknown:
        raise DefinitionError(
            f"The SQL binds an unknown parameter ${unknown[0]}.",
            hint=f"There are {', '.join('$' + name for name in PARAMETERS)}.",
        )
