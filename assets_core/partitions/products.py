"""Products of several dimensions: the definition, and the key space that it resolves to. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from assets_core.errors import PartitionError
from assets_core.fingerprint.hashing import hash64
from assets_core.fingerprint.sums import mix64
from assets_core.partitions.keys import SEPARATOR

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
from assets_core.partitions.definitions import KeySpace, Partition, PartitionsDefinition
from assets_core.partitions.time_windows import TimeSpace


@dataclass(frozen=True, slots=True)
class Product(PartitionsDefinition):
    """Every combination of several dimensions; see `product`."""

    parts: tuple[tuple[str, PartitionsDefinition], ...]

    @property
    def kind(self) -> str:
        return " × ".join(definition.kind for _, definition in self.parts)

    @property
    def dimensions(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.parts)

    @property
    def dynamic_names(self) -> tuple[str, ...]:
        return tuple(name for _, d in self.parts for name in d.dynamic_names)

    @property
    def has_time(self) -> bool:
        return any(d.has_time for _, d in self.parts)

    @property
    def zone_name(self) -> str:
        return next((d.zone_name for _, d in self.parts if d.has_time), "UTC")

    def identity(self) -> tuple[object, ...]:
        return ("product", *((name, d.identity()) for name, d in self.parts))

    def key_parts(self, key: str) -> tuple[str, ...]:
        found = tuple(key.split(SEPARATOR))
        if len(found) != len(self.parts):
            raise PartitionError(
                f"{key!r} has {len(found)} parts; partitions are {SEPARATOR.join(self.dimensions)}."
            )
        return found

    def resolve(
        self,
        now: datetime,
        *,
        dynamic: Mapping[str, Sequence[str]] = MappingProxyType({}),
        include_open: bool = False,
    ) -> ProductSpace:
        # Only along the first time dimension: what is open comes last, so that it can be told.
        first = next((name for name, d in self.parts if d.has_time), "")
        spaces = [
            d.resolve(now, dynamic=dynamic, include_open=include_open and name == first)
            for name, d in self.parts
        ]
        return ProductSpace(self, spaces)

    def partition(self, key: str) -> Partition:
        each = [
            d.partition(part) for part, (_, d) in zip(self.key_parts(key), self.parts, strict=True)
        ]
        timed = next((p for p in each if p.start is not None), None)
        keys = dict(zip(self.dimensions, (p.key for p in each), strict=True))
        return Partition(
            SEPARATOR.join(keys.values()),
            timed.start if timed else None,
            timed.end if timed else None,
            keys,
        )


class ProductSpace(KeySpace):
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
                if space.find(part) < 0:
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
