"""What a withdrawal covers, looked at first, and how it is recorded: neither there nor expected.

What the record does to those that read them is said in `planning.staleness`; how a partition that
nothing is left of leaves its store, in `execution.withdrawal`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from assets_core.contracts import Operation, Publish, Withdraw
from assets_core.declare.asset import Asset
from assets_core.errors import UsageError
from assets_core.execution.observation import withdrawal
from assets_core.operations.arguments import partition_selection
from assets_core.operations.observe import look
from assets_core.partitions import KeySpace
from assets_core.planning.facts import Facts
from assets_core.planning.observations import SourceObservation
from assets_core.records import UNDONE_BY, Materialization, is_withdrawn
from assets_core.wording import count, key_pairs, ranges
from assets_core.workspace.workspace import Workspace

_MOST_RANGES = 3


@dataclass(frozen=True, slots=True, eq=False)
class Withdrawn:
    """Which partitions of a source were withdrawn (or would be), by whom and why.

    ``undone`` says that their withdrawal was taken back instead.
    """

    source: str
    space: KeySpace
    ordinals: np.ndarray
    reason: str
    by: str
    undone: bool = False

    def __len__(self) -> int:
        return len(self.ordinals)

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values; ``partitions`` are inclusive ranges of keys."""
        return {
            "source": self.source,
            "partitions": [list(pair) for pair in key_pairs(self.ordinals, self.space)],
            "count": len(self),
            "reason": self.reason,
            "by": self.by,
            "undone": self.undone,
        }

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        done = "Withdrawal undone of" if self.undone else "Withdrawn:"
        where = f" {ranges(self.ordinals, self.space)}" if len(self) else ""
        why = f" by {self.by}: {self.reason}" if self.reason else f" by {self.by}"
        return f"{done} {count(len(self), 'partition')} of {self.source}{where}{why}"


@dataclass(frozen=True, slots=True)
class Asked:
    """Which ordinals of a source are asked about, and what is recorded of it.

    ``named`` says that they were named; otherwise they are all that there are.
    """

    source: Asset
    space: KeySpace
    ordinals: np.ndarray
    facts: Facts
    now: datetime
    named: bool


def ask(workspace: Workspace, name: str, partitions: Any, now: datetime) -> Asked:
    """What these partitions of a source are. Raises UsageError for an asset that is built."""
    source = workspace.graph.asset(name)
    if source.kind != "source":
        reads = ", ".join(workspace.graph.op_of[name].upstream)
        raise UsageError(
            f"{name!r} is built, not a source: it follows what it reads.",
            facts={"reads": reads or "nothing"},
            hint="Withdraw partitions of the source that it is built from; to build it anew: "
            f"assets invalidate {name} --reason TEXT",
        )
    # With the windows that are open: they may have been observed.
    spaces = workspace.spaces(now, include_open=True)
    selection = partition_selection(partitions, [name], spaces)
    space = spaces[name]
    mask = np.ones(space.n, bool) if selection is None else selection.mask(space)
    facts = workspace.facts(spaces)
    return Asked(source, space, np.flatnonzero(mask), facts, now, partitions is not None)


def gone(workspace: Workspace, asked: Asked) -> np.ndarray:
    """The ordinals to withdraw: looked at, and not there."""
    name = asked.source.name
    wanted = {name: asked.ordinals.tolist()}
    looked = look(workspace, wanted, asked.facts, now=asked.now, everything=True, lets_go=False)[
        name
    ]
    _refuse_failed(asked, looked)
    if asked.named:
        _refuse_present(asked, looked)
    going = [*looked.gone, *looked.absent] if asked.named else looked.gone
    own = asked.facts.assets[name]
    return np.array(sorted(o for o in going if not own.withdrawn[o]), np.int64)


def undoable(asked: Asked) -> np.ndarray:
    """The ordinals of what was asked for that is withdrawn."""
    name = asked.source.name
    withdrawn: np.ndarray = asked.ordinals[asked.facts.assets[name].withdrawn[asked.ordinals]]
    if asked.source.vanished == "withdraw" and len(withdrawn):
        raise UsageError(
            f"Source {name!r} withdraws by itself what is not there, so it would do it again.",
            facts={
                "withdrawn": ranges(withdrawn, asked.space),
                "declared": asked.source.location,
            },
            hint='Bring the data back, which undoes it, or declare vanished="keep" first.',
        )
    return withdrawn


def record(workspace: Workspace, found: Withdrawn) -> None:
    """Record all of it, or nothing."""
    operation = _put_back if found.undone else _take_out
    keys = found.space.keys(found.ordinals)
    workspace.state.transact([operation(workspace, found, key) for key in keys])


def _take_out(workspace: Workspace, found: Withdrawn, key: str) -> Operation:
    environment, code = workspace.environment, workspace.codes[found.source]
    fact = withdrawal(environment, found.source, key, code, found.reason, found.by)
    return Publish(fact, lease=False)


def _put_back(workspace: Workspace, found: Withdrawn, key: str) -> Operation:
    facts = workspace.state.materializations(workspace.environment, found.source, key)
    before = next((fact for fact in facts if not is_withdrawn(fact)), None)
    if before is None:  # it was never seen, and is waited for again
        return Withdraw(workspace.environment, found.source, key)
    at = time.time_ns() // 1000
    noted = {UNDONE_BY: {"by": found.by, "reason": found.reason}}
    again: Materialization = replace(before, id=0, started=at, finished=at, metadata=noted)
    return Publish(again, lease=False)


def _refuse_failed(asked: Asked, looked: SourceObservation) -> None:
    """Raise UsageError when something could not be looked at: nobody knows whether it is there."""
    if not looked.errors:
        return
    ordinal, error = next(iter(looked.errors.items()))
    raise UsageError(
        f"{_some(asked, looked.ordinals('failed'))} could not be looked at.",
        facts={"partition": asked.space.key(ordinal), "error": error},
        hint="The source's function must return None for a partition that is not there.",
    )


def _refuse_present(asked: Asked, looked: SourceObservation) -> None:
    """Raise UsageError for partitions that are there: the next look would find them again."""
    there = sorted([*looked.new, *looked.changed, *looked.unchanged])
    if not there:
        return
    raise UsageError(
        f"{_some(asked, there)} still there, and the next look would find it again.",
        hint="Remove it from where the source finds it (or let its function return None for it), "
        "then withdraw it. Nothing was withdrawn.",
    )


def _some(asked: Asked, ordinals: Sequence[int]) -> str:
    return f"{asked.source.name} {ranges(ordinals, asked.space, most=_MOST_RANGES)}"
