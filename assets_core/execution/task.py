"""What a worker is handed and what it gives back: values alone, that travel between processes.

How an attempt is run is ``step``'s business (one partition) and ``ranges``' (several).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from assets_core.contracts import IOManager, Staged, Target
from assets_core.errors import AssetsError
from assets_core.graph import Graph
from assets_core.partitions import Partition, Partitions
from assets_core.records import CheckOutcome, Receipt, Version

if TYPE_CHECKING:
    from assets_core.fingerprint.contents import Contents


@dataclass(frozen=True)
class Runtime:
    """What every step of a run shares: the graph, the stores, resources and config values.

    ``contents`` tells what else code reads; without it nothing is traced. ``output_bytes`` of
    what an attempt prints are kept. ``publishes``: this process itself publishes what its steps
    make; a worker process hands it over.
    """

    graph: Graph
    io: Mapping[str, IOManager]
    resources: Mapping[str, Any]
    config: Mapping[str, Any]
    environment: str = "prod"
    allow_schema_change: bool = False
    contents: Contents | None = None
    output_bytes: int = 10_000_000
    publishes: bool = True

    def manager_of(self, asset: str) -> IOManager:
        """The store of an asset."""
        return self.io[self.graph.assets[asset].io]


@dataclass(frozen=True, slots=True)
class InputData:
    """The upstream partitions behind one input: keys with receipts, or a source's partitions."""

    keys: tuple[str, ...]
    receipts: tuple[Receipt, ...] = ()
    partitions: tuple[Partition, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt, ready to run. Picklable.

    ``targets`` and ``schemas`` (what is published, empty when nothing is) go by output.
    """

    op: str
    partition: Partition
    path_parts: tuple[str, ...]
    attempt: int
    run: str
    targets: Mapping[str, Target]
    inputs: tuple[InputData, ...]
    schemas: Mapping[str, str]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The assets that it makes."""
        return tuple(self.targets)


@dataclass(slots=True)
class StagedOutput:
    """One staged and audited output."""

    staged: Staged
    version: Version
    schema: str = ""
    checks: tuple[CheckOutcome, ...] = ()


@dataclass(slots=True)
class Outcome:
    """What an attempt produced: outputs by asset, what the function noted, and what it read
    besides its inputs (kind, name and digest of each)."""

    made: dict[str, StagedOutput] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    started: int = 0
    loaded: int = 0
    called: int = 0
    traced: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RangeTask:
    """One call for neighbouring partitions, ready to run. Picklable.

    ``tasks`` are its partitions' own, without inputs; ``inputs`` are the upstream partitions of
    all of them, each once.
    """

    op: str
    tasks: tuple[Task, ...]
    inputs: tuple[InputData, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The assets that it makes."""
        return self.tasks[0].outputs

    @property
    def partitions(self) -> Partitions:
        """The partitions of the call."""
        return Partitions(tuple(task.partition for task in self.tasks))

    @property
    def partition(self) -> Partition:
        """What stands for all of them in messages."""
        whole = self.partitions
        return Partition(whole.key, whole.start, whole.end)

    @property
    def attempt(self) -> int:
        """The number of the attempt at the first of them."""
        return self.tasks[0].attempt

    @property
    def run(self) -> str:
        """The run that it belongs to."""
        return self.tasks[0].run


@dataclass(slots=True)
class RangeOutcome:
    """What a call produced: per partition an outcome, or the error of that partition alone."""

    each: list[Outcome | AssetsError] = field(default_factory=list)


AnyTask = Task | RangeTask
AnyOutcome = Outcome | RangeOutcome
