"""Staging rows beside a table's own: files in its folder that its log does not name."""
# Strings and os.path, like the Parquet store.
# ruff: noqa: PTH110

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from assets_core.contracts import Staged, Target
from assets_core.errors import MissingDataError, OutputError, UsageError
from assets_core.faults import reach
from io_managers.lake import names
from io_managers.lake.folder import Home, LakeFolder, OpenTable, entries, home_of
from io_managers.lake.names import VersionPlace
from io_managers.parquet import files as _files
from io_managers.parquet.names import run_of

if TYPE_CHECKING:
    import pyarrow as pa

    from io_managers.lake.log import TableVersion
    from io_managers.lake.versions import VersionFile


class LakeStaging(LakeFolder):
    """Rows on their way in: seen by nobody, read back for the audit, thrown away or published."""

    def stage(self, target: Target, data: pa.RecordBatchReader | pa.Table | Path) -> Staged:
        """Write the rows to a file of their own and make it durable. A failure leaves nothing."""
        from io_managers.lake import versions

        if isinstance(data, os.PathLike):
            raise OutputError(
                f"{type(self).__name__} can't hold a file.",
                facts={"asset": target.asset, "path": data},
                hint="Give the asset a file store: io='parquet' (ParquetFiles).",
            )
        home = home_of(target.environment, target.asset)
        folder = f"{self._table(home).log.folder}/{names.folder_of(target.partition)}"
        _files.make_folder(self._beside(home))
        stem = names.stem(target)
        name, written = versions.write(
            folder, stem, data, self._keeps, self._layout, facts_of(target)
        )
        return Staged(target, "table", _location(target, name), written.rows, written.bytes)

    def stage_rejects(self, staged: Staged, rejects: pa.Table) -> Staged:
        """Write the rejected rows beside the table."""
        from io_managers.lake import versions

        target = staged.target
        folder = self._beside(home_of(target.environment, target.asset))
        name, written = versions.write_rejects(
            folder, names.stem(target), rejects, self._layout, facts_of(target)
        )
        return replace(staged, rejects=_location(target, name), rejected=written.rows)

    def audit(self, staged: Staged) -> pa.RecordBatchReader:
        """The staged rows, read back and verified."""
        import pyarrow as pa

        if staged.kind != "table":
            raise rowless()
        version = self._version(staged.location, staged.bytes)
        if not os.path.exists(version.path):
            raise unstaged(staged)
        if version.small:
            return version.table().to_reader()
        batches = (batch for table in version.tables() for batch in table.to_batches())
        return pa.RecordBatchReader.from_batches(version.schema(), batches)

    def discard(self, staged: Staged) -> None:
        """Remove a staged version and its rejects, unless the table has come to show it."""
        reach("discard.begin")
        target = staged.target
        home = home_of(target.environment, target.asset)
        if staged.kind == "table" and not self._shows(home, names.stem(target)):
            for location in filter(None, (staged.location, staged.rejects)):
                with _files.storage_errors(self._path(location)):
                    _files.remove(self._path(location))
                reach("discard.removed")
            self._table(home).fences.remove(names.stem(target))

    def sweep(self, run: str, keep: Collection[str]) -> int:
        """Remove what the dead run left staged; the number of versions removed."""
        kept = {names.place_of(location).stem for location in keep if location}
        return sum(self._sweep(home, run, kept) for home in self._homes())

    def _sweep(self, home: Home, run: str, kept: set[str]) -> int:
        removed = 0
        table = self._table(home)
        folders = list(self._data_folders(table.log.folder))
        for folder in (*folders, self._beside(home)):
            for name in entries(folder):
                if f".{run}." not in name or run_of(name) != run:
                    continue
                stem = names.stem_of(name)
                if stem and (stem in kept or self._shows(home, stem)):
                    continue
                with _files.storage_errors(f"{folder}/{name}"):
                    gone = _files.remove(f"{folder}/{name}")
                removed += gone and name.endswith(names.ROWS) and not name.endswith(names.REJECTS)
                table.fences.remove(stem)
        return removed

    def _shows(self, home: Home, stem: str) -> bool:
        """Whether a version is the table's. One without a note has never come to its publish."""
        table = self._table(home)
        if not table.fences.has(stem):
            return False
        with table.turn:
            return table.log.exists() and _holds(table, stem)

    def _path(self, location: str) -> str:
        place = names.place_of(location)
        home = home_of(place.environment, place.asset)
        if place.file.endswith(names.REJECTS):
            return f"{self._beside(home)}/{place.file}"
        return f"{self._table(home).log.folder}/{names.folder_of(place.partition)}/{place.file}"

    def _data_folders(self, table: str) -> Iterator[str]:
        for entry in entries(table):
            if entry.startswith(f"{names.PARTITION}="):
                yield f"{table}/{entry}"
        yield from (f"{table}/{names.LONG}/{entry}" for entry in entries(f"{table}/{names.LONG}"))

    def _version(self, location: str, size: int) -> VersionFile:
        from io_managers.lake.versions import VersionFile

        return VersionFile(self._path(location), names.place_of(location), size)


def _holds(table: OpenTable, stem: str) -> bool:
    """Whether the newest publish of its partition is this attempt's."""
    note = table.fences.read(stem)
    if note is None:
        return False
    return current(table, table.log.newest(), note.partition) == stem


def current(table: OpenTable, newest: TableVersion, partition: str) -> str:
    """The stem of the attempt that published a partition last; "" where none is known to have."""
    from io_managers.lake.log import HIDDEN, NONE, PUBLISHED

    stems = {names.stem_of(name) for name in newest.files(partition)}
    if len(stems) == 1 and "" not in stems:
        return stems.pop()
    token = newest.token(PUBLISHED, partition)
    if not stems and token not in (newest.token(NONE, partition), newest.token(HIDDEN, partition)):
        return ""
    # Nothing to be seen of it, or files that another program put together anew.
    known = [one for one in table.fences.stems(partition) if names.token_of(one) == token]
    return known[0] if len(known) == 1 else ""


def facts_of(target: Target) -> bytes:
    """What a version file notes of itself."""
    facts = {
        "asset": target.asset,
        "partition": target.partition,
        "path_parts": target.path_parts,
        "token": target.token,
        "run": target.run,
        "attempt": target.attempt,
        "environment": target.environment,
        "stamp": dict(target.stamp),
    }
    return json.dumps(facts, separators=(",", ":")).encode()


def _location(target: Target, name: str) -> str:
    return VersionPlace(target.environment, target.asset, target.partition, name).location()


def rowless() -> UsageError:
    return UsageError(
        "An asset that writes its data by itself has no rows to read.",
        hint="Depend on it with depends_on=[...].",
    )


def unstaged(staged: Staged) -> MissingDataError:
    return MissingDataError(
        f"Nothing is staged for {staged.target.asset!r}.",
        facts={"partition": staged.target.partition, "attempt": staged.target.attempt},
        hint="It was discarded, or swept as a dead run's: run the step again.",
    )
