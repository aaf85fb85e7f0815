"""Observing sources: a cheap token first, the content only when the token moved.

How a source's functions are asked is in ``source_functions``, what their answer is worth in
``source_content``, how many are asked side by side in ``small_tasks``; what came of it is told by
``planning.observations``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import numpy as np

from assets_core.contracts import Publish, StateStore
from assets_core.declare.asset import Asset
from assets_core.durations import parse_duration
from assets_core.errors import UserCodeError
from assets_core.execution.small_tasks import each
from assets_core.execution.source_content import (
    NOT_READ,
    UNSURE,
    Seen,
    Unhashed,
    content_of,
    hash_rows,
    hash_together,
)
from assets_core.execution.source_functions import ask_range, ask_token
from assets_core.execution.task import Runtime
from assets_core.fingerprint.tracing import tracing
from assets_core.partitions import Partition
from assets_core.planning.facts import Facts
from assets_core.planning.observations import SourceObservation
from assets_core.records import (
    NO_VERSION,
    WITHDRAWN_FOR,
    Code,
    Materialization,
    Receipt,
)

_PROBED = 50
_RECORDED = 2_000
_HASHED = 500
_HASHED_ROWS = 16_384
"""What is recorded in one transaction, and hashed in one pass, at most."""

_HEARD = 100
_GAP = 400


@dataclass(frozen=True, slots=True)
class Way:
    """How to observe.

    ``jobs`` looks at a time where they take long; ``now`` decides what has been closed for long,
    and ``everything`` looks at that too. Without ``lets_go`` what is gone is told and kept,
    whatever the source says. ``on_look`` hears of every so many partitions looked at.
    """

    now: datetime
    jobs: int = 1
    everything: bool = False
    lets_go: bool = True
    on_look: Callable[[str, int], None] | None = None


_Look = Seen | Unhashed | UserCodeError | None
"""An error when it could not be looked at, None when it is not there."""


def observe(
    runtime: Runtime,
    store: StateStore,
    facts: Facts,
    source: Asset,
    ordinals: Sequence[int],
    way: Way,
    code: Code,
) -> SourceObservation:
    """Observe these partitions of a source and record what moved.

    A token that was recorded under another ``code`` is not trusted: it may stand for other content.

    A partition that is not there (yet) is left out; one that has vanished keeps its last version.
    An error of the source's function concerns its partition alone. What is found is recorded in
    groups as it comes, so that little is lost when this is interrupted.
    """
    return _Observer(runtime, store, facts, source, way, code).observe(
        np.asarray(ordinals, np.int64)
    )


class _Observer:
    """One look at one source."""

    def __init__(
        self,
        runtime: Runtime,
        store: StateStore,
        facts: Facts,
        source: Asset,
        way: Way,
        code: Code,
    ) -> None:
        self.runtime = runtime
        self.store = store
        self.source = source
        self.way = way
        self.code, self.code_id = code, facts.code_id(code.hex)
        self.own, self.space = facts.assets[source.name], facts.spaces[source.name]
        self.found = SourceObservation(self.space)
        self.known: dict[int, Receipt] = {}
        self.records: list[Publish] = []
        self.ids: list[int] = []
        self.unhashed: list[tuple[int, Unhashed]] = []
        self.unhashed_rows = 0
        self.declares_tokens = not (source.token is None and source.observe_range is None)
        self.final = np.zeros(self.space.n, bool)
        self.closed = np.zeros(self.space.n, bool)

    def observe(self, ordinals: np.ndarray) -> SourceObservation:
        """Look at these, and tell what came of it."""
        started = time.perf_counter()
        wanted = self._without_closed(ordinals)
        recorded = self.own.id[wanted]
        self.known = self.store.receipts(recorded[recorded != 0].tolist())
        self.ids = self.own.id.tolist()
        try:
            with self._traced():
                if self.source.observe_range is not None:
                    self._look_at_listings(wanted)
                else:
                    self._take_all(wanted.tolist(), self._look)
            if self.source.vanished == "withdraw" and self.way.lets_go and self.found.gone:
                self._let_go()
        finally:
            # Also what was found before Ctrl-C, or before an error of the machinery.
            self._hash()
            self._record()
        self.found.seconds = time.perf_counter() - started
        return self.found

    def _traced(self) -> AbstractContextManager[object]:
        """What the source's functions read and keep in memory counts for steps that use it."""
        asked = (self.source.function, self.source.token, self.source.observe_range)
        contents = self.runtime.contents
        return tracing(contents.watch, (), asked) if contents else contextlib.nullcontext()

    def _without_closed(self, ordinals: np.ndarray) -> np.ndarray:
        """Those still to be looked at; ``final`` marks what need not be after this time."""
        ends = self.space.ends()
        if self.source.closed_after is None or ends is None:
            return ordinals
        closes = ends + int(parse_duration(self.source.closed_after).total_seconds())
        over = closes <= int(self.way.now.timestamp())
        unseen_since = self.own.finished < closes * 1_000_000
        self.final = over & unseen_since
        closed = self.closed = over & ~unseen_since & (self.own.id != 0)
        if self.way.everything:
            return ordinals
        self.found.closed = ordinals[closed[ordinals]].tolist()
        left: np.ndarray = ordinals[~closed[ordinals]]
        return left

    # ---------------------------------------------------------------------------------------
    # Looking

    def _look_at_listings(self, ordinals: np.ndarray) -> None:
        """One call for each stretch; the content of those only whose token is another one."""
        for stretch in _stretches(ordinals):
            try:
                tokens = self._listing(int(stretch[0]), int(stretch[-1]) + 1)
            except UserCodeError as error:
                self.found.errors.update(dict.fromkeys(stretch.tolist(), error))
                self._heard(len(stretch))
                continue
            moved: dict[int, str] = {}
            keys = self.space.keys(stretch)
            for ordinal, token in zip(stretch.tolist(), map(tokens.get, keys), strict=True):
                if token is None:
                    self._take(ordinal, None)
                elif token and token == self._token(ordinal):
                    self._take(ordinal, Seen(token, NOT_READ))
                else:
                    moved[ordinal] = token
            self._heard(len(stretch) - len(moved))
            self._take_all(list(moved), partial(self._read, tokens=moved))

    def _listing(self, first: int, after: int) -> Mapping[str, str]:
        try:
            return ask_range(self.runtime, self.source, self.space, first, after)
        except (Exception, SystemExit) as error:
            where = self.space.keys([first, after - 1])
            raise self._failed(error, "..".join(dict.fromkeys(where))) from error

    def _read(self, ordinal: int, *, tokens: Mapping[int, str]) -> _Look:
        partition = self.space.partition(ordinal)
        try:
            return content_of(self.runtime, self.source, partition, tokens[ordinal])
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it concerns this partition alone
            return self._failed(error, partition.key)

    def _look(self, ordinal: int) -> _Look:
        partition, known = self.space.partition(ordinal), self._token(ordinal)
        try:
            if self.source.token is None:
                return content_of(self.runtime, self.source, partition, "", known)
            token = ask_token(self.runtime, self.source, partition)
            if token and token == known:
                return Seen(token, NOT_READ)
            return content_of(self.runtime, self.source, partition, token)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it concerns this partition alone
            return self._failed(error, partition.key)

    def _failed(self, error: BaseException, where: str) -> UserCodeError:
        if isinstance(error, UserCodeError):
            return error
        failed = UserCodeError(
            f"Source {self.source.name!r} could not be observed: {type(error).__name__}: {error}",
            facts={"partition": where, "declared": self.source.location},
            hint="Leave a partition that is not there yet out of the mapping."
            if self.source.observe_range is not None
            else "Return None when a partition is not there yet.",
        )
        failed.__cause__ = error
        return failed

    def _token(self, ordinal: int) -> str:
        """The token it had when this code looked at it last; empty where none is known."""
        known = self.known.get(self.ids[ordinal])
        trusted = known is not None and int(self.own.code[ordinal]) == self.code_id
        return known.location if known is not None and trusted else ""

    # ---------------------------------------------------------------------------------------
    # Taking in what was seen

    def _take_all(self, ordinals: list[int], look: Callable[[int], _Look]) -> None:
        heard = 0
        for heard, (ordinal, seen) in enumerate(each(look, ordinals, self.way.jobs), 1):
            if isinstance(seen, Seen | Unhashed) and not (seen.token or self.declares_tokens):
                self.found.read += 1
            if isinstance(seen, Unhashed):
                self._put_aside(ordinal, seen)
            else:
                self._take(ordinal, seen)
            if heard % _HEARD == 0:
                self._heard(_HEARD)
        self._hash()
        self._heard(heard % _HEARD)

    def _put_aside(self, ordinal: int, rows: Unhashed) -> None:
        """Small tables are hashed many at a time."""
        self.unhashed.append((ordinal, rows))
        self.unhashed_rows += rows.table.num_rows
        if len(self.unhashed) >= _HASHED or self.unhashed_rows >= _HASHED_ROWS:
            self._hash()

    def _hash(self) -> None:
        waiting, self.unhashed, self.unhashed_rows = self.unhashed, [], 0
        if not waiting:
            return
        try:
            looks: list[Seen | UserCodeError] = [*hash_together([rows for _, rows in waiting])]
        except Exception:  # noqa: BLE001 - it concerns one of them: that one says so by itself
            looks = [self._hash_alone(*one) for one in waiting]
        for (ordinal, _), seen in zip(waiting, looks, strict=True):
            self._take(ordinal, seen)

    def _hash_alone(self, ordinal: int, rows: Unhashed) -> Seen | UserCodeError:
        try:
            return hash_rows(rows.token, rows.table)
        except Exception as error:  # noqa: BLE001 - it concerns this partition alone
            return self._failed(error, self.space.key(ordinal))

    def _heard(self, looked: int) -> None:
        if looked and self.way.on_look is not None:
            self.way.on_look(self.source.name, looked)

    def _take(self, ordinal: int, seen: Seen | UserCodeError | None) -> None:
        was_there = self.own.has(ordinal)
        if isinstance(seen, UserCodeError):
            self.found.errors[ordinal] = seen
        elif seen is None:
            (self.found.gone if was_there else self.found.absent).append(ordinal)
        elif seen.version == NOT_READ or seen.version == self.own.version(ordinal):
            self.found.unchanged.append(ordinal)
            if seen.version != NOT_READ and seen.token != self._token(ordinal):
                self._put(ordinal, seen)
            elif self.final[ordinal]:
                self._put(ordinal, self._again(ordinal))
        else:
            (self.found.changed if was_there else self.found.new).append(ordinal)
            self._put(ordinal, seen)

    # ---------------------------------------------------------------------------------------
    # Letting go

    def _let_go(self) -> None:
        """Withdraw what is gone, unless so much is that something else must have happened."""
        found = self.found
        others = self._probe()
        there = len(found.unchanged) + len(found.changed) + sum(others)
        gone = len(found.gone) + len(others) - sum(others)
        if gone > there:
            found.held_back = (
                f"{gone:,} of {gone + there:,} that were there are gone, more than half: kept"
            )
            return
        found.withdrawn, found.gone = found.gone, []
        reason = 'not there any more (vanished="withdraw")'
        for ordinal in found.withdrawn:
            key = self.space.key(ordinal)
            fact = withdrawal(self.runtime.environment, self.source.name, key, self.code, reason)
            self.records.append(Publish(fact, lease=False))

    def _probe(self) -> list[bool]:
        """Whether some partitions are there that this look was not asked for, spread evenly."""
        known = self.own.there & ~self.closed
        for kind in ("unchanged", "changed", "gone"):
            known[self.found.ordinals(kind)] = False
        others: list[int] = np.flatnonzero(known).tolist()
        chosen = others[:: max(1, -(-len(others) // _PROBED))]
        if self.source.observe_range is not None:
            return [self._is_listed(ordinal) for ordinal in chosen]
        looks = each(self._look, chosen, self.way.jobs)
        return [look is not None for _, look in looks if not isinstance(look, UserCodeError)]

    def _is_listed(self, ordinal: int) -> bool:
        with contextlib.suppress(UserCodeError):
            return self.space.key(ordinal) in self._listing(ordinal, ordinal + 1)
        return False

    def _again(self, ordinal: int) -> Seen:
        """What is known already, to be recorded once more: it was looked at after it closed."""
        known = self.known[self.ids[ordinal]]
        return Seen(known.location, self.own.version(ordinal), known.rows, known.bytes)

    def _put(self, ordinal: int, seen: Seen) -> None:
        fact = _fact(self.runtime, self.source, self.code, self.space.partition(ordinal), seen)
        self.records.append(Publish(fact, lease=False))
        if len(self.records) >= _RECORDED:
            self._record()

    def _record(self) -> None:
        if self.records:
            # Taken off first: an interrupted transaction is not tried a second time.
            records, self.records = self.records, []
            self.store.transact(records)


def _stretches(ordinals: np.ndarray) -> Iterator[np.ndarray]:
    """Ordinals in groups of neighbours; a gap that is not long is asked about along with them."""
    if len(ordinals):
        yield from np.split(ordinals, np.flatnonzero(np.diff(ordinals) > _GAP) + 1)


def withdrawal(
    environment: str, source: str, partition: str, code: Code, reason: str, by: str = ""
) -> Materialization:
    """The record that takes a source's partition out."""
    now = time.time_ns() // 1000
    return Materialization(
        environment=environment,
        asset=source,
        partition=partition,
        code=code,
        input_digest=NO_VERSION,
        data_version=NO_VERSION,
        receipt=Receipt("", "none", "", 0),
        started=now,
        finished=now,
        kind="withdrawn",
        metadata={WITHDRAWN_FOR: {"by": by, "reason": reason}},
    )


def _fact(
    runtime: Runtime, source: Asset, code: Code, partition: Partition, seen: Seen
) -> Materialization:
    now = time.time_ns() // 1000
    deadline = 0
    if source.freshness is not None and partition.end is not None:
        within = parse_duration(source.freshness.lands_within)
        deadline = int((partition.end + within).timestamp() * 1_000_000)
    # A token that can't be trusted must never equal the next one.
    token = f"{seen.token}@{now}" if seen.token.startswith(UNSURE) else seen.token
    return Materialization(
        environment=runtime.environment,
        asset=source.name,
        partition=partition.key,
        code=code,
        input_digest=NOT_READ,
        data_version=seen.version,
        receipt=Receipt("", "none", token, 0, rows=seen.rows, bytes=seen.bytes),
        started=now,
        finished=now,
        kind="observed",
        deadline=deadline,
    )
