"""The state of every partition at a glance: fresh, stale, missing, blocked, failed.

Pure and columnar: staleness, recorded facts and failed attempts go in, one code per partition
comes out. Nothing is decided here that `staleness` does not decide.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from assets_core.graph import Graph, Input, Op
from assets_core.observe import svg
from assets_core.observe.format import (
    count,
    first_line,
    gone_text,
    human_time,
    iso_time,
    key_pairs,
    moment,
    one_line,
    ranges,
    reference,
    table,
)
from assets_core.partitions import KeySpace
from assets_core.plan import Lack, lack_dict
from assets_core.records import Attempt, Invalidation
from assets_core.staleness import (
    INPUT,
    WAS_OPEN,
    Assessment,
    Digests,
    Facts,
    Sightings,
    Wiring,
    expected_of,
    incomplete_among,
    is_enough,
    lacks,
)

STATES = ("fresh", "observed", "withdrawn", "stale", "missing", "not seen", "blocked", "failed")
"""What a partition can be, from good to bad; the position is its code in columns.

``withdrawn`` is neither there nor expected: a source's partition was taken out, or nothing is left
of what a partition is built from.

``observed`` and ``not seen`` are said of sources, which are not built: a partition not seen is
not there yet, or nobody has looked. ``failed`` is a stale or missing partition whose newest
attempt failed, ``blocked`` one that can't run because something that it maps to failed, is
blocked itself, does not exist yet, or is a partition that a source was looked at for in vain.
"""

FRESH, OBSERVED, WITHDRAWN, STALE, MISSING, NOT_SEEN, BLOCKED, FAILED = range(len(STATES))

SIGNS = dict(zip(STATES, "██–▒··!×", strict=True))
"""One character per state, told apart without colour."""

_TROUBLES = 8
_BAR = 60


@dataclass(frozen=True, slots=True)
class Cell:
    """Neighbouring partitions, drawn as one: ordinals ``first`` to ``last``, their worst state.

    ``share`` is the fraction of them in that state.
    """

    state: str
    first: int
    last: int
    share: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class AssetStatus:
    """One asset's partitions. ``codes`` uint8 by ordinal, positions in `STATES`.

    ``failures`` holds the failed attempt of each failed partition, ``fresh_failures`` that of
    partitions which are fresh all the same: they were forced, or their code was put back, and the
    version before serves. ``landed`` is the µs of the newest record (0: none), ``rows`` the rows
    of all current partitions. Of a source, ``unseen`` holds the error of each partition that could
    not be looked at, ``gone`` the ordinals of those that were seen before and are not there now.
    ``invalidated`` are the invalidations in force with the ordinals that each holds for, ``waits``
    what the blocked partitions lack, ``incomplete`` the ordinals of what was built in windows that
    are still open, ``was_open`` of what is stale since its window was open then, and has closed.
    ``held_back`` says why what is ``gone`` was not withdrawn, where the source asks for that.
    """

    asset: str
    kind: str
    space: KeySpace
    codes: np.ndarray
    failures: Mapping[str, Attempt] = field(default_factory=dict)
    fresh_failures: Mapping[str, Attempt] = field(default_factory=dict)
    landed: int = 0
    rows: int = 0
    unseen: Mapping[str, str] = field(default_factory=dict)
    gone: np.ndarray | None = None
    invalidated: tuple[tuple[Invalidation, np.ndarray], ...] = ()
    waits: tuple[Lack, ...] = ()
    incomplete: np.ndarray | None = None
    was_open: np.ndarray | None = None
    held_back: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of partitions by state; only states that an asset of this kind can be in, and
        ``withdrawn`` where there are any."""
        numbers = np.bincount(self.codes, minlength=len(STATES)).tolist()
        return {state: numbers[STATES.index(state)] for state in self._states}

    @property
    def _states(self) -> tuple[str, ...]:
        out = ("withdrawn",) if (self.codes == WITHDRAWN).any() else ()
        if self.kind == "source":
            return ("observed", "not seen", *out)
        return ("fresh", "stale", "missing", "blocked", "failed", *out)

    @property
    def waiting(self) -> str:
        """``waits for 3 of 31 of days: 2024-01-07, …``; empty when nothing is lacking."""
        told = "; ".join(str(lack) for lack in self.waits)
        return one_line(f"waits for {told}") if told else ""

    @property
    def incomplete_text(self) -> str:
        """What is told of open windows that were built; empty when there are none."""
        if self.incomplete is None or not len(self.incomplete):
            return ""
        return (
            f"{self.asset}  {ranges(self.incomplete, self.space)}  incomplete: its window is open"
        )

    @property
    def healthy(self) -> bool:
        """Whether every partition is as it should be."""
        return not (self.codes > WITHDRAWN).any()

    def ordinals(self, *states: str) -> np.ndarray:
        """The ordinals of the partitions in these states."""
        return np.flatnonzero(np.isin(self.codes, [STATES.index(state) for state in states]))

    def keys(self, *states: str) -> list[str]:
        """The keys of the partitions in these states."""
        found: list[str] = self.space.keys(self.ordinals(*states))
        return found

    def state(self, partition: str) -> str:
        """The state of one partition. Raises PartitionError for a key that is not one."""
        return STATES[int(self.codes[self.space.ordinal(partition)])]

    def bar(self, width: int = _BAR) -> list[Cell]:
        """The partitions in order, compacted into at most ``width`` cells.

        The worst state wins in a cell: one failed day in ten years is still seen, and a cell that
        looks well is well. ``share`` tells how much of the cell it is.
        """
        n = len(self.codes)
        cells = min(n, max(width, 1))
        if not cells:
            return []
        firsts = np.arange(cells) * n // cells
        worst = np.maximum.reduceat(self.codes, firsts)
        sizes = np.diff(np.append(firsts, n))
        same = np.add.reduceat((self.codes == np.repeat(worst, sizes)).astype(np.int64), firsts)
        return [
            Cell(STATES[code], first, first + size - 1, alike / size)
            for code, first, size, alike in zip(
                worst.tolist(), firsts.tolist(), sizes.tolist(), same.tolist(), strict=True
            )
        ]

    def bar_text(self, width: int = _BAR) -> str:
        """The bar in plain characters, see `SIGNS`."""
        return "".join(SIGNS[cell.state] for cell in self.bar(width))

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values. ``partitions`` lists inclusive key ranges by state."""
        return {
            "asset": self.asset,
            "kind": self.kind,
            "total": len(self.codes),
            "counts": self.counts,
            "rows": self.rows,
            "landed": iso_time(self.landed),
            "partitions": {state: self._key_ranges(state) for state in self._states},
            "failures": _failure_dicts(self.failures),
            "fresh_failures": _failure_dicts(self.fresh_failures),
            "unseen": [{"partition": key, "error": e} for key, e in self.unseen.items()],
            "gone": self._ranges_of(self.gone),
            "waits": [
                {**lack_dict(lack), "partitions": _ranges_in(lack.space, lack.ordinals)}
                for lack in self.waits
            ],
            "incomplete": self._ranges_of(self.incomplete),
            "was_open": self._ranges_of(self.was_open),
            "invalidated": [
                {
                    "partitions": self._ranges_of(at),
                    "by": one.by,
                    "reason": one.reason,
                    "at": iso_time(one.at),
                    "downstream_of": one.origin,
                }
                for one, at in self.invalidated
            ],
        }

    def _key_ranges(self, state: str) -> list[list[str]]:
        return self._ranges_of(self.ordinals(state))

    def _ranges_of(self, ordinals: np.ndarray | None) -> list[list[str]]:
        return [] if ordinals is None else _ranges_in(self.space, ordinals)


def _ranges_in(space: KeySpace, ordinals: np.ndarray) -> list[list[str]]:
    return [list(pair) for pair in key_pairs(ordinals, space)]


def _failure_dicts(failures: Mapping[str, Attempt]) -> list[dict[str, Any]]:
    return [
        {"partition": key, "run": a.run, "error": a.error, "at": iso_time(a.finished)}
        for key, a in failures.items()
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Status:
    """The chosen assets, upstream first."""

    now: datetime
    rows: tuple[AssetStatus, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[AssetStatus]:
        return iter(self.rows)

    def __getitem__(self, asset: str) -> AssetStatus:
        for row in self.rows:
            if row.asset == asset:
                return row
        raise KeyError(asset)

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of partitions by state, over all assets."""
        total = np.zeros(len(STATES), np.int64)
        for row in self.rows:
            total += np.bincount(row.codes, minlength=len(STATES))
        found = dict(zip(STATES, total.tolist(), strict=True))
        return found if found["withdrawn"] else {n: v for n, v in found.items() if n != "withdrawn"}

    @property
    def healthy(self) -> bool:
        """Whether everything built is fresh; sources that are not seen yet don't count."""
        return all(row.healthy for row in self.rows if row.kind != "source")

    def bar(self, asset: str, width: int = _BAR) -> list[Cell]:
        """See `AssetStatus.bar`."""
        return self[asset].bar(width)

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values."""
        return {
            "now": self.now.astimezone(UTC).isoformat(),
            "counts": self.counts,
            "assets": [row.to_dict() for row in self.rows],
        }

    def __repr__(self) -> str:
        return f"<Status: {count(len(self.rows), 'asset')}, {summary(self.counts)}>"

    def __str__(self) -> str:
        return "\n".join(_text(self))

    def _repr_html_(self) -> str:
        return _html(self)


def summary(counts: Mapping[str, int]) -> str:
    """The states that occur, with their numbers."""
    return ", ".join(f"{n:,} {state}" for state, n in counts.items() if n) or "no partitions"


# --------------------------------------------------------------------------------------------
# Making it


def make_status(
    graph: Graph,
    facts: Facts,
    assessments: Mapping[str, Assessment],
    failed: Mapping[str, Mapping[str, Attempt]],
    chosen: Collection[str],
    *,
    now: datetime,
    observed: bool = False,
    sightings: Sightings | None = None,
    digests: Digests | None = None,
) -> Status:
    """The state of every partition of the chosen assets.

    ``assessments`` are those of all ops (by first output), ``failed`` maps asset → partition →
    newest failed attempt that nothing recorded since has healed. ``observed`` says that sources
    have just been looked at, ``sightings`` (which implies it) what came of that: only then does a
    source's partition that is not seen block anything.
    """
    wanted = set(chosen)
    digests = digests or Digests(Wiring(graph, facts.spaces), facts)
    maker = _Maker(graph, facts, assessments, failed, digests, observed or sightings is not None)
    maker.sightings = sightings or Sightings()
    rows = []
    for op in graph.ops:
        codes = maker.op(op)
        rows += [maker.row(name, codes[name]) for name in op.outputs if name in wanted]
    return Status(now, tuple(rows))


@dataclass(slots=True)
class _Maker:
    """Goes through the ops, upstream first, and keeps which partitions can't run."""

    graph: Graph
    facts: Facts
    assessments: Mapping[str, Assessment]
    failed: Mapping[str, Mapping[str, Attempt]]
    digests: Digests
    observed: bool
    stuck: dict[str, np.ndarray] = field(default_factory=dict)
    sightings: Sightings = field(default_factory=Sightings)

    @property
    def wiring(self) -> Wiring:
        """The graph's edges between the key spaces."""
        return self.digests.wiring

    def op(self, op: Op) -> dict[str, np.ndarray]:
        """The codes of each output of an op."""
        if self.graph.assets[op.name].kind == "source":
            return {name: self._source(name) for name in op.outputs}
        found = self.assessments[op.name]
        stale = found.stale
        failed = stale & self._failed(op)
        absent = found.absent if self.observed else self._too_early(op)
        stuck = failed | (stale & (absent | self._upstream_stuck(op)))
        self._along_own_past(op, stale, stuck)
        self.stuck[op.name] = stuck
        codes = {name: self._codes(name, stale, failed, stuck) for name in op.outputs}
        if found.withdrawn is not None:
            for name in op.outputs:
                codes[name][found.withdrawn & ~self.facts.assets[name].there] = WITHDRAWN
        return codes

    def _source(self, name: str) -> np.ndarray:
        own = self.facts.assets[name]
        codes = np.where(own.there, OBSERVED, NOT_SEEN).astype(np.uint8)
        codes[own.withdrawn] = WITHDRAWN
        return codes

    def _withdrawn(self, read: Input) -> np.ndarray | None:
        return self.assessments[self.graph.op_of[read.asset].name].withdrawn

    def _codes(
        self, name: str, stale: np.ndarray, failed: np.ndarray, stuck: np.ndarray
    ) -> np.ndarray:
        codes = np.full(len(stale), FRESH, np.uint8)
        codes[stale] = STALE
        codes[~self.facts.assets[name].there] = MISSING
        codes[stuck] = BLOCKED
        codes[failed] = FAILED
        return codes

    def _failed(self, op: Op) -> np.ndarray:
        """Which partitions have a failed attempt, of any output."""
        mask = np.zeros(self.facts.spaces[op.name].n, bool)
        for name in op.outputs:
            keys = list(self.failed.get(name, ()))
            if keys:
                at = self.facts.spaces[name].ordinals(keys)
                mask[at[at >= 0]] = True
        return mask

    def _too_early(self, op: Op) -> np.ndarray:
        """Which partitions map to upstream windows that have not closed."""
        mask = np.zeros(self.facts.spaces[op.name].n, bool)
        for read in op.inputs:
            short = self.wiring.edge(op, read).short
            if short is not None:
                mask |= short
        return mask

    def _upstream_stuck(self, op: Op) -> np.ndarray:
        mask = np.zeros(self.facts.spaces[op.name].n, bool)
        for read in op.inputs:
            if read.asset not in op.outputs and (gone := self._gone(read)).any():
                edge, space = self.wiring.edge(op, read), self.facts.spaces[read.asset]
                mask |= lacks(read, edge, gone, space, self._withdrawn(read))
        return mask

    def _gone(self, read: Input) -> np.ndarray:
        """Which upstream partitions do not come, bool."""
        stuck = self.stuck.get(self.graph.op_of[read.asset].name)
        if stuck is not None:
            return stuck
        missing: np.ndarray = ~self.facts.assets[read.asset].there
        if (withdrawn := self._withdrawn(read)) is not None:
            missing &= ~withdrawn
        missing |= self._unseen(read.asset)
        return missing if self.observed else np.zeros(len(missing), bool)

    def _unseen(self, name: str) -> np.ndarray:
        """Which partitions of a source could not be looked at, bool."""
        mask = np.zeros(self.facts.spaces[name].n, bool)
        mask[list(self.sightings.errors.get(name, ()))] = True
        return mask

    def _waits(self, name: str, blocked: np.ndarray) -> Iterator[Lack]:
        """What the blocked partitions of an asset wait for, all of them together, by input."""
        op = self.graph.op_of[name]
        for read in op.inputs if blocked.any() else ():
            edge, space = self.wiring.edge(op, read), self.facts.spaces[read.asset]
            gone = self._gone(read)
            # One seen before is not done without: nobody knows what it holds now.
            unsure = self._unseen(read.asset) & self.facts.assets[read.asset].there
            withdrawn = self._withdrawn(read)
            short = blocked & (lacks(read, edge, gone, space, withdrawn) | edge.any(unsure))
            expected = edge.cover(short)
            if withdrawn is not None:
                expected &= ~withdrawn
            at = np.flatnonzero(expected & gone)
            if edge.short is not None and (edge.short & blocked).any():
                yield Lack(read.asset, at[:0], 0, space)
            if len(at):
                n, policy = int(expected.sum()), read.require
                alone = short.sum() == 1  # the need of several is not one number
                needs = (policy.needed(n), str(policy)) if alone else ()
                yield Lack(read.asset, at, n, space, *needs)

    def _along_own_past(self, op: Op, stale: np.ndarray, stuck: np.ndarray) -> None:
        """An op that reads its own past is stuck after its first stuck partition."""
        for read in op.inputs:
            if read.asset not in op.outputs or not stuck.any():
                continue
            edge, space = self.wiring.edge(op, read), self.facts.spaces[read.asset]
            for ordinal in np.flatnonzero(stale & ~stuck).tolist():
                at = expected_of(edge.upstream(ordinal), self._withdrawn(read))
                gone = stuck[at]
                if gone.any() and (read.require.is_all or not is_enough(read, at, gone, space)):
                    stuck[ordinal] = True

    def row(self, name: str, codes: np.ndarray) -> AssetStatus:
        """One asset's row."""
        own, space = self.facts.assets[name], self.facts.spaces[name]
        built = self.graph.assets[name].kind != "source"
        return AssetStatus(
            asset=name,
            kind="asset" if built else "source",
            space=space,
            codes=codes,
            failures=self._attempts(name, space, codes == FAILED),
            fresh_failures=self._attempts(name, space, codes == FRESH),
            landed=int(own.finished.max(initial=0)),
            rows=int(own.rows.sum()),
            unseen={
                space.key(i): first_line(str(error))
                for i, error in self.sightings.errors.get(name, {}).items()
            },
            gone=np.array(self.sightings.gone.get(name, ()), np.int64),
            held_back=self.sightings.held_back.get(name, ""),
            invalidated=tuple(self._invalidated(name)),
            waits=tuple(self._waits(name, codes == BLOCKED)),
            incomplete=space.closed + np.flatnonzero(own.there[space.closed :] & built),
            was_open=self._was_open(name, codes) if built else None,
        )

    def _was_open(self, name: str, codes: np.ndarray) -> np.ndarray:
        """What is stale since its window was open when it was built."""
        op, space = self.graph.op_of[name], self.facts.spaces[name]
        moved = (self.assessments[op.name].reasons & INPUT) != 0
        at, ends = np.flatnonzero(moved & (codes == STALE)), space.ends()
        at = at[at < space.closed]
        if not len(at) or ends is None:
            return at[:0]
        alone = self.digests.only_closed(op, name, at)
        # Where what it read has moved, too, only its record tells.
        early = self.facts.assets[name].finished[at] < ends[at] * 1_000_000
        others = incomplete_among(self.facts, name, at[early & ~alone])
        return np.sort(np.concatenate([at[alone], others]))

    def _invalidated(self, name: str) -> Iterator[tuple[Invalidation, np.ndarray]]:
        """The invalidations in force, oldest first, with what they hold for."""
        column, ids = self.facts.invalidated(name), self.facts.assets[name].id
        if column is None:
            return
        held = (ids != 0) & (ids < column)
        for number in np.unique(column[held]).tolist():
            at = np.flatnonzero(held & (column == number))
            yield self.facts.invalidations[name][number], at

    def _attempts(self, name: str, space: KeySpace, mask: np.ndarray) -> dict[str, Attempt]:
        """The failed attempts of these partitions, in the order of their keys."""
        failures = self.failed.get(name, {})
        at = space.ordinals(list(failures)) if failures else ()
        found = {int(i): attempt for i, attempt in zip(at, failures.values(), strict=True)}
        return {space.key(i): found[i] for i in sorted(found) if i >= 0 and mask[i]}


# --------------------------------------------------------------------------------------------
# Text


def _text(status: Status) -> list[str]:
    if not status.rows:
        return ["No assets."]
    rows = [[row.asset, row.bar_text(), summary(row.counts)] for row in status.rows]
    lines = table(("asset", "partitions", ""), rows)
    lines += ["", legend(status)]
    for row in status.rows:
        lines += _trouble(row)
    return lines


def legend(status: Status) -> str:
    """What the characters of the bars mean, of the states that occur."""
    present = [state for state, n in status.counts.items() if n]
    return "   ".join(f"{SIGNS[state]} {state}" for state in present)


def failed_though_fresh(attempt: Attempt) -> str:
    """What is said of a fresh partition whose newest attempt failed."""
    error = first_line(attempt.error, 80)
    return f"still serves; the last attempt failed: {error}  (run {attempt.run})"


def _trouble(row: AssetStatus) -> list[str]:
    """Failed partitions with their errors, and which are blocked."""
    lines = []
    for key, attempt in list(row.failures.items())[-_TROUBLES:]:
        lines.append(
            f"failed   {reference(row.asset, key)}  {first_line(attempt.error, 100)}  "
            f"({human_time(attempt.finished)}, run {attempt.run})"
        )
    if len(row.failures) > _TROUBLES:
        lines.insert(0, f"failed   {row.asset}: {len(row.failures) - _TROUBLES:,} more, and:")
    for key, attempt in list(row.fresh_failures.items())[-_TROUBLES:]:
        lines.append(f"fresh    {reference(row.asset, key)}  {failed_though_fresh(attempt)}")
    if len(row.fresh_failures) > _TROUBLES:
        lines.append(f"fresh    {row.asset}: {len(row.fresh_failures) - _TROUBLES:,} more of these")
    blocked = row.ordinals("blocked")
    if len(blocked):
        lines.append(f"blocked  {row.asset}  {ranges(blocked, row.space)}  {row.waiting}".rstrip())
    if len(incomplete := row.incomplete_text):
        lines.append(f"open     {incomplete}")
    lines += [f"{label:<8} {where}  {told}" for label, where, told in source_troubles(row)]
    lines += [f"stale    {where}  {told}" for where, told in stale_told(row)]
    return lines


def stale_told(row: AssetStatus) -> list[tuple[str, str]]:
    """What is stale though nothing that it reads need have moved, as where and why: windows that
    were open, and the newest invalidations in force."""
    was_open = row.was_open if row.was_open is not None else ()
    closed = [(f"{row.asset} {ranges(was_open, row.space)}", WAS_OPEN)] if len(was_open) else []
    return closed + [
        (f"{row.asset} {ranges(at, row.space)}", one_line(f"invalidated {one}", 160))
        for one, at in row.invalidated[-_TROUBLES:]
    ]


def source_troubles(row: AssetStatus) -> list[tuple[str, str, str]]:
    """What is wrong with a source, as label, where and what: errors of looking, what is gone."""
    alike: dict[str, list[str]] = {}
    for key, error in row.unseen.items():
        alike.setdefault(error, []).append(key)
    found = [
        ("failed", f"{row.asset} {ranges(row.space.ordinals(keys), row.space)}", error)
        for error, keys in list(alike.items())[:_TROUBLES]
    ]
    if row.gone is not None and len(row.gone):
        told = gone_text(row.asset, row.gone.tolist(), row.space, {row.asset: row.held_back})
        found.append(("gone", f"{row.asset} {ranges(row.gone, row.space)}", told))
    return found


# --------------------------------------------------------------------------------------------
# HTML

_WIDTH, _ROW, _LEFT = 560.0, 22.0, 8.0
_CELLS = 140


def _html(status: Status) -> str:
    if not status.rows:
        return svg.note("No assets.")
    present = [state for state, n in status.counts.items() if n]
    keys = "&ensp;".join(svg.badge(state) for state in present)
    troubles = [line for row in status.rows for line in _trouble(row)]
    parts = [svg.heading("Status", keys), heat_map(status)]
    if troubles:
        parts.append(svg.preformatted("\n".join(troubles)))
    return svg.block(*parts)


def heat_map(status: Status) -> str:
    """A row of cells for each asset; those with time windows stand on one common time axis."""
    names = min(max(len(row.asset) for row in status.rows), 32)
    left = _LEFT + 7.2 * names
    span = _span(status)
    shapes = []
    for i, row in enumerate(status.rows):
        y = _ROW * i + 4
        shapes.append(svg.text(0, y + 12, row.asset[:32]))
        shapes += _cells(row, left, y, span)
        shapes.append(
            svg.text(left + _WIDTH + 10, y + 12, summary(row.counts), font_size=11, opacity=0.75)
        )
    height = _ROW * len(status.rows) + 4
    if span is not None:
        shapes += _axis(span, _zone(status), left, height)
        height += 18
    return svg.drawing(left + _WIDTH + 210, height, *shapes, label="partitions by state")


def _windows(row: AssetStatus) -> tuple[np.ndarray, np.ndarray] | None:
    """Starts and ends of a row that can stand on a time axis: strictly one after the other."""
    starts, ends = row.space.starts(), row.space.ends()
    if starts is None or ends is None or not len(starts) or (np.diff(starts) <= 0).any():
        return None
    return starts, ends


def _span(status: Status) -> tuple[int, int] | None:
    """The first and the last second of all windows."""
    windows = [found for row in status.rows if (found := _windows(row)) is not None]
    if not windows:
        return None
    return int(min(w[0][0] for w in windows)), int(max(w[1][-1] for w in windows))


def _cells(row: AssetStatus, left: float, y: float, span: tuple[int, int] | None) -> list[str]:
    shapes = []
    cells = row.bar(_CELLS)
    narrow = len(cells) * _GAP_FROM > _WIDTH
    for cell in _joined(cells) if narrow else cells:
        x, width = _extent(row, cell, span)
        gap = 0.0 if narrow or width < _GAP_FROM else 1.0
        fill = {"fill": svg.colour(cell.state), "fill_opacity": svg.opacity(cell.state)}
        tip = _cell_tip(row, cell)
        shapes.append(svg.rect(left + x, y, max(width - gap, 0.8), 15, tip, **fill))
    return shapes


_GAP_FROM = 6.0
"""Cells of this width and more are set apart; narrower ones run together."""


def _joined(cells: Sequence[Cell]) -> list[Cell]:
    """Neighbouring cells of one state as one."""
    out: list[Cell] = []
    for cell in cells:
        if out and out[-1].state == cell.state:
            before, own = out[-1], cell.last - cell.first + 1
            n = cell.last - before.first + 1
            share = (before.share * (n - own) + cell.share * own) / n
            out[-1] = Cell(cell.state, before.first, cell.last, share)
        else:
            out.append(cell)
    return out


def _extent(row: AssetStatus, cell: Cell, span: tuple[int, int] | None) -> tuple[float, float]:
    """Where a cell begins and how wide it is: by its window, or by its place among all."""
    windows = _windows(row)
    if windows is None or span is None:
        scale = _WIDTH / len(row.codes)
        return scale * cell.first, scale * (cell.last - cell.first + 1)
    scale = _WIDTH / max(span[1] - span[0], 1)
    start, end = int(windows[0][cell.first]), int(windows[1][cell.last])
    return scale * (start - span[0]), scale * (end - start)


def _cell_tip(row: AssetStatus, cell: Cell) -> str:
    where = ranges(range(cell.first, cell.last + 1), row.space)
    many = cell.last > cell.first and cell.share < 1
    return f"{row.asset} {where}: {cell.state}" + (f" ({cell.share:.0%} of them)" if many else "")


def _zone(status: Status) -> tzinfo:
    """The zone of the first row that stands on the axis."""
    row = next(row for row in status.rows if _windows(row) is not None)
    return ZoneInfo(row.space.definition.zone_name)


def _axis(span: tuple[int, int], zone: tzinfo, left: float, y: float) -> list[str]:
    """The dates (or times) at both ends and in the middle."""
    shapes = [svg.line(left, y, left + _WIDTH, y)]
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        at = moment(int(span[0] + share * (span[1] - span[0])) * 1_000_000).astimezone(zone)
        long = span[1] - span[0] > 3 * 86_400
        label = f"{at:%Y-%m-%d}" if long else f"{at:%m-%d %H:%M}"
        style = {"text_anchor": anchor, "font_size": 10.5, "opacity": 0.7}
        shapes.append(svg.text(left + share * _WIDTH, y + 13, label, **style))
    return shapes
