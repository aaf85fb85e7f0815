"""Failures told by kind: steps of one asset that failed alike are one group.

Pure. A group names its partitions as ranges, keeps one traceback for all of them, and knows the
words that retry just them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from assets_core.partitions import KeySpace
from assets_core.wording import count, first_line, key_pairs, range_text, reference

_MOST_OPTIONS = 6
"""So many ranges are named in a command; of more, the store is asked which partitions failed."""

_NUMBERS = re.compile(r"\d+(?:[.,:T-]\d+)*")


@dataclass(frozen=True, slots=True)
class FailedStep:
    """One step that failed, as a run or the records tell it; ``tries`` attempts were made."""

    asset: str
    partition: str
    error: str
    details: str = ""
    traceback: str = ""
    tries: int = 1


@dataclass(slots=True)
class AlikeGroup:
    """Partitions of one asset about which the same is said; ``text`` is what the first says."""

    asset: str
    text: str
    partitions: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Partitions of one asset that failed alike, in the order of its key space.

    ``first`` is the first of them in that order: its error stands for all. ``ranges`` are inclusive
    pairs of keys; a partition that has left the key space is in ``partitions`` and in no range.
    ``tries`` is the most attempts that were made at one of them.
    """

    asset: str
    first: FailedStep
    partitions: tuple[str, ...]
    ranges: tuple[tuple[str, str], ...]
    tries: int
    traceback: str

    @property
    def title(self) -> str:
        """``312 partitions: KeyError: 'country' in clean``; of one, its reference and error."""
        error = first_line(self.first.error, 300)
        if len(self.partitions) == 1:
            return f"{reference(self.asset, self.partitions[0])}  {error}"
        return f"{count(len(self.partitions), 'partition')}: {error} in {self.asset}"

    def where(self, most: int = 12) -> str:
        """The partitions as ranges, the first of many."""
        told = ", ".join(range_text(*pair) for pair in self.ranges[:most])
        more = len(self.ranges) - most
        return told + (f" and {count(more, 'more range')}" if more > 0 else "")

    def retry(self, space: KeySpace | None, *, forced: bool = False) -> list[str]:
        """The words after ``assets`` that build just these again; empty where nothing does.

        ``forced``: the run was, so what failed of it may be recorded as fresh.
        """
        if space is None or not self.ranges:
            return []
        force = ["--force"] if forced else []
        if not space.definition.dimensions:
            return ["materialize", self.asset, *force, "--yes"]
        chosen = _chosen(space, self.ranges)
        if len(chosen) <= _MOST_OPTIONS:
            pairs = [("--partitions" if ".." in one else "--partition", one) for one in chosen]
            return ["materialize", self.asset, *(word for pair in pairs for word in pair), *force]
        return [] if forced else ["backfill", self.asset, "--reprocess", "failed", "--yes"]

    def to_dict(self, retry: str = "") -> dict[str, Any]:
        """Plain JSON values; ``retry`` is the command line that builds just these again."""
        return {
            "asset": self.asset,
            "count": len(self.partitions),
            "error": self.first.error,
            "ranges": [list(pair) for pair in self.ranges],
            "partition": self.first.partition,
            "tries": self.tries,
            "details": self.first.details,
            "traceback": self.traceback,
            "retry": retry,
        }


def _chosen(space: KeySpace, ranges: Sequence[tuple[str, str]]) -> list[str]:
    """The ranges as selections; of several dimensions a range is no rectangle, so key by key."""
    if len(space.definition.dimensions) == 1:
        return [range_text(*pair) for pair in ranges]
    bounds = [(space.ordinal(first), space.ordinal(last)) for first, last in ranges]
    return [space.key(at) for first, last in bounds for at in range(first, last + 1)]


def group_alike(items: Iterable[tuple[str, str, str]]) -> list[AlikeGroup]:
    """``(asset, text, partition)`` grouped by asset and text, numbers and keys left out of it."""
    groups: dict[tuple[str, str], AlikeGroup] = {}
    for asset, text, partition in items:
        kind = (asset, _pattern(text, partition))
        groups.setdefault(kind, AlikeGroup(asset, text)).partitions.append(partition)
    return list(groups.values())


def _pattern(text: str, partition: str) -> str:
    return _NUMBERS.sub("#", text.replace(partition, "#"))


def group_failures(
    failures: Iterable[FailedStep], spaces: Mapping[str, KeySpace]
) -> tuple[FailureGroup, ...]:
    """Failures by asset and error, those with most partitions first.

    Errors that differ only in numbers or in the partition's own key are one kind. A partition
    that failed alike several times counts once.
    """
    kinds: dict[tuple[str, str], dict[str, FailedStep]] = {}
    for one in failures:
        kind = (one.asset, _pattern(one.error, one.partition))
        kinds.setdefault(kind, {}).setdefault(one.partition, one)
    found = [_group(list(members.values()), spaces) for members in kinds.values()]
    return tuple(sorted(found, key=lambda group: -len(group.partitions)))


def _group(members: Sequence[FailedStep], spaces: Mapping[str, KeySpace]) -> FailureGroup:
    by_key = {one.partition: one for one in members}
    asset = members[0].asset
    ordered, ranges = _in_order(list(by_key), spaces.get(asset))
    first = by_key.get(ordered[0], members[0])
    return FailureGroup(
        asset=asset,
        first=first,
        partitions=ordered,
        ranges=ranges,
        tries=max(one.tries for one in members),
        traceback=next((one.traceback for one in (first, *members) if one.traceback), ""),
    )


def _in_order(
    keys: Sequence[str], space: KeySpace | None
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    if space is None:
        return tuple(keys), ()
    ordinals = space.ordinals(keys)
    known = np.unique(ordinals[ordinals >= 0])
    strangers = [key for key, at in zip(keys, ordinals.tolist(), strict=True) if at < 0]
    return (*space.keys(known), *strangers), tuple(key_pairs(known, space))
