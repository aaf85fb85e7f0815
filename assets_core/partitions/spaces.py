"""Partitions and key spaces: what a definition holds at one instant, each partition an ordinal.

Pure. Definitions, which resolve to key spaces, are in ``definitions``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from assets_core.errors import PartitionError
from assets_core.hashing import hash64, mix64
from assets_core.partitions import labels as columns
from assets_core.partitions.keys import SEPARATOR, visible
from assets_core.partitions.windows import Windows, instants_named, zone

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from assets_core.partitions.definitions import PartitionsDefinition, Product, TimeWindows

    Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Partition:
    """One key of a key space, as a function receives it.

    ``start`` and ``end`` bound its window, in the definition's zone (None without time);
    ``dimensions`` hold the key of each dimension, also as ``partition["station"]``.
    """

    key: str
    start: datetime | None = None
    end: datetime | None = None
    dimensions: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return self.key

    def __getitem__(self, dimension: str) -> str:
        try:
            return self.dimensions[dimension]
        except KeyError:
            known = ", ".join(self.dimensions) or "none"
            raise KeyError(
                f"no dimension {dimension!r} in {self.key!r} (there are: {known})"
            ) from None

    def __getattr__(self, name: str) -> str:
        if not name.startswith("_") and name in self.dimensions:
            return self.dimensions[name]
        raise AttributeError(f"partition {self.key!r} has no {name!r}")

    def __reduce__(self) -> tuple[object, ...]:
        # Slots with __getattr__ would otherwise look themselves up before they are set.
        return Partition, (self.key, self.start, self.end, dict(self.dimensions))


class KeySpace:
    """The partitions of a definition at one instant; ordinals run from 0 to ``n - 1``."""

    definition: PartitionsDefinition
    n: int

    @property
    def closed(self) -> int:
        """How many partitions have closed: those from this ordinal on are windows still open."""
        return self.n

    def key(self, ordinal: int) -> str:
        """The key of one partition."""
        raise NotImplementedError

    def keys(self, ordinals: Any = None) -> list[str]:
        """The keys of these ordinals (all without)."""
        chosen = range(self.n) if ordinals is None else [int(i) for i in ordinals]
        return [self.key(i) for i in chosen]

    def ordinals(self, keys: Sequence[str]) -> np.ndarray:
        """The ordinals of keys, int64; -1 for one that is not in the space."""
        raise NotImplementedError

    def salts(self) -> np.ndarray:
        """A number per partition that follows from what it is, uint64: not from its ordinal."""
        raise NotImplementedError

    def starts(self) -> np.ndarray | None:
        """Where windows begin, int64 epoch seconds; None for a space without time."""
        return None

    def ends(self) -> np.ndarray | None:
        """Where windows end, int64 epoch seconds; None for a space without time."""
        return None

    def partition(self, ordinal: int) -> Partition:
        """The partition, with its window and dimensions."""
        raise NotImplementedError

    def parts(self) -> tuple[tuple[str, KeySpace], ...]:
        """Its dimensions with their spaces; a space of one dimension holds itself."""
        raise NotImplementedError

    def ordinal(self, key: str) -> int:
        """The ordinal of a key.

        Raises PartitionError, saying what the nearest keys are.
        """
        found = int(self.ordinals([visible(key)])[0])
        if found < 0:
            raise self.unknown(key)
        return found

    def unknown(self, key: str) -> PartitionError:
        """The error that says why a key is not in the space."""
        if not self.n:
            return PartitionError(
                f"There is no partition {key!r}: there are none yet.",
                facts={"kind": self.definition.kind},
                hint="A window that has not ended needs --include-open; names must be registered.",
            )
        facts = {"first": self.key(0), "last": self.key(self.n - 1), "kind": self.definition.kind}
        close = difflib.get_close_matches(key, self.keys(range(min(self.n, 2000))), n=1, cutoff=0.5)
        hint = f"Did you mean {close[0]!r}?" if close else ""
        return PartitionError(f"There is no partition {key!r}.", facts=facts, hint=hint)


class _SaltedOnce(KeySpace):
    """A space that computes its salts once."""

    def salts(self) -> np.ndarray:
        return self._salts

    @cached_property
    def _salts(self) -> np.ndarray:
        raise NotImplementedError


class TimeSpace(_SaltedOnce):
    """Time windows; ``now`` (epoch seconds) is when it was resolved."""

    definition: TimeWindows

    def __init__(self, definition: TimeWindows, windows: Windows, n: int, now: float) -> None:
        self.definition = definition
        self.windows = windows
        self.n = n
        self.now = now

    @cached_property
    def closed(self) -> int:
        return int(self.ends().searchsorted(self.now, "right"))

    def key(self, ordinal: int) -> str:
        if not 0 <= ordinal < self.n:
            raise IndexError(f"no partition {ordinal} among {self.n}")
        return self.definition.text(self.windows, ordinal)

    def keys(self, ordinals: Any = None) -> list[str]:
        import numpy as np

        chosen = np.arange(self.n) if ordinals is None else np.asarray(ordinals, np.int64)
        return self.definition.texts(self.windows, chosen)

    def ordinals(self, keys: Sequence[str]) -> Ints:
        import numpy as np

        if self.definition.cron or not self.n:
            known = self._by_key if self.n else {}
            return np.fromiter((known.get(key, -1) for key in keys), np.int64, len(keys))
        labels = columns.labels_of(self.definition.granularity, keys)
        found = self._labelled(labels)
        if self._doubled:
            for i in np.flatnonzero(labels == columns.NO_LABEL).tolist():
                found[i] = self._doubled.get(keys[i], -1)
        return found

    def _labelled(self, labels: Ints) -> Ints:
        """The ordinals of labels that come once, -1 for others."""
        import numpy as np

        own, twice = self.windows.labels[: self.n], self.windows.twice
        first, last = int(own[0]), int(own[-1])
        if twice is None and last - first == self.n - 1:
            return np.where((labels >= first) & (labels <= last), labels - first, -1)
        # Labels rise but among the hours that come twice, which are not looked for here.
        at = np.minimum(own.searchsorted(labels), self.n - 1)
        hit = own[at] == labels
        if twice is not None:
            hit &= ~twice[at]
        return np.where(hit, at, -1)

    @cached_property
    def _by_key(self) -> dict[str, int]:
        return {key: i for i, key in enumerate(self.keys())}

    @cached_property
    def _doubled(self) -> dict[str, int]:
        """The ordinals of the hours that come twice, by key."""
        twice = self.windows.twice
        if twice is None:
            return {}
        return {self.key(i): i for i in twice[: self.n].nonzero()[0].tolist()}

    def unknown(self, key: str) -> PartitionError:
        found = instants_named(
            key, self.definition.granularity, self.definition.timezone, self.definition.offset
        )
        why, hint = self._why_not(key, found) if found else (": it is not a time", "")
        facts: dict[str, object] = {"kind": self.definition.kind}
        if self.n:
            facts = {"first": self.key(0), "last": self.key(self.n - 1), **facts}
        example = self.key(0) if self.n else self.definition.example
        hint = hint or f"Its keys look like {example!r}."
        return PartitionError(f"There is no partition {key!r}{why}.", facts=facts, hint=hint)

    def _why_not(self, key: str, named: tuple[int, int]) -> tuple[str, str]:
        start, end = named
        first, last = self.definition.first_instant(), self.definition.last_instant()
        doubled = [known for known in self._doubled if known.startswith(key)]
        if len(key) >= 13 and doubled:
            return ": the clock shows that time twice", f"Write {' or '.join(doubled)}."
        if end <= first:
            return ": it lies before the first", f"They start at {self.definition.example}."
        if start >= last:
            return ": it lies after the last", ""
        if start > self.now:
            return ": its window has not begun yet", "Future windows can't be built."
        if not self.n or start >= int(self.windows.edges[self.n]):
            return ": its window is not closed yet", "Wait, or use --include-open."
        return "", ""

    @cached_property
    def _salts(self) -> np.ndarray:
        import numpy as np

        return mix64(self.starts().astype(np.uint64) + np.uint64(_TIME_SALT))

    def starts(self) -> np.ndarray:
        return self.windows.edges[: self.n]

    def ends(self) -> np.ndarray:
        return self.windows.edges[1 : self.n + 1]

    def partition(self, ordinal: int) -> Partition:
        key, at = self.key(ordinal), zone(self.definition.zone_name)
        low, high = self.windows.edges[ordinal : ordinal + 2].tolist()
        return Partition(
            key,
            datetime.fromtimestamp(low, at),
            datetime.fromtimestamp(high, at),
            {self.definition.dimensions[0]: key},
        )

    def parts(self) -> tuple[tuple[str, KeySpace], ...]:
        return ((self.definition.dimensions[0], self),)


_TIME_SALT = 0x5DEECE66D


class ValueSpace(_SaltedOnce):
    """Named values, declared or registered."""

    def __init__(self, definition: PartitionsDefinition, values: Sequence[str]) -> None:
        self.definition = definition
        self.values = list(values)
        self.n = len(self.values)

    def key(self, ordinal: int) -> str:
        return self.values[ordinal]

    @cached_property
    def by_key(self) -> dict[str, int]:
        """Ordinals by key."""
        return {key: i for i, key in enumerate(self.values)}

    def ordinals(self, keys: Sequence[str]) -> np.ndarray:
        import numpy as np

        found = self.by_key
        return np.fromiter((found.get(key, -1) for key in keys), np.int64, len(keys))

    @cached_property
    def _salts(self) -> np.ndarray:
        import numpy as np

        return np.fromiter((hash64("partition", v) for v in self.values), np.uint64, self.n)

    def partition(self, ordinal: int) -> Partition:
        key = self.values[ordinal]
        return Partition(key, dimensions=dict.fromkeys(self.definition.dimensions, key))

    def parts(self) -> tuple[tuple[str, KeySpace], ...]:
        return tuple((name, self) for name in self.definition.dimensions)


class ProductSpace(_SaltedOnce):
    """Every combination of its dimensions' keys.

    ``spaces`` and ``strides`` are in the order declared. The time dimension runs slowest, so that
    an asset's past always lies at lower ordinals; ``order`` lists dimensions from there on.
    """

    def __init__(self, definition: Product, spaces: Sequence[KeySpace]) -> None:
        self.definition = definition
        self.spaces = tuple(spaces)
        self._time = next((i for i, s in enumerate(self.spaces) if isinstance(s, TimeSpace)), None)
        self.order = sorted(range(len(self.spaces)), key=lambda i: i != self._time)
        self.strides = [0] * len(self.spaces)
        stride = 1
        for i in reversed(self.order):
            self.strides[i] = stride
            stride *= self.spaces[i].n
        self.n = stride

    @property
    def closed(self) -> int:
        if self._time is None:
            return self.n
        # The first time dimension runs slowest, so what is open comes last.
        return self.spaces[self._time].closed * self.strides[self._time]

    def coordinates(self, ordinal: int) -> list[int]:
        """The ordinal in each dimension."""
        return [
            ordinal // stride % space.n
            for space, stride in zip(self.spaces, self.strides, strict=True)
        ]

    def key(self, ordinal: int) -> str:
        at = self.coordinates(ordinal)
        return SEPARATOR.join(s.key(i) for s, i in zip(self.spaces, at, strict=True))

    def keys(self, ordinals: Any = None) -> list[str]:
        import numpy as np

        if not self.n:
            return []
        chosen = np.arange(self.n) if ordinals is None else np.asarray(ordinals, np.int64)
        texts = []
        for space, stride in zip(self.spaces, self.strides, strict=True):
            # Each value comes many times: write every one once.
            values, back = np.unique(chosen // stride % space.n, return_inverse=True)
            texts.append(np.array(space.keys(values), object)[back].tolist())
        return list(map(SEPARATOR.join, zip(*texts, strict=True)))

    def ordinals(self, keys: Sequence[str]) -> Ints:
        import numpy as np

        width = len(self.spaces)
        good = [key.count(SEPARATOR) == width - 1 for key in keys]
        if not all(good):
            found = np.full(len(keys), -1, np.int64)
            found[good] = self.ordinals([k for k, fits in zip(keys, good, strict=True) if fits])
            return found
        flat = SEPARATOR.join(keys).split(SEPARATOR) if len(keys) else []
        total, known = np.zeros(len(keys), np.int64), np.ones(len(keys), bool)
        for i, (space, stride) in enumerate(zip(self.spaces, self.strides, strict=True)):
            values = flat[i::width]
            distinct = list(dict.fromkeys(values))
            table = dict(zip(distinct, space.ordinals(distinct).tolist(), strict=True))
            at = np.fromiter(map(table.__getitem__, values), np.int64, len(values))
            known &= at >= 0
            total += at * stride
        return np.where(known, total, -1)

    def unknown(self, key: str) -> PartitionError:
        parts = key.split(SEPARATOR)
        if len(parts) == len(self.spaces):
            for name, space, part in zip(
                self.definition.dimensions, self.spaces, parts, strict=True
            ):
                if space.ordinals([part])[0] < 0:
                    error = space.unknown(part)
                    facts = {"dimension": name, **error.facts}
                    message = f"There is no partition {key!r}. {error.message}"
                    return PartitionError(message, facts=facts, hint=error.hint)
        shape = SEPARATOR.join(self.definition.dimensions)
        return PartitionError(f"There is no partition {key!r}.", hint=f"Keys are {shape}.")

    @cached_property
    def _salts(self) -> np.ndarray:
        import numpy as np

        total = np.full(1, _PRODUCT_SALT, np.uint64)
        for i in self.order:
            own = mix64(self.spaces[i].salts() + np.uint64(hash64(self.definition.dimensions[i])))
            spread = (total * np.uint64(_PRODUCT_FACTOR))[:, None] + own[None, :]
            total = mix64(spread.ravel())
        return total

    def _broadcast(self, values: np.ndarray) -> np.ndarray:
        import numpy as np

        assert self._time is not None
        stride = self.strides[self._time]
        block = np.repeat(values, stride)
        return np.tile(block, self.n // len(block)) if len(block) else block[:0]

    def starts(self) -> np.ndarray | None:
        if self._time is None:
            return None
        values = self.spaces[self._time].starts()
        assert values is not None
        return self._broadcast(values)

    def ends(self) -> np.ndarray | None:
        return self._ends

    @cached_property
    def _ends(self) -> np.ndarray | None:
        if self._time is None:
            return None
        values = self.spaces[self._time].ends()
        assert values is not None
        return self._broadcast(values)

    def partition(self, ordinal: int) -> Partition:
        each = [s.partition(i) for s, i in zip(self.spaces, self.coordinates(ordinal), strict=True)]
        timed = each[self._time] if self._time is not None else None
        keys = dict(zip(self.definition.dimensions, (p.key for p in each), strict=True))
        return Partition(
            SEPARATOR.join(keys.values()),
            timed.start if timed else None,
            timed.end if timed else None,
            keys,
        )

    def parts(self) -> tuple[tuple[str, KeySpace], ...]:
        return tuple(zip(self.definition.dimensions, self.spaces, strict=True))


_PRODUCT_SALT = 0x9E3779B97F4A7C15
_PRODUCT_FACTOR = 0xD1342543DE82EF95
