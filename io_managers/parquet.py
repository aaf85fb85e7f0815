"""Parquet files: immutable versions that the state store points to, and a view for everybody else.

``<root>/.versions/<asset>/`` holds the versions; ``<root>/<asset>/date=2024-01-01/data.parquet``
is the view of ``prod``, other environments' lie under ``<root>/.environments/<environment>/``.
How bytes are encoded and verified is ``_pages``' business, how they are named ``_names``'.
"""
# Strings and os.path: a Path costs more than the link and rename that it names.
# ruff: noqa: PTH100, PTH102, PTH104, PTH106, PTH110, PTH112, PTH116, PTH118, PTH119, PTH120, PTH123, PTH208

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import stat
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zlib import crc32

from assets_core.contracts import Fence, Found, Staged, Target
from assets_core.errors import LeaseLostError, MissingDataError, StorageError, UsageError
from assets_core.faults import reach
from assets_core.records import Receipt
from io_managers import _files, _names
from io_managers._names import FILE, PART, REJECTS, ROWS, VersionName, safe_path_part

if TYPE_CHECKING:
    import pyarrow as pa

    from io_managers import _pages, _scan

_VERSIONS, _ENVIRONMENTS = ".versions", ".environments"
_TRIES = 8
_temporary = itertools.count()


class ParquetFiles:
    """Partitions as Parquet files under ``root`` (relative to the project's folder).

    ``compression`` is a Parquet codec with its ``compression_level``; ``row_group_size`` is in
    rows (a group of wide rows ends earlier, at about 64 MB).
    """

    transactional = False

    def __init__(
        self,
        root: str | Path = "data",
        *,
        compression: str = "zstd",
        compression_level: int | None = None,
        row_group_size: int = 1_048_576,
    ) -> None:
        if row_group_size < 1:
            raise UsageError("row_group_size must be at least 1.", facts={"given": row_group_size})
        self._given = os.fspath(root)
        self._compression = compression
        self._level = compression_level
        self._rows = row_group_size
        self._set_up("", Path())

    def _set_up(self, name: str, project: Path) -> None:
        self._name = name
        self._project = project
        self._root = os.path.join(os.path.abspath(project), self._given)
        self._versions = os.path.join(self._root, _VERSIONS)
        self._lock = threading.Lock()
        self._touched: set[str] = set()
        self._verified: dict[str, tuple[int, int, int]] = {}

    def bind(self, name: str, root: Path) -> None:
        """Tell the manager its name in the definitions and the project's folder; opens nothing."""
        self._set_up(name, root)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "given": (self._given, self._compression, self._level, self._rows),
            "bound": (self._name, self._project),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._given, self._compression, self._level, self._rows = state["given"]
        self._set_up(*state["bound"])

    def __repr__(self) -> str:
        return f"ParquetFiles({self._given!r})"

    @property
    def folder(self) -> str:
        """Where data lies: what is read there is no code."""
        return str(self._root)

    def identity(self) -> tuple[object, ...]:
        """Where and how data is kept; a root inside the project counts by its relative path."""
        place = os.path.relpath(self._root, os.path.abspath(self._project))
        return ("parquet", self._root if place.startswith("..") else place, self._compression)

    @functools.cached_property
    def _layout(self) -> _pages.Layout:
        from io_managers import _pages

        return _pages.Layout(self._compression, self._level, self._rows)

    # ---------------------------------------------------------------------------- stage

    def stage(self, target: Target, data: pa.RecordBatchReader | pa.Table | Path) -> Staged:
        """Write a new version and make it durable. A failure leaves nothing behind."""
        if isinstance(data, os.PathLike):
            return self._stage_file(target, os.fspath(data))
        name, written = self._write(target, data, ROWS)
        return Staged(target, "table", name, written.rows, written.bytes)

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
        )

    def _write(self, target: Target, data: Any, suffix: str) -> tuple[str, _pages.Written]:
        """Store rows; the location and what was written."""
        from io_managers import _versions

        asset = safe_path_part(target.asset)
        folder = f"{self._versions}/{asset}"
        name, written = _versions.store_rows(
            folder, _names.stem(target), suffix, data, self._layout, _facts(target)
        )
        return f"{asset}/{name}", written

    def _stage_file(self, target: Target, source: str) -> Staged:
        from io_managers import _versions

        asset = safe_path_part(target.asset)
        folder = f"{self._versions}/{asset}"
        name, written = _versions.store_file(folder, _names.stem(target), source, _facts(target))
        return Staged(target, "file", f"{asset}/{name}", 0, written.bytes)

    def audit(self, staged: Staged) -> pa.RecordBatchReader:
        """The staged rows, read back and verified."""
        if staged.kind != "table":
            raise _rowless(staged.kind)
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
        from io_managers import _pages, _versions

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
        from io_managers import _scan

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

    # ---------------------------------------------------------------------------- read

    def _path(self, location: str) -> str:
        return f"{self._versions}/{location}"

    def _part(self, location: str, size: int) -> _scan.Part:
        from io_managers._pages import Tail
        from io_managers._scan import Part

        name = _names.parse_location(location)
        return Part(self._path(location), location, Tail(name.size, name.crc), name.schema, size)

    def _parts(self, receipts: Sequence[Receipt]) -> list[_scan.Part]:
        for receipt in receipts:
            if receipt.kind != "table":
                raise _rowless(receipt.kind)
        return [self._part(receipt.location, receipt.bytes) for receipt in receipts]

    def _reader(
        self, parts: Sequence[_scan.Part], columns: Sequence[str] | None
    ) -> pa.RecordBatchReader:
        from io_managers import _scan

        return _scan.reader(parts, columns)

    def open(
        self, receipts: Sequence[Receipt], columns: Sequence[str] | None = None
    ) -> pa.RecordBatchReader:
        """The rows of these versions in one scan, in the receipts' order, verified."""
        return self._reader(self._parts(receipts), columns)

    def read(self, receipts: Sequence[Receipt], columns: Sequence[str] | None = None) -> pa.Table:
        """What ``open`` gives, whole."""
        from io_managers import _scan

        return _scan.read(self._parts(receipts), columns)

    def open_rejects(self, receipt: Receipt) -> pa.Table | None:
        """The rows set aside when this version was built, or None."""
        if not receipt.rejects:
            return None
        return self._part(receipt.rejects, 0).read(None)

    def path(self, receipt: Receipt) -> Path:
        """The version's own file, every byte verified (again only after the file was touched).

        It is not to be written to: it is the version, not a copy.
        """
        if receipt.kind == "none":
            raise _rowless(receipt.kind)
        path = self._path(receipt.location)
        mark = _mark(path)
        if mark is None or self._verified.get(path) != mark:
            self._verify(receipt.location, rows=False)
            if len(self._verified) >= 10_000:  # a bound, so that a service can run for years
                self._verified.clear()
            self._verified[path] = mark or (0, 0, 0)
        return Path(path)

    def verify(self, receipt: Receipt) -> None:
        """Read the version and its rejects whole; CorruptDataError or MissingDataError."""
        for location in filter(None, (receipt.location, receipt.rejects)):
            self._verify(location, rows=True)

    def _verify(self, location: str, *, rows: bool) -> None:
        from io_managers import _versions

        part = self._part(location, 0)
        if _names.parse_location(location).suffix.startswith(FILE):
            _versions.verify_file(part.path, location, part.tail)
        else:
            _versions.verify_rows(part.path, location, part.tail, decode=rows)

    def _missing(self, location: str) -> MissingDataError:
        from io_managers import _versions

        return _versions.missing(location)

    # ---------------------------------------------------------------------------- view

    def expose(
        self, environment: str, asset: str, path_parts: tuple[str, ...], receipt: Receipt
    ) -> None:
        """Swap the outside view of a partition to this version; ``flush`` makes it durable."""
        if receipt.kind == "none":
            return
        name = _names.parse_location(receipt.location)
        folder = self._view(environment, asset, path_parts)
        shown = f"{folder}/data{name.extension}"
        source = self._path(receipt.location)
        with _files.storage_errors(shown):
            if not _same_file(source, shown):
                self._swap(source, folder, shown, receipt.location)
            _tidy(folder, shown)

    def conceal(self, environment: str, asset: str, path_parts: tuple[str, ...]) -> None:
        """Take a partition out of the outside view; ``flush`` makes it durable."""
        reach("conceal.begin")
        folder = self._view(environment, asset, path_parts)
        with _files.storage_errors(folder):
            if not os.path.isdir(folder):
                return
            _tidy(folder, "")
            reach("conceal.removed")
            if path_parts:
                self._remove_empty(folder)
            with self._lock:
                self._touched.add(os.path.dirname(folder) if path_parts else folder)

    def _remove_empty(self, folder: str) -> None:
        """The partition's own folder, unless somebody keeps something in it."""
        with contextlib.suppress(OSError):
            os.rmdir(folder)

    def _view(self, environment: str, asset: str, path_parts: tuple[str, ...]) -> str:
        base = self._root
        if environment != "prod":
            base = f"{base}/{_ENVIRONMENTS}/{safe_path_part(environment)}"
        return "/".join((base, safe_path_part(asset), *path_parts))

    def _swap(self, source: str, folder: str, shown: str, location: str) -> None:
        """Link beside, then rename over. Others may remove the folder or tidy our link away."""
        for attempt in itertools.count():
            temporary = f"{folder}/.data.{os.getpid()}.{next(_temporary)}.tmp"
            try:
                _files.link_or_copy(source, temporary)
                reach("expose.linked")
                os.rename(temporary, shown)
                break
            except FileNotFoundError:
                if not os.path.exists(source):
                    raise self._missing(location) from None
                if attempt >= _TRIES:
                    raise
                self._make_view(folder)
            except FileExistsError:  # left by a dead process that had our id
                _files.remove(temporary)
        # A rename onto the same file (another process was faster) leaves the link: tidied next.
        reach("expose.renamed")
        with self._lock:
            self._touched.add(folder)

    def _make_view(self, folder: str) -> None:
        above = os.path.dirname(folder)
        try:
            os.mkdir(folder)
        except FileNotFoundError:
            self._make_view(above)
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
        except FileExistsError:
            return
        with self._lock:
            self._touched.add(above)

    def flush(self) -> None:
        """Sync the folders whose view was swapped since the last flush."""
        reach("flush.begin")
        with self._lock:
            touched, self._touched = self._touched, set()
        for folder in touched:
            # A folder that somebody removed meanwhile has nothing to make durable.
            with _files.storage_errors(folder), contextlib.suppress(FileNotFoundError):
                _files.sync_folder(folder)

    # ---------------------------------------------------------------------------- recovery

    def fences(self, environment: str, asset: str, partitions: Sequence[str]) -> list[Fence]:  # noqa: ARG002 -- the contract's signature
        """None: the state store is the fence of a file store."""
        return []

    def fence_off(self, environment: str, asset: str, tokens: Mapping[str, int]) -> None:
        """Nothing: the state store is the fence of a file store."""

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
        from io_managers import _versions

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


def _rowless(kind: str) -> UsageError:
    what = "is one file" if kind == "file" else "writes its data by itself"
    return UsageError(
        f"An asset that {what} has no rows to read.",
        hint="Ask for a Path." if kind == "file" else "Depend on it with depends_on=[...].",
    )


def _entries(folder: str) -> list[str]:
    """Names in ``folder``; none where there is no such folder."""
    with _files.storage_errors(folder):
        try:
            return os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []


def _is_companion(name: str) -> bool:
    return name.endswith((".json", REJECTS, REJECTS + PART))


def _mark(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _same_file(a: str, b: str) -> bool:
    try:
        return os.path.samestat(os.stat(a), os.stat(b))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _same_version(path: str, shown: str, parsed: VersionName) -> bool:
    """Whether the view shows this version: the same file, or where links don't work its copy."""
    if _same_file(path, shown):
        return True
    try:
        with open(shown, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - parsed.size))
            return size == os.stat(path).st_size and crc32(file.read()) == parsed.crc
    except OSError:
        return False


def _tidy(folder: str, shown: str) -> None:
    """Remove what a crash or a change of kind left beside the view's file.

    Only files that are ours: temporary links, and ``data*`` that nobody may write to.
    """
    kept = os.path.basename(shown)
    for name in os.listdir(folder):
        if name == kept:
            continue
        path = f"{folder}/{name}"
        stale = name.startswith("data") and _is_read_only_file(path)
        if stale or (name.startswith(".data.") and name.endswith(".tmp")):
            _files.remove(path)


def _is_read_only_file(path: str) -> bool:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    return stat.S_ISREG(mode) and not mode & 0o222
