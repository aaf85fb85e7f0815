"""Reading queries: whether DuckDB can parse one, and which tables it names. Nothing runs here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from assets_core.errors import DefinitionError
from assets_core.fingerprint.hashing import hexdigest
from assets_core.fingerprint.sql_tokens import sql_tokens

PARAMETERS = ("partition_key", "partition_start", "partition_end")
"""What may be bound in a query as ``$name``."""


def parameters_of(query: str) -> tuple[str, ...]:
    """Which of `PARAMETERS` a query binds.

    By tokens: one in a comment or a text is not asked for, and must not be given.
    """
    used = {text for kind, text in sql_tokens(query) or () if kind == "bound"}
    return tuple(name for name in PARAMETERS if f"${name}" in used)


_known: dict[str, tuple[str, ...]] = {}


def tables_of(query: str) -> tuple[str, ...]:
    """The tables that a query reads, in order of appearance, its own CTEs left out.

    Names as they are written; those that differ only in case are one, as in DuckDB.
    Raises DefinitionError when the text is not one query, or binds an unknown parameter.
    """
    key = hexdigest("tables", 3, query)
    found = _known.get(key)
    if found is None:
        _refuse_unparsable(query)
        found = _known[key] = _tables_in(_tree(query), _DIALECT)
    return found


def reads_inputs_alone(query: str) -> bool:
    """Whether all that a query reads by a name are its inputs, so that it may run where other
    tables lie: it qualifies no table, and asks for none by a text."""
    key = hexdigest("alone", 1, query)
    found = _known.get(key)
    if found is None:
        found = _known[key] = ("yes",) if _names_no_other(_tree(query)) else ()
    return bool(found)


def _names_no_other(tree: Any) -> bool:
    from sqlglot import exp

    if any(table.args.get("db") for table in tree.find_all(exp.Table)):
        return False
    called = {str(call.name).lower() for call in tree.find_all(exp.Anonymous)}
    return called.isdisjoint(_READS_BY_TEXT)


_READS_BY_TEXT = {"query", "query_table"}


def check_syntax(query: str) -> None:
    """Raise DefinitionError for a text that DuckDB can't parse, of whatever statements."""
    key = hexdigest("parsed", 1, query)
    if key not in _known:
        _refuse_unparsable(query)
        _known[key] = ()


def _refuse_unparsable(query: str) -> None:
    import duckdb

    from assets_core.tabular.duckdb_sessions import duckdb_cursor

    try:
        with duckdb_cursor() as cursor:
            cursor.extract_statements(query)
    except duckdb.ParserException as error:
        what = _first_line(error).removeprefix("Parser Error: ")
        raise DefinitionError(
            f"The SQL can't be read: {what}",
            facts=_marked(str(error)),
            hint="It is DuckDB's SQL, in which a reserved word needs quotes to be a name.",
        ) from error


def _marked(message: str) -> dict[str, object]:
    """The line of the query that a message of DuckDB's shows, with its carets below."""
    shown = re.search(r"^LINE (\d+): (.*)\n( *\^+)", message, re.MULTILINE)
    if shown is None:
        return {}
    number, line, carets = shown.groups()
    return {f"line {number}": f"{line}\n{carets[len(f'LINE {number}: ') :]}"}


def known_tables() -> dict[str, tuple[str, ...]]:
    """What was found out so far, by a hash of the query; to be kept and given back."""
    return dict(_known)


def remember_tables(known: Mapping[str, Sequence[str]]) -> None:
    """Take back what `known_tables` gave, so that nothing is parsed again."""
    _known.update({key: tuple(tables) for key, tables in known.items()})


_DIALECT = "duckdb"


def _tree(query: str) -> Any:
    """The one query of a text."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        parsed = sqlglot.parse(query, dialect=_DIALECT)
    except SqlglotError as error:
        raise DefinitionError(f"The SQL can't be read: {_first_line(error)}") from error
    # A comment behind the last semicolon is a tree of its own.
    trees = [tree for tree in parsed if tree is not None and not isinstance(tree, exp.Semicolon)]
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        raise DefinitionError(
            "An SQL asset is one query.", hint="Write a single SELECT (with CTEs where needed)."
        )
    _refuse_unknown_parameters(trees[0])
    return trees[0]


def _tables_in(tree: Any, dialect: str) -> tuple[str, ...]:
    from sqlglot import exp
    from sqlglot.optimizer.normalize_identifiers import normalize_identifiers
    from sqlglot.optimizer.scope import traverse_scope

    spelled: dict[str, str] = {}
    for table in tree.find_all(exp.Table):
        spelled.setdefault(table.name.lower(), table.name)
    folded = normalize_identifiers(tree, dialect=dialect)
    sources = [each for scope in traverse_scope(folded) for each in scope.sources.values()]
    # Statements that stand where a table may are no scopes of their own.
    own = {cte.alias for cte in folded.find_all(exp.CTE)}
    for nested in folded.find_all(exp.Pivot, exp.Summarize, exp.Describe):
        sources += [table for table in nested.find_all(exp.Table) if table.name not in own]
    names = {s.name: None for s in sources if isinstance(s, exp.Table) and s.name and not s.db}
    return tuple(spelled.get(name, name) for name in names)


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
