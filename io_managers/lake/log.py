"""What a table format must do for the stores: show its newest version, take a commit.

Everything that differs between Delta and Iceberg is behind these protocols.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

PUBLISHED, BARRED, NONE, HIDDEN = "published", "barred", "none", "hidden"
"""Which tokens a table keeps of a partition: of the last publish, up to which no publish may come,
of a publish that shows no rows, and of one that is out of sight."""


class OutrunError(Exception):
    """Somebody committed first: what was read of the table is not its newest version any more."""


@dataclass(frozen=True, slots=True)
class Added:
    """A version file that a commit brings in: of which partition, its rows and bytes."""

    partition: str
    name: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Commit:
    """One change of a table, made whole or not at all.

    All files of the partitions ``replaced`` go, ``added`` come. ``tokens`` are kept from then on,
    by kind and partition. ``schema`` is given where the columns change. ``note`` is what the
    table's history shows.
    """

    replaced: Sequence[str] = ()
    added: Sequence[Added] = ()
    tokens: Mapping[tuple[str, str], int] = field(default_factory=dict)
    schema: pa.Schema | None = None
    note: Mapping[str, object] = field(default_factory=dict)


class TableVersion(Protocol):
    """The newest version of a table, as it was when it was asked for."""

    @property
    def number(self) -> int:
        """Tells it from every other version of the table."""

    @property
    def schema(self) -> pa.Schema:
        """The physical columns, without that of the partition."""

    def files(self, partition: str) -> list[str]:
        """The names of the files that hold a partition's rows."""

    def all_files(self) -> dict[str, list[str]]:
        """The same of all partitions."""

    def token(self, kind: str, partition: str) -> int:
        """The token of that kind that was kept last; 0 for none."""

    def rewritten(self, partition: str, since: int) -> pa.Table | None:
        """The rows of a partition whose files another program put together anew after ``since``
        (in ms since 1970); None where one is older, so that it may hold older rows put back."""


class TableLog(Protocol):
    """One table. Not safe for threads: the store takes turns."""

    folder: str
    """Where its version files lie."""

    def exists(self) -> bool:
        """Whether there is such a table."""

    def create(self, schema: pa.Schema) -> None:
        """Make the table, unless somebody else has."""

    def newest(self) -> TableVersion:
        """Its newest version."""

    def commit(self, onto: TableVersion, commit: Commit) -> None:
        """Make a change durable. OutrunError when ``onto`` is not the newest version any more;
        then nothing has changed."""
