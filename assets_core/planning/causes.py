"""The root causes of a plan, each told once with all that follows from it.

Only the few causes that are shown ask what exactly moved, and of a few examples; `cause_finder`
finds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from assets_core.planning.columns import PlanColumns
from assets_core.planning.reasons import IS_WITHDRAWN, READS, UPGRADED, Reason
from assets_core.planning.staleness import INPUT
from assets_core.wording import count, one_line, ranges, short

OTHERS = "other causes"

_EXAMPLES = 8
"""So many partitions of a cause are asked what moved; of more, these are the examples."""


@dataclass(slots=True, eq=False)
class Cause:
    """One root cause: ``kind`` as of reasons, ``subject`` what of it is told with it.

    ``assets`` have it as their own; ``must`` asset partitions run because of it, ``may`` and
    ``blocked`` ones lie downstream of them. A partition with two causes counts for both.
    """

    kind: str
    subject: str
    assets: list[str] = field(default_factory=list)
    must: int = 0
    may: int = 0
    blocked: int = 0
    members: list[tuple[str, np.ndarray]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How many asset partitions it touches."""
        return self.must + self.may + self.blocked

    @property
    def phrase(self) -> str:
        """The cause in the fewest words, for a line that stands beside an asset."""
        if self.kind == "late data":
            return f"late data in {self.subject}"
        if self.kind == "input changed" and self.subject:
            return f"input {self.subject} changed"
        return self.subject if self.kind in ("closed", READS) else self.kind

    @property
    def effect(self) -> str:
        """``91 must, 182 may downstream``."""
        parts = [f"{self.must:,} must"] if self.must else []
        parts += [f"{self.may:,} may"] if self.may else []
        parts += [f"{self.blocked:,} blocked"] if self.blocked else []
        return ", ".join(parts) + (" downstream" if self.may or self.blocked else "")


@dataclass(frozen=True, slots=True, eq=False)
class Causes:
    """All root causes of a plan, the largest first, and the bits of each asset's own ones.

    ``own`` holds, for each planned asset, uint64 bits aligned with the ordinals of its batch
    (``found[i]`` is bit ``i``).
    """

    plan: PlanColumns
    found: tuple[Cause, ...]
    own: Mapping[str, np.ndarray]
    numbered: tuple[Cause, ...]

    def phrases(self, bits: int) -> str:
        """The causes behind some bits in the fewest words."""
        told = (cause.phrase for i, cause in enumerate(self.numbered) if bits >> i & 1)
        return "; ".join(dict.fromkeys(told))

    def to_dict(self) -> list[dict[str, Any]]:
        """The causes as plain JSON values, the largest first."""
        return [
            {
                "kind": cause.kind,
                "text": self.text(cause),
                "assets": cause.assets,
                "must": cause.must,
                "may": cause.may,
                "blocked": cause.blocked,
            }
            for cause in self.found
        ]

    def text(self, cause: Cause) -> str:
        """A cause in words: whose code changed and what of it, which partitions moved."""
        if cause.kind in ("code changed", "config changed"):
            what = _parts(cause.subject)
            return f"{names(cause.assets)}: {cause.kind}" + (f" ({what})" if what else "")
        if cause.kind == UPGRADED:
            return (
                f"{names(cause.assets)}: built before fingerprints of code got better; to keep "
                "what you believe is right: assets accept --upgraded"
            )
        if cause.kind == "missing" and cause.subject:
            return f"withdrawn, and there is something to read again: {names(cause.assets)}"
        if cause.kind == "missing":
            return f"never built: {names(cause.assets)}"
        if cause.kind == "invalidated":
            return f"{names(cause.assets)}: invalidated {cause.subject}"
        if cause.kind == IS_WITHDRAWN:
            return f"nothing is left to read: {names(cause.assets)}, to be withdrawn"
        if cause.kind == "forced":
            return "asked for by --force"
        if cause.kind in ("late data", "input changed") and cause.subject:
            return self._moved(cause)
        return f"{names(cause.assets)}: {cause.subject or cause.kind}"

    def _moved(self, cause: Cause) -> str:
        """Which partitions of an upstream asset moved, as far as a few readers tell."""
        reasons, whole = self._examples(cause)
        alike = [r for r in reasons if (r.kind, r.asset) == (cause.kind, cause.subject)]
        moved = {reason.partition: reason for reason in alike if reason.partition}
        if len(moved) == 1 and whole:
            (reason,) = moved.values()
            return one_line(f"{reason.detail}{versions(reason)}")
        space = self.plan.facts.spaces[cause.subject]
        at = np.sort(space.ordinals(list(moved)))
        at = at[at >= 0]
        where = f": {ranges(at, space, most=3)}" if len(at) else ""
        return one_line(cause.phrase + where + ("" if whole or not len(at) else ", …"))

    def _examples(self, cause: Cause) -> tuple[list[Reason], bool]:
        """The reasons of a few of a cause's partitions, and whether these are all."""
        told: list[Reason] = []
        left = _EXAMPLES
        for asset, ordinals in cause.members:
            for ordinal in ordinals[:left].tolist():
                told += self.plan.explain(asset, ordinal, INPUT)
            left -= min(left, len(ordinals))
            if not left:
                break
        whole = sum(len(ordinals) for _, ordinals in cause.members) <= _EXAMPLES
        return told, whole and not any(r.asset and not r.partition for r in told)


def names(assets: Sequence[str], most: int = 3) -> str:
    """``a``, ``a, b``, ``a, b, c and 12 more``."""
    shown = ", ".join(assets[:most])
    return shown + (f" and {count(len(assets) - most)} more" if len(assets) > most else "")


def versions(reason: Reason) -> str:
    """``(1a2b3c4d → 5e6f7a8b)``, nothing when one of them is not known."""
    return f" ({short(reason.was)} → {short(reason.now)})" if reason.was and reason.now else ""


def _parts(detail: str) -> str:
    """``helper scale changed; constant LIMIT added`` → ``helper scale, constant LIMIT added``."""
    if detail == "another code version":
        return ""
    return one_line(", ".join(p.removesuffix(" changed") for p in detail.split("; ")), 120)
