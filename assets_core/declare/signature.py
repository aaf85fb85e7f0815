"""What the function of an asset asks for, read from its parameters and their annotations."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any

from assets_core.declare.asset import Asset, Reference
from assets_core.errors import DefinitionError
from assets_core.partitions import (
    AnyOrder,
    Partition,
    PartitionMapping,
    Partitions,
    Require,
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that receives an upstream's data."""

    name: str
    annotation: Any
    reference: Reference


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function asks for, parameter by parameter."""

    inputs: tuple[Parameter, ...] = ()
    partition: str = ""
    partitions: str = ""
    context: str = ""
    config: str = ""
    config_model: Any = None
    returns: Any = None


_PLAIN = inspect.Parameter.empty


def read_signature(asset: Asset) -> Signature:
    """The signature of an asset's function.

    Raises DefinitionError for annotations that can't be resolved, ``*args`` and ``**kwargs``.
    """
    function = asset.function
    if function is None:
        return Signature()
    hints = _hints(asset, function)
    inputs: list[Parameter] = []
    roles: dict[str, Any] = {}
    for name in _parameter_names(asset, function, hints):
        annotation, markers = _unwrap(hints.get(name, _PLAIN))
        role = _role(annotation)
        if role is None:
            inputs.append(_input(asset, name, annotation, markers))
        else:
            roles[role] = name
            if role == "config":
                roles["config_model"] = annotation
    return Signature(inputs=tuple(inputs), returns=hints.get("return", _PLAIN), **roles)


def _hints(asset: Asset, function: Callable[..., Any]) -> dict[str, Any]:
    plain = inspect.unwrap(function)
    notes = getattr(plain, "__annotations__", {})
    if not any(isinstance(note, str) for note in notes.values()):
        return dict(notes)
    try:
        names = {**asset.names, **_closure(plain)}
        return typing.get_type_hints(plain, include_extras=True, localns=names)
    except Exception as error:
        raise DefinitionError(
            f"The annotations of asset {asset.name!r} can't be resolved: {error}",
            facts={"asset": asset.name, "declared": asset.location},
            hint="Import the names that the annotations use at the top of the module.",
        ) from error


def _closure(function: Any) -> dict[str, Any]:
    if not isinstance(function, FunctionType) or not function.__closure__:
        return {}
    return dict(inspect.getclosurevars(function).nonlocals)


def _parameter_names(
    asset: Asset, function: Callable[..., Any], hints: Mapping[str, Any]
) -> list[str]:
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in variable:
            raise DefinitionError(
                f"Asset {asset.name!r} takes {parameter}; each parameter must name one input.",
                facts={"asset": asset.name, "declared": asset.location},
                hint="Name the upstream assets one by one.",
            )
        # A parameter with a default is an ordinary one, unless something gives it a role.
        plain, markers = _unwrap(hints.get(name, _PLAIN))
        if parameter.default is _PLAIN or name in asset.inputs or _role(plain) or markers:
            names.append(name)
    return names


def _unwrap(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    if typing.get_origin(annotation) is typing.Annotated:
        plain, *markers = typing.get_args(annotation)
        return plain, tuple(markers)
    return annotation, ()


def _role(annotation: Any) -> str | None:
    if not isinstance(annotation, type):
        return None
    if issubclass(annotation, Partition):
        return "partition"
    if issubclass(annotation, Partitions):
        return "partitions"
    if issubclass(annotation, ContextMarker):
        return "context"
    # A model class exists only when its library is loaded, so nothing is imported to ask.
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(annotation, pydantic.BaseModel):
        return "config"
    return None


class ContextMarker:
    """The base of `Context`, so that a signature is read without what a context needs to run."""


def _input(asset: Asset, name: str, annotation: Any, markers: tuple[Any, ...]) -> Parameter:
    given = asset.inputs.get(name)
    for marker in markers:
        known = given or Reference(name)
        if isinstance(marker, Reference):
            given = marker
        elif isinstance(marker, Asset):
            given = replace(known, asset=marker.name, mapping=None)
        elif isinstance(marker, PartitionMapping):
            given = replace(known, mapping=marker)
        elif isinstance(marker, Require):
            given = replace(known, required=marker)
        elif isinstance(marker, AnyOrder):
            given = replace(known, any_row_order=True)
    return Parameter(name, annotation, given or Reference(name))
