"""Where names are looked up, and what is told by looking without following."""

from __future__ import annotations

import builtins
import importlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import CellType, FunctionType, ModuleType
from typing import Any

from assets_core.fingerprint.ownership import is_ours
from assets_core.fingerprint.syntax.unit import Chain, Import

MISSING = object()

Names = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NameScope:
    """Where names are looked up: closure, then module; and how parameters are annotated."""

    closure: Mapping[str, CellType]
    module: Names
    owner: str
    parameters: Names = field(default_factory=dict)


def absolute(found: Import, module: Names) -> str:
    """The full name of an imported module, relative imports resolved."""
    level, name, _ = found
    if level:
        package = module.get("__package__") or str(module.get("__name__", "")).rpartition(".")[0]
        base = package.rsplit(".", level - 1)[0] if level > 1 else package
        name = f"{base}.{name}".strip(".") if name else base
    return name


def places_of(module: ModuleType | None) -> tuple[str, ...]:
    """The folder of a module's file, and the one that its package lies in."""
    file = getattr(module, "__file__", None)
    if module is None or not file:
        return ()
    depth = module.__name__.count(".") + (Path(file).name == "__init__.py")
    parents = Path(file).parents
    return tuple({str(parents[0]), str(parents[min(depth, len(parents) - 2)])})


def attribute_of(module: ModuleType, name: str) -> object:
    value = getattr(module, name, MISSING)
    if value is MISSING:
        try:
            return importlib.import_module(f"{module.__name__}.{name}")
        except ImportError:
            return MISSING
    return value


def lookup(name: str, scope: NameScope) -> Any:
    if name in scope.closure:
        try:
            return scope.closure[name].cell_contents
        except ValueError:
            return None
    return scope.module.get(name, getattr(builtins, name, None))


def annotated(fn: FunctionType) -> Names:
    """A function's parameters with their annotations, None where there is none."""
    code = fn.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return {name: fn.__annotations__.get(name) for name in names}


def logs(chain: Chain, scope: NameScope) -> bool:
    """Whether what is called is ``print`` or a logger, whose text comes out nowhere else."""
    name, *rest = chain
    if name in scope.parameters:
        note = scope.parameters[name]
        named = note if isinstance(note, str) else getattr(note, "__qualname__", "")
        ours = isinstance(note, str) or is_ours(note)
        return ours and named.rpartition(".")[2] == "Context" and rest[:-1] == ["log"]
    if chain == ("print",):
        return "print" not in scope.module and "print" not in scope.closure
    value = lookup(name, scope)
    for attribute in rest[:-1]:
        value = getattr(value, attribute, None)
    return (
        value is logging
        or isinstance(value, logging.Logger | logging.LoggerAdapter)
        or type(value).__module__.partition(".")[0] in ("structlog", "loguru")
    )
