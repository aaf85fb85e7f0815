"""Partitions definitions, the key spaces they resolve to, and partitions themselves.

A definition is a declaration; a key space is what it holds at one instant: ``n`` partitions,
each an ordinal. Pure: the instant and the keys registered at run time are arguments.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import timezone as fixed_zone
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from assets_core.durations import parse_duration
from assets_core.errors import DefinitionError, PartitionError
from assets_core.hashing import hash64, mix64
from assets_core.partitions import labels as columns
from assets_core.partitions.keys import SEPARATOR, canonical_key, safe_path_part, visible
from assets_core.partitions.windows import (
    CALENDARS,
    Windows,
    as_stretch,
    check_cron,
    hour_text,
    instant_of,
    instants_in,
    instants_named,
    names_windows,
    offset_text,
    windows_around,
    zone,
)
from assets_core.partitions.zones import offset_at

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Words = NDArray[np.uint64]

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

    def first_instant(self) -> int:
        """Where its first window begins (for cron: not before), in epoch seconds."""
        return instant_of(self.start, self.timezone)

    def last_instant(self) -> int:
        """Where its windows end for good, in epoch seconds; very far without an end."""
        return _FOREVER if self.end is None else instant_of(self.end, self.timezone)

    @property
    def example(self) -> str:
        """A key of it, or what comes near."""
        windows = self.windows_until(self.first_instant() + 1)
        return self.text(windows, 0) if len(windows.labels) else self.start.isoformat()

    def resolve(
        self,
        now: datetime,
        *,
        dynamic: Mapping[str, Sequence[str]] = MappingProxyType({}),
        include_open: bool = False,
    ) -> TimeSpace:
        del dynamic
        if now.tzinfo is None:
            raise ValueError("now must be an aware datetime")
        instant = now.timestamp()
        windows = self.windows_until(int(instant // 1))
        # The open window is the one that has begun and not ended.
        bounds = windows.edges[:-1] if include_open else windows.edges[1:]
        return TimeSpace(self, windows, int(bounds.searchsorted(instant, "right")), instant)

    def windows_until(self, instant: int) -> Windows:
        """All windows from the first that begin by ``instant``, before the end; and some more."""
        # Rounded up, so that calls within a day share one result.
        return _windows(self, (min(instant, self.last_instant()) // _DAY + 2) * _DAY)

    def windows_around(self, low: int, high: int) -> Windows:
        """The windows that touch ``[low, high]`` and some around, as if without start and end."""
        return windows_around(self.granularity, self.cron, self.timezone, self.offset, low, high)

    def text(self, windows: Windows, ordinal: int) -> str:
        """The key of one window."""
        label = int(windows.labels[ordinal])
        calendar = CALENDARS.get(self.granularity)
        if calendar is not None:
            return calendar.text(label)
        plain = hour_text(label) if self.granularity == "hourly" else self._cron_text(label)
        if windows.twice is None or not windows.twice[ordinal]:
            return plain
        return plain + offset_text(offset_at(self.timezone, int(windows.edges[ordinal])))

    def _cron_text(self, instant: int) -> str:
        local = datetime.fromtimestamp(instant, zone(self.timezone)).replace(tzinfo=None)
        seconds = local.second or len(self.cron.split()) == 6
        return local.isoformat(timespec="seconds" if seconds else "minutes")

    def texts(self, windows: Windows, ordinals: Ints) -> list[str]:
        """The keys of these windows, by columns where there can be many."""
        quick = None
        if len(ordinals) >= 16:
            quick = columns.keys_of(self.granularity, windows.labels[ordinals])
        if quick is None:
            return [self.text(windows, i) for i in ordinals.tolist()]
        if windows.twice is not None:
            for at in windows.twice[ordinals].nonzero()[0].tolist():
                quick[at] = self.text(windows, int(ordinals[at]))
        return quick

    def partition(self, key: str) -> Partition:
        named = instants_named(key, self.granularity, self.timezone, self.offset)
        if named is not None:
            around = self.windows_around(named[0] - _DAY, named[1] + _DAY)
            space = TimeSpace(self, around, len(around.labels), named[1])
            ordinal = int(space.ordinals([key])[0])
            if ordinal >= 0:
                return space.partition(ordinal)
        raise PartitionError(
            f"{key!r} is no key of {self.kind} partitions.",
            facts={"timezone": self.timezone},
            hint=f"Their keys look like {self.example!r}.",
        )


@lru_cache(maxsize=64)
def _windows(definition: TimeWindows, horizon: int) -> Windows:
    """All windows of a definition that begin before ``horizon``."""
    first, stop = definition.first_instant(), definition.last_instant()
    found = definition.windows_around(first, max(first, min(horizon, stop)))
    starts, ends = found.edges[:-1], found.edges[1:]
    if definition.cron:
        lo, last = int(starts.searchsorted(first)), int(starts.searchsorted(stop))
    else:
        lo = int(starts.searchsorted(first, "right")) - 1
        last = int(ends.searchsorted(stop, "right"))
    hi = min(int(starts.searchsorted(horizon)), last)
    return found.part(lo, max(lo, hi))


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
    shift = parse_duration(offset)
    longest = timedelta(hours=1) if granularity == "hourly" else timedelta(days=1)
    if shift >= longest or shift.microseconds:
        raise DefinitionError(
            f"{granularity}(offset={offset!r}): windows begin less than {longest} later.",
            hint="Write '6h' for days that begin at 06:00.",
        )
    first = _window_start(start, "start", granularity, timezone, shift)
    last = None if end is None else _window_start(end, "end", granularity, timezone, shift)
    made = TimeWindows(granularity, first, last, timezone, int(shift.total_seconds()), cron)
    if made.last_instant() <= made.first_instant():
        raise DefinitionError(
            f"{granularity}({start!r}, end={end!r}) ends before it starts.",
            hint="end is the first that no longer belongs to it.",
        )
    return made


def _window_start(
    value: Moment, what: str, granularity: str, timezone: str, shift: timedelta
) -> datetime:
    """Where the window that holds ``value`` begins, on the zone's clock.

    Aware only where the clock shows that time twice.
    """
    stretch = as_stretch(value, what, timezone)
    moment = stretch[0]
    whole = names_windows(stretch, granularity)
    if moment.tzinfo is not None:
        instant = instants_in(stretch, granularity, timezone, int(shift.total_seconds()))[0]
        moment = datetime.fromtimestamp(instant, zone(timezone))
        if _comes_twice(moment) and granularity in ("hourly", "cron"):
            return moment.astimezone(fixed_zone(moment.utcoffset() or timedelta(0)))
        moment, whole = moment.replace(tzinfo=None), False
    if granularity == "cron":
        return moment
    label = moment if whole else moment - shift
    if granularity == "hourly":
        return label.replace(minute=0, second=0) + shift
    calendar = CALENDARS[granularity]
    return _midnight(calendar.first_day(calendar.index(label.date()))) + shift


def _comes_twice(moment: datetime) -> bool:
    return moment.replace(fold=0).utcoffset() != moment.replace(fold=1).utcoffset()


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)


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
    if isinstance(values, str):
        raise DefinitionError(f"static({values!r}) takes a list.", hint=f"static([{values!r}])")
    keys = tuple(canonical_key(value) for value in values)
    twice = {key for key in keys if keys.count(key) > 1} if len(set(keys)) < len(keys) else set()
    if twice:
        raise DefinitionError(f"static([…]) holds {sorted(twice)[0]!r} twice.")
    return Static(keys, _dimension(name))


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
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        raise DefinitionError(f"{name!r} can't be a dimension's name; use a plain word.")
    if name in {"key", "start", "end", "dimensions"}:
        raise DefinitionError(
            f"{name!r} can't be a dimension's name: a partition has its own {name}."
        )
    return name


def utc(instant: int) -> datetime:
    """Epoch seconds as an aware datetime."""
    return datetime.fromtimestamp(instant, UTC)
