"""What partitions miss of what they read, as far as the policies of their inputs mind.

Pure. Which partitions are not there is handed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from assets_core.graph import Input
from assets_core.partitions import Edge, KeySpace
from assets_core.partitions.range_sets import keys_to_ranges


@dataclass(frozen=True, slots=True)
class MissingInput:
    """What is missing through one input: ``ordinals`` (int64) of the ``expected`` partitions of
    ``asset``, where ``needed`` would do (None: a function decides, and ``policy`` names it). None
    are named where partitions are waited for that do not exist yet, such as windows not closed.
    """

    asset: str
    ordinals: np.ndarray
    expected: int
    space: KeySpace
    needed: int | None = None
    policy: str = "all"

    @property
    def missing(self) -> int:
        """How many are missing."""
        return len(self.ordinals)

    def __str__(self) -> str:
        """``3 of 31 of days: 2024-01-07, …``; the keys alone where nothing is there."""
        if not self.missing:
            return f"partitions of {self.asset} that do not exist yet"
        where = self.where()
        if self.missing < self.expected:
            needs = "" if self.policy == "all" else f" (needs {self.needed or self.policy})"
            return f"{self.missing:,} of {self.expected:,} of {self.asset}{needs}: {where}"
        return f"{self.asset}{'@' if self.expected == 1 else ' '}{where}"

    def where(self, most: int = 3) -> str:
        """The keys, consecutive ones as ranges, the first few of many."""
        at = self.ordinals
        ends = np.append(np.flatnonzero(np.diff(at) != 1), len(at) - 1)
        shown = at[: ends[min(most, len(ends)) - 1] + 1].tolist()
        pairs = keys_to_ranges(self.space, shown)
        told = [a if a == b else f"{a}..{b}" for a, b in pairs]
        return ", ".join([*told, *(["…"] if len(ends) > most else [])])


def missing_input_dict(missing_input: MissingInput) -> dict[str, Any]:
    """Plain JSON values."""
    return {
        "asset": missing_input.asset,
        "missing": missing_input.missing,
        "expected": missing_input.expected,
        "needed": missing_input.needed,
    }


def short_of(
    read: Input,
    edge: Edge,
    gone: np.ndarray,
    up: KeySpace,
    withdrawn: np.ndarray | None = None,
) -> np.ndarray:
    """Which partitions miss more through an input than its policy lets them, bool.

    ``gone`` marks the upstream partitions that are not there and will not come, ``withdrawn``
    those that are not expected either.
    """
    policy = read.require
    if policy.is_all:
        return edge.any(gone)
    missing = edge.count(gone)
    if policy.rule is None:
        expected = edge.count(np.ones(edge.n_up, bool) if withdrawn is None else ~withdrawn)
        found: np.ndarray = (missing > 0) & (expected - missing < policy.least(expected))
        return found
    short = missing > 0
    for ordinal in np.flatnonzero(short).tolist():
        at = expected_of(edge.upstream(ordinal), withdrawn)
        short[ordinal] = not is_enough(read, at, gone[at], up)
    return short


def expected_of(at: np.ndarray, withdrawn: np.ndarray | None) -> np.ndarray:
    """These upstream partitions without those that are withdrawn."""
    return at if withdrawn is None else at[~withdrawn[at]]


def is_enough(read: Input, at: np.ndarray, gone: np.ndarray, up: KeySpace) -> bool:
    """Whether the policy of an input is content with what is not ``gone`` (bool) of ``at``."""
    policy = read.require
    if policy.rule is None or not gone.any():
        return len(at) - int(gone.sum()) >= int(policy.least(np.array(len(at))))
    return policy.holds(up.keys(at[~gone]), up.keys(at))
