"""Named values, declared or registered at run time; and the one partition of what has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from assets_core.fingerprint.hashing import hash64
from assets_core.partitions.keys import canonical_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
from assets_core.partitions.definitions import KeySpace, Partition, PartitionsDefinition


@dataclass(frozen=True, slots=True)
class Static(PartitionsDefinition):
    """Named values; see `static`."""

    values: tuple[str, ...]
    name: str = "partition"

    def __hash__(self) -> int:
        # Spaces are looked up by definition: ten thousand names are not walked each time.
        return hash((self.name, len(self.values), self.values[:2], self.values[-1:]))

    @property
    def kind(self) -> str:
        return "static"

    @property
    def dimensions(self) -> tuple[str, ...]:
        return (self.name,)

    def identity(self) -> tuple[object, ...]:
        return ("static", self.name, *self.values)

    def resolve(
        self,
        now: datetime,
        *,
        dynamic: Mapping[str, Sequence[str]] = MappingProxyType({}),
        include_open: bool = False,
    ) -> ValueSpace:
        del now, dynamic, include_open
        return _static_space(self)

    def partition(self, key: str) -> Partition:
        space = _static_space(self)
        return space.partition(space.ordinal(key))


@lru_cache(maxsize=256)
def _static_space(definition: Static) -> ValueSpace:
    return ValueSpace(definition, definition.values)


@dataclass(frozen=True, slots=True)
class Dynamic(PartitionsDefinition):
    """Values registered at run time; see `dynamic`."""

    name: str

    @property
    def kind(self) -> str:
        return "dynamic"

    @property
    def dimensions(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def dynamic_names(self) -> tuple[str, ...]:
        return (self.name,)

    def identity(self) -> tuple[object, ...]:
        return ("dynamic", self.name)

    def resolve(
        self,
        now: datetime,
        *,
        dynamic: Mapping[str, Sequence[str]] = MappingProxyType({}),
        include_open: bool = False,
    ) -> ValueSpace:
        del now, include_open
        return ValueSpace(self, dynamic.get(self.name, ()))

    def partition(self, key: str) -> Partition:
        key = canonical_key(key)
        return Partition(key, dimensions={self.name: key})


@dataclass(frozen=True, slots=True)
class Unpartitioned(PartitionsDefinition):
    """One partition, named ``all``."""

    @property
    def kind(self) -> str:
        return "unpartitioned"

    @property
    def dimensions(self) -> tuple[str, ...]:
        return ()

    def identity(self) -> tuple[object, ...]:
        return ("unpartitioned",)

    def key_parts(self, key: str) -> tuple[str, ...]:
        del key
        return ()

    def resolve(
        self,
        now: datetime,
        *,
        dynamic: Mapping[str, Sequence[str]] = MappingProxyType({}),
        include_open: bool = False,
    ) -> ValueSpace:
        del now, dynamic, include_open
        return _whole_space()

    def partition(self, key: str = "all") -> Partition:
        return _whole_space().partition(_whole_space().ordinal(key))


UNPARTITIONED = Unpartitioned()
"""The definition of an asset without partitions."""


@lru_cache(maxsize=1)
def _whole_space() -> ValueSpace:
    return ValueSpace(UNPARTITIONED, ("all",))


class ValueSpace(KeySpace):
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
