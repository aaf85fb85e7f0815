"""Withdrawing partitions of a source: looked at first, then recorded as neither there nor expected.

What the record does to those that read them is said in ``staleness``; how a partition that nothing
is left of leaves its store, in ``execute.withdrawing``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assets_core.backfills import user_name
from assets_core.contracts import Operation, Publish, Withdraw
from assets_core.errors import UsageError
from assets_core.execute.sources import withdrawal
from assets_core.invalidating import checked_reason
from assets_core.observe.format import count, key_pairs, one_line, ranges
from assets_core.partitions import KeySpace
from assets_core.records import UNDONE_BY, Materialization, is_withdrawn
from assets_core.staleness import Facts

if TYPE_CHECKING:
    from datetime import datetime

    from assets_core.asset import Asset
    from assets_core.project import Project
    from assets_core.staleness import Looked

_LONGEST_KEYS = 3


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


def withdraw(
    project: Project,
    name: str,
    partitions: Any,
    *,
    reason: str,
    by: str,
    now: datetime,
    dry_run: bool,
) -> Withdrawn:
    """See `Project.withdraw`."""
    why = checked_reason(reason, "A withdrawal needs a reason: whoever misses the data reads it.")
    source, space, wanted, facts = _asked(project, name, partitions, now)
    looked = project._look({name: wanted.tolist()}, facts, now=now, everything=True, lets_go=False)[
        name
    ]
    _refuse_there(name, space, looked)
    going = looked.gone if partitions is None else [*looked.gone, *looked.absent]
    own = facts.assets[name]
    ordinals = np.array(sorted(o for o in going if not own.withdrawn[o]), np.int64)
    _refuse_present(name, space, looked, asked=partitions is not None)
    found = Withdrawn(name, space, ordinals, why, one_line(by) or user_name())
    if not dry_run and len(ordinals):
        code = project.codes[source.name]
        records = [
            withdrawal(project.environment, name, key, code, found.reason, found.by)
            for key in space.keys(ordinals)
        ]
        project.state.transact([Publish(fact, lease=False) for fact in records])
    return found


def undo(
    project: Project,
    name: str,
    partitions: Any,
    *,
    reason: str,
    by: str,
    now: datetime,
    dry_run: bool,
) -> Withdrawn:
    """Give withdrawn partitions the version back that was seen last; see `Project.withdraw`."""
    source, space, wanted, facts = _asked(project, name, partitions, now)
    ordinals = wanted[facts.assets[name].withdrawn[wanted]]
    if source.vanished == "withdraw" and len(ordinals):
        raise UsageError(
            f"Source {name!r} withdraws by itself what is not there, so it would do it again.",
            facts={"withdrawn": ranges(ordinals, space), "declared": source.location},
            hint='Bring the data back, which undoes it, or declare vanished="keep" first.',
        )
    found = Withdrawn(name, space, ordinals, one_line(reason), one_line(by) or user_name(), True)
    if not dry_run and len(ordinals):
        project.state.transact([_put_back(project, found, key) for key in space.keys(ordinals)])
    return found


def _put_back(project: Project, found: Withdrawn, key: str) -> Operation:
    facts = project.state.materializations(project.environment, found.source, key)
    before = next((fact for fact in facts if not is_withdrawn(fact)), None)
    if before is None:  # it was never seen, and is waited for again
        return Withdraw(project.environment, found.source, key)
    at = time.time_ns() // 1000
    noted = {UNDONE_BY: {"by": found.by, "reason": found.reason}}
    again: Materialization = replace(before, id=0, started=at, finished=at, metadata=noted)
    return Publish(again, lease=False)


def _asked(
    project: Project, name: str, partitions: Any, now: datetime
) -> tuple[Asset, KeySpace, np.ndarray, Facts]:
    """The source, its key space, the ordinals that are asked about, and what is recorded."""
    source = project.graph.asset(name)
    if source.kind != "source":
        raise UsageError(
            f"{name!r} is built, not a source: it follows what it reads.",
            facts={"reads": ", ".join(project.graph.op_of[name].upstream) or "nothing"},
            hint="Withdraw partitions of the source that it is built from; to build it anew: "
            f"assets invalidate {name} --reason TEXT",
        )
    # With the windows that are open: they may have been observed.
    spaces = project.spaces(now, include_open=True)
    selection = project._partition_selection(partitions, [name], spaces)
    space = spaces[name]
    mask = np.ones(space.n, bool) if selection is None else selection.mask(space)
    return source, space, np.flatnonzero(mask), project.facts(spaces)


def _refuse_there(name: str, space: KeySpace, looked: Looked) -> None:
    """Raise UsageError when something could not be looked at: nobody knows whether it is there."""
    if not looked.errors:
        return
    ordinal, error = next(iter(looked.errors.items()))
    raise UsageError(
        f"{_some(name, space, looked.ordinals('failed'))} could not be looked at.",
        facts={"partition": space.key(ordinal), "error": error},
        hint="The source's function must return None for a partition that is not there.",
    )


def _refuse_present(name: str, space: KeySpace, looked: Looked, *, asked: bool) -> None:
    """Raise UsageError for partitions that were asked for and are there: the next look would
    find them again."""
    there = sorted([*looked.new, *looked.changed, *looked.unchanged])
    if not asked or not there:
        return
    raise UsageError(
        f"{_some(name, space, there)} still there, and the next look would find it again.",
        hint="Remove it from where the source finds it (or let its function return None for it), "
        "then withdraw it. Nothing was withdrawn.",
    )


def _some(name: str, space: KeySpace, ordinals: Sequence[int]) -> str:
    return f"{name} {ranges(ordinals, space, most=_LONGEST_KEYS)}"
