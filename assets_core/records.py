"""The facts that are recorded and exchanged: receipts, materializations, attempts, runs.

Plain frozen values; they know nothing of where they are stored. Times are integer microseconds
since 1970 UTC, data versions are pairs of unsigned 64-bit integers, keys are canonical text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from assets_core.fingerprint.hashing import hexdigest

Version = tuple[int, int]
"""A data version or an input digest: two unsigned 64-bit integers, most significant first."""

NO_VERSION: Version = (0, 0)
"""Nothing is there: no real version is ever all zeros."""


def version_hex(version: Version) -> str:
    """The 32 hexadecimal digits of a version."""
    return f"{version[0]:016x}{version[1]:016x}"


def version_from_hex(text: str) -> Version:
    """The inverse of :func:`version_hex`."""
    return int(text[:16], 16), int(text[16:], 16)


DataKind = Literal["table", "file", "none"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an IO manager returned from a publish; enough to read exactly that version again.

    ``store`` is the IO manager's name in the definitions, ``location`` and ``rejects`` are that
    manager's own text (never an absolute path, so a project can be moved), ``token`` is the
    fencing token it was published under. ``kind`` is ``table`` for rows, ``file`` for one opaque
    file, ``none`` for an asset that writes by itself.
    """

    store: str
    kind: DataKind
    location: str
    token: int
    rows: int = 0
    bytes: int = 0
    rejects: str = ""
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class InputRead:
    """Which partitions of one upstream a build read, and in which versions.

    ``ranges`` are inclusive key pairs in the upstream's order. The version of each partition is
    its newest materialization with ``id <= revision``, or of the same run and before the reading
    materialization; ``digest`` is what those versions summed to, so lineage verifies itself.
    """

    name: str
    asset: str
    ranges: tuple[tuple[str, str], ...]
    count: int
    revision: int
    digest: Version


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """One recorded check result."""

    name: str
    passed: bool
    severity: Literal["error", "warn"]
    message: str
    failed_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Code:
    """A code version with the short hash of each of its parts, so that a change can be named."""

    hex: str
    parts: Mapping[str, str] = field(default_factory=dict)


TRACED = "traced "
"""How the parts of a code version begin that were seen while it ran."""


def with_reads(code: Code, reads: Sequence[tuple[str, str, str]]) -> Code:
    """A code version together with what a build was seen to read besides code.

    ``reads`` are kinds, names and digests. The version is told by ``static+traced``, so that the
    static one can be compared by itself.

    >>> with_reads(Code("ab"), [("file", "q.sql", "12")]).parts
    {'traced file q.sql': '12'}
    """
    if not reads:
        return code
    parts = {f"{TRACED}{kind} {name}": digest for kind, name, digest in sorted(reads)}
    content = hexdigest("traced", sorted(parts.items()))[:16]
    return Code(f"{code.hex}+{content}", {**code.parts, **parts})


def as_reads(parts: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Kind, name and digest of the traced among some parts.

    >>> as_reads({"function a": "1", "traced file q.sql": "12"})
    [('file', 'q.sql', '12')]
    """
    found = []
    for part, digest in parts.items():
        if part.startswith(TRACED):
            kind, _, name = part.removeprefix(TRACED).partition(" ")
            found.append((kind, name, digest))
    return found


MaterializationKind = Literal[
    "built", "unchanged", "observed", "accepted", "recovered", "withdrawn"
]
"""``withdrawn`` records that a partition is taken out: it has `NO_VERSION` from then on.

Their order is that of the numbers that the state store keeps: new ones go last."""


@dataclass(frozen=True, slots=True)
class Materialization:
    """The recorded fact of one build (or one observation of a source).

    ``id`` is 0 until recorded. ``run`` is empty for an observation. ``deadline`` is the freshness
    deadline that held when it landed, 0 without one: the margin is ``deadline - finished``.
    ``schema`` is the published schema as ``name: type`` lines.
    """

    environment: str
    asset: str
    partition: str
    code: Code
    input_digest: Version
    data_version: Version
    receipt: Receipt
    started: int
    finished: int
    run: str = ""
    token: int = 0
    attempt: int = 1
    kind: MaterializationKind = "built"
    inputs: tuple[InputRead, ...] = ()
    checks: tuple[CheckOutcome, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    schema: str = ""
    deadline: int = 0
    id: int = 0


def is_withdrawn(fact: Materialization) -> bool:
    """Whether a record takes its partition out, instead of giving it data."""
    return fact.data_version == NO_VERSION


def withdrawn_for(fact: Materialization) -> str:
    """``by ann: the supplier took it back``; empty for what was not withdrawn."""
    told = fact.metadata.get(WITHDRAWN_FOR, {}) if is_withdrawn(fact) else {}
    by, reason = str(told.get("by", "")), str(told.get("reason", ""))
    return f"by {by}: {reason}" if by else reason


WITHDRAWN_FOR, UNDONE_BY = "withdrawn", "withdrawal undone"
"""Where the metadata of a withdrawal, and of its undoing, say by whom and for what reason."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one build took: µs of its function, audit and publish together, rows and bytes."""

    micros: int
    rows: int
    bytes: int


AttemptStatus = Literal["failed", "retried", "blocked", "refused", "interrupted"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt at an asset partition that did not publish; one that did is a materialization."""

    run: str
    environment: str
    asset: str
    partition: str
    attempt: int
    status: AttemptStatus
    started: int
    finished: int
    error: str = ""
    traceback: str = ""
    checks: tuple[CheckOutcome, ...] = ()
    id: int = 0


RunStatus = Literal["running", "done", "failed", "blocked", "interrupted", "died"]


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a plan; ``counts`` are numbers of asset partitions by what came of them."""

    id: str
    environment: str
    status: RunStatus
    started: int
    finished: int = 0
    command: str = ""
    host: str = ""
    pid: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    note: str = ""
    priority: int = 0
    backfill: str = ""


BackfillStatus = Literal["running", "paused", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Backfill:
    """A stored piece of work over many partitions, executed by as many runs as it takes.

    ``targets`` are the inclusive ranges of keys to build, by asset, ``total`` how many asset
    partitions they were; ``revision`` and ``codes`` (by asset) tell how the log and the code stood
    when it was made. ``options`` are what it was asked for: select, partitions, reprocess, order,
    jobs, priority, pin_code, max_failures.
    """

    id: str
    environment: str
    status: BackfillStatus
    created: int
    by: str
    revision: int
    total: int
    targets: Mapping[str, Sequence[tuple[str, str]]]
    codes: Mapping[str, str]
    options: Mapping[str, Any]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Invalidation:
    """Partitions of an asset that somebody declared stale, whatever is recorded of them.

    It holds for what was recorded before it: for ids smaller than its own. ``ranges`` are
    inclusive pairs of keys, none for every partition. ``origin`` names what was invalidated when
    this asset only reads that, and is empty for what was named itself. ``at`` in µs.
    """

    environment: str
    asset: str
    ranges: Sequence[tuple[str, str]]
    reason: str
    by: str
    at: int
    origin: str = ""
    id: int = 0

    def __str__(self) -> str:
        below = f" (downstream of {self.origin})" if self.origin else ""
        return f"by {self.by}: {self.reason}{below}"
