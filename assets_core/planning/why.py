"""Why one partition is in a plan, with before and after: the values that `why_walk` finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from assets_core.planning.reasons import READS
from assets_core.shown import Shown
from assets_core.wording import (
    count,
    human_time,
    iso_time,
    one_line,
)

STATUSES = {
    "must": "must run",
    "may": "may run, if what it reads really comes out different",
    "blocked": "is stale, and waits",
    "fresh": "is fresh",
    "withdrawn": "is withdrawn: nothing is left of what it reads",
    "source": "is a source's: it is observed, not built",
    "not selected": "is stale, and not in this plan: it was not selected",
    "upstream not selected": "is as fresh as what it reads, of which something is stale "
    "and not selected",
}

_PARTS = 12


@dataclass(frozen=True, slots=True)
class Change:
    """One reason with its before and after, and what recorded the after.

    ``at`` (µs, 0: unknown) and ``run`` (empty: an observation) are those of the upstream
    materialization that moved; ``parts`` of a code version are ``(name, was, now)``, short hashes.
    """

    kind: str
    detail: str
    was: str = ""
    now: str = ""
    asset: str = ""
    partition: str = ""
    at: int = 0
    run: str = ""
    parts: tuple[tuple[str, str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.kind,
            "detail": self.detail,
            "was": self.was,
            "now": self.now,
            "asset": self.asset,
            "partition": self.partition,
            "at": iso_time(self.at),
            "run": self.run,
            "parts": [{"part": p, "was": was, "now": now} for p, was, now in self.parts],
        }

    def lines(self) -> Iterator[str]:
        """The change in words, then a line for each part of the code."""
        text = self.detail if self.detail.startswith(self.kind) else f"{self.kind}: {self.detail}"
        if self.kind in ("late data", "missing", "sibling", "forced", READS):
            text = self.detail
        if self.was or self.now:
            text += f" ({self.was or 'nothing'} → {self.now or 'nothing'})"
        if self.at and self.kind == "invalidated":
            text += f", on {human_time(self.at)}"
        elif self.at:
            by = f"by run {self.run}" if self.run else "by looking at the source"
            text += f", recorded {human_time(self.at)} {by}"
        yield one_line(text)
        for name, was, now in self.parts[:_PARTS]:
            yield "  " + one_line(f"{name}: {was or 'not there'} → {now or 'gone'}")
        if len(self.parts) > _PARTS:
            yield f"  and {count(len(self.parts) - _PARTS, 'more part')}"


@dataclass(frozen=True, slots=True)
class Hop:
    """Partitions of one asset on the way up: their ranges, number, and how many must or wait."""

    asset: str
    where: str
    count: int
    must: int
    blocked: int

    @property
    def status(self) -> str:
        """``must``, ``may`` or ``blocked``; several where the partitions differ."""
        may = self.count - self.must - self.blocked
        numbers = {"must": self.must, "may": may, "blocked": self.blocked}
        used = {word: n for word, n in numbers.items() if n}
        if len(used) == 1:
            return next(iter(used))
        return ", ".join(f"{n:,} {word}" for word, n in used.items())


@dataclass(frozen=True, slots=True)
class Root:
    """A root cause: partitions of one asset that must run for reasons of their own, or that wait.

    ``changes`` are those of the first of them, ``partition``.
    """

    asset: str
    partition: str
    where: str
    count: int
    status: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Why(Shown):
    """Why a partition is in a plan, or is not.

    ``changes`` are its own reasons, ``hops`` what of the plan lies upstream of it, nearest first,
    ``roots`` where that begins. ``built_at`` (µs) and ``run`` are of what serves now, ``version``
    its data version; 0 and empty when nothing does.
    """

    asset: str
    partition: str
    status: str
    changes: tuple[Change, ...]
    hops: tuple[Hop, ...]
    roots: tuple[Root, ...]
    built_at: int = 0
    run: str = ""
    version: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "asset": self.asset,
            "partition": self.partition,
            "status": self.status,
            "built": {"at": iso_time(self.built_at), "run": self.run, "version": self.version},
            "reasons": [change.to_dict() for change in self.changes],
            "upstream": [
                {"asset": h.asset, "partitions": h.where, "count": h.count, "status": h.status}
                for h in self.hops
            ],
            "roots": [
                {
                    "asset": root.asset,
                    "partitions": root.where,
                    "count": root.count,
                    "status": root.status,
                    "example": root.partition,
                    "reasons": [change.to_dict() for change in root.changes],
                }
                for root in self.roots
            ],
        }
