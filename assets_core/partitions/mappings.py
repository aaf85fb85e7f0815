"""Which upstream partitions a partition reads: declared here, resolved to edges.

Mappings are plain values. Along time they count windows, so 23- and 25-hour days and months of
28 days need no special case; across dimensions each upstream dimension is mapped by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from assets_core.deferring import deferred
from assets_core.errors import DefinitionError
from assets_core.partitions.definitions import (
    Dynamic,
    PartitionsDefinition,
    Product,
    Static,
    TimeWindows,
    Unpartitioned,
)
from assets_core.partitions.edges import (
    Edge,
    Grid,
    Lists,
    as_lists,
    empty,
    everything,
    from_lists,
    monotone,
)
from assets_core.partitions.keys import canonical_key
from assets_core.partitions.spaces import KeySpace, Partition, ProductSpace, TimeSpace

if TYPE_CHECKING:
    import numpy as np

_T = TypeVar("_T")
_DAY = 86_400


_OWN_PAST = "an asset can read only its own past; use lag(n), or window(n, -1)."


class PartitionMapping:
    """The base of mappings."""

    __slots__ = ()

    def check(
        self, down: PartitionsDefinition, up: PartitionsDefinition, *, same_asset: bool = False
    ) -> str | None:
        """Why the mapping does not fit the two definitions; None when it does."""
        if same_asset:
            return _OWN_PAST
        return _dimension_problem(down, up)

    def identity(self) -> tuple[object, ...]:
        """Plain values that tell it from another."""
        raise NotImplementedError

    def resolve(self, down: KeySpace, up: KeySpace) -> Edge:
        """The edge between two key spaces."""
        raise NotImplementedError

    def __str__(self) -> str:
        name, *values = self.identity()
        return f"{name}({', '.join(str(value) for value in values)})"


# --------------------------------------------------------------------------------------------
# Along time


@dataclass(frozen=True, slots=True)
class TimeShift(PartitionMapping):
    """Upstream windows relative to those that overlap the reader's own window.

    ``kind`` is overlap, lag, last or window; ``before`` and ``after`` count upstream windows.
    """

    kind: str = "overlap"
    before: int = 0
    after: int = 0

    def identity(self) -> tuple[object, ...]:
        if self.kind == "overlap":
            return ("overlap",)
        if self.kind == "window":
            return ("window", self.before, self.after)
        return (self.kind, self.before)

    def check(
        self, down: PartitionsDefinition, up: PartitionsDefinition, *, same_asset: bool = False
    ) -> str | None:
        if same_asset and not self.is_past:
            return _OWN_PAST
        if self.kind != "overlap" and (down.time is None or up.time is None):
            which = "the reader" if down.time is None else "the upstream"
            return f"{self} counts windows of time, and {which} has none."
        return _dimension_problem(down, up)

    def resolve(self, down: KeySpace, up: KeySpace) -> Edge:
        return _by_dimensions(down, up, {}, self)

    @property
    def is_past(self) -> bool:
        """Whether it reads only windows before the reader's own."""
        return (self.kind == "lag" and self.before >= 1) or (
            self.kind == "window" and self.after < 0
        )

    def shift(self, lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The interval of upstream windows out of the overlapping one."""
        if self.kind == "lag":
            return lo - self.before, hi - self.before
        if self.kind == "last":
            return hi - self.before, hi
        return lo - self.before, hi + self.after

    def along_time(self, down: TimeSpace, up: TimeSpace) -> Edge:
        """The edge between two spaces of windows."""
        import numpy as np

        if not down.n or not len(up.windows.edges):
            return empty(down.n, up.n)
        if down.definition == up.definition:
            lo = np.arange(down.n, dtype=np.int64)
            hi = lo + 1
        else:
            lo, hi = _touching(down, up)
        lo, hi = self.shift(lo, hi)
        # What lies past the last window of an upstream that has ended is not waited for.
        ever = np.minimum(hi, _final(up.definition))
        seen = _seen(down, up)
        short = (ever > seen) & (lo < ever)
        short[down.closed :] = False  # an open window reads what there is
        return Edge(np.clip(lo, 0, seen), np.clip(hi, 0, seen), up.n, short)


def _seen(down: KeySpace, up: KeySpace) -> np.ndarray:
    """Where the upstream ends for each partition of the reader, as an ordinal, int64.

    Only an open window reads open windows; everything else reads what has closed.
    """
    import numpy as np

    seen = np.full(down.n, up.closed, np.int64)
    seen[down.closed :] = up.n
    return seen


def _touching(down: TimeSpace, up: TimeSpace) -> tuple[np.ndarray, np.ndarray]:
    """The upstream windows ``[lo, hi)`` that overlap each of the reader's.

    They are counted along the upstream's calendar as if it had no start and no end, so that
    shifts count right also from outside of it: ordinals below 0 and past the last are meant.
    """
    import numpy as np

    starts, ends, first = down.starts(), down.ends(), int(up.windows.edges[0])
    calendar = up.definition.windows_around(
        min(int(starts[0]), first), max(int(ends[-1]), first)
    ).edges
    base = int(np.searchsorted(calendar, first))
    lo = np.searchsorted(calendar, starts, side="right") - 1 - base
    hi = np.searchsorted(calendar, ends, side="left") - base
    return lo.astype(np.int64), hi.astype(np.int64)


def _final(definition: TimeWindows) -> int:
    """How many windows there will ever be; very many without an end."""
    if definition.end is None:
        return _ENDLESS
    return len(definition.windows_until(definition.last_instant()).labels)


_ENDLESS = 1 << 62


def overlap() -> TimeShift:
    """The upstream windows that overlap the reader's own: a day's 23, 24 or 25 hours."""
    return TimeShift()


def identity() -> PartitionMapping:
    """The upstream partition of the same key."""
    return Same()


@deferred(lambda: TimeShift("lag", 1))
def lag(n: int) -> TimeShift:
    """The upstream windows ``n`` before the reader's own."""
    return TimeShift("lag", _count(n, "lag", least=1))


@deferred(lambda: TimeShift("last", 1))
def last(n: int) -> TimeShift:
    """The ``n`` upstream windows that end with the reader's own."""
    return TimeShift("last", _count(n, "last", least=1))


@deferred(lambda: TimeShift("window", 1))
def window(before: int, after: int = 0) -> TimeShift:
    """Upstream windows from ``before`` before to ``after`` after the reader's own.

    A negative ``after`` leaves the newest out: ``window(7, -1)`` are the seven before.
    """
    if -after > before:
        raise DefinitionError(f"window({before}, {after}) holds no window.")
    return TimeShift("window", _count(before, "window", least=0), after)


def _count(n: int, what: str, least: int) -> int:
    if not isinstance(n, int) or isinstance(n, bool) or n < least:
        raise DefinitionError(f"{what}({n!r}): a whole number, at least {least}.")
    return n


# --------------------------------------------------------------------------------------------
# Everything, the newest, the same


@dataclass(frozen=True, slots=True)
class Everything(PartitionMapping):
    """Every upstream partition."""

    def identity(self) -> tuple[object, ...]:
        return ("all_partitions",)

    def check(
        self, down: PartitionsDefinition, up: PartitionsDefinition, *, same_asset: bool = False
    ) -> str | None:
        del down, up
        return "an asset can't read all of itself; use lag(n)." if same_asset else None

    def resolve(self, down: KeySpace, up: KeySpace) -> Edge:
        return _everything(down, up)


@dataclass(frozen=True, slots=True)
class Latest(PartitionMapping):
    """The newest upstream window."""

    def identity(self) -> tuple[object, ...]:
        return ("latest",)

    def check(
        self, down: PartitionsDefinition, up: PartitionsDefinition, *, same_asset: bool = False
    ) -> str | None:
        del down
        if same_asset:
            return "an asset can't read its own newest partition; use lag(n)."
        return None if up.time else "latest() is the newest window, and the upstream has none."

    def resolve(self, down: KeySpace, up: KeySpace) -> Edge:
        return _by_dimensions(down, up, {}, self)


@dataclass(frozen=True, slots=True)
class Same(PartitionMapping):
    """The upstream partition of the same key."""

    def identity(self) -> tuple[object, ...]:
        return ("identity",)

    def check(
        self, down: PartitionsDefinition, up: PartitionsDefinition, *, same_asset: bool = False
    ) -> str | None:
        if same_asset:
            return "an asset can't read the partition that it builds; use lag(n)."
        if down.dimensions and up.dimensions and down.kind != up.kind:
            return f"identity() needs equal keys; {down.kind} and {up.kind} differ."
        return _dimension_problem(down, up)

    def resolve(self, down: KeySpace, up: KeySpace) -> Edge:
        return _by_keys(down, up)


def all_partitions() -> Everything:
    """Every upstream partition."""
    return Everything()


def latest() -> Latest:
    """The newest upstream partition that has closed."""
    return Latest()


def _everything(down: KeySpace, up: KeySpace) -> Edge:
    import numpy as np

    if up.closed == up.n:
        return everything(down.n, up.n)
    return Edge(np.zeros(down.n, np.int64), _seen(down, up), up.n)


def _by_keys(down: KeySpace, up: KeySpace) -> Edge:
    import numpy as np

    at, seen = _with_later(down, up).ordinals(down.keys()), _seen(down, up)
    hit = (at >= 0) & (at < seen)
    early = at >= seen
    early[down.closed :] = False  # an open window reads what there is
    offsets = np.concatenate(([0], np.cumsum(hit)))
    edge = as_lists(empty(down.n, up.n))
    edge = type(edge)(offsets, at[hit], up.n, early)
    whole = bool(hit.all()) and bool((np.diff(at) == 1).all())
    return Edge(at, at + 1, up.n) if whole else edge


def _with_later(down: KeySpace, up: KeySpace) -> KeySpace:
    """The upstream with its windows to come that may have a key of the reader's.

    The same day begins and ends later in another zone.
    """
    if not isinstance(up, TimeSpace) or not isinstance(down, TimeSpace) or not down.n:
        return up
    last = int(down.ends()[-1]) + up.definition.offset
    windows = up.definition.windows_until(last + _DAY)
    return TimeSpace(up.definition, windows, len(windows.labels), up.now)


# --------------------------------------------------------------------------------------------
# Tables and functions


@dataclass(frozen=True, slots=True)
class Table(PartitionMapping):
    """Upstream keys by key: a static table."""

    rows: tuple[tuple[str, tuple[str, ...]], ...]

    def identity(self) -> tuple[object, ...]:
        return ("table", *self.rows)

    def check(
        self, down: PartitionsDefinition, up: PartitionsDefinition, *, same_asset: bool = False
    ) -> str | None:
        if same_asset:
            return _OWN_PAST
        for definition, keys in (
            (down, [key for key, _ in self.rows]),
            (up, [key for _, values in self.rows for key in values]),
        ):
            values = getattr(definition, "values", None)
            strange = sorted(set(keys) - set(values)) if values is not None else []
            if strange:
                return f"its table names {strange[0]!r}, which is no partition there."
        return None

    def resolve(self, down: KeySpace, up: KeySpace) -> Edge:
        rows = dict(self.rows)
        return _of_keys([rows.get(key, ()) for key in down.keys(None)], down, up)


@dataclass(frozen=True, slots=True)
class Through(PartitionMapping):
    """A user's own function of the partition, giving upstream keys."""

    function: Callable[[Partition], Iterable[str]]

    def identity(self) -> tuple[object, ...]:
        return ("mapped", getattr(self.function, "__qualname__", repr(self.function)))

    def check(
        self, down: PartitionsDefinition, up: PartitionsDefinition, *, same_asset: bool = False
    ) -> str | None:
        del down, up
        return "an asset can read only its own past; use lag(n)." if same_asset else None

    def resolve(self, down: KeySpace, up: KeySpace) -> Edge:
        return _of_keys([self._keys(down.partition(i)) for i in range(down.n)], down, up)

    def _keys(self, partition: Partition) -> Sequence[str]:
        given = self.function(partition)
        return [str(given)] if isinstance(given, str | Partition) else [str(key) for key in given]


def _of_keys(lists: list[Sequence[str]], down: KeySpace, up: KeySpace) -> Edge:
    """An edge out of upstream keys; PartitionError for a text that can never be one."""
    import numpy as np

    flat = [key for keys in lists for key in keys]
    distinct = list(dict.fromkeys(flat))
    table = dict(zip(distinct, up.ordinals(distinct).tolist(), strict=True))
    waited = {key for key, at in table.items() if at < 0 and _will_be(key, up)}
    waited |= {key for key, at in table.items() if at >= up.closed}
    short = np.array([not waited.isdisjoint(keys) for keys in lists], bool)
    short[down.closed :] = False
    found = [
        sorted({table[key] for key in keys if 0 <= table[key] < end})
        for keys, end in zip(lists, _seen(down, up).tolist(), strict=True)
    ]
    return from_lists(found, up.n, short)


def _will_be(key: str, up: KeySpace) -> bool:
    """Whether a key that is not in the space can come into it: it is waited for then.

    False for a window outside of the definition's start and end. PartitionError for a text that
    is no key of the definition at all.
    """
    if isinstance(up, ProductSpace):
        parts = zip(up.spaces, up.definition.key_parts(key), strict=True)
        missing = [(s, part) for s, part in parts if s.ordinals([part])[0] < 0]
        # Every part is looked at: a later one may be no key at all.
        answers = [_will_be(part, space) for space, part in missing]
        return all(answers)
    if isinstance(up, TimeSpace):
        start = up.definition.partition(key).start
        assert start is not None
        first, stop = up.definition.first_instant(), up.definition.last_instant()
        return first <= start.timestamp() < stop
    if up.definition.is_dynamic:
        return bool(canonical_key(key))
    raise up.unknown(key)


def table(rows: Mapping[str, str | Iterable[str]]) -> Table:
    """A static table: the reader's key → upstream key or keys."""
    return Table(
        tuple(
            (key, (value,) if isinstance(value, str) else tuple(value))
            for key, value in rows.items()
        )
    )


def mapped(
    through: Callable[[Partition], Iterable[str]] | Mapping[str, str | Iterable[str]],
) -> Table | Through:
    """One's own mapping: a table, or a function of the partition that gives upstream keys.

    A key that the function gives and that is no partition (yet) is waited for.
    """
    return table(through) if isinstance(through, Mapping) else Through(through)


# --------------------------------------------------------------------------------------------
# Dimensions


@dataclass(frozen=True, slots=True)
class ByDimension(PartitionMapping):
    """A mapping per upstream dimension, the default for those not named."""

    parts: tuple[tuple[str, PartitionMapping], ...]

    def identity(self) -> tuple[object, ...]:
        return ("by_dimension", *((name, m.identity()) for name, m in self.parts))

    def check(
        self, down: PartitionsDefinition, up: PartitionsDefinition, *, same_asset: bool = False
    ) -> str | None:
        strange = {name for name, _ in self.parts} - set(up.dimensions)
        if strange:
            known = ", ".join(up.dimensions) or "none"
            return f"the upstream has no dimension {sorted(strange)[0]!r} (it has {known})."
        if same_asset:
            return None if self._reads_past(up) else _OWN_PAST
        return next(filter(None, (self._problem(n, m, down, up) for n, m in self.parts)), None)

    def _reads_past(self, up: PartitionsDefinition) -> bool:
        """Only the first time dimension orders the partitions, so only its past is the past."""
        first = next((n for n, d in _definition_parts(up).items() if _is_time(d)), "")
        mapping = dict(self.parts).get(first)
        return isinstance(mapping, TimeShift) and mapping.is_past

    @staticmethod
    def _problem(
        name: str, mapping: PartitionMapping, down: PartitionsDefinition, up: PartitionsDefinition
    ) -> str | None:
        mine, theirs = _definition_parts(down), _definition_parts(up)
        partner = _partners(mine, theirs).get(name)
        if isinstance(mapping, Everything | Latest):
            return mapping.check(down, theirs[name])
        if partner is None:
            return f"the reader has no dimension that {name!r} could follow by {mapping}."
        own, other = mine[partner], theirs[name]
        if isinstance(own, Static) and isinstance(other, Static):
            # They belong together whatever each is called by itself.
            own = replace(own, name=other.name)
        return mapping.check(own, other)

    def resolve(self, down: KeySpace, up: KeySpace) -> Edge:
        return _by_dimensions(down, up, dict(self.parts), None)


def by_dimension(**dimensions: PartitionMapping) -> ByDimension:
    """A mapping for each upstream dimension; those not named map as usual.

    As usual is: a dimension of the same name (or the other's time dimension, or where one of the
    two is no product, the one of the very same keys) by its windows or keys, any other whole.
    """
    return ByDimension(tuple(dimensions.items()))


def default_mapping(down: PartitionsDefinition, up: PartitionsDefinition) -> PartitionMapping:
    """How two assets map unless told: windows by overlap, values by key, dimension to dimension.

    Dimensions that only the upstream has are read whole, those that only the reader has do not
    matter; see `by_dimension` for which belong together.
    """
    del down
    return Everything() if isinstance(up, Unpartitioned) else TimeShift()


def _definition_parts(definition: PartitionsDefinition) -> dict[str, PartitionsDefinition]:
    if isinstance(definition, Product):
        return dict(definition.parts)
    return dict.fromkeys(definition.dimensions, definition)


def _dimension_problem(down: PartitionsDefinition, up: PartitionsDefinition) -> str | None:
    """Two partitioned assets must have something in common, or be told how to map."""
    if isinstance(down, Unpartitioned) or isinstance(up, Unpartitioned):
        return None
    mine, theirs = _definition_parts(down), _definition_parts(up)
    partners = _partners(mine, theirs)
    for name, own in partners.items():
        one, other = (getattr(part, "values", None) for part in (mine[own], theirs[name]))
        if one is not None and other is not None and set(one).isdisjoint(other):
            return f"their {name!r} partitions have no key in common; use mapped(…)."
    if partners:
        return None
    return f"{down.kind} and {up.kind} partitions have nothing in common; {_ways(mine, theirs)}."


def _ways(
    mine: Mapping[str, PartitionsDefinition], theirs: Mapping[str, PartitionsDefinition]
) -> str:
    """What can be written where nothing is in common."""
    for name in theirs:
        for own in mine:
            if _keys_meet(theirs[name], mine[own]):
                return f"{_one_name(mine, own, theirs, name)}, or use mapped(…)"
    newest = "latest(), " if any(map(_is_time, theirs.values())) else ""
    return f"use all_partitions(), {newest}or mapped(…)"


def _one_name(
    mine: Mapping[str, PartitionsDefinition],
    own: str,
    theirs: Mapping[str, PartitionsDefinition],
    name: str,
) -> str:
    if len(mine) == 1 and isinstance(mine[own], Static):
        return f"to match keys, name the reader's: static([…], name={name!r})"
    if len(theirs) == 1 and isinstance(theirs[name], Static):
        return f"to match keys, name the upstream's: static([…], name={own!r})"
    return f"to match keys, give {own!r} of the reader and {name!r} of the upstream the same name"


def _keys_meet(one: PartitionsDefinition, other: PartitionsDefinition) -> bool:
    if isinstance(one, Static) and isinstance(other, Static):
        return not set(one.values).isdisjoint(other.values)
    return isinstance(one, Dynamic) and one == other


def _partners(
    mine: Mapping[str, PartitionsDefinition], theirs: Mapping[str, PartitionsDefinition]
) -> dict[str, str]:
    """Upstream dimension → the reader's dimension it follows.

    The one of the same name; else, for time, any other time; else, where one of the two is no
    product and its dimension's name so says little, the only one of the very same keys.
    """
    found = {
        name: name
        for name, part in theirs.items()
        if name in mine and _is_time(mine[name]) == _is_time(part)
    }
    for name, part in theirs.items():
        if name not in found and _is_time(part):
            free = [n for n, p in mine.items() if _is_time(p) and n not in found.values()]
            if free:
                found[name] = free[0]
    if not found and min(len(mine), len(theirs)) == 1:
        pairs = [(a, b) for a in theirs for b in mine if _same_keys(theirs[a], mine[b])]
        if len(pairs) == 1:
            found.update(pairs)
    return found


def _same_keys(one: PartitionsDefinition, other: PartitionsDefinition) -> bool:
    """Whether two definitions of values hold the very same keys, in any order, by any name."""
    if isinstance(one, Static) and isinstance(other, Static):
        return set(one.values) == set(other.values)
    return isinstance(one, Dynamic) and one == other


def _is_time(part: Any) -> bool:
    return isinstance(part, TimeSpace | TimeWindows)


def _by_dimensions(
    down: KeySpace,
    up: KeySpace,
    given: Mapping[str, PartitionMapping],
    along: PartitionMapping | None,
) -> Edge:
    """Each upstream dimension by itself, put together again."""
    import numpy as np

    mine, theirs = dict(down.parts()), dict(up.parts())
    partners = _partners(_definition_parts(down.definition), _definition_parts(up.definition))
    edges: list[tuple[str | None, Edge]] = []
    first_time = True
    for name, space in theirs.items():
        mapping = given.get(name)
        if mapping is None and _is_time(space) and first_time:
            mapping, first_time = along, False
        partner = partners.get(name)
        edges.append((partner, _one_dimension(mapping, mine.get(partner or ""), space)))
    if not edges:
        return everything(down.n, up.n)
    if len(edges) == 1 and len(mine) <= 1:
        partner, edge = edges[0]
        if partner is None and not isinstance(edge, Lists):
            edge = _spread(edge, np.zeros(down.n, np.int64))
        return monotone(edge)
    return _combine(down, up, mine, edges)


def _one_dimension(
    mapping: PartitionMapping | None, mine: KeySpace | None, theirs: KeySpace
) -> Edge:
    """The edge of one upstream dimension; over one row when the reader has no partner for it."""
    import numpy as np

    if isinstance(mapping, Latest):
        ends = np.full(1, theirs.closed) if mine is None else _seen(mine, theirs)
        return Edge(np.maximum(ends - 1, 0), ends, theirs.n)
    if mine is None:
        return Edge(np.zeros(1, np.int64), np.full(1, theirs.closed, np.int64), theirs.n)
    if isinstance(mapping, Everything):
        return _everything(mine, theirs)
    if isinstance(mine, TimeSpace) and isinstance(theirs, TimeSpace):
        if mapping is None or isinstance(mapping, TimeShift):
            return (mapping or TimeShift()).along_time(mine, theirs)
        return mapping.resolve(mine, theirs)
    if mapping is None or isinstance(mapping, TimeShift):
        return _by_keys(mine, theirs)
    return mapping.resolve(mine, theirs)


def _spread(edge: Edge, rows: np.ndarray) -> Edge:
    """The interval edge whose partition i reads what ``rows[i]`` reads."""
    short = edge.short[rows] if edge.short is not None else None
    return Edge(edge.lo[rows], edge.hi[rows], edge.n_up, short)


def _combine(
    down: KeySpace,
    up: KeySpace,
    mine: Mapping[str, KeySpace],
    edges: list[tuple[str | None, Edge]],
) -> Edge:
    """Edges of dimensions → one edge between products (or a product and a single dimension)."""
    import numpy as np

    names = _by_stride(down, list(mine))
    shape = tuple(mine[name].n for name in names)
    axes = [
        (edges[i][1], None if edges[i][0] is None else names.index(edges[i][0] or ""))
        for i in _by_stride(up, list(range(len(edges))))
    ]
    at = np.unravel_index(np.arange(down.n), shape) if down.n and shape else ()
    nowhere = np.zeros(down.n, np.int64)
    rows = [nowhere if p is None or not len(at) else at[p] for _, p in axes]
    short = np.zeros(down.n, bool)
    for (edge, _), own in zip(axes, rows, strict=True):
        if edge.short is not None:
            short |= edge.short[own]
    if down.n and not any(isinstance(edge, Lists) for edge, _ in axes):
        each = [_spread(edge, own) for (edge, _), own in zip(axes, rows, strict=True)]
        whole = _as_intervals(each)
        if whole is not None and _rising(*whole):
            return Edge(whole[0], whole[1], up.n, short)
    return Grid(axes, shape, short)


def _by_stride(space: KeySpace, declared: list[_T]) -> list[_T]:
    """Dimensions in the order of ordinals, slowest first, out of the order declared."""
    return [declared[i] for i in space.order] if isinstance(space, ProductSpace) else declared


def _rising(lo: np.ndarray, hi: np.ndarray) -> bool:
    real = hi > lo
    return bool((lo[real][1:] >= lo[real][:-1]).all() and (hi[real][1:] >= hi[real][:-1]).all())


def _as_intervals(each: list[Edge]) -> tuple[np.ndarray, np.ndarray] | None:
    """One interval per partition, when every dimension after the first wide one is whole."""
    import numpy as np

    lo = np.zeros(each[0].n_down, np.int64)
    width = np.ones(each[0].n_down, np.int64)
    wide = np.zeros(each[0].n_down, bool)
    for edge in each:
        own = edge.hi - edge.lo
        if (wide & (own != edge.n_up)).any():
            return None
        lo = lo * edge.n_up + edge.lo
        width = width * own
        wide |= own != 1
    return np.where(width > 0, lo, 0), np.where(width > 0, lo + width, 0)
