"""A query's text as tokens, told apart without any parser."""

from __future__ import annotations

import itertools
import re

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


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NEVER_NAMES = _words(
    """
    all and any array as asc both case cast collate default desc distinct else end except false
    fetch for from group having in intersect lateral leading limit not null offset on only or order
    pivot qualify select some symmetric table then to trailing true union unique unpivot using when
    where window with
    anti asof by cross full glob ilike inner is isnull join left like natural notnull outer
    positional right semi similar tablesample
    """
)
"""Keywords that can't be the bare name of a column or an alias (DuckDB's reserved ones, and those
that can only be names of functions and types)."""

_BEFORE = {
    "nulls": _words("first last"),
    "current": _words("row"),
    "partition": _words("by"),
    "rows": _words("between unbounded current"),
    "unbounded": _words("preceding following"),
    "within": _words("group"),
    "following": _words("and"),
    "preceding": _words("and"),
    "exclude": _words("current ties no"),
}
"""Other keywords, and the words that show by standing next that they are no names."""

_AFTER = {
    "recursive": ("word", "with"),
    "exclude": ("sign", "*"),
    "first": ("word", "nulls"),
    "last": ("word", "nulls"),
    "row": ("word", "current"),
}
"""Keywords that are shown to be no names by what stands before them."""


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
            found.append((kind, token))
    while found and found[-1] == ("sign", ";"):
        found.pop()
    return [
        (kind, _folded(found, at) if kind == "word" else token)
        for at, (kind, token) in enumerate(found)
    ]


def _end_of_comment(text: str, at: int) -> int:
    """Where a comment, which may hold others, ends; -1 when it does not."""
    depth = 1
    for match in re.compile(r"/\*|\*/").finditer(text, at):
        depth += 1 if match.group() == "/*" else -1
        if not depth:
            return match.end()
    return -1


_NOTHING = ("", "")


def _folded(tokens: list[tuple[str, str]], at: int) -> str:
    """A word without its case where that can't show: of a keyword, a function or a type.

    Whatever may be a name keeps its case: sooner is a query another than that it passes for one
    whose columns have other names.
    """
    word = tokens[at][1]
    before = _lower(tokens[at - 1] if at else _NOTHING)
    after = _lower(tokens[at + 1] if at + 1 < len(tokens) else _NOTHING)
    if before in (("word", "as"), ("sign", ".")) or after in (("sign", ":"), ("sign", ":=")):
        return word  # a name, whatever it is
    lower = word.lower()
    folds = (
        after == ("sign", "(")
        or before == ("sign", "::")
        or lower in _NEVER_NAMES
        or (after[0] == "word" and after[1] in _BEFORE.get(lower, ()))
        or before == _AFTER.get(lower)
        or (lower == "between" and _ends_operand(before) and after[0] in ("number", "text"))
        or (lower == "interval" and after[0] in ("number", "text"))
    )
    return lower if folds else word


def _lower(token: tuple[str, str]) -> tuple[str, str]:
    return (token[0], token[1].lower()) if token[0] == "word" else token


def _ends_operand(token: tuple[str, str]) -> bool:
    return token[0] in ("word", "number", "text", "quoted", "bound") or token[1] in (")", "]")


Tokens = list[tuple[str, str]]


_FILE = re.compile(r"'([\w./ *?\[\]-]{1,200}\.\w{1,10}|[\w./ -]{1,200}/[\w.*?/-]{1,100})'")


def files_named(query: str) -> list[str]:
    """The texts of a query that look like names or patterns of files, but for what it writes."""
    tokens = sql_tokens(query) or []
    before = [("", ""), *tokens]
    return [
        found[1]
        for (_, last), (kind, text) in zip(before, tokens, strict=False)
        if kind == "text" and last.lower() != "to" and (found := _FILE.fullmatch(text))
    ]


def is_ordered(query: str) -> bool:
    """Whether the outermost query says in which order its rows come.

    By an ORDER BY that is not inside of parentheses, or where all rows are handed on in order
    from a CTE or a subquery: ``WITH r AS (… ORDER BY n) SELECT * FROM r``.
    """
    tokens = [(kind, token.lower()) for kind, token in sql_tokens(query) or ()]
    return _is_ordered(tokens, {})


def _is_ordered(tokens: Tokens, known: dict[str, Tokens]) -> bool:
    tokens = _unwrapped(tokens)
    outside = [token for kind, token in _outside(tokens) if kind == "word"]
    if ("order", "by") in itertools.pairwise(outside):
        return True
    if not _REARRANGING.isdisjoint(outside) or outside.count("select") > 1:
        return False
    known = {**known, **_ctes(tokens)}
    handed = _handed_on(tokens)
    if len(handed) == 1:
        name = handed[0][1].strip('"')
        rest = {other: query for other, query in known.items() if other != name}
        return name in known and _is_ordered(known[name], rest)
    return bool(handed) and _is_ordered(handed, known)


_REARRANGING = _words("group distinct join union intersect except pivot unpivot qualify")


def _unwrapped(tokens: Tokens) -> Tokens:
    """A query without parentheses around all of it."""
    while len(tokens) > 1 and tokens[0] == _OPEN and _closing(tokens, 0) == len(tokens) - 1:
        tokens = tokens[1:-1]
    return tokens


_OPEN, _CLOSE = ("sign", "("), ("sign", ")")


def _closing(tokens: Tokens, at: int) -> int:
    """Where the parenthesis that opens at a place ends; the last place where it does not."""
    depth = 0
    for i in range(at, len(tokens)):
        depth += (tokens[i] == _OPEN) - (tokens[i] == _CLOSE)
        if not depth:
            return i
    return len(tokens) - 1


def _outside(tokens: Tokens) -> Tokens:
    """The tokens that are in no parentheses; those that open some stay."""
    found: Tokens = []
    at = 0
    while at < len(tokens):
        found.append(tokens[at])
        at = _closing(tokens, at) + 1 if tokens[at] == _OPEN else at + 1
    return found


def _ctes(tokens: Tokens) -> dict[str, Tokens]:
    """The named queries at the head of a query, by their names."""
    found: dict[str, Tokens] = {}
    if not tokens or tokens[0] != ("word", "with"):
        return found
    name, at = "", 1
    while at < len(tokens) and tokens[at] not in (("word", "select"), ("word", "from")):
        if tokens[at] == _OPEN:
            end = _closing(tokens, at)
            inner = tokens[at + 1 : end]
            if inner and inner[0][1] in ("select", "with", "from", "(", "values"):
                found[name] = inner
            at = end
        elif tokens[at][0] in ("word", "quoted") and tokens[at - 1][1] in (
            "with",
            ",",
            "recursive",
        ):
            name = tokens[at][1].strip('"')
        at += 1
    return found


def _handed_on(tokens: Tokens) -> Tokens:
    """The one table or subquery that a query reads; empty for none."""
    depth = 0
    for at, token in enumerate(tokens[:-1]):
        depth += (token == _OPEN) - (token == _CLOSE)
        if token == ("word", "from") and not depth:
            if tokens[at + 1] == _OPEN:
                return tokens[at + 2 : _closing(tokens, at + 1)]
            after = tokens[at + 2 :]
            several = after and (after[0][1] == "," or after[0] == _OPEN)
            return [] if several else [tokens[at + 1]]
    return []
