"""Durable file primitives: create, write whole, sync file and folder, name what went wrong.

Knows nothing of tables. Uses ``os`` on plain strings throughout: it lies on the path of every
tiny partition, where ``pathlib`` would cost more than the encoding of the data.
"""
# Strings instead of Paths: see the docstring.
# ruff: noqa: PTH101, PTH102, PTH112, PTH120, PTH123

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from assets_core.errors import DiskFullError, StorageError
from assets_core.faults import reach

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LINKS = {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_THREADS = 8  # most of them wait for the disk
READ_ONLY = 0o444  # stored versions are immutable: an outside program must not edit one in place


def storage_error(error: OSError, path: str, needed: int | None = None) -> StorageError:
    """``error`` in this project's words; DiskFullError when there was no room."""
    facts: dict[str, object] = {"path": path}
    if error.errno not in _NO_ROOM:
        facts["system"] = error.strerror or error
        return StorageError("Reading or writing data failed.", facts=facts)
    if needed is not None:
        facts["needed"] = f"{needed:,} bytes"
    facts["free"] = _free(path)
    facts["system"] = error.strerror or error
    return DiskFullError(
        "There is no room for the new version.",
        facts=facts,
        hint="The old version still serves. Make room, or raise the limit, and run again.",
    )


def _free(path: str) -> str:
    folder = path
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    return f"{shutil.disk_usage(folder).free:,} bytes"


@contextlib.contextmanager
def storage_errors(path: str, needed: int | None = None) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError about ``path``."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path, needed) from error


_named: set[str] = set()
"""Folders whose own names this process knows to be on disk."""


def open_folder(path: str, *, durably: bool = True) -> int:
    """A descriptor of the folder ``path``, which is created when it is missing.

    ``durably`` its name is on disk, whoever created it; else `sync_all` sees to that.
    """
    try:
        folder = os.open(path, _FOLDER)
    except FileNotFoundError:
        _named.discard(path)
        make_folder(path if durably else os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
        folder = os.open(path, _FOLDER)
        if durably:
            _named.add(path)
    if durably and path not in _named:
        sync_folder(os.path.dirname(path))
        _named.add(path)
    return folder


def make_folder(path: str) -> None:
    """Create ``path`` and what is missing above it, each name synced into its parent."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path) or "."
    make_folder(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
    sync_folder(parent)


def sync_all(files: Sequence[str]) -> list[OSError | None]:
    """Force these files to disk, and then their names; what failed, of each.

    Side by side: the file system commits syncs that come together in one go.
    """
    folders = list(dict.fromkeys(os.path.dirname(path) for path in files))
    new = [folder for folder in folders if folder not in _named]
    above = list(dict.fromkeys(map(os.path.dirname, new)))
    errors = dict(zip(files, _each(_sync_file, files), strict=True))
    for _ in files:
        reach("stage.synced")
    named = sync_folders([*folders, *above])
    _named.update(folder for folder in new if named[os.path.dirname(folder)] is None)
    for _ in files:
        reach("stage.folder_synced")
    failed = {f: named[f] or (named[os.path.dirname(f)] if f in new else None) for f in folders}
    return [errors[path] or failed[os.path.dirname(path)] for path in files]


def sync_folders(folders: Sequence[str]) -> dict[str, OSError | None]:
    """Force the names in these folders to disk, side by side; what failed, of each."""
    return dict(zip(folders, _each(_sync_folder_or_tell, folders), strict=True))


def _each(sync: Callable[[str], OSError | None], paths: Sequence[str]) -> Iterable[OSError | None]:
    if len(paths) < 2:
        return [sync(path) for path in paths]
    with ThreadPoolExecutor(min(len(paths), _THREADS), "sync") as pool:
        return list(pool.map(sync, paths))


def _sync_file(path: str) -> OSError | None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        return error
    return None


def _sync_folder_or_tell(path: str) -> OSError | None:
    try:
        sync_folder(path)
    except OSError as error:
        return error
    return None


def sync_folder(path: str) -> None:
    """Force the names in ``path`` to disk."""
    folder = os.open(path, _FOLDER)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def create(name: str, folder: int, mode: int = READ_ONLY) -> int:
    """A descriptor of the new file ``name`` in the open ``folder``; one of that name is replaced.

    Relative to the descriptor, so that the folder that is synced later is surely the file's own,
    also when somebody swaps folders meanwhile.
    """
    try:
        return os.open(name, _NEW_FILE, mode, dir_fd=folder)
    except FileExistsError:
        os.unlink(name, dir_fd=folder)
        return os.open(name, _NEW_FILE, mode, dir_fd=folder)


def create_whole(name: str, folder: int, data: memoryview, *, durably: bool = True) -> None:
    """Create ``name`` with these bytes, all of it or nothing; ``durably`` they and the name are
    synced."""
    file = create(name, folder)
    try:
        reach("stage.created")
        write_all(file, data)
        reach("stage.written")
        if durably:
            os.fsync(file)
            reach("stage.synced")
            os.fsync(folder)
            reach("stage.folder_synced")
    except BaseException:
        remove(name, folder)
        raise
    finally:
        os.close(file)


def settle(file: int, part: str, final: str, folder: int) -> None:
    """Sync an open file, give it its final name, sync the name."""
    reach("stage.written")
    os.fsync(file)
    reach("stage.synced")
    os.rename(part, final, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)
    reach("stage.folder_synced")


def write_all(file: int, data: memoryview) -> None:
    """Write every byte; one system call unless the system takes less."""
    written = os.write(file, data)
    while written < len(data):
        written += os.write(file, data[written:])


def remove(name: str, folder: int | None = None) -> bool:
    """Remove a file; False when it was not there."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def link_or_copy(source: str, target: str) -> None:
    """Give ``source`` a second name, by hard link, or where links don't work by a synced copy."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _copy_synced(source, target)


def _copy_synced(source: str, target: str) -> None:
    with open(source, "rb") as old, open(target, "xb") as new:
        shutil.copyfileobj(old, new, 1 << 20)
        new.flush()
        os.fsync(new.fileno())
    os.chmod(target, READ_ONLY)


def pread(file: int, size: int, offset: int) -> bytes:
    """``size`` bytes from ``offset``, fewer only where the file ends."""
    data = os.pread(file, size, offset)
    if len(data) == size or not data:
        return data
    return data + pread(file, size - len(data), offset + len(data))
