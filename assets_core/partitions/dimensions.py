"""Which dimensions of two definitions belong together, and what to write where none do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assets_core.partitions.definitions import PartitionsDefinition
from assets_core.partitions.named_values import Dynamic, Static, Unpartitioned
from assets_core.partitions.products import Product
from assets_core.partitions.time_windows import TimeSpace, TimeWindows


def definition_parts(definition: PartitionsDefinition) -> dict[str, PartitionsDefinition]:
    if isinstance(definition, Product):
        return dict(definition.parts)
    return dict.fromkeys(definition.dimensions, definition)


def dimension_problem(down: PartitionsDefinition, up: PartitionsDefinition) -> str | None:
    """Two partitioned assets must have something in common, or be told how to map."""
    if isinstance(down, Unpartitioned) or isinstance(up, Unpartitioned):
        return None
    mine, theirs = definition_parts(down), definition_parts(up)
    partners = partners_of(mine, theirs)
    for name, own in partners.items():
        one, other = (getattr(part, "values", None) for part in (mine[own], theirs[name]))
        if one is not None and other is not None and set(one).isdisjoint(other):
            return f"their {name!r} partitions have no key in common; use mapped(…)."
    if partners:
        return None
    return f"{down.kind} and {up.kind} partitions have nothing in common; {_ways(mine, theirs)}."


def _ways(
    mine: Mapping[str, PartitionsDefinition], theirs: Mapping[str, PartitionsDefinition]
) -> str:
    """What can be written where nothing is in common."""
    for name in theirs:
        for own in mine:
            if _keys_meet(theirs[name], mine[own]):
                return f"{_one_name(mine, own, theirs, name)}, or use mapped(…)"
    newest = "latest(), " if any(map(is_time, theirs.values())) else ""
    return f"use all_partitions(), {newest}or mapped(…)"


def _one_name(
    mine: Mapping[str, PartitionsDefinition],
    own: str,
    theirs: Mapping[str, PartitionsDefinition],
    name: str,
) -> str:
    if len(mine) == 1 and isinstance(mine[own], Static):
        return f"to match keys, name the reader's: static([…], name={name!r})"
    if len(theirs) == 1 and isinstance(theirs[name], Static):
        return f"to match keys, name the upstream's: static([…], name={own!r})"
    return f"to match keys, give {own!r} of the reader and {name!r} of the upstream the same name"


def _keys_meet(one: PartitionsDefinition, other: PartitionsDefinition) -> bool:
    if isinstance(one, Static) and isinstance(other, Static):
        return not set(one.values).isdisjoint(other.values)
    return isinstance(one, Dynamic) and one == other


def partners_of(
    mine: Mapping[str, PartitionsDefinition], theirs: Mapping[str, PartitionsDefinition]
) -> dict[str, str]:
    """Upstream dimension → the reader's dimension it follows.

    The one of the same name; else, for time, any other time; else, where one of the two is no
    product and its dimension's name so says little, the only one of the very same keys.
    """
    found = {
        name: name
        for name, part in theirs.items()
        if name in mine and is_time(mine[name]) == is_time(part)
    }
    for name, part in theirs.items():
        if name not in found and is_time(part):
            free = [n for n, p in mine.items() if is_time(p) and n not in found.values()]
            if free:
                found[name] = free[0]
    if not found and min(len(mine), len(theirs)) == 1:
        pairs = [(a, b) for a in theirs for b in mine if _same_keys(theirs[a], mine[b])]
        if len(pairs) == 1:
            found.update(pairs)
    return found


def _same_keys(one: PartitionsDefinition, other: PartitionsDefinition) -> bool:
    """Whether two definitions of values hold the very same keys, in any order, by any name."""
    if isinstance(one, Static) and isinstance(other, Static):
        return set(one.values) == set(other.values)
    return isinstance(one, Dynamic) and one == other


def is_time(part: Any) -> bool:
    return isinstance(part, TimeSpace | TimeWindows)
