"""Parquet files: immutable versions that the state store points to, and a view for everybody else.

``<root>/.versions/<asset>/`` holds the versions; ``<root>/<asset>/date=2024-01-01/data.parquet``
is the view of ``prod``, other environments' lie under ``<root>/.environments/<environment>/``.
How bytes are encoded and verified is ``pages``' business, how they are named ``names``'."""
# Strings and os.path: a Path costs more than the link and rename that it names.
# ruff: noqa: PTH110, PTH116, PTH123, PTH208

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zlib import crc32

from assets_core.contracts import Found, Staged, Target
from assets_core.errors import LeaseLostError, StorageError
from assets_core.faults import reach
from assets_core.records import Receipt
from io_managers.parquet import files as _files
from io_managers.parquet import names as _names
from io_managers.parquet.names import FILE, PART, REJECTS, ROWS, VersionName, safe_path_part

if TYPE_CHECKING:
    import pyarrow as pa

    from io_managers.parquet import pages as _pages
from io_managers._bases import CatalogStore
from io_managers.parquet.reading import VersionReading, rowless
from io_managers.parquet.view import FolderView, same_file


class ParquetFiles(VersionReading, FolderView, CatalogStore):
    """Partitions as Parquet files under ``root`` (relative to the project's folder).

    ``compression`` is a Parquet codec with its ``compression_level``; ``row_group_size`` is in
    rows (a group of wide rows ends earlier, at about 64 MB).
    """

    def __repr__(self) -> str:
        return f"ParquetFiles({self._given!r})"

    def stage(self, target: Target, data: pa.RecordBatchReader | pa.Table | Path) -> Staged:
        """Write a new version and make it durable. A failure leaves nothing behind."""
        if isinstance(data, os.PathLike):
            return self._stage_file(target, os.fspath(data))
        name, written = self._write(target, data, ROWS)
        return Staged(target, "table", name, written.rows, written.bytes)

    def lay(self, target: Target, data: pa.RecordBatchReader | pa.Table) -> Staged:
        """`stage`, but for what is small: that ``force`` makes durable."""
        import pyarrow as pa

        from io_managers.parquet import pages as _pages
        from io_managers.parquet import versions as _versions

        if not isinstance(data, pa.Table) or data.nbytes > _pages.SMALL:
            return self.stage(target, data)
        asset = safe_path_part(target.asset)
        name, written = _versions.lay_rows(
            f"{self._versions}/{asset}", _names.stem(target), data, self._layout, _facts(target)
        )
        location = f"{asset}/{name}"
        return Staged(target, "table", location, written.rows, written.bytes, durable=False)

    def force(self, receipts: Sequence[Receipt]) -> list[StorageError | None]:
        """Make versions durable, and the names of their folders; what failed, of each."""
        paths = [self._path(receipt.location) for receipt in receipts]
        errors = _files.sync_all(paths)
        return [
            None if error is None else _files.storage_error(error, path)
            for path, error in zip(paths, errors, strict=True)
        ]

    def stage_rejects(self, staged: Staged, rejects: pa.Table) -> Staged:
        """Write the rejected rows beside the staged version."""
        location, written = self._write(staged.target, rejects, REJECTS)
        return Staged(
            staged.target,
            staged.kind,
            staged.location,
            staged.rows,
            staged.bytes,
            location,
            written.rows,
            durable=staged.durable,
        )

    def _write(self, target: Target, data: Any, suffix: str) -> tuple[str, _pages.Written]:
        """Store rows; the location and what was written."""
        from io_managers.parquet import versions as _versions

        asset = safe_path_part(target.asset)
        folder = f"{self._versions}/{asset}"
        name, written = _versions.store_rows(
            folder, _names.stem(target), suffix, data, self._layout, _facts(target)
        )
        return f"{asset}/{name}", written

    def _stage_file(self, target: Target, source: str) -> Staged:
        from io_managers.parquet import versions as _versions

        asset = safe_path_part(target.asset)
        folder = f"{self._versions}/{asset}"
        name, written = _versions.store_file(folder, _names.stem(target), source, _facts(target))
        return Staged(target, "file", f"{asset}/{name}", 0, written.bytes)

    def audit(self, staged: Staged) -> pa.RecordBatchReader:
        """The staged rows, read back and verified."""
        if staged.kind != "table":
            raise rowless(staged.kind)
        return self._reader([self._part(staged.location, staged.bytes)], None)

    def publish(self, staged: Staged, fact: str) -> Receipt:  # noqa: ARG002 -- the state store keeps it
        """The receipt of the staged version; the state store moves the pointer."""
        reach("publish.begin")
        if staged.kind != "none" and not os.path.exists(self._path(staged.location)):
            raise self._missing(staged.location)
        return Receipt(
            self._name,
            staged.kind,
            staged.location,
            staged.target.token,
            staged.rows,
            staged.bytes,
            staged.rejects,
            staged.rejected,
        )

    def stage_many(self, targets: Sequence[Target], tables: Sequence[pa.Table]) -> list[Staged]:
        """Write a version of each; the large ones one by one. A failure leaves nothing behind."""
        from io_managers.parquet import pages as _pages
        from io_managers.parquet import versions as _versions

        if any(table.nbytes > _pages.SMALL for table in tables):
            return self._stage_each(targets, tables)
        asset = safe_path_part(targets[0].asset)
        stored = _versions.store_many(
            f"{self._versions}/{asset}",
            [
                (_names.stem(target), table, _facts(target))
                for target, table in zip(targets, tables, strict=True)
            ],
            self._layout,
        )
        return [
            Staged(target, "table", f"{asset}/{name}", written.rows, written.bytes)
            for target, (name, written) in zip(targets, stored, strict=True)
        ]

    def _stage_each(self, targets: Sequence[Target], tables: Sequence[pa.Table]) -> list[Staged]:
        staged: list[Staged] = []
        try:
            for target, table in zip(targets, tables, strict=True):
                staged.append(self.stage(target, table))
        except BaseException:
            self.discard_many(staged)
            raise
        return staged

    def audit_many(self, staged: Sequence[Staged]) -> Iterator[pa.Table]:
        """The staged rows of each, read back and verified."""
        from io_managers.parquet import scan as _scan

        return _scan.each([self._part(one.location, one.bytes) for one in staged])

    def publish_many(
        self, staged: Sequence[Staged], facts: Sequence[str]
    ) -> list[Receipt | LeaseLostError]:
        """The receipts; the state store moves the pointers."""
        return [self.publish(one, fact) for one, fact in zip(staged, facts, strict=True)]

    def discard_many(self, staged: Sequence[Staged]) -> None:
        """Remove staged versions and their rejects."""
        for one in staged:
            self.discard(one)

    def discard(self, staged: Staged) -> None:
        """Remove a staged version and its rejects."""
        reach("discard.begin")
        for location in filter(None, (staged.location, staged.rejects)):
            name = _names.parse_location(location)
            path = self._path(location)
            with _files.storage_errors(path):
                _files.remove(path)
                if name.suffix.startswith(FILE):
                    _files.remove(path + ".json")
            reach("discard.removed")

    def sweep(self, run: str, keep: Collection[str]) -> int:
        """Remove what the dead run left staged; the number of versions removed."""
        kept = set(keep)
        removed = 0
        for asset in _entries(self._versions):
            folder = f"{self._versions}/{asset}"
            for name in _entries(folder):
                if f".{run}." not in name or _names.run_of(name) != run:
                    continue
                if f"{asset}/{name.removesuffix('.json')}" in kept:
                    continue
                with _files.storage_errors(f"{folder}/{name}"):
                    gone = _files.remove(f"{folder}/{name}")
                removed += gone and not _is_companion(name)
        return removed

    def scan(self) -> Iterator[Found]:
        """Every version that is whole, from the files alone; damaged ones are left out."""
        for asset in _entries(self._versions):
            names = _entries(f"{self._versions}/{asset}")
            parsed = {name: found for name in names if (found := _names.parse(name))}
            rejects = {n.stem: name for name, n in parsed.items() if n.suffix == REJECTS}
            for name, found in parsed.items():
                if found.suffix != REJECTS:
                    yield from self._found(asset, name, found, rejects.get(found.stem, ""))

    def _found(self, asset: str, name: str, parsed: VersionName, rejects: str) -> Iterator[Found]:
        try:
            facts, rows, size = self._facts_of(f"{asset}/{name}", parsed)
            rejected = (
                self._facts_of(f"{asset}/{rejects}", _names.parse_location(f"{asset}/{rejects}"))[1]
                if rejects
                else 0
            )
        except (StorageError, FileNotFoundError, ValueError):
            return  # half-written or damaged: not a version
        kind: Literal["table", "file"] = "file" if parsed.suffix.startswith(FILE) else "table"
        location = f"{asset}/{name}"
        shown = self._view(facts["environment"], facts["asset"], tuple(facts["path_parts"]))
        yield Found(
            asset=facts["asset"],
            partition=facts["partition"],
            path_parts=tuple(facts["path_parts"]),
            environment=facts["environment"],
            run=parsed.run,
            attempt=parsed.attempt,
            stamp=facts["stamp"],
            receipt=Receipt(
                self._name,
                kind,
                location,
                parsed.token,
                rows,
                size,
                f"{asset}/{rejects}" if rejects else "",
                rejected,
            ),
            visible=_same_version(self._path(location), f"{shown}/data{parsed.extension}", parsed),
        )

    def _facts_of(self, location: str, parsed: VersionName) -> tuple[dict[str, Any], int, int]:
        """What was noted of a version when it was staged, its rows and its bytes."""
        from io_managers.parquet import versions as _versions

        path = self._path(location)
        size = os.stat(path).st_size
        if not parsed.suffix.startswith(FILE):
            part = self._part(location, size)
            facts, rows = _versions.facts_of(path, location, part.tail)
            return json.loads(facts), rows, size
        if size != parsed.size:
            raise ValueError(f"{size} bytes, not {parsed.size}")
        with open(path + ".json", "rb") as file:
            return json.load(file), 0, size

    def close(self) -> None:
        """Make views durable; nothing else is held open."""
        self.flush()


def _facts(target: Target) -> bytes:
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


def _entries(folder: str) -> list[str]:
    """Names in ``folder``; none where there is no such folder."""
    with _files.storage_errors(folder):
        try:
            return os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []


def _is_companion(name: str) -> bool:
    return name.endswith((".json", REJECTS, REJECTS + PART))


def _same_version(path: str, shown: str, parsed: VersionName) -> bool:
    """Whether the view shows this version: the same file, or where links don't work its copy."""
    if same_file(path, shown):
        return True
    try:
        with open(shown, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - parsed.size))
            return size == os.stat(path).st_size and crc32(file.read()) == parsed.crc
    except OSError:
        return False
