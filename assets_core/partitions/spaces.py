"""Partitions definitions, the key spaces they resolve to, and partitions themselves.

A definition is a declaration; a key space is what it holds at one instant: ``n`` partitions,
each an ordinal. Pure: the instant and the keys registered at run time are arguments.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from assets_core.durations import parse_duration
from assets_core.errors import DefinitionError, PartitionError
from assets_core.hashing import hash64, mix64
from assets_core.partitions.keys import SEPARATOR, canonical_key, safe_path_part
from assets_core.partitions.windows import (
    CALENDARS,
    Windows,
    as_local,
    calendar_windows,
    check_cron,
    cron_windows_between,
    hour_text,
    hour_windows,
    local_instant,
    offset_text,
    stretch_of,
    zone,
)

if TYPE_CHECKING:
    import numpy as np

_DAY = 86_400
_FOREVER = 1 << 60


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
        found = int(self.ordinals([canonical_key(key)])[0])
        if found < 0:
            raise self.unknown(key)
        return found

    def unknown(self, key: str) -> PartitionError:
        """Why a key is not in the space."""
        if not self.n:
            return PartitionError(
                f"There is no partition {key!r}: none has closed yet.",
                hint="Use --include-open for a window that has not ended.",
            )
        facts = {"first": self.key(0), "last": self.key(self.n - 1), "kind": self.definition.kind}
        close = difflib.get_close_matches(key, self.keys(range(min(self.n, 2000))), n=1, cutoff=0.7)
        hint = f"Did you mean {close[0]!r}?" if close else ""
        found = stretch_of(key)
        if found is not None and self.ends() is not None:
            instant = local_instant(found[0], self.definition.zone_name)
            if instant >= int(self.ends()[-1]):  # type: ignore[index]  # checked above
                hint = "It has not closed yet, or lies past the end; see --include-open."
        return PartitionError(f"There is no partition {key!r}.", facts=facts, hint=hint)


class _SaltedOnce(KeySpace):
    """A space that computes its salts once."""

    def salts(self) -> np.ndarray:
        return self._salts

    @cached_property
    def _salts(self) -> np.ndarray:
        raise NotImplementedError


class TimeSpace(_SaltedOnce):
    """Time windows."""

    def __init__(self, definition: TimeWindows, windows: Windows, n: int) -> None:
        self.definition = definition
        self.windows = windows
        self.n = n

    def key(self, ordinal: int) -> str:
        return self.definition.text(self.windows, ordinal)

    def keys(self, ordinals: Any = None) -> list[str]:
        import numpy as np

        chosen = np.arange(self.n) if ordinals is None else np.asarray(ordinals, np.int64)
        return self.definition.texts(self.windows, chosen)

    def ordinals(self, keys: Sequence[str]) -> np.ndarray:
        return self.definition.find(self, keys)

    @cached_property
    def by_key(self) -> dict[str, int]:
        """Ordinals by key, for granularities with few windows."""
        return {key: i for i, key in enumerate(self.keys())}

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
    """Every combination of its dimensions' keys; the last dimension varies fastest."""

    def __init__(self, definition: Product, spaces: Sequence[KeySpace]) -> None:
        self.definition = definition
        self.spaces = tuple(spaces)
        self.strides = []
        stride = 1
        for space in reversed(self.spaces):
            self.strides.insert(0, stride)
            stride *= space.n
        self.n = stride
        self._time = next((i for i, s in enumerate(self.spaces) if isinstance(s, TimeSpace)), None)

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
        columns = [
            space.keys(chosen // stride % space.n)
            for space, stride in zip(self.spaces, self.strides, strict=True)
        ]
        return [SEPARATOR.join(parts) for parts in zip(*columns, strict=True)]

    def ordinals(self, keys: Sequence[str]) -> np.ndarray:
        import numpy as np

        split = [key.split(SEPARATOR) for key in keys]
        width = len(self.spaces)
        good = np.array([len(parts) == width for parts in split], bool)
        total = np.zeros(len(keys), np.int64)
        for i, (space, stride) in enumerate(zip(self.spaces, self.strides, strict=True)):
            names = [parts[i] if len(parts) == width else "" for parts in split]
            at = space.ordinals(names)
            good &= at >= 0
            total += at * stride
        return np.where(good, total, -1)

    @cached_property
    def _salts(self) -> np.ndarray:
        import numpy as np

        total = np.full(1, _PRODUCT_SALT, np.uint64)
        for space in self.spaces:
            spread = (total * np.uint64(_PRODUCT_FACTOR))[:, None] + space.salts()[None, :]
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


# --------------------------------------------------------------------------------------------
# Definitions


class PartitionsDefinition:
    """The key space of an asset, as declared."""

    __slots__ = ()

    @property
    def kind(self) -> str:
        """What sort of key space it is, in a word."""
        raise NotImplementedError

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The names of its dimensions."""
        raise NotImplementedError

    @property
    def dynamic_names(self) -> tuple[str, ...]:
        """The names under which keys are registered at run time."""
        return ()

    @property
    def is_dynamic(self) -> bool:
        """Whether it needs keys that were registered at run time."""
        return bool(self.dynamic_names)

    @property
    def zone_name(self) -> str:
        """The zone of its windows."""
        return "UTC"

    @property
    def time(self) -> TimeWindows | None:
        """The definition of its time dimension; the first where there are several."""
        return None

    def resolve(
        self,
        now: datetime,
        *,
        dynamic: Mapping[str, Sequence[str]] = MappingProxyType({}),
        include_open: bool = False,
    ) -> KeySpace:
        """Its partitions at ``now``: windows that have closed, and the open one if asked."""
        raise NotImplementedError

    def partition(self, key: str) -> Partition:
        """The partition of a key, whatever the time is now; for tests of one's functions."""
        raise NotImplementedError

    def key_parts(self, key: str) -> tuple[str, ...]:
        """The key of each dimension."""
        return (key,)

    def path_parts(self, key: str) -> tuple[str, ...]:
        """The folders of a partition in hive style, such as ``("date=2024-01-01",)``."""
        return tuple(
            f"{safe_path_part(name)}={safe_path_part(part)}"
            for name, part in zip(self.dimensions, self.key_parts(key), strict=True)
        )

    def identity(self) -> tuple[object, ...]:
        """Plain values that tell it from another."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class TimeWindows(PartitionsDefinition):
    """Consecutive windows of logical time; see `daily` and its siblings."""

    granularity: str
    start: datetime
    end: datetime | None
    timezone: str
    offset: int
    cron: str = ""

    @property
    def kind(self) -> str:
        return self.granularity

    @property
    def dimensions(self) -> tuple[str, ...]:
        calendar = CALENDARS.get(self.granularity)
        return (
            calendar.dimension if calendar else {"hourly": "hour"}.get(self.granularity, "time"),
        )

    @property
    def zone_name(self) -> str:
        return self.timezone

    @property
    def time(self) -> TimeWindows:
        return self

    def identity(self) -> tuple[object, ...]:
        ends = self.end.isoformat() if self.end else None
        return (
            self.granularity,
            self.start.isoformat(),
            ends,
            self.timezone,
            self.offset,
            self.cron,
        )

    def last_instant(self) -> int:
        """Where its windows end for good, in epoch seconds; very far without an end."""
        return _FOREVER if self.end is None else local_instant(self.end, self.timezone)

    def resolve(
        self,
        now: datetime,
        *,
        dynamic: Mapping[str, Sequence[str]] = MappingProxyType({}),
        include_open: bool = False,
    ) -> TimeSpace:
        del dynamic
        instant = min(now.timestamp(), self.last_instant())
        windows = self.windows_until(int(-(-instant // 1)))
        edges = windows.edges
        closed = int((edges[1:] <= now.timestamp()).sum())
        if include_open:
            closed += int(((edges[:-1] <= now.timestamp()) & (edges[1:] > now.timestamp())).sum())
        return TimeSpace(self, windows, closed)

    def windows_until(self, instant: int) -> Windows:
        """All windows from the first that begin before ``instant`` (and before the end)."""
        # Rounded up, so that calls within a day share one result.
        horizon = min((instant // _DAY + 2) * _DAY, self.last_instant())
        return _windows(self, horizon)

    def text(self, windows: Windows, ordinal: int) -> str:
        """The key of one window."""
        label = int(windows.labels[ordinal])
        calendar = CALENDARS.get(self.granularity)
        if calendar is not None:
            return calendar.text(label)
        if self.granularity == "hourly":
            plain = hour_text(label)
            if windows.twice is None or not windows.twice[ordinal]:
                return plain
            return plain + offset_text(self._east(int(windows.edges[ordinal])))
        return self._cron_text(label)

    def _east(self, instant: int) -> int:
        found = datetime.fromtimestamp(instant, zone(self.timezone)).utcoffset()
        assert found is not None
        return int(found.total_seconds())

    def _cron_text(self, instant: int) -> str:
        local = datetime.fromtimestamp(instant, zone(self.timezone))
        plain = local.strftime("%Y-%m-%dT%H:%M")
        if local.replace(fold=0).utcoffset() == local.replace(fold=1).utcoffset():
            return plain
        return plain + offset_text(self._east(instant))

    def texts(self, windows: Windows, ordinals: np.ndarray) -> list[str]:
        """The keys of these windows, by columns where there can be many."""
        import numpy as np

        unit = {"daily": "D", "hourly": "h", "monthly": "M"}.get(self.granularity)
        if unit is None or len(ordinals) < 16:
            return [self.text(windows, int(i)) for i in ordinals]
        days = windows.labels[ordinals].astype(f"datetime64[{unit}]")
        found: list[str] = np.datetime_as_string(days).tolist()
        if windows.twice is not None:
            for at in np.flatnonzero(windows.twice[ordinals]).tolist():
                found[at] = self.text(windows, int(ordinals[at]))
        return found

    def find(self, space: TimeSpace, keys: Sequence[str]) -> np.ndarray:
        """Ordinals of keys, -1 for those that are none of the space's."""
        import numpy as np

        unit, length = {"daily": ("D", 10), "hourly": ("h", 13), "monthly": ("M", 7)}.get(
            self.granularity, ("", 0)
        )
        if not unit or len(keys) < 16:
            return self._find_each(space, keys, unit)
        texts = np.array(keys, dtype=np.str_)
        plain = np.char.str_len(texts) == length
        try:
            labels = texts[plain].astype(f"datetime64[{unit}]").astype(np.int64)
        except ValueError:
            return self._find_each(space, keys, unit)
        found = np.full(len(keys), -1, np.int64)
        found[plain] = _locate(space, labels)
        odd = np.flatnonzero(~plain)
        if len(odd):
            found[odd] = self._find_each(space, [keys[i] for i in odd.tolist()], unit)
        return found

    def _find_each(self, space: TimeSpace, keys: Sequence[str], unit: str) -> np.ndarray:
        import numpy as np

        if not unit:
            by_key = space.by_key
            return np.fromiter((by_key.get(k, -1) for k in keys), np.int64, len(keys))
        return np.fromiter((self._find_one(space, key) for key in keys), np.int64, len(keys))

    def _find_one(self, space: TimeSpace, key: str) -> int:
        calendar = CALENDARS.get(self.granularity)
        if calendar is not None:
            match = calendar.pattern.fullmatch(key)
            try:
                label = calendar.parse(match) if match else None
            except (ValueError, OverflowError):
                return -1
            if label is None or calendar.text(label) != key:
                return -1
        else:
            found = stretch_of(key[:13])
            if found is None or (key[13:] and space.windows.twice is None):
                return -1
            label = int((found[0] - datetime(1970, 1, 1)).total_seconds()) // 3600
        return self._labelled(space, label, key)

    def _labelled(self, space: TimeSpace, label: int, key: str) -> int:
        import numpy as np

        labels = space.windows.labels
        # Labels rise but for the hours that come twice, which lie next to each other or nearly so.
        near = int(np.searchsorted(labels[: space.n], label))
        for at in range(max(0, near - 3), min(space.n, near + 4)):
            if labels[at] == label and self.text(space.windows, at) == key:
                return at
        return -1

    def partition(self, key: str) -> Partition:
        found = stretch_of(key[:13] if self.granularity == "hourly" else key)
        if found is None:
            raise PartitionError(f"{key!r} is not a {self.granularity} key.")
        until = local_instant(found[1], self.timezone) + 2 * _DAY
        windows = self.windows_until(until)
        space = TimeSpace(self, windows, len(windows.labels))
        return space.partition(space.ordinal(key))


def _locate(space: TimeSpace, labels: np.ndarray) -> np.ndarray:
    """Ordinals of labels that come once; -1 for others."""
    import numpy as np

    own = space.windows.labels[: space.n]
    if not len(own):
        return np.full(len(labels), -1, np.int64)
    order = None
    if space.windows.twice is not None:
        order = np.argsort(own, kind="stable")
        own = own[order]
    at = np.minimum(np.searchsorted(own, labels), len(own) - 1)
    hit = own[at] == labels
    real = order[at] if order is not None else at
    if space.windows.twice is not None:
        hit &= ~space.windows.twice[real]
    return np.where(hit, real, -1)


@lru_cache(maxsize=1024)
def _windows(definition: TimeWindows, horizon: int) -> Windows:
    """All windows of a definition that begin before ``horizon``."""
    name, offset = definition.timezone, definition.offset
    first = local_instant(definition.start, name)
    if definition.cron:
        return cron_windows_between(definition.cron, name, first, horizon)
    calendar = CALENDARS.get(definition.granularity)
    if calendar is None:
        return hour_windows(name, offset, first, max(horizon, first))
    low = calendar.index(definition.start.date())
    if horizon <= first:
        return calendar_windows(calendar, name, offset, low, low - 1)
    last_day = datetime.fromtimestamp(horizon - 1 - offset, zone(name)).date()
    found = calendar_windows(calendar, name, offset, low, calendar.index(last_day) + 1)
    import numpy as np

    count = int(np.searchsorted(found.edges[:-1], horizon))
    return Windows(found.edges[: count + 1], found.labels[:count])


@dataclass(frozen=True, slots=True)
class Static(PartitionsDefinition):
    """Named values; see `static`."""

    values: tuple[str, ...]
    name: str = "partition"

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
    def time(self) -> TimeWindows | None:
        return next((d for _, d in self.parts if isinstance(d, TimeWindows)), None)

    @property
    def zone_name(self) -> str:
        return self.time.zone_name if self.time else "UTC"

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
        spaces = [d.resolve(now, dynamic=dynamic, include_open=include_open) for _, d in self.parts]
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


# --------------------------------------------------------------------------------------------
# How users write them

Moment = str | date | datetime


def _time_windows(
    granularity: str,
    start: Moment,
    end: Moment | None,
    timezone: str,
    offset: str | float | timedelta,
    cron: str = "",
) -> TimeWindows:
    zone(timezone)
    first = as_local(start, "start")
    last = None if end is None else as_local(end, "end")
    seconds = int(parse_duration(offset).total_seconds())
    calendar = CALENDARS.get(granularity)
    if calendar is not None:
        first = _aligned(calendar.first_day(calendar.index(first.date())), seconds)
        if last is not None:
            last = _aligned(calendar.first_day(calendar.index(last.date())), seconds)
    elif granularity == "hourly":
        first = first.replace(minute=0, second=0, microsecond=0) + timedelta(seconds=seconds)
    if last is not None and last <= first:
        raise DefinitionError(
            f"{granularity}({start!r}, end={end!r}) ends before it starts.",
            hint="end is the first instant that no longer belongs to it.",
        )
    return TimeWindows(granularity, first, last, timezone, seconds, cron)


def _aligned(day: date, seconds: int) -> datetime:
    return datetime(day.year, day.month, day.day) + timedelta(seconds=seconds)


def hourly(
    start: Moment,
    end: Moment | None = None,
    *,
    timezone: str = "UTC",
    offset: str | float | timedelta = 0,
) -> TimeWindows:
    """A partition per hour of the wall clock, keyed ``2024-01-01T05``.

    ``start`` is a key, an ISO text, a date or a naive datetime in ``timezone``, rounded down to
    its window; ``end`` is the first that no longer belongs to it. ``offset`` shifts the windows.
    The hour that comes twice in autumn is two partitions, told apart by their UTC offset.
    """
    return _time_windows("hourly", start, end, timezone, offset)


def daily(
    start: Moment,
    end: Moment | None = None,
    *,
    timezone: str = "UTC",
    offset: str | float | timedelta = 0,
) -> TimeWindows:
    """A partition per day, keyed ``2024-01-01``; ``offset="6h"`` for a day that starts at 06:00."""
    return _time_windows("daily", start, end, timezone, offset)


def weekly(
    start: Moment,
    end: Moment | None = None,
    *,
    timezone: str = "UTC",
    offset: str | float | timedelta = 0,
) -> TimeWindows:
    """A partition per ISO week (from Monday), keyed ``2024-W01``."""
    return _time_windows("weekly", start, end, timezone, offset)


def monthly(
    start: Moment,
    end: Moment | None = None,
    *,
    timezone: str = "UTC",
    offset: str | float | timedelta = 0,
) -> TimeWindows:
    """A partition per month, keyed ``2024-01``."""
    return _time_windows("monthly", start, end, timezone, offset)


def quarterly(
    start: Moment,
    end: Moment | None = None,
    *,
    timezone: str = "UTC",
    offset: str | float | timedelta = 0,
) -> TimeWindows:
    """A partition per quarter, keyed ``2024-Q1``."""
    return _time_windows("quarterly", start, end, timezone, offset)


def yearly(
    start: Moment,
    end: Moment | None = None,
    *,
    timezone: str = "UTC",
    offset: str | float | timedelta = 0,
) -> TimeWindows:
    """A partition per year, keyed ``2024``."""
    return _time_windows("yearly", start, end, timezone, offset)


def cron_windows(
    expression: str, start: Moment, end: Moment | None = None, *, timezone: str = "UTC"
) -> TimeWindows:
    """A partition from each tick of a cron expression to the next, keyed ``2024-01-01T06:30``."""
    check_cron(expression)
    return _time_windows("cron", start, end, timezone, 0, expression)


def static(values: Iterable[str], *, name: str = "partition") -> Static:
    """A partition per named value.

    Raises PartitionError for a value that can't be a key, DefinitionError for one given twice.
    """
    keys = tuple(_value(value) for value in values)
    twice = {key for key in keys if keys.count(key) > 1} if len(set(keys)) < len(keys) else set()
    if twice:
        raise DefinitionError(f"static([…]) holds {sorted(twice)[0]!r} twice.")
    return Static(keys, _dimension(name))


def _value(value: str) -> str:
    key = canonical_key(value)
    if SEPARATOR in key:
        raise PartitionError(
            f"{key!r} can't be a partition key: {SEPARATOR!r} separates dimensions."
        )
    return key


def dynamic(name: str) -> Dynamic:
    """A partition per key registered under ``name`` at run time."""
    return Dynamic(_dimension(name))


def product(**dimensions: PartitionsDefinition) -> Product:
    """Every combination of several dimensions, keyed ``2024-01-01|EWR`` in the order given.

    The first time dimension is the one that windows and logical dates refer to.
    """
    if len(dimensions) < 2:
        raise DefinitionError("product() needs two dimensions or more.")
    for name, definition in dimensions.items():
        _dimension(name)
        if isinstance(definition, Product | Unpartitioned):
            raise DefinitionError(
                f"Dimension {name!r} of a product can't be {definition.kind}.",
                hint="Give each dimension by itself.",
            )
    return Product(tuple(dimensions.items()))


def _dimension(name: str) -> str:
    if not name.isidentifier():
        raise DefinitionError(f"{name!r} can't be a dimension's name; use a plain word.")
    return name


def utc(instant: int) -> datetime:
    """Epoch seconds as an aware datetime."""
    return datetime.fromtimestamp(instant, UTC)
