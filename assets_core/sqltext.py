"""A query's text as tokens, told apart without any parser."""

from __future__ import annotations

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
