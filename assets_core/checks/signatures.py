"""What a user's check function takes, read from its signature."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

from assets_core.checks.wording import bad_check
from assets_core.errors import DefinitionError


def parameters_of(
    name: str, function: Callable[..., Any], *, final: bool = False
) -> list[tuple[str, Any]]:
    """What the function takes, in order: ``("rows", annotation)``, ``("partition", …)``.

    Empty when annotations name what does not exist yet, which is fine until it is ``final``.
    Raises DefinitionError when the function can't be served.
    """
    hints = _hints(name, function, final=final)
    if hints is None:
        return []
    found: list[tuple[str, Any]] = []
    for given, parameter in _signature(name, function).parameters.items():
        annotation = hints.get(given, inspect.Parameter.empty)
        if given == "partition" or getattr(annotation, "__name__", "") == "Partition":
            found.append(("partition", annotation))
        elif parameter.default is inspect.Parameter.empty:
            found.append(("rows", annotation))
    roles = [role for role, _ in found]
    if roles.count("rows") != 1 or roles.count("partition") > 1:
        raise bad_check(name, "it takes the rows and, if it likes, the partition.")
    _refuse_unsuppliable(name, next(kind for role, kind in found if role == "rows"))
    return found


def _refuse_unsuppliable(name: str, annotation: Any) -> None:
    from assets_core.tabular.forms import describe_supported, form_of

    form = form_of(annotation)
    if form is None or form.keyed or form.kind in ("path", "paths"):
        shown = getattr(annotation, "__qualname__", None) or str(annotation)
        raise DefinitionError(
            f"Check {name}: rows can't be given as {shown}.",
            hint=f"Ask for {describe_supported()}.",
        )


def _hints(name: str, function: Callable[..., Any], *, final: bool) -> dict[str, Any] | None:
    plain: Any = inspect.unwrap(function)
    if not inspect.isroutine(plain):
        plain = type(plain).__call__
    try:
        return typing.get_type_hints(plain)
    except NameError as error:
        if not final:
            return None
        raise bad_check(name, f"its annotations can't be resolved: {error}") from error


def _signature(name: str, function: Callable[..., Any]) -> inspect.Signature:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise bad_check(name, f"its parameters can't be read: {error}") from error
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    odd = [p for p in signature.parameters.values() if p.kind not in named]
    if odd:
        raise bad_check(name, f"it takes {odd[0]}; name its parameters one by one.")
    return signature
