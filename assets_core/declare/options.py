"""Options of a declaration as users write them, checked and brought into fields of `Asset`."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from assets_core.checks import Check
from assets_core.declare.asset import Asset, ExecutorName, Reference, SchemaPolicy, Vanished
from assets_core.declare.policies import Batch, Freshness, Retry
from assets_core.durations import parse_duration
from assets_core.errors import DefinitionError, UsageError
from assets_core.partitions import PartitionsDefinition, require
from assets_core.problems import deferred, refuse


def _references(depends_on: Iterable[str | Asset | Reference]) -> tuple[Reference, ...]:
    found = (_reference_or_none(upstream) for upstream in depends_on)
    return tuple(reference for reference in found if reference is not None)


def _reference_or_none(upstream: Any) -> Reference | None:
    try:
        return as_reference(upstream)
    except DefinitionError as error:
        refuse(error)
        return None


def as_reference(upstream: str | Asset | Reference) -> Reference:
    """An upstream given as a name, an asset or a reference."""
    if isinstance(upstream, Reference):
        return upstream
    if isinstance(upstream, Asset):
        return Reference(upstream.name)
    if isinstance(upstream, str):
        return Reference(upstream)
    raise DefinitionError(
        f"{upstream!r} does not name an upstream asset.",
        hint="Give a name, an asset, or asset.last(7) and the like.",
    )


def settings_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as users write them → fields of `Asset`; those refused are left out."""
    _refuse_misspelt(options)
    if options.get("require") is not None:
        options = {**options, "required": require(options["require"])}
    settings = {n: value for n, value in options.items() if value is not None and n in _FIELDS}
    for name in ("tags", "checks", "exclude", "libraries", "reads_files", "reads_env"):
        if name in settings:
            settings[name] = as_tuple(settings[name], name)
    _refuse_no_names(settings)
    if "depends_on" in settings:
        settings["depends_on"] = _references(as_tuple(settings["depends_on"], "depends_on"))
    if "inputs" in settings:
        found = {name: _reference_or_none(r) for name, r in settings["inputs"].items()}
        settings["inputs"] = {name: r for name, r in found.items() if r is not None}
    if isinstance(settings.get("batch"), bool):
        settings["batch"] = Batch() if settings["batch"] else None
    _refuse_unfit(settings)
    _refuse_unknown_duration(settings)
    return settings


@deferred(tuple)
def as_tuple(value: Any, name: str) -> tuple[Any, ...]:
    if isinstance(value, (str, Path, Asset, Reference, Check)):
        raise DefinitionError(f"{name}={value!r} is one value.", hint=f"Write {name}=[…].")
    return tuple(value)


def _refuse_no_names(settings: dict[str, Any]) -> None:
    """Paths and variables are told by text, or a path where a file is meant."""
    for name, kinds in (("reads_files", (str, Path)), ("reads_env", (str,))):
        for value in settings.get(name, ()):
            if not isinstance(value, kinds) or not str(value).strip() or "\0" in str(value):
                what = "file, folder or pattern" if name == "reads_files" else "variable"
                refuse(
                    DefinitionError(
                        f"{name}={value!r} names no {what}.",
                        hint="Write reads_files=['sql/orders.sql'] or reads_env=['REGION'].",
                    )
                )
        if name in settings:
            settings[name] = tuple(str(v) for v in settings[name] if isinstance(v, kinds))


_OPTIONS = tuple(
    {"required": "require"}.get(f.name, f.name)
    for f in fields(Asset)
    if f.name not in ("kind", "function", "sql", "siblings", "location", "names")
)

_FIELDS = {*_OPTIONS, "required"} - {"require"}


def _refuse_misspelt(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in _OPTIONS:
            close = difflib.get_close_matches(name, _OPTIONS, n=1)
            known = f"There are: {', '.join(_OPTIONS)}."
            refuse(
                DefinitionError(
                    f"There is no option {name!r}.",
                    hint=f"Did you mean {close[0]!r}?" if close else known,
                )
            )


@dataclass(frozen=True, slots=True)
class OptionRule:
    """What the value of an option must be, and what is said of one that is not."""

    holds: Callable[[Any], bool]
    wrong: str
    hint: str


def _one_of(choices: Any) -> OptionRule:
    known: tuple[str, ...] = typing.get_args(choices)
    return OptionRule(lambda value: value in known, "is not known", f"One of {', '.join(known)}.")


def _a(kind: type, example: str) -> OptionRule:
    hint = f"Write {example}, for example."
    return OptionRule(lambda value: isinstance(value, kind), f"is no {kind.__name__}", hint)


_RULES = {
    "schema": _one_of(SchemaPolicy),
    "executor": _one_of(ExecutorName),
    "vanished": _one_of(Vanished),
    "ordered": OptionRule(
        lambda value: isinstance(value, bool),
        "is neither True nor False",
        "Write ordered=True where the order of rows is part of the content.",
    ),
    "float_digits": OptionRule(
        lambda value: type(value) is int and 1 <= value <= 17,
        "is no number of digits",
        "Between 1 and 17: float_digits=12 leaves out the last few of a sum.",
    ),
    "max_rejected": OptionRule(
        lambda value: isinstance(value, int | float) and 0 <= value <= 1,
        "is not a fraction",
        "0.01 allows one row in a hundred.",
    ),
    "partitions": _a(
        PartitionsDefinition, "partitions=daily('2024-01-01') or static(['north', 'south'])"
    ),
    "retry": _a(Retry, "retry=Retry(3)"),
    "freshness": _a(Freshness, "freshness=Freshness('8h')"),
    "batch": _a(Batch, "batch=True, or Batch(max_partitions=100)"),
}


def _refuse_unfit(settings: dict[str, Any]) -> None:
    for name, rule in _RULES.items():
        if settings.get(name) is not None and not rule.holds(settings[name]):
            told = f"{name}={settings.pop(name)!r} {rule.wrong}."
            refuse(DefinitionError(told, hint=rule.hint))


def _refuse_unknown_duration(settings: dict[str, Any]) -> None:
    if settings.get("closed_after") is None:
        return
    try:
        parse_duration(settings["closed_after"])
    except UsageError as error:
        given = settings.pop("closed_after")
        refuse(
            DefinitionError(
                f"closed_after={given!r} is no length of time.",
                facts={"reason": error.message},
                hint="Write closed_after='30d', for example.",
            )
        )
