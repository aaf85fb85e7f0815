"""Partitions and steps as masks (bool by ordinal, or by step of a batch), and plans cut by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from assets_core.partitions import KeyRanges, KeySpace
from assets_core.partitions.range_sets import keys_to_ranges
from assets_core.planning.columns import OpSteps
from assets_core.planning.plan import Plan


def mask_of_ranges(space: KeySpace, ranges: KeyRanges) -> np.ndarray:
    """Which partitions lie in the ranges."""
    inside = np.zeros(space.n, bool)
    for lo, hi in _bounds(space, ranges):
        inside[lo : hi + 1] = True
    return inside


def mask_of_keys(space: KeySpace, keys: Iterable[str]) -> np.ndarray:
    """Which partitions have one of the keys."""
    mask = np.zeros(space.n, bool)
    at = space.ordinals(list(keys))
    mask[at[at >= 0]] = True
    return mask


def size_of_ranges(space: KeySpace | None, ranges: KeyRanges) -> int:
    """How many partitions lie in the ranges; none without a key space."""
    return 0 if space is None else sum(hi - lo + 1 for lo, hi in _bounds(space, ranges))


def _bounds(space: KeySpace, ranges: KeyRanges) -> list[tuple[int, int]]:
    """Inclusive ordinals; a range of which an end has left the key space is left out."""
    ends = space.ordinals([key for pair in ranges for key in pair]).tolist()
    pairs = zip(ends[::2], ends[1::2], strict=True)
    return [(lo, hi) for lo, hi in pairs if 0 <= lo <= hi]


# --------------------------------------------------------------------------------------------
# Steps of a plan


def steps_missing(plan: Plan, batch: OpSteps) -> np.ndarray:
    """Which steps of a batch have an output that was never built."""
    gone = [~plan.facts.assets[name].there_at(batch.ordinals) for name in batch.op.outputs]
    return np.asarray(np.logical_or.reduce(gone))


def steps_at_keys(plan: Plan, batch: OpSteps, keys: Mapping[str, Mapping[str, Any]]) -> np.ndarray:
    """Which steps of a batch make one of these partitions: keys by asset."""
    space = plan.facts.spaces[batch.op.name]
    masks = [mask_of_keys(space, keys.get(name, ())) for name in batch.op.outputs]
    found: np.ndarray = np.logical_or.reduce(masks)[batch.ordinals]
    return found


def steps_in_ranges(plan: Plan, batch: OpSteps, ranges: Mapping[str, KeyRanges]) -> np.ndarray:
    """Which steps of a batch make a partition within these ranges, by asset."""
    space = plan.facts.spaces[batch.op.name]
    masks = [mask_of_ranges(space, ranges.get(name, ())) for name in batch.op.outputs]
    found: np.ndarray = np.logical_or.reduce(masks)[batch.ordinals]
    return found


def only_steps(plan: Plan, wanted: Callable[[OpSteps], np.ndarray]) -> Plan:
    """The plan with only those steps that ``wanted`` says of each batch."""

    def parts(batches: Iterable[OpSteps]) -> tuple[OpSteps, ...]:
        masks = ((batch, wanted(batch)) for batch in batches)
        return tuple(batch.where(mask) for batch, mask in masks if mask.any())

    return replace(plan, batches=parts(plan.batches), waiting_batches=parts(plan.waiting_batches))


def ranges_of_steps(plan: Plan) -> dict[str, tuple[tuple[str, str], ...]]:
    """The steps of a plan as ranges of keys, by asset."""
    ordinals: dict[str, list[np.ndarray]] = {}
    for batch in (*plan.batches, *plan.waiting_batches):
        for name in batch.op.outputs:
            ordinals.setdefault(name, []).append(batch.ordinals)
    return {
        name: keys_to_ranges(plan.facts.spaces[name], np.sort(np.concatenate(parts)).tolist())
        for name, parts in ordinals.items()
    }
