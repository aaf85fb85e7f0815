"""Filling the config models that assets ask for, out of every layer that may set a value."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from assets_core.errors import ConfigError
from assets_core.graph import Graph

EVERY = "*"
"""A layer's entry for every asset whose model has the key."""

Layer = Mapping[str, Mapping[str, Any]]


def fill_config(graph: Graph, layers: Sequence[Layer]) -> dict[str, Any]:
    """Each asset's model, filled from the layers, the later winning.

    Raises ConfigError for an asset or key that does not exist, and for values that do not fit.
    """
    models = {op.name: op.signature.config_model for op in graph.ops if op.signature.config_model}
    named = [_by_op(graph, layer) for layer in layers]
    _refuse_unknown(models, named)
    return {name: _fill(name, model, named) for name, model in models.items()}


def _by_op(graph: Graph, layer: Layer) -> dict[str, dict[str, Any]]:
    """A layer by the names of ops: a name of any asset that one makes, also as variables spell it.

    An environment variable has no small letters to tell, and no dots or dashes.
    """
    spelled = {re.sub("[.-]", "_", name.lower()): name for name in graph.op_of}
    found: dict[str, dict[str, Any]] = {}
    for given, values in layer.items():
        name = given if given in graph.op_of else spelled.get(given, given)
        op = graph.op_of.get(name)
        found.setdefault(op.name if op else name, {}).update(values)
    return found


def _fill(name: str, model: Any, layers: Sequence[Layer]) -> Any:
    from pydantic import ValidationError

    values: dict[str, Any] = {}
    known = _keys(model)
    for layer in layers:
        values.update({k: v for k, v in layer.get(EVERY, {}).items() if k in known})
        values.update(layer.get(name, {}))
    try:
        return model.model_validate(values, by_alias=True, by_name=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"The config of asset {name!r} does not fit: {key}: {first['msg']}.",
            facts={"asset": name, "key": key, "given": repr(first.get("input"))},
            hint=f"Set it with --config {name}.{key}=…, in [tool.assets.config.{name}], or by "
            f"ASSETS_CONFIG__{name.upper()}__{key.upper()}.",
        ) from error


def _keys(model: Any) -> set[str]:
    """What a model's fields are called, by name and by alias."""
    fields = model.model_fields
    aliases = {f.validation_alias for f in fields.values() if isinstance(f.validation_alias, str)}
    return {*fields, *aliases}


def _refuse_unknown(models: Mapping[str, Any], layers: Sequence[Layer]) -> None:
    for layer in layers:
        for name, values in layer.items():
            if name == EVERY:
                _refuse_nobodys(models, values)
                continue
            model = models.get(name)
            if model is None:
                raise ConfigError(
                    f"There is config for {name!r}, which takes none.",
                    hint=_close(name, models) or "No asset takes a config model.",
                )
            if model.model_config.get("extra") == "allow":
                continue
            for key in values:
                if key not in _keys(model):
                    raise ConfigError(
                        f"The config of asset {name!r} has no key {key!r}.",
                        hint=_close(key, _keys(model)),
                    )


def _refuse_nobodys(models: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    known = {key for model in models.values() for key in _keys(model)}
    for key in values:
        if key not in known:
            raise ConfigError(f"No asset's config has a key {key!r}.", hint=_close(key, known))


def _close(name: str, known: Any) -> str:
    found = difflib.get_close_matches(name, list(known), n=1)
    if found:
        return f"Did you mean {found[0]!r}?"
    return f"There are: {', '.join(sorted(known))}." if known else ""
