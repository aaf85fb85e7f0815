"""Asking a source's own functions what is there: one token, or one listing for a whole range."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import cache
from numbers import Number
from typing import TYPE_CHECKING, Any

from assets_core.declare.asset import Asset
from assets_core.declare.signature import ContextMarker
from assets_core.errors import OutputError
from assets_core.fingerprint.hashing import hexdigest
from assets_core.partitions import KeySpace, Partition, Partitions
from assets_core.partitions.ranges import span

if TYPE_CHECKING:
    from assets_core.execution.task import Runtime

_LONGEST = 200
_KINDS = "text, a number, a time, bytes, or a tuple of these"


def ask_token(runtime: Runtime, source: Asset, partition: Partition) -> str:
    """What the source's ``token`` function says of one partition; empty when it says nothing.

    Raises OutputError for what can't be a token.
    """
    assert source.token is not None
    found = _ask(runtime, source, source.token, partition, partition)
    return "" if found is None else _bounded(_text(source, partition.key, found))


def ask_range(
    runtime: Runtime, source: Asset, space: KeySpace, first: int, after: int
) -> Mapping[str, str]:
    """The tokens of what is there among the partitions ``[first, after)``, by key, as text.

    Raises OutputError when ``observe_range`` gives no mapping of keys to tokens.
    """
    assert source.observe_range is not None
    asked = span(space, first, after)
    found = _ask(runtime, source, source.observe_range, asked, None)
    if not isinstance(found, Mapping):
        raise _wrong(source, f"returned {type(found).__name__}, which maps nothing.")
    texts = {}
    for key, token in found.items():
        if not isinstance(key, str):
            raise _wrong(source, f"names a partition by {key!r}, which is no key.")
        if token is not None:
            texts[key] = _bounded(token if type(token) is str else _text(source, key, token))
    return texts


def _bounded(text: str) -> str:
    return text if len(text) <= _LONGEST else hexdigest("token", text)


def _wrong(source: Asset, what: str) -> OutputError:
    by_range = source.observe_range is not None
    return OutputError(
        f"{'observe_range' if by_range else 'token'} of source {source.name!r} {what}",
        facts={"declared": source.location},
        hint=f"Return a dict of partition key → token: {_KINDS}. Leave out what is not there."
        if by_range
        else f"Return {_KINDS}; None where there is none.",
    )


def _text(source: Asset, key: str, token: Any) -> str:
    if isinstance(token, tuple):
        parts = [_text(source, key, part) for part in token]
        # Each with its length, so that no two tuples come out the same.
        return "".join(f"{len(part)}:{part}" for part in parts)
    if isinstance(token, datetime):
        return (token.astimezone(UTC) if token.tzinfo else token).isoformat()
    if isinstance(token, bytes | bytearray | memoryview):
        return bytes(token).hex()
    # Numbers of numpy and of databases are no int or float, and write themselves just as well.
    if isinstance(token, str | Number | date) or hasattr(token, "__index__"):
        return str(token)
    raise _wrong(source, f"gives {type(token).__name__} as the token of {key}.")


def _ask(
    runtime: Runtime,
    source: Asset,
    function: Callable[..., Any],
    given: Partition | Partitions,
    partition: Partition | None,
) -> Any:
    """Call with what the function asks for: what is looked at, the context, or nothing."""
    from assets_core.execution.context import Context

    values: list[Any] = []
    for role in _roles(function):
        if role == "context":
            values.append(
                Context(asset=source.name, partition=partition, resources=runtime.resources)
            )
        else:
            values.append(given)
    return function(*values)


@cache
def _roles(function: Callable[..., Any]) -> tuple[str, ...]:
    parameters = inspect.signature(function).parameters.values()
    wanted = [p for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if not wanted:
        return ()
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError):
        hints = {}  # names that only a type checker sees: the first parameter is what is meant
    return tuple(
        "context" if _is_context(hints.get(p.name), str(p.annotation)) else "given" for p in wanted
    )


def _is_context(hint: Any, written: str) -> bool:
    if isinstance(hint, type):
        return issubclass(hint, ContextMarker)
    return written.rpartition(".")[2] == "Context"
