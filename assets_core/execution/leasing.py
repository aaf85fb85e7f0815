"""The right to publish: leases taken a little ahead, so that one commit serves many steps.

With a lease comes what its last holder left: what a dead run published to a transactional store
and did not get to record is recorded first, and what others recorded is taken in.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from assets_core.contracts import Acquire, Held, Lease, Publish, Release
from assets_core.execution.board import PlannedStep
from assets_core.execution.execution import Execution
from assets_core.execution.fact_json import rolled_forward
from assets_core.execution.recorder import Recorder

_AHEAD_SECONDS = 0.5
_MOST_AHEAD = 128
_AGAIN_SECONDS = 0.25
_LEAST_STEP_SECONDS = 0.0005


class Leasing:
    """The leases that a run holds, by the position of their step and by asset."""

    def __init__(self, execution: Execution, recorder: Recorder) -> None:
        self._execution = execution
        self._recorder = recorder
        self._leases: dict[int, dict[str, Lease]] = {}
        # One at a time, or two workers would lease the same steps ahead and fence each other.
        self._leasing = threading.Lock()

    def holds(self, step: PlannedStep) -> bool:
        """Whether a step is leased."""
        return step.position in self._leases

    def token(self, step: PlannedStep, asset: str) -> int:
        """What an output of a leased step is published with."""
        return self._leases[step.position][asset].token

    # ---------------------------------------------------------------------------------------
    # Taking

    def take(self, step: PlannedStep) -> bool:
        """Lease a step, and some that follow; False when others hold it: then it comes up again."""
        if self.holds(step):
            return True
        with self._leasing:
            if self.holds(step):
                return True
            self._acquire(self._ahead(step))
        if not self.holds(step):
            self._execution.later(step, _AGAIN_SECONDS)
        return self.holds(step)

    def take_all(self, steps: Sequence[PlannedStep]) -> list[PlannedStep]:
        """Lease these steps; those that are ours. The others come up again."""
        with self._leasing:
            wanted = [step for step in steps if not self.holds(step)]
            if wanted:
                self._acquire(wanted)
        for step in steps:
            if not self.holds(step):
                self._execution.again(step, _AGAIN_SECONDS)
        return [step for step in steps if self.holds(step)]

    def _ahead(self, step: PlannedStep) -> list[PlannedStep]:
        """The step and those after it in order, about half a second of work."""
        jobs, took = self._execution.options.jobs, self._execution.step_seconds
        per_step = max(took, _LEAST_STEP_SECONDS) / max(jobs, 1)
        most = int(min(_MOST_AHEAD, max(jobs, _AHEAD_SECONDS / per_step)))
        if not took:
            most = max(jobs, 8)
        with self._execution.lock:
            upcoming = self._execution.board.upcoming(step.position, 4 * most)
            return list(islice(filter(self._is_free, upcoming), most))

    def _is_free(self, step: PlannedStep) -> bool:
        return step.position not in self._leases

    def _acquire(self, wanted: Sequence[PlannedStep]) -> None:
        """Lease these steps as far as no other run holds them, and bring facts up to date."""
        slots = [(step, asset, step.key) for step in wanted for asset in step.op.outputs]
        asked = tuple((asset, key) for _, asset, key in slots)
        granted = self._recorder.call(
            Acquire(self._execution.run, self._execution.environment, asked)
        )
        current = self._execution.current
        moved = any(
            one.current != current.id(one.asset, step.ordinal)
            for (step, _, _), one in zip(slots, granted, strict=True)
        )
        self._keep(wanted, iter(granted))
        if moved:
            current.refresh()
        self._roll_forward(wanted)
        self._prefetch(wanted)

    def _keep(self, wanted: Sequence[PlannedStep], granted: Iterator[Lease | Held]) -> None:
        """Keep the leases of those steps of which no output is held by others."""
        giving_back: list[Lease] = []
        for step in wanted:
            each = [next(granted) for _ in step.op.outputs]
            leases = [one for one in each if isinstance(one, Lease)]
            if len(leases) == len(each):
                self._leases[step.position] = {lease.asset: lease for lease in leases}
            else:
                giving_back += leases
        self._release(giving_back)

    # ---------------------------------------------------------------------------------------
    # What comes with a lease

    def _roll_forward(self, wanted: Sequence[PlannedStep]) -> None:
        """Record what a transactional store published and a dead run did not get to record.

        The run that held a lease before us may not be dead at all: from here on its publishes
        are refused, or it would change data under a record that says otherwise.
        """
        mine = [step for step in wanted if self.holds(step)]
        for name in dict.fromkeys(step.op.name for step in mine):
            steps = [step for step in mine if step.op.name == name]
            for asset in steps[0].op.outputs:
                if self._execution.manager_of(asset).transactional:
                    self._roll_asset(asset, {step.key: step for step in steps if self.holds(step)})

    def _roll_asset(self, asset: str, by_key: dict[str, PlannedStep]) -> None:
        manager, environment = self._execution.manager_of(asset), self._execution.environment
        leases = [self._leases[step.position][asset] for step in by_key.values()]
        taken = {lease.partition: lease.token - 1 for lease in leases if lease.taken_over}
        if taken:
            manager.fence_off(environment, asset, taken)
        for fence in manager.fences(environment, asset, list(by_key)):
            step = by_key[fence.partition]
            if self._recorded_token(asset, step) < fence.token:
                self._record(asset, step, fence.fact)

    def _recorded_token(self, asset: str, step: PlannedStep) -> int:
        current = self._execution.current
        if not current.id(asset, step.ordinal):
            return -1
        return current.receipt(asset, step.ordinal).token

    def _record(self, asset: str, step: PlannedStep, told: str) -> None:
        run, environment = self._execution.run, self._execution.environment
        lease = self._leases[step.position][asset]
        self._recorder.call(Publish(rolled_forward(told, run=run, token=lease.token)))
        again = self._recorder.call(Acquire(run, environment, ((asset, lease.partition),)))[0]
        if isinstance(again, Lease):
            self._leases[step.position][asset] = again
        else:
            self.forget(step)
        self._execution.current.refresh()

    def _prefetch(self, wanted: Sequence[PlannedStep]) -> None:
        """Fetch the receipts that these steps will read."""
        places: list[tuple[str, Any]] = []
        for step in wanted:
            for read, edge in step.steps.edges:
                if read.data and not self._execution.is_source(read.asset):
                    places.append((read.asset, edge.upstream(step.ordinal)))
            places += [(asset, np.array([step.ordinal])) for asset in step.op.outputs]
        self._execution.current.prefetch(places)

    # ---------------------------------------------------------------------------------------
    # Letting go

    def forget(self, step: PlannedStep) -> None:
        """A step's leases are used up, or lost."""
        self._leases.pop(step.position, None)

    def let_go(self, step: PlannedStep) -> None:
        """Give the leases of a step back, which publishes nothing."""
        leases = self._leases.pop(step.position, None)
        if leases:
            self._release(list(leases.values()))

    def let_go_of_all(self) -> None:
        """Give back what was taken ahead: whoever we hold for may want these very partitions."""
        leases = [lease for each in self._leases.values() for lease in each.values()]
        self._leases.clear()
        self._release(leases)

    def _release(self, leases: Sequence[Lease]) -> None:
        given = tuple((lease.asset, lease.partition, lease.token) for lease in leases)
        if given:
            run, environment = self._execution.run, self._execution.environment
            self._recorder.submit_quietly(Release(run, environment, given))
