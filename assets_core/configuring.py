"""Filling the config models that assets ask for, out of every layer that may set a value."""

from __future__ import annotations

import difflib
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
    _refuse_unknown(graph, models, layers)
    return {name: _fill(name, model, layers) for name, model in models.items()}


def _fill(name: str, model: Any, layers: Sequence[Layer]) -> Any:
    from pydantic import ValidationError

    values: dict[str, Any] = {}
    for layer in layers:
        values.update({k: v for k, v in layer.get(EVERY, {}).items() if k in model.model_fields})
        values.update(layer.get(name, {}))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"The config of asset {name!r} does not fit: {key}: {first['msg']}.",
            facts={"asset": name, "key": key, "given": repr(first.get("input"))},
            hint=f"Set it with --config {name}.{key}=…, in [tool.assets.config.{name}], or by "
            f"ASSETS_CONFIG__{name.upper()}__{key.upper()}.",
        ) from error


def _refuse_unknown(graph: Graph, models: Mapping[str, Any], layers: Sequence[Layer]) -> None:
    for layer in layers:
        for name, values in layer.items():
            if name == EVERY:
                _refuse_nobodys(models, values)
                continue
            model = models.get(graph.op_of[name].name if name in graph.op_of else name)
            if model is None:
                raise ConfigError(
                    f"There is config for {name!r}, which takes none.",
                    hint=_close(name, models) or "No asset takes a config model.",
                )
            for key in values:
                if key not in model.model_fields:
                    raise ConfigError(
                        f"The config of asset {name!r} has no key {key!r}.",
                        hint=_close(key, model.model_fields),
                    )


def _refuse_nobodys(models: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    known = {key for model in models.values() for key in model.model_fields}
    for key in values:
        if key not in known:
            raise ConfigError(f"No asset's config has a key {key!r}.", hint=_close(key, known))


def _close(name: str, known: Any) -> str:
    found = difflib.get_close_matches(name, list(known), n=1)
    if found:
        return f"Did you mean {found[0]!r}?"
    return f"There are: {', '.join(sorted(known))}." if known else ""
