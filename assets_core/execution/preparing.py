"""What an attempt at a step is handed, as of what is recorded at that moment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from assets_core.contracts import Target
from assets_core.execution.board import PlannedStep
from assets_core.execution.execution import Execution
from assets_core.execution.inputs import read_of
from assets_core.execution.leasing import Leasing
from assets_core.execution.task import InputData, Task
from assets_core.graph import Input
from assets_core.records import InputRead, Version, version_hex


@dataclass(frozen=True, slots=True)
class Build:
    """An attempt at a leased step, with what its record needs: the digest of its inputs, and what
    it reads."""

    step: PlannedStep
    task: Task
    digest: Version
    reads: tuple[InputRead, ...]


class Preparing:
    """Makes the attempts, and counts them."""

    def __init__(self, execution: Execution, leasing: Leasing) -> None:
        self._execution = execution
        self._leasing = leasing
        self._attempts: dict[int, int] = {}

    def build(
        self,
        step: PlannedStep,
        digested: tuple[Version, Sequence[Version]] | None = None,
        *,
        inputs: bool = True,
    ) -> Build:
        """The next attempt at a step; without its ``inputs`` when it is part of a larger call.

        ``digested`` is what `Current.digest` said under the lock that is still held. What is
        recorded as read is what is handed over.
        """
        with self._execution.lock:
            current = self._execution.current
            digest, sums = digested or current.digest(step.op, step.ordinal)
            reads = tuple(
                read_of(current, read, edge, step.ordinal, total)
                for (read, edge), total in zip(step.steps.edges, sums, strict=True)
            )
            handed = self.inputs_of((step,)) if inputs else ()
            return Build(step, self._task(step, digest, handed), digest, reads)

    def _task(self, step: PlannedStep, digest: Version, inputs: tuple[InputData, ...]) -> Task:
        op, key = step.op, step.key
        attempt = self._attempts[step.position] = self._attempts.get(step.position, 0) + 1
        parts = op.partitions.path_parts(key)
        run, codes = self._execution.run, self._execution.codes
        stamp = {"digest": version_hex(digest), "started": str(time.time_ns() // 1000)}
        targets = {
            asset: Target(
                asset=asset,
                partition=key,
                path_parts=parts,
                token=self._leasing.token(step, asset),
                run=run,
                attempt=f"{run}-{attempt}",
                environment=self._execution.environment,
                stamp={"code": codes[asset].hex, **stamp},
            )
            for asset in op.outputs
        }
        return Task(
            op=op.name,
            partition=step.steps.space.partition(step.ordinal),
            path_parts=parts,
            attempt=attempt,
            run=run,
            targets=targets,
            inputs=inputs,
            schemas={asset: self._execution.current.schema(asset) for asset in op.outputs},
        )

    def inputs_of(self, steps: Sequence[PlannedStep]) -> tuple[InputData, ...]:
        """What these steps of an op read, each upstream partition once, in its order."""
        found = []
        with self._execution.lock:
            for read, edge in steps[0].steps.edges:
                if read.data:
                    each = [edge.upstream(step.ordinal) for step in steps]
                    at = each[0] if len(each) == 1 else np.unique(np.concatenate(each))
                    there = self._execution.current.there_at(read.asset, at)
                    found.append(self._input(read, at[there]))
        return tuple(found)

    def _input(self, read: Input, at: np.ndarray) -> InputData:
        current = self._execution.current
        space = current.spaces[read.asset]
        keys = tuple(space.keys(at))
        if self._execution.is_source(read.asset):
            return InputData(keys, partitions=tuple(space.partition(int(i)) for i in at))
        return InputData(keys, receipts=tuple(current.receipts(read.asset, at)))
