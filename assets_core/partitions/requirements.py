"""How much of what an input maps to must be there before a partition is built.

A policy is a plain value. The planner asks it of whole columns of numbers; only a function of
one's own is asked partition by partition, and only where something is missing.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assets_core.errors import DefinitionError, UserCodeError
from assets_core.problems import deferred

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
        """Whether the partitions of these keys are enough.

        Raises UserCodeError when a function of one's own fails, or answers neither yes nor no.
        """
        if len(present) == len(expected):
            return True
        if self.rule is None:
            import numpy as np

            return len(present) >= int(self.least(np.array(len(expected))))
        try:
            said: object = self.rule(tuple(present), tuple(expected))
        except (Exception, SystemExit) as error:
            told = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            raise self._failed(f"raised {told}", present, expected) from error
        if not isinstance(said, bool) and type(said).__name__ not in ("bool_", "bool"):
            raise self._failed(f"returned {said!r}, not True or False", present, expected)
        return bool(said)

    def _failed(self, what: str, present: Sequence[str], expected: Sequence[str]) -> UserCodeError:
        return UserCodeError(
            f"The function {self.name!r} given to require {what}.",
            facts={
                "asked of": f"{len(present)} of {len(expected)} partitions, {expected[0]} first"
            },
            hint="It is given the keys that are there and those that are expected, and says "
            "whether that will do.",
        )

    @property
    def name(self) -> str:
        """The function's name, as it is told."""
        return str(getattr(self.rule, "__name__", None) or type(self.rule).__name__)

    def needed(self, expected: int) -> int | None:
        """How many of ``expected`` must be there; None when only a function can say."""
        import numpy as np

        return int(self.least(np.array(expected))) if self.rule is None else None

    def __str__(self) -> str:
        if self.rule is not None:
            return f"what {self.name} says"
        if self.is_all:
            return "all"
        return f"{self.share:.4g}" if self.share else "any"


ALL = Require()


@dataclass(frozen=True, slots=True)
class AnyOrder:
    """Says of an input that only its rows count, and not their order."""


def any_order() -> AnyOrder:
    """Of an ordered asset, read its rows as a set: another order of the same rows changes nothing.

    For example ``Annotated[pa.Table, any_order()]``, or ``ranking.last(7).any_order()``.
    """
    return AnyOrder()


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
        return Require(rule=_two_lists(policy))
    raise DefinitionError(f"require={policy!r} is not known.", hint=_hint(policy))


def _two_lists(rule: Rule) -> Rule:
    """The function itself, if it can be called with two lists of keys."""
    try:
        inspect.signature(rule).bind((), ())
    except TypeError as error:
        raise DefinitionError(
            f"The function given to require can't be called with two lists of keys: {error}.",
            hint="Write def enough(present, expected): return True, for example.",
        ) from error
    except ValueError:
        pass  # something built in that does not say what it takes
    return rule


def _hint(policy: object) -> str:
    if isinstance(policy, str):
        close = difflib.get_close_matches(policy.lower(), ("all", "any"), n=1, cutoff=0.5)
        if close:
            return f"Did you mean {close[0]!r}?"
    if isinstance(policy, int | float) and not isinstance(policy, bool):
        return (
            "A fraction lies above 0 and at most at 1.0: 0.9 wants nine of ten. 'any' wants one, "
            "'all' wants everything."
        )
    return (
        "Write 'all', 'any', a fraction such as 0.9, or a function of the keys that are there "
        "and the keys that are expected."
    )
