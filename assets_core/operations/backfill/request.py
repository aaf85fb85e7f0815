"""What a backfill is asked for, and the limit that it may be given on what it costs."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from assets_core.durations import parse_duration
from assets_core.errors import UsageError

if TYPE_CHECKING:
    from assets_core.planning.plan import Plan
    from assets_core.records import Backfill

Reprocess = Literal["stale", "missing", "failed", "all"]
REPROCESS: tuple[Reprocess, ...] = ("stale", "missing", "failed", "all")
ORDERS = ("oldest", "newest")

BELOW_NORMAL = -10
"""The priority of a backfill unless it says another; that of other runs is 0."""

_SIZES = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}


@dataclass(frozen=True, slots=True)
class BackfillRequest:
    """What a backfill is asked for.

    ``reprocess``: what is ``stale``, ``missing``, what ``failed`` last, or ``all`` selected.
    ``pin_code``: go on only with the code that it was begun with. ``max_cost``: a length of time,
    ``"500 GB"`` or ``"1000000 rows"``, refused when the plan is expected to take more or when
    nothing is known. ``max_failures`` failed steps stop it (0: any number).
    """

    select: tuple[str, ...] | None = None
    partitions: tuple[str, ...] | None = None
    reprocess: Reprocess = "stale"
    order: str = "oldest"
    jobs: int | None = None
    priority: int = BELOW_NORMAL
    pin_code: bool = False
    max_failures: int = 0
    max_cost: str = ""

    def check(self) -> None:
        """Raise UsageError for what can't be."""
        if self.reprocess not in REPROCESS:
            raise UsageError(f"--reprocess is one of {', '.join(REPROCESS)}: {self.reprocess!r}.")
        if self.order not in ORDERS:
            raise UsageError(f"--order is oldest or newest: {self.order!r}.")
        if self.jobs is not None and self.jobs < 1:
            raise UsageError(f"jobs={self.jobs} can't run anything.", hint="At least 1.")
        if self.max_failures < 0:
            raise UsageError(f"max_failures={self.max_failures} is no number of steps.")
        if self.max_cost:
            _limit(self.max_cost)

    @classmethod
    def of(cls, one: Backfill) -> Self:
        """What a stored backfill was asked for; a limit on its cost was heeded when it began."""
        told = dict(one.options)
        for name in ("select", "partitions"):
            told[name] = tuple(told[name]) if told[name] is not None else None
        return cls(**told)

    def stored(self) -> dict[str, Any]:
        """As the state store keeps it, in plain JSON values."""
        told = asdict(self)
        del told["max_cost"]
        for name in ("select", "partitions"):
            told[name] = list(told[name]) if told[name] is not None else None
        return told


def refuse_costly(plan: Plan, limit: str, jobs: int) -> None:
    """Raise UsageError when a plan is expected to cost more than the limit, or nobody knows."""
    from assets_core.planning.cost import cost_line, estimate

    cost = estimate(plan, jobs)
    kind, amount = _limit(limit)
    total = {"seconds": cost.wall_all, "rows": cost.total.rows, "bytes": cost.total.bytes}
    if cost.unknown:
        raise UsageError(
            "What this costs can't be told: some of it was never built here.",
            facts={"unknown": ", ".join(cost.unknown), "limit": limit},
            hint="Build one partition of each first, or leave out --max-cost.",
        )
    if total[kind] > amount:
        raise UsageError(
            f"This is expected to cost more than {limit}.",
            facts={"expected": cost_line(cost)},
            hint="Take fewer partitions, or allow more with --max-cost. Nothing was stored.",
        )


def _limit(text: str) -> tuple[str, float]:
    """A limit's kind (``seconds``, ``rows`` or ``bytes``) and amount."""
    found = re.fullmatch(r"\s*(\d[\d_,]*(?:\.\d+)?)\s*(rows?|kb|mb|gb|tb)\s*", text.lower())
    if found is None:
        return "seconds", parse_duration(text).total_seconds()
    number = float(re.sub("[_,]", "", found[1]))
    if found[2].startswith("row"):
        return "rows", number
    return "bytes", number * _SIZES[found[2]]
