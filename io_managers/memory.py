"""Partitions in the memory of this process: for tests, notebooks and intermediate results.

A catalog store like the Parquet one, with a dictionary for a disk. Nothing outlives the process.
"""

from __future__ import annotations

import itertools
import secrets
import shutil
import tempfile
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets_core.contracts import Found, Staged, Target
from assets_core.errors import MissingDataError, OutputError, UsageError
from assets_core.faults import reach
from assets_core.records import Receipt
from io_managers._bases import CatalogStore

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class _File:
    """One opaque file: its bytes, and how its name ended."""

    data: bytes
    suffix: str


@dataclass(frozen=True, slots=True)
class _Version:
    """What one attempt stored. ``rejects`` is the location of its rejects, if there are any."""

    target: Target
    data: Any
    rows: int
    bytes: int
    rejects: str = ""


class _View(CatalogStore):
    """Which version of each partition is current, for those who scan; nobody outside can look."""

    _lock: threading.Lock
    _view: dict[tuple[str, str, tuple[str, ...]], str]

    def expose(
        self, environment: str, asset: str, path_parts: tuple[str, ...], receipt: Receipt
    ) -> None:
        """Note which version is current; nobody outside can look."""
        with self._lock:
            self._view[environment, asset, path_parts] = receipt.location

    def conceal(self, environment: str, asset: str, path_parts: tuple[str, ...]) -> None:
        """Note that no version is current."""
        with self._lock:
            self._view.pop((environment, asset, path_parts), None)

    def flush(self) -> None:
        """Nothing to sync."""


class Memory(_View):
    """Partitions kept in this process and lost with it. Safe to use from several threads."""

    def __init__(self) -> None:
        self._home = secrets.token_hex(4)
        self._start("")

    def _start(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._versions: dict[str, _Version] = {}
        self._view = {}
        self._folder: Path | None = None

    def bind(self, name: str, root: Path) -> None:  # noqa: ARG002 -- memory has no place on disk
        """Tell the manager its name in the definitions."""
        self._name = name

    def __getstate__(self) -> dict[str, Any]:
        return {"home": self._home, "name": self._name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Another process gets an empty store of the same home: what it is asked for is missing.
        self._home = state["home"]
        self._start(state["name"])

    def __repr__(self) -> str:
        return "Memory()"

    def identity(self) -> tuple[object, ...]:
        """All memories are alike."""
        return ("memory",)

    # ---------------------------------------------------------------------------- stage

    def stage(self, target: Target, data: pa.RecordBatchReader | pa.Table | Path) -> Staged:
        """Keep a new version, unseen."""
        if isinstance(data, Path):
            return self._stage_file(target, data)
        table = _whole(data)
        location = self._keep(_Version(target, table, len(table), table.nbytes))
        return Staged(target, "table", location, len(table), table.nbytes)

    def _stage_file(self, target: Target, path: Path) -> Staged:
        if not path.is_file():
            raise OutputError(
                "The returned path is not a file.",
                facts={"path": path},
                hint="Return the path of one file; pack a folder into an archive.",
            )
        data = path.read_bytes()
        location = self._keep(
            _Version(target, _File(data, "".join(path.suffixes[-2:])), 0, len(data))
        )
        return Staged(target, "file", location, 0, len(data))

    def _keep(self, version: _Version) -> str:
        reach("stage.created")
        location = f"{self._home}/{next(self._numbers)}"
        with self._lock:
            self._versions[location] = version
        reach("stage.folder_synced")
        return location

    def stage_rejects(self, staged: Staged, rejects: pa.Table) -> Staged:
        """Keep the rejected rows beside the staged version."""
        table = _whole(rejects)
        location = self._keep(_Version(staged.target, table, len(table), table.nbytes))
        with self._lock:
            version = self._version(staged.location)
            self._versions[staged.location] = replace(version, rejects=location)
        return replace(staged, rejects=location, rejected=len(table))

    def audit(self, staged: Staged) -> pa.RecordBatchReader:
        """The staged rows."""
        return self._table(staged.location).to_reader()

    def publish(self, staged: Staged, fact: str) -> Receipt:  # noqa: ARG002 -- the state store keeps it
        """The receipt of the staged version; the state store moves the pointer."""
        reach("publish.begin")
        if staged.kind != "none":
            self._version(staged.location)
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

    def discard(self, staged: Staged) -> None:
        """Forget a staged version and its rejects."""
        reach("discard.begin")
        with self._lock:
            self._versions.pop(staged.location, None)
            self._versions.pop(staged.rejects, None)
        reach("discard.removed")

    # ---------------------------------------------------------------------------- read

    def _version(self, location: str) -> _Version:
        found = self._versions.get(location)
        if found is not None:
            return found
        elsewhere = location.partition("/")[0] != self._home
        why = "another process, or an earlier one, made it" if elsewhere else "it was removed"
        raise MissingDataError(
            "The data is not in memory.",
            facts={"location": location, "reason": why},
            hint="Memory keeps data only while its process lives: build the partition again in "
            "this one, or give the asset another IO manager.",
        )

    def _table(self, location: str) -> Any:
        data = self._version(location).data
        if isinstance(data, _File):
            raise UsageError(
                "An asset that is one file has no rows to read.", hint="Ask for a Path."
            )
        return data

    def open(
        self, receipts: Sequence[Receipt], columns: Sequence[str] | None = None
    ) -> pa.RecordBatchReader:
        """The rows of these versions, in the receipts' order."""
        return self.read(receipts, columns).to_reader()

    def read(self, receipts: Sequence[Receipt], columns: Sequence[str] | None = None) -> pa.Table:
        """What ``open`` gives, whole; nothing is copied unless types differ."""

        from io_managers import _schemas

        tables = []
        for receipt in receipts:
            if receipt.kind == "none":
                raise UsageError("An asset that writes its data by itself has no rows to read.")
            tables.append(self._table(receipt.location))
        if len(tables) == 1 and columns is None:
            return tables[0]
        merged = _schemas.merge([table.schema for table in tables])
        schema = _schemas.select_fields(merged, columns)
        return _schemas.concat(tables, schema)

    def open_rejects(self, receipt: Receipt) -> pa.Table | None:
        """The rows set aside when this version was built, or None."""
        return self._table(receipt.rejects) if receipt.rejects else None

    def path(self, receipt: Receipt) -> Path:
        """A file with the version's bytes, written to a temporary folder when first asked for."""
        data = self._version(receipt.location).data
        if not isinstance(data, _File):
            raise UsageError("A table in memory has no file.", hint="Ask for a table instead.")
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="assets-memory-"))
            path = self._folder / (receipt.location.replace("/", "-") + data.suffix)
            if not path.exists():
                path.write_bytes(data.data)
        return path

    def verify(self, receipt: Receipt) -> None:
        """MissingDataError when the version or its rejects are not in this process."""
        for location in filter(None, (receipt.location, receipt.rejects)):
            self._version(location)

    # ---------------------------------------------------------------------------- recovery

    def sweep(self, run: str, keep: Collection[str]) -> int:
        """Forget what the dead run left staged; the number of versions forgotten."""
        kept = set(keep)
        with self._lock:
            gone = [k for k, v in self._versions.items() if v.target.run == run and k not in kept]
            rejects = {self._versions[location].rejects for location in self._versions}
            for location in gone:
                del self._versions[location]
        return len([location for location in gone if location not in rejects])

    def scan(self) -> Iterator[Found]:
        """Every version in this process."""
        with self._lock:
            versions, shown = dict(self._versions), set(self._view.values())
        rejects = {version.rejects for version in versions.values()}
        for location, version in versions.items():
            if location not in rejects:
                yield self._found(location, version, versions, location in shown)

    def _found(
        self, location: str, version: _Version, versions: dict[str, _Version], visible: bool
    ) -> Found:
        target = version.target
        receipt = Receipt(
            self._name,
            "file" if isinstance(version.data, _File) else "table",
            location,
            target.token,
            version.rows,
            version.bytes,
            version.rejects,
            versions[version.rejects].rows if version.rejects in versions else 0,
        )
        return Found(
            target.asset,
            target.partition,
            target.path_parts,
            target.environment,
            target.run,
            target.attempt,
            target.stamp,
            receipt,
            visible,
        )

    def close(self) -> None:
        """Remove temporary files; the data stays until the process ends."""
        with self._lock:
            folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _whole(data: Any) -> Any:
    """A table without frame metadata, out of a table or a stream."""
    import pyarrow as pa

    from io_managers import _schemas

    table = data if isinstance(data, pa.Table) else data.read_all()
    _schemas.check_names(table.schema)
    return table.replace_schema_metadata(_schemas.without_frame_metadata(table.schema).metadata)
