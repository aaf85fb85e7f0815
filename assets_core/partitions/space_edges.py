"""Edges between two key spaces: by keys, and by dimensions that are put together again.

Which partitions these should be is what ``mappings`` declares; what an edge can do, in ``edges``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from assets_core.partitions.definitions import KeySpace
from assets_core.partitions.edges import (
    Edge,
    Lists,
    as_lists,
    empty,
    everything,
    from_lists,
    monotone,
)
from assets_core.partitions.grids import Grid
from assets_core.partitions.keys import canonical_key
from assets_core.partitions.products import ProductSpace
from assets_core.partitions.time_windows import TimeSpace

if TYPE_CHECKING:
    import numpy as np
from assets_core.partitions.dimensions import definition_parts, partners_of

_T = TypeVar("_T")
_DAY = 86_400


def seen_of(down: KeySpace, up: KeySpace) -> np.ndarray:
    """Where the upstream ends for each partition of the reader, as an ordinal, int64.

    Only an open window reads open windows; everything else reads what has closed.
    """
    import numpy as np

    seen = np.full(down.n, up.closed, np.int64)
    seen[down.closed :] = up.n
    return seen


def everything_seen(down: KeySpace, up: KeySpace) -> Edge:
    """Every upstream partition that each partition of the reader sees."""
    import numpy as np

    if up.closed == up.n:
        return everything(down.n, up.n)
    return Edge(np.zeros(down.n, np.int64), seen_of(down, up), up.n)


def whole(up: KeySpace) -> Edge:
    """All that has closed of a space, as one row."""
    import numpy as np

    return Edge(np.zeros(1, np.int64), np.full(1, up.closed, np.int64), up.n)


def by_keys(down: KeySpace, up: KeySpace) -> Edge:
    """The upstream partition of the same key."""
    import numpy as np

    at, seen = _with_later(down, up).ordinals(down.keys()), seen_of(down, up)
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


def edge_of_keys(lists: list[Sequence[str]], down: KeySpace, up: KeySpace) -> Edge:
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
        for keys, end in zip(lists, seen_of(down, up).tolist(), strict=True)
    ]
    return from_lists(found, up.n, short)


def _will_be(key: str, up: KeySpace) -> bool:
    """Whether a key that is not in the space can come into it: it is waited for then.

    False for a window outside of the definition's start and end. PartitionError for a text that
    is no key of the definition at all.
    """
    if isinstance(up, ProductSpace):
        parts = zip(up.spaces, up.definition.key_parts(key), strict=True)
        missing = [(s, part) for s, part in parts if s.find(part) < 0]
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


def by_dimensions(
    down: KeySpace,
    up: KeySpace,
    edge_of: Callable[[str, KeySpace | None, KeySpace], Edge],
) -> Edge:
    """Each upstream dimension by itself, put together again.

    ``edge_of`` gives the edge of one: by its name, the reader's space that belongs to it (None:
    no such dimension), and its own.
    """
    import numpy as np

    mine, theirs = dict(down.parts()), dict(up.parts())
    partners = partners_of(definition_parts(down.definition), definition_parts(up.definition))
    edges: list[tuple[str | None, Edge]] = []
    for name, space in theirs.items():
        partner = partners.get(name)
        edges.append((partner, edge_of(name, mine.get(partner or ""), space)))
    if not edges:
        return everything(down.n, up.n)
    if len(edges) == 1 and len(mine) <= 1:
        partner, edge = edges[0]
        if partner is None and not isinstance(edge, Lists):
            edge = _spread(edge, np.zeros(down.n, np.int64))
        return monotone(edge)
    return _combine(down, up, mine, edges)


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
