"""What a state store must do: leases, publishes, runs and the log, each in one transaction.

Protocols and the operations that cross them; no implementation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from assets_core.records import (
    Attempt,
    Backfill,
    BackfillStatus,
    Code,
    Invalidation,
    Materialization,
    Measured,
    Receipt,
    Run,
    RunStatus,
)

if TYPE_CHECKING:
    import numpy as np

    from assets_core.partitions import KeySpace


@dataclass(frozen=True, slots=True)
class Acquire:
    """Lease these asset partitions for a run. Result: a tuple of Lease or Held, in order.

    A run that acquires what it holds gets a new token; its older one is fenced off. Raises
    LeaseLostError when the run has ended (somebody declared it dead), StateError for a run that
    was never begun.
    """

    run: str
    environment: str
    slots: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to publish one asset partition once; ``current`` is what it points to (0: none).

    ``taken_over``: its last holder never gave it back and may still be at work.
    """

    asset: str
    partition: str
    token: int
    current: int
    taken_over: bool = field(default=False, compare=False)  # the token alone tells two apart


@dataclass(frozen=True, slots=True)
class Held:
    """Another live run holds the lease."""

    asset: str
    partition: str
    run: str
    current: int


@dataclass(frozen=True, slots=True)
class Publish:
    """Check the token, move the pointer, record the fact, release the lease.

    ``lease`` False is for observations of sources, which no one leases. Result: Published or
    Refused. ``previous_receipt`` adopted by an unchanged build is simply that receipt again. The
    fact's ``metadata`` must be strict JSON (finite numbers, text keys), otherwise StateError, and
    nothing of the batch is applied.
    """

    fact: Materialization
    lease: bool = True


@dataclass(frozen=True, slots=True)
class Published:
    """The recorded id; ids grow in commit order."""

    id: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The lease was lost: the slot's token now and who holds it (empty: nobody)."""

    token: int
    holder: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Clear a source partition's pointer, as if it had never been seen. Result: None.

    For a withdrawal that is undone of what was never there; the withdrawal itself is a `Publish`.
    Takes an id of its own, so that the tail after an older revision shows it.
    """

    environment: str
    asset: str
    partition: str


@dataclass(frozen=True, slots=True)
class Invalidate:
    """Declare what is recorded of partitions stale. Result: the id it is recorded under.

    ``space`` tells which partitions of now its ranges cover. Of those that are being built at the
    moment also what comes of it is stale: it was begun before.
    """

    what: Invalidation
    space: KeySpace


@dataclass(frozen=True, slots=True)
class Release:
    """Give leases back without publishing: ``(asset, partition, token)``. Result: None."""

    run: str
    environment: str
    leases: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, slots=True)
class Note:
    """Record attempts that did not publish. Result: None."""

    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Beat:
    """Extend a run's leases by ``seconds`` of the database's clock.

    Result: True, or False when the run was declared dead meanwhile.
    """

    run: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Finish:
    """End a run and release whatever it still holds. Result: None.

    The first end counts: a run that was declared dead stays so. An empty ``note`` keeps the one
    that the run was begun with. ``unswept``: something of the run is still at work and may stage
    more; once its process is gone it counts among the dead runs until it is finished again.
    """

    run: str
    status: RunStatus
    finished: int
    counts: Mapping[str, int] = field(default_factory=dict)
    note: str = ""
    unswept: bool = False


Operation = Acquire | Publish | Withdraw | Invalidate | Release | Note | Beat | Finish


@dataclass(slots=True)
class Columns:
    """Current materializations of one asset, as columns of equal length, ordered by key or id.

    ``keys`` list of text; ``id``, ``token`` (it was published under), ``finished`` (µs), ``rows``
    int64; ``data`` and ``digest`` uint64 of shape (n, 2); ``code`` int64 ids into the ``codes`` of
    its snapshot. A withdrawn partition appears (in a tail only) with id 0 and zeros.
    """

    keys: list[str]
    id: np.ndarray
    token: np.ndarray
    data: np.ndarray
    digest: np.ndarray
    code: np.ndarray
    finished: np.ndarray
    rows: np.ndarray


@dataclass(slots=True)
class Snapshot:
    """Everything a planner needs of the store at one revision (the newest id committed).

    ``assets`` has every asset that was asked for, also where nothing is recorded; ``codes`` those
    that occur; ``invalidations`` those of these assets (of a tail: those since), oldest first.
    """

    revision: int
    assets: dict[str, Columns]
    codes: dict[int, str]
    invalidations: list[Invalidation] = field(default_factory=list)


class RunStore(Protocol):
    """Runs, their leases and failed attempts, and backfills: who did what, and who is at it."""

    def begin(self, run: Run, seconds: float) -> None:
        """Record a run as running, its leases good for ``seconds``; takes its liveness lock.

        The id is letters, digits, '.', '_' and '-', and no earlier run's; otherwise StateError.
        """

    def runs(self, environment: str | None = None, *, limit: int | None = None) -> list[Run]:
        """Newest first."""

    def run(self, run_id: str) -> Run | None:
        """One run, by its id or an unambiguous beginning of it; UsageError for an ambiguous one."""

    def attempts(
        self,
        *,
        run: str | None = None,
        environment: str | None = None,
        asset: str | None = None,
        partition: str | None = None,
        limit: int | None = None,
    ) -> list[Attempt]:
        """Attempts that did not publish, newest first."""

    def failed(self, environment: str) -> dict[str, dict[str, Attempt]]:
        """Asset → partition → newest failed attempt that no later materialization healed."""

    def dead_runs(self) -> list[Run]:
        """Runs recorded as running whose process is known dead or whose leases have run out, and
        those that ended unswept and whose process is known dead."""

    def outranked(self, priority: int) -> bool:
        """Whether a run of a higher priority is at work (its process alive, its leases good)."""

    def add_backfill(self, backfill: Backfill) -> None:
        """Store a backfill; its id is no earlier one's."""

    def change_backfill(self, backfill_id: str, status: BackfillStatus, note: str = "") -> None:
        """Give a backfill another status."""

    def backfills(self, environment: str | None = None) -> list[Backfill]:
        """Newest first."""

    def runs_of(self, backfill_id: str) -> list[Run]:
        """The runs of a backfill, oldest first."""

    def recorded_by(self, run_ids: Sequence[str]) -> dict[str, int]:
        """How many partitions these runs have recorded so far, by asset; each counts once."""

    def held(self, run_id: str) -> list[Lease]:
        """The leases a run still holds."""


class StateStore(RunStore, Protocol):
    """The log of materializations, the pointers with their leases, and the runs.

    Laws (``tests/contracts/test_state_store.py``):

    1. ``transact`` applies a batch in one durable transaction; a refused publish leaves the
       other operations of the batch in force; an exception leaves none.
    2. Per (environment, asset, partition) tokens strictly increase, also across runs, releases
       and restarts; slots are never deleted.
    3. A publish is accepted iff the slot's token is the publish's and its run still holds it.
    4. A lease is granted iff nobody else holds it, or its holder has ended, or its holder's time
       is up by the database's clock, or its holder is known to be dead (same machine, its liveness
       lock is free).
    5. ``snapshot`` is one consistent revision: it holds every entry of the log up to it, and none
       up to it will become visible later. It may hold newer ones; a tail since then has them again.
    """

    def transact(self, operations: Sequence[Operation]) -> list[Any]:
        """Apply all in one transaction; results in order (see each operation)."""

    def snapshot(self, environment: str, assets: Iterable[str], since: int = 0) -> Snapshot:
        """Current facts of these assets; with ``since``, only those that changed after it."""

    def mark(self, revision: int) -> str:
        """What tells the log's entry with this id from any other log's; empty when there is none.

        A cache of the log keeps it, to know the log again: a store can be deleted, or restored
        from a backup and written to since.
        """

    def beside(self, name: str) -> Path | None:
        """Where a cache of this store may be kept; None where the store has no place."""

    def compact(
        self,
        environment: str,
        before: int,
        spaces: Mapping[str, KeySpace],
        *,
        keep_last: int = 1,
        dry_run: bool = False,
    ) -> tuple[int, int]:
        """Remove from the log what was superseded before ``before`` (µs); entries gone and left.

        Never what is current, the first of a partition, what lineage of something kept leads to,
        or what a run that is still at work may have read. Of invalidations those that hold for
        nothing any more. With ``dry_run`` only counts.
        """

    def invalidations(
        self, environment: str, asset: str | None = None, *, limit: int | None = None
    ) -> list[Invalidation]:
        """What was declared stale, newest first."""

    def receipts(self, ids: Iterable[int]) -> dict[int, Receipt]:
        """Receipts of materializations, in bulk."""

    def measured(self, ids: Iterable[int]) -> dict[int, Measured]:
        """What the builds behind these materializations took, by their ids, in one query.

        That is the newest build of the same partition that is not after it: of one that was
        accepted or recovered the build before. What was never built here is left out.
        """

    def materializations(
        self,
        environment: str,
        asset: str | None,
        partition: str | None = None,
        *,
        ids: Iterable[int] | None = None,
        run: str | None = None,
        limit: int | None = None,
    ) -> list[Materialization]:
        """Recorded facts, newest first; of every asset when ``asset`` is None."""

    def version_as_of(
        self,
        environment: str,
        asset: str,
        partitions: Sequence[str],
        revision: int,
        run: str,
        before: int,
    ) -> list[Materialization | None]:
        """For lineage: the version of each partition that a build read.

        That is its newest with ``id <= revision``, or of ``run`` and with ``id < before``.
        """

    def readers(self, environment: str, asset: str) -> list[Materialization]:
        """Current materializations that read from ``asset``."""

    def code(self, hex_version: str) -> Code | None:
        """The parts of a code version."""

    def promised_since(self, environment: str, asset: str) -> int:
        """When an asset's partitions were first built under a freshness deadline: the start of the
        earliest materialization that has one; without any, of the earliest attempt after its newest
        materialization; 0 without either."""

    def schema(self, environment: str, asset: str) -> str:
        """The schema of the asset's newest table, empty when there is none."""

    def dynamic_keys(self) -> dict[str, tuple[str, ...]]:
        """Partitions registered at run time, by the name of their definition, in order added."""

    def add_keys(self, name: str, keys: Sequence[str]) -> int:
        """Register keys; the number that were new."""

    def remove_keys(self, name: str, keys: Sequence[str]) -> int:
        """Remove keys; the number that were there. A key added again gets its old place back."""

    def check(self) -> list[str]:
        """Problems found in the store itself (integrity, version, settings); empty when well."""

    def close(self) -> None:
        """Let go of the database."""
