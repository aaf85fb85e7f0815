"""The columns of a table that takes new rows: added, widened, or changed without loss or refused.

Files of one table must agree on the type of a column, so those of other partitions are written
once more under the new type, in the same commit. What their receipts give back stays as it was:
each version notes the columns that it was given with.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from assets_core.errors import OutputError, StorageError
from assets_core.tabular.common_types import common_type
from io_managers import _schemas
from io_managers.lake import names
from io_managers.lake.log import Added, TableVersion
from io_managers.lake.types import Keeps
from io_managers.lake.versions import VersionFile
from io_managers.parquet.pages import Layout

Locate = Callable[[str, str], VersionFile]
"""The version file of a partition and a name."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a commit brings in, so that all files fit ``schema``; which partitions it replaces,
    and the files among them that were ``made`` for it."""

    schema: pa.Schema
    added: list[Added]
    replaced: list[str]
    made: list[Added]


@dataclass(slots=True)
class Settling:
    """Makes room in a table for staged files. ``made`` are the files that were written for it."""

    now: TableVersion
    locate: Locate
    keeps: Keeps
    layout: Layout
    folder: str
    made: list[Added] = field(default_factory=list)

    def settle(self, coming: Sequence[Added], replaced: Sequence[str]) -> Settled:
        """The table with ``coming`` in the place of what the ``replaced`` show.

        Raises OutputError where no column can hold the new rows beside those of other partitions.
        """
        new = {one.name: self._physical(one) for one in coming}
        schema, changed = self._schema(list(new.values()), coming, replaced)
        added = [
            one if _fits(new[one.name], schema) else self._convert(one, schema) for one in coming
        ]
        more: list[str] = []
        for other in self._others(replaced) if changed else ():
            if not _fits(self._physical(other), schema):
                added.append(self._convert(other, schema))
                more.append(other.partition)
        return Settled(schema, added, [*replaced, *more], self.made)

    def _physical(self, one: Added) -> pa.Schema:
        return self.keeps.plain(self.locate(one.partition, one.name).physical())

    def _schema(
        self, new: Sequence[pa.Schema], coming: Sequence[Added], replaced: Sequence[str]
    ) -> tuple[pa.Schema, bool]:
        """The columns that hold all, and whether one that was there has another type now."""
        fields = {f.name: f for f in self.now.schema}
        changed = False
        for schema in {str(one): one for one in new}.values():
            for one in schema:
                known = fields.get(one.name)
                if known is None:
                    fields[one.name] = one
                elif known.type != one.type:
                    kind = self._common(known.type, one.type)
                    kind = kind or self._clash(known, one.type, coming, replaced)
                    changed |= kind != self._type_now(one.name)
                    fields[one.name] = known.with_type(kind)
        both = pa.schema(list(fields.values()))
        _schemas.check_names(both, fold_case=True)
        return both, changed

    def _type_now(self, name: str) -> pa.DataType | None:
        place = self.now.schema.get_field_index(name)
        return None if place < 0 else self.now.schema.field(place).type

    def _common(self, a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
        kind = common_type(a, b)
        if kind is None:
            return None
        try:
            logical = self.keeps.logical(pa.schema([("column", kind)]))
        except OutputError:
            return None
        return self.keeps.physical(logical).field(0).type

    def _clash(
        self, known: pa.Field, kind: pa.DataType, coming: Sequence[Added], replaced: Sequence[str]
    ) -> pa.DataType:
        """The type that holds both where they have nothing in common: the new one, else text."""
        others = list(self._columns(known.name, self._others(replaced)))
        if all(column.null_count == len(column) for column in others):
            return kind
        columns = [*others, *self._columns(known.name, coming)]
        for wanted in (kind, pa.string()):
            if all(_comes_back(column, wanted) for column in columns):
                return wanted
        raise OutputError(
            "The new rows don't fit the table.",
            facts={"column": known.name, "types": f"{known.type} and {kind}"},
            hint="Other partitions hold values that neither the new type nor text can keep as "
            "they are. Return the type the table has, or give the asset a new name.",
        )

    def _columns(self, name: str, files: Sequence[Added] | Iterator[Added]) -> Iterator[Any]:
        for one in files:
            for group in self.locate(one.partition, one.name).raw():
                if name in group.column_names:
                    yield group.column(name)

    def _others(self, replaced: Sequence[str]) -> Iterator[Added]:
        """The files of all other partitions."""
        leaving = set(replaced)
        for partition, files in self.now.all_files().items():
            for name in files if partition not in leaving else ():
                if not names.stem_of(name):
                    raise StorageError(
                        "A column can't change its type: another program rewrote the table.",
                        facts={"partition": partition, "file": name},
                        hint="Build that partition again, or give the asset a new name.",
                    )
                yield Added(partition, name, 0, 0)

    def _convert(self, one: Added, schema: pa.Schema) -> Added:
        version = self.locate(one.partition, one.name)
        stem = names.converted(names.stem_of(one.name), secrets.token_hex(3))
        folder = f"{self.folder}/{names.folder_of(one.partition)}"
        name, written = version.convert(folder, stem, schema, self.layout, self.keeps.store)
        made = replace(one, name=name, rows=written.rows, bytes=written.bytes)
        self.made.append(made)
        return made


def _fits(file: pa.Schema, table: pa.Schema) -> bool:
    return all(table.field(f.name).type == f.type for f in file)


def _comes_back(column: Any, kind: pa.DataType) -> bool:
    """Whether every value of a column is the same after it was of that type."""
    try:
        return bool(column.cast(kind).cast(column.type).equals(column))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False


def note_of_change(before: pa.Schema, after: pa.Schema) -> Mapping[str, object]:
    """What the history says of changed columns."""
    had = {f.name: f.type for f in before}
    changes = [f"{f.name} {f.type}" for f in after if had.get(f.name) != f.type]
    return {"columns": ", ".join(changes)} if changes else {}
