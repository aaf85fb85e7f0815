"""What an IO manager must do, with the laws that it is held to, and the values that cross.

Protocols only. ``assets_core.testing`` holds the laws as tests that anyone can run on a store of
their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from assets_core.errors import LeaseLostError, StorageError
from assets_core.records import (
    Receipt,
)

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Target:
    """What one attempt writes to.

    ``path_parts`` are the partition's folders in hive style, already safe. ``attempt`` names this
    attempt and no other, ever. ``stamp`` is short text (run, code version, input digest, …) that
    the store keeps with the data, so that the state store can be rebuilt from it.
    """

    asset: str
    partition: str
    path_parts: tuple[str, ...]
    token: int
    run: str
    attempt: str
    environment: str = "prod"
    stamp: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Staged:
    """A new version that lies in the store and that no reader can see. Picklable.

    ``together`` is the manager's own word for what was staged in one go with it (`RangeIOManager`).
    ``durable`` is False for what ``lay`` left to ``force`` (`ForcingIOManager`).
    """

    target: Target
    kind: Literal["table", "file", "none"]
    location: str
    rows: int = 0
    bytes: int = 0
    rejects: str = ""
    rejected: int = 0
    together: str = ""
    durable: bool = True


@dataclass(frozen=True, slots=True)
class Query:
    """A SELECT over partitions, in DuckDB's dialect, for a store to run (`QueryingIOManager`).

    ``inputs`` are what it reads, by the names that it uses: versions of the store itself, in their
    order, or rows that lie elsewhere. Those named in ``ordered`` are read in that order; of the
    others any order will do. ``parameters`` are bound as ``$name``, ``timezone`` is the session's.
    """

    text: str
    inputs: Mapping[str, tuple[Receipt, ...] | pa.Table]
    parameters: Mapping[str, object] = field(default_factory=dict)
    timezone: str = "UTC"
    ordered: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Fence:
    """What a transactional store holds about one partition: who published last, and the fact."""

    asset: str
    partition: str
    environment: str
    token: int
    run: str
    fact: str


@dataclass(frozen=True, slots=True)
class Found:
    """A version that lies in a store, as the store itself tells: what state is rebuilt from.

    ``visible`` is True for the version that the outside view (or the fence row) shows. ``fact``
    is the text given to ``publish`` where the store keeps it, otherwise empty.
    """

    asset: str
    partition: str
    path_parts: tuple[str, ...]
    environment: str
    run: str
    attempt: str
    stamp: Mapping[str, str]
    receipt: Receipt
    visible: bool
    fact: str = ""


@dataclass(frozen=True, slots=True)
class InView:
    """A partition that outside readers may see, in its folders.

    Without a ``receipt`` it stays where it is in sight, and is not to be shown anew: what is
    recorded of it was made by other code, perhaps for other partitions of the same key.
    """

    partition: str
    path_parts: tuple[str, ...]
    receipt: Receipt | None


@runtime_checkable
class IOManager(Protocol):
    """Where asset partitions are kept.

    Laws (``tests/contracts/test_io_manager.py`` runs them on every implementation):

    1. ``stage`` writes under a name that no other attempt uses and makes it durable (file, then
       folder, fsynced) before it returns; nothing staged is visible to ``open`` of an older
       receipt, to the view, or to another program's scan of the published data.
    2. ``audit`` re-reads what lies on the store, verifying checksums.
    3. ``publish`` makes the staged version the one that readers see, all of it or none.
       *Catalog* stores (``transactional = False``) only seal it and return its receipt: the state
       store moves the pointer, then calls ``expose``. *Transactional* stores check the fence
       (``target.token`` must be greater than the fence row's, otherwise LeaseLostError and nothing
       changes), replace the partition and write fence row and ``fact`` in ONE transaction.
    4. Publishing twice with the same token and attempt is harmless; rows are never doubled.
    5. ``open`` of receipts returns exactly those versions' rows, in the receipts' order, in one
       scan; a version that is gone is MissingDataError (or VersionReplacedError where the store
       keeps only the newest), damaged bytes are CorruptDataError, never wrong rows.
    6. An empty table overwrites to empty, a publish of kind ``none`` to no rows at all. Another
       partition's rows never change.
    7. ``discard`` removes a staged version and is harmless when repeated or when nothing is there.
    8. Names cannot escape: any canonical key is stored safely and distinctly.
    """

    transactional: bool

    def bind(self, name: str, root: Path) -> None:
        """Tell the manager its name in the definitions and the project's folder; opens nothing."""

    def identity(self) -> tuple[object, ...]:
        """Plain values that say where and how data is kept; part of the code version."""

    def stage(self, target: Target, data: pa.RecordBatchReader | pa.Table | Path) -> Staged:
        """Write a new version, streaming. A ``Path`` is copied in as one opaque file.

        Raises DiskFullError when there is no room; then nothing of the attempt is left behind.
        """

    def stage_rejects(self, staged: Staged, rejects: pa.Table) -> Staged:
        """Lay the rejected rows beside the staged version: same atomicity, same lifetime."""

    def audit(self, staged: Staged) -> pa.RecordBatchReader:
        """The staged rows, read back from the store with checksums verified."""

    def publish(self, staged: Staged, fact: str) -> Receipt:
        """See law 3. ``fact`` is text to keep in the fence row."""

    def discard(self, staged: Staged) -> None:
        """Remove a staged version."""

    def open(
        self, receipts: Sequence[Receipt], columns: Sequence[str] | None = None
    ) -> pa.RecordBatchReader:
        """The rows of exactly these versions in one scan, checksums verified, schemas unified."""

    def read(self, receipts: Sequence[Receipt], columns: Sequence[str] | None = None) -> pa.Table:
        """What ``open`` gives, whole: the quick way to a small partition."""

    def open_rejects(self, receipt: Receipt) -> pa.Table | None:
        """The rows set aside when this version was built, or None."""

    def path(self, receipt: Receipt) -> Path:
        """The local file of a version of kind ``file`` (or of a table in a file store)."""

    def expose(
        self, environment: str, asset: str, path_parts: tuple[str, ...], receipt: Receipt
    ) -> None:
        """Catalog stores: swap the outside view of a partition to this version. Idempotent."""

    def flush(self) -> None:
        """Make all that was exposed durable."""

    def fences(self, environment: str, asset: str, partitions: Sequence[str]) -> list[Fence]:
        """Transactional stores: the fence rows of these partitions, for rolling forward."""

    def fence_off(self, environment: str, asset: str, tokens: Mapping[str, int]) -> None:
        """Transactional stores: from now on refuse every publish of these partitions under the
        given token or an older one. What is published stays, readable. Idempotent."""

    def sweep(self, run: str, keep: Collection[str]) -> int:
        """Remove what the dead run ``run`` left staged; the number of versions removed.

        ``keep`` are the locations (of rows and rejects) that the state store recorded for the
        run: published versions, which must stay.
        """

    def scan(self) -> Iterator[Found]:
        """Every readable version in the store, in no order; damaged ones are left out."""

    def verify(self, receipt: Receipt) -> None:
        """Read the version whole; CorruptDataError or MissingDataError when not as written."""

    def close(self) -> None:
        """Let go of files and connections."""


@runtime_checkable
class RangeIOManager(IOManager, Protocol):
    """An IO manager that handles many partitions of one asset at the price of a few.

    Optional: without these methods the partitions of a call are staged, read back and published
    one after the other (``assets_core.execution.bulk``). Every law of `IOManager` holds for each
    partition as if it had been handled alone; and

    9. ``stage_many`` makes all of them durable before it returns, or leaves nothing behind.
    10. ``publish_many`` publishes each partition whole or not at all, whenever it is killed. In a
        transactional store they may be of several assets. One
        whose lease is lost gets its LeaseLostError in place of a receipt, and leaves the others in
        force; any other failure is raised, and then nothing of the call is published.
    11. What was staged in one go and is not named in the ``publish_many`` (or ``discard_many``) of
        the others may be gone after it: name all that is to be published.
    """

    def stage_many(self, targets: Sequence[Target], tables: Sequence[pa.Table]) -> list[Staged]:
        """Write a new version of each partition; all tables have one schema."""

    def audit_many(self, staged: Sequence[Staged]) -> Iterator[pa.Table]:
        """The rows of each, in order, read back from the store with checksums verified."""

    def publish_many(
        self, staged: Sequence[Staged], facts: Sequence[str]
    ) -> list[Receipt | LeaseLostError]:
        """See laws 3 and 10."""

    def discard_many(self, staged: Sequence[Staged]) -> None:
        """Remove staged versions."""


@runtime_checkable
class ForcingIOManager(IOManager, Protocol):
    """A catalog store that makes many versions durable at the price of a few.

    Optional: without it ``stage`` makes each durable by itself. With it a step lays its version
    down, and what is recorded in one transaction is forced in one go right before.

    15. ``lay`` does what ``stage`` does, and may leave it to ``force`` to make it durable. Nothing
        refers to a version that is laid and not forced: a power cut may leave none, or half of it,
        which ``scan`` leaves out. Whoever forces may be another process than laid it.
    """

    def lay(self, target: Target, data: pa.RecordBatchReader | pa.Table) -> Staged:
        """See law 15; ``durable`` of what comes back says whether it is forced already."""

    def force(self, receipts: Sequence[Receipt]) -> list[StorageError | None]:
        """Make versions durable (file, folder, and what is above it); what failed, of each."""


@runtime_checkable
class QueryingIOManager(IOManager, Protocol):
    """A store that runs queries itself, over what it holds: no row leaves it on its way.

    Optional: without it the rows that a query reads are loaded, and it runs beside the step.

    16. ``stage_query`` stages the rows that running the query over what ``open`` gives of its
        inputs would have given to ``stage``, with the same schema; it raises what ``open`` does of
        a version that is not there. What it reads is exactly what its inputs name.
    """

    def stage_query(self, target: Target, query: Query, *, hold: bool = False) -> Staged:
        """See law 16. ``bytes`` is 0: nobody counted. To ``hold`` it is to let this process's
        memory keep it, which then must publish or discard it by itself.

        A query that fails is a UserCodeError with the engine's message; then nothing is left.
        """


@runtime_checkable
class ConcealingIOManager(IOManager, Protocol):
    """A catalog store that can take a partition out of its outside view.

    Optional: without it a withdrawn partition leaves all that reads through the state store, and
    the view goes on showing its last version. (A transactional store withdraws by a ``publish`` of
    kind ``none``, which leaves no row of the partition.)

    12. ``conceal`` removes the partition from the outside view and touches no other. Versions stay
        readable by their receipts, and ``expose`` shows one again. Idempotent.
    """

    def conceal(self, environment: str, asset: str, path_parts: tuple[str, ...]) -> None:
        """See law 12; ``flush`` makes it durable."""


@runtime_checkable
class NotingIOManager(IOManager, Protocol):
    """A store that keeps small texts beside the data, each by a name that is a plain word.

    Optional: by them a command notices that the state store was lost, or put back from a backup,
    while the data moved on, and which definitions the outside view follows. Both methods are
    quick: every command asks.

    13. ``noted`` gives what ``note`` was told last under that name for that environment, in
        whatever process, and an empty text before the first. A note is no version and no view.
    """

    def note(self, environment: str, name: str, text: str) -> None:
        """See law 13."""

    def noted(self, environment: str, name: str) -> str:
        """See law 13."""


@runtime_checkable
class RestrictingIOManager(NotingIOManager, Protocol):
    """A store whose outside view follows the definitions.

    Optional: without it the view goes on showing partitions that the definitions no longer have.

    14. After ``restrict`` outside readers see of the asset those of ``wanted`` that have a receipt
        or were in sight at that very place, and nothing else. Nothing is lost: what went out of
        sight comes back by a later ``restrict``. In between its receipts may not be readable
        (MissingDataError), and no token is given twice. Killed at any moment, a repetition ends
        it. Idempotent.
    """

    def restrict(self, environment: str, asset: str, wanted: Sequence[InView]) -> int:
        """See law 14; ``flush`` makes it durable. How many of ``wanted`` are not in sight now,
        for want of a receipt: to be asked for again."""
