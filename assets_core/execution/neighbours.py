"""Which steps of a batch op lie beside one another, so that one call can take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assets_core.declare.policies import Batch
from assets_core.execution.board import OpProgress
from assets_core.partitions import KeySpace


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What counts as neighbours: ``size`` ordinals that lie ``stride`` apart.

    A product runs along its time (or its first dimension where it has none), the others held
    fixed: so a range is bounded by one start and one end.
    """

    batch: Batch
    stride: int
    size: int

    @classmethod
    def of(cls, batch: Batch, space: KeySpace) -> Neighbours:
        """The line through a key space."""
        spaces = [part for _, part in space.parts()]
        if len(spaces) < 2:
            return cls(batch, 1, space.n)
        timed = (part for part in spaces if part.ends() is not None)
        size = next(timed, spaces[0]).n
        # The dimension that is first in order runs slowest.
        return cls(batch, space.n // max(size, 1), size)

    def ready(self, ordinal: int, steps: OpProgress) -> list[int]:
        """The ordinal with its ready neighbours, at most as many as a call takes."""
        at, most = ordinal // self.stride, self.batch.max_partitions
        ahead = np.arange(min(self.size - at, most)) * self.stride
        right = steps.ready_before(ordinal + ahead)
        behind = np.arange(1, min(most - right, at) + 1) * self.stride
        low = ordinal - steps.ready_before(ordinal - behind) * self.stride
        return list(range(low, ordinal + right * self.stride, self.stride))
