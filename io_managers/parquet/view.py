"""The outside view of a Parquet store: one file a partition, swapped by link and rename."""
# Strings and os.path: a Path costs more than the link and rename that it names.
# ruff: noqa: PTH102, PTH104, PTH106, PTH110, PTH112, PTH116, PTH119, PTH120, PTH208

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Iterator, Sequence

from assets_core.contracts import InView
from assets_core.errors import MissingDataError
from assets_core.faults import reach
from assets_core.records import Receipt
from io_managers.parquet import files as _files
from io_managers.parquet import names as _names
from io_managers.parquet.folder import ParquetFolder
from io_managers.parquet.names import safe_path_part

_ENVIRONMENTS = ".environments"
_TRIES = 8
_temporary = itertools.count()


class FolderView(ParquetFolder):
    """Shows versions to everybody who scans the asset's folder."""

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
            if not same_file(source, shown):
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
            for depth in range(len(path_parts), 0, -1):
                self._remove_empty(self._view(environment, asset, path_parts[:depth]))
            with self._lock:
                self._touched.add(os.path.dirname(folder) if path_parts else folder)

    def restrict(self, environment: str, asset: str, wanted: Sequence[InView]) -> int:
        """Leave exactly these in the asset's folder; ``flush`` makes it durable."""
        places = {one.path_parts: one.receipt for one in wanted}
        shown = set(_shown(self._view(environment, asset, ())))
        for place in shown - places.keys():
            self.conceal(environment, asset, place)
        left_out = 0
        for place in places.keys() - shown:
            receipt = places[place]
            if receipt is None:
                left_out += 1
                continue
            with contextlib.suppress(MissingDataError):  # readers are told so, `repair` counts it
                self.expose(environment, asset, place, receipt)
        if not wanted:
            self._remove_empty(self._view(environment, asset, ()))
        return left_out

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
        with self._lock:
            touched, self._touched = self._touched, set()
        for folder, error in _files.sync_folders(list(touched)).items():
            # A folder that somebody removed meanwhile has nothing to make durable.
            if error is not None and not isinstance(error, FileNotFoundError):
                raise _files.storage_error(error, folder) from error


def same_file(a: str, b: str) -> bool:
    try:
        return os.path.samestat(os.stat(a), os.stat(b))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _shown(folder: str, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The partitions below a folder that it shows, as their folders."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _shown(entry.path, (*place, entry.name))
            elif entry.name.startswith("data") and _is_read_only_file(entry.path):
                yield place


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
