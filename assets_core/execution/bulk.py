"""Many partitions through an IO manager: at once where it can, else one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, cast

from assets_core.contracts import ForcingIOManager, IOManager, RangeIOManager, Staged, Target
from assets_core.errors import AssetsError
from assets_core.records import Receipt

if TYPE_CHECKING:
    import pyarrow as pa


@cache
def _forces(kind: type) -> bool:
    """Whether a store lays down; one that is derived from such a store and stages in its own way
    doesn't."""
    names = [name for each in kind.__mro__ for name in ("lay", "stage") if name in vars(each)]
    return names[:1] == ["lay"]


def lay(manager: IOManager, target: Target, data: pa.RecordBatchReader | pa.Table) -> Staged:
    """Write a new version, which need not be durable before it is recorded."""
    if _forces(type(manager)):
        return cast("ForcingIOManager", manager).lay(target, data)
    return manager.stage(target, data)


def stage_many(
    manager: IOManager, targets: Sequence[Target], tables: Sequence[pa.Table]
) -> list[Staged]:
    """Write a new version of each; when one fails nothing is left behind."""
    if isinstance(manager, RangeIOManager):
        return manager.stage_many(targets, tables)
    staged: list[Staged] = []
    try:
        for target, table in zip(targets, tables, strict=True):
            staged.append(manager.stage(target, table))
    except BaseException:
        discard_many(manager, staged)
        raise
    return staged


def audit_many(manager: IOManager, staged: Sequence[Staged]) -> Iterator[pa.Table]:
    """The rows of each, read back."""
    if isinstance(manager, RangeIOManager):
        yield from manager.audit_many(staged)
        return
    for one in staged:
        yield manager.audit(one).read_all()


def publish_many(
    manager: IOManager, staged: Sequence[Staged], facts: Sequence[str]
) -> list[Receipt | AssetsError]:
    """A receipt for each, or why it was not published.

    What failed a whole transaction is raised: then nothing was published.
    """
    if isinstance(manager, RangeIOManager):
        return list(manager.publish_many(staged, facts))
    return [_publish(manager, one, fact) for one, fact in zip(staged, facts, strict=True)]


def _publish(manager: IOManager, staged: Staged, fact: str) -> Receipt | AssetsError:
    try:
        return manager.publish(staged, fact)
    except AssetsError as error:
        return error


def discard_many(manager: IOManager, staged: Sequence[Staged]) -> None:
    """Remove what will not be published; a store that is in trouble is swept later."""
    with contextlib.suppress(OSError, AssetsError):
        if isinstance(manager, RangeIOManager):
            manager.discard_many(staged)
            return
        for one in staged:
            manager.discard(one)
