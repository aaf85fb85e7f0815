"""Some partitions of a key space, each with its row: for columns of these partitions alone.

Nothing here knows what the columns hold.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class Rows:
    """Ascending ``ordinals`` (int64), and which row of a column is whose."""

    __slots__ = ("_first", "_size", "ordinals")

    def __init__(self, ordinals: np.ndarray) -> None:
        self.ordinals = ordinals
        self._size = len(ordinals)
        together = self._size and int(ordinals[-1] - ordinals[0]) == self._size - 1
        # Side by side, as they mostly lie, a row is told by counting from the first.
        self._first = int(ordinals[0]) if together else -1

    def __len__(self) -> int:
        return self._size

    def row(self, ordinal: int) -> int:
        """The row of a partition; -1 when it has none."""
        if self._first >= 0:
            row = ordinal - self._first
            return row if 0 <= row < self._size else -1
        row = int(self.ordinals.searchsorted(ordinal))
        return row if row < self._size and self.ordinals[row] == ordinal else -1

    def match(self, ordinals: Any) -> tuple[np.ndarray, np.ndarray]:
        """Which of these partitions have a row (bool), and the rows of those."""
        if self._first >= 0:
            at = ordinals - self._first
            known = (at >= 0) & (at < self._size)
            return known, at[known]
        at = self.ordinals.searchsorted(ordinals)
        known = at < self._size
        known[known] = self.ordinals[at[known]] == ordinals[known]
        return known, at[known]

    def between(self, low: int, high: int) -> slice:
        """The rows of the partitions ``[low, high)``."""
        if self._first >= 0:
            first, after = max(low - self._first, 0), max(high - self._first, 0)
        else:
            first, after = self.ordinals.searchsorted((low, high)).tolist()
        return slice(min(first, self._size), min(after, self._size))
