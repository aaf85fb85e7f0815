"""How much of what an input maps to must be there before a partition is built.

A policy is a plain value. The planner asks it of whole columns of numbers; only a function of
one's own is asked partition by partition, and only where something is missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assets_core.deferring import deferred
from assets_core.errors import DefinitionError

if TYPE_CHECKING:
    import numpy as np

Rule = Callable[[Sequence[str], Sequence[str]], bool]
"""A policy of one's own: of the keys that are there and of those that are expected."""

Policy = "Require | Literal['all', 'any'] | float | Rule"


@dataclass(frozen=True, slots=True)
class Require:
    """How much must be there: ``share`` of what is expected (0: any one will do), or a ``rule``.

    What maps to nothing at all has everything that it needs.
    """

    share: float = 1.0
    rule: Rule | None = None

    @property
    def is_all(self) -> bool:
        """Whether nothing may be missing."""
        return self.share == 1.0 and self.rule is None

    def least(self, expected: np.ndarray) -> np.ndarray:
        """The least number that must be there where so many are expected, without a rule."""
        import numpy as np

        # 0.9 of 30 are 27, however the product is rounded.
        wanted = np.ceil(self.share * expected - 1e-9).astype(np.int64)
        found: np.ndarray = np.clip(wanted, np.minimum(expected, 1), expected)
        return found

    def holds(self, present: Sequence[str], expected: Sequence[str]) -> bool:
        """Whether the partitions of these keys are enough."""
        if len(present) == len(expected):
            return True
        if self.rule is not None:
            return bool(self.rule(tuple(present), tuple(expected)))
        least = math.ceil(self.share * len(expected) - 1e-9)
        return len(present) >= max(least, 1)

    def __str__(self) -> str:
        if self.rule is not None:
            return f"what {getattr(self.rule, '__name__', 'its rule')} says"
        if self.is_all:
            return "all"
        return f"{self.share:.4g}" if self.share else "any"


ALL = Require()


@deferred(lambda: ALL)
def require(policy: object) -> Require:
    """How much of what an input maps to must be there before a partition is built.

    ``"all"`` (as without it), ``"any"`` (at least one), a fraction such as ``0.9``, or a function
    of the keys that are there and the keys that are expected, which says whether that will do::

        def month(day: Annotated[pa.Table, require(0.9)]) -> pa.Table: ...

    The data then holds what is there. What lands later makes the partition stale by itself.
    """
    if isinstance(policy, Require):
        return policy
    if policy == "all":
        return ALL
    if policy == "any":
        return Require(0.0)
    if isinstance(policy, float) and 0 < policy <= 1:
        return Require(policy)
    if callable(policy) and not isinstance(policy, type):
        return Require(rule=policy)
    raise DefinitionError(
        f"require({policy!r}) is not known.",
        hint="Write 'all', 'any', a fraction such as 0.9, or a function of the keys that are there "
        "and the keys that are expected.",
    )
