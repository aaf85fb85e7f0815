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
_KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """
    all and any array as asc asof anti between both by case cast collate cross default desc distinct
    else end except exclude exists false fetch filter following for from full glob group having
    ilike in inner intersect interval is isnull join lateral leading left like limit natural not
    notnull null nulls offset on only or order outer over partition pivot positional preceding
    qualify recursive right rows select semi similar some struct symmetric table tablesample then
    to trailing true unbounded union unique unpivot using values when where window with within
    """,
    )
)


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
            found.append((kind, _folded(token, found, text, at) if kind == "word" else token))
    while found and found[-1] == ("sign", ";"):
        found.pop()
    return found


def _end_of_comment(text: str, at: int) -> int:
    """Where a comment, which may hold others, ends; -1 when it does not."""
    depth = 1
    for match in re.compile(r"/\*|\*/").finditer(text, at):
        depth += 1 if match.group() == "/*" else -1
        if not depth:
            return match.end()
    return -1


def _folded(word: str, before: list[tuple[str, str]], text: str, at: int) -> str:
    previous = before[-1] if before else ("", "")
    if previous in (("word", "as"), ("sign", ".")):
        return word  # a name, whatever it is
    called = text[at : at + 20].lstrip()[:1] == "("
    folds = called or previous == ("sign", "::") or word.lower() in _KEYWORDS
    return word.lower() if folds else word
