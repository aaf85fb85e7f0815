"""What code reads while it runs: files, folders, modules, scripts and environment variables.

An audit hook of the interpreter hears of whatever Python code opens, lists, imports or starts; the
environment has no such event, and is watched by the class of ``os.environ``. Readers in native code
(DuckDB, pyarrow, polars) make no sound: for these there is ``reads_files=``.

Only what lies under the code roots counts, but for folders of data and of state, and what the code
wrote itself. Notes go to the `Trace` that is open in the thread, in threads and forks that began
in it, and, where a module is being imported, to that module.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from assets_core.fingerprint.owning import is_among_packages, is_installed

Kind = Literal["file", "folder", "module", "variable"]
Stamp = tuple[int, int, int] | None
"""Modification time (ns), size and inode of a file; None where there is none."""

_READING_SETTINGS = frozenset(
    {"pydantic_settings", "environs", "decouple", "dotenv", "dynaconf", "environ", "omegaconf"}
)
"""Libraries that read variables on behalf of whoever calls them."""

_TELLING = frozenset({"linecache", "tokenize", "traceback", "warnings", "logging", "codecs"})
"""Modules that read source only to show it in a warning or a traceback."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Which files count: those under ``roots``, but not under ``apart`` (absolute paths).

    ``more`` are roots that were given by name: what lies there counts even among installed
    packages.
    """

    roots: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    more: tuple[str, ...] = ()

    _below: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)
    _not_below: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)
    _even_below: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)

    def is_given(self, path: str) -> bool:
        """Whether a path lies in a root that was given by name."""
        return path.startswith(self._even_below)

    def __post_init__(self) -> None:
        # Asked of every file that is opened while a step runs.
        for name, folders in (
            ("_below", self.roots),
            ("_not_below", self.apart),
            ("_even_below", self.more),
        ):
            object.__setattr__(self, name, tuple(one.rstrip(os.sep) + os.sep for one in folders))

    def counts(self, path: str) -> bool:
        """Whether a file or folder (an absolute path) is part of the project's code."""
        within = path + os.sep
        return (
            within.startswith(self._below)
            and not within.startswith(self._not_below)
            and "__pycache__" not in path
            and (not is_among_packages(within) or within.startswith(self._even_below))
            and not path.endswith((".pyc", ".pyo"))
        )


def code_roots(root: Path, more: Sequence[str | Path] = ()) -> tuple[str, ...]:
    """The folders that the project's own code lies in: its root, those given, and the folders on
    the import path that are neither the interpreter's nor hold installed packages."""
    given = [os.path.realpath(root), *(os.path.realpath(root / one) for one in more)]
    interpreter = tuple(os.path.realpath(p) for p in {sys.prefix, sys.base_prefix, sys.exec_prefix})
    temporary = os.path.realpath(tempfile.gettempdir())
    ours = os.path.realpath(Path(__file__).parent.parent)
    for entry in sys.path:
        path = os.path.realpath(entry or ".")
        installed = path.startswith(interpreter) or is_installed(f"{path}{os.sep}")
        if not installed and path != ours and not _holds(path, temporary) and Path(path).is_dir():
            given.append(path)
    return tuple(dict.fromkeys(given))


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def apart_from(root: Path, folders: Sequence[Path]) -> tuple[str, ...]:
    """What below the code roots is no code: state, data, and the interpreter's own folders."""
    own = os.path.realpath(root)
    found = [f"{own}{os.sep}.assets", *(os.path.realpath(one) for one in folders)]
    found += [p for p in map(os.path.realpath, (sys.prefix, sys.base_prefix)) if not _holds(p, own)]
    return tuple(dict.fromkeys(one for one in found if not _holds(one, own)))


@dataclass(slots=True)
class Trace:
    """What was read while it was open.

    ``files`` and ``modules`` that were imported by path with their stamps when they were first
    opened, ``folders`` by path with what was in them, ``variables`` by name with their values then.
    ``environment``: all variables were read at once. ``given`` are paths that the code was handed.
    """

    watch: Watch
    given: tuple[str, ...] = ()
    files: dict[str, Stamp] = field(default_factory=dict)
    folders: dict[str, tuple[str, ...]] = field(default_factory=dict)
    modules: dict[str, Stamp] = field(default_factory=dict)
    variables: dict[str, str | None] = field(default_factory=dict)
    environment: bool = False
    is_open: bool = True
    pid: int = field(default_factory=os.getpid)
    _made: set[str] = field(default_factory=set)
    _updated: set[str] = field(default_factory=set)
    _spool: str = ""

    def reads(self, path: str) -> None:
        """Note a file that is opened for reading."""
        if path not in self.files and self._counts(path):
            self.files[path] = stamp_of(path)
            self._tell("file", path)

    def lists(self, path: str) -> None:
        """Note a folder whose names are asked for."""
        if path not in self.folders and self._counts(path):
            self.folders[path] = names_in(path, self.watch)
            self._tell("folder", path)

    def makes(self, path: str) -> None:
        """What the code writes, removes or renames is its own."""
        self._made.add(path)

    def updates(self, path: str) -> None:
        """Note a file that is opened for reading and writing: what was only read of it counts."""
        self.reads(path)
        self._updated.add(path)

    def wrote(self, path: str) -> bool:
        """Whether a file that was read is another now because the code wrote it."""
        return path in self._updated and stamp_of(path) != self.files.get(path)

    def variable(self, name: str) -> None:
        """Note a variable of the environment."""
        if name not in self.variables:
            self.variables[name] = _plain_environment().get(name)
            self._tell("variable", name)

    def imports(self, path: str) -> None:
        """Note the source of a module that is imported."""
        if path not in self.modules and self._counts(path):
            self.modules[path] = stamp_of(path)
            self._tell("module", path)

    def _counts(self, path: str) -> bool:
        return (
            path not in self._made
            and self.watch.counts(path)
            and not any(_holds(one, path) for one in self.given)
        )

    def _tell(self, kind: Kind, name: str) -> None:
        """In a fork of the process: tell the one that waits for it."""
        if os.getpid() != self.pid and self._spool:
            line = json.dumps([kind, name]) + "\n"
            number = os.open(self._spool, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(number, line.encode())
            os.close(number)

    def gather(self) -> None:
        """Take in what forks noted."""
        if not self._spool:
            return
        spool, self._spool = Path(self._spool), ""
        lines = spool.read_text(encoding="utf-8").splitlines()
        spool.unlink()
        take: dict[str, Callable[[str], None]] = {
            "file": self.reads,
            "folder": self.lists,
            "variable": self.variable,
            "module": self.imports,
        }
        for line in lines:
            kind, name = json.loads(line)
            take[kind](name)

    def forked(self) -> None:
        """A fork is about to begin: have a place where it can leave its notes."""
        if not self._spool:
            number, self._spool = tempfile.mkstemp(prefix="assets-trace-")
            os.close(number)


def stamp_of(path: str) -> Stamp:
    """What tells one content of a file from another without reading it."""
    try:
        found = os.stat(path)  # noqa: PTH116  # in the hook, each call counts
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def names_in(path: str, watch: Watch) -> tuple[str, ...]:
    """The names in a folder that count, in order; none where there is no folder."""
    try:
        names = [one.name for one in Path(path).iterdir()]
    except (OSError, ValueError):
        return ()
    whole = ((name, f"{path}{os.sep}{name}") for name in names if not name.startswith("."))
    return tuple(sorted(name for name, full in whole if watch.counts(full)))


# --------------------------------------------------------------------------------------------
# Where notes go

_local = threading.local()
_open: list[Trace] = []
"""The traces of steps that run now; a list that is replaced, never changed."""
_at_import: dict[str, Trace] = {}
_lock = threading.Lock()
_installed = False
_loading = 0


@contextlib.contextmanager
def tracing(watch: Watch, given: Sequence[str] = ()) -> Iterator[Trace]:
    """Trace what this thread does, and what begins in it."""
    global _open
    _install()
    trace = Trace(watch, tuple(given))
    before = getattr(_local, "trace", None)
    with _lock:
        _open = [*_open, trace]
    _local.trace = trace
    try:
        yield trace
    finally:
        _local.trace = before
        trace.is_open = False
        with _lock:
            _open = [one for one in _open if one is not trace]
        trace.gather()


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Do something of our own in a thread that is traced."""
    before = getattr(_local, "busy", False)
    _local.busy = True
    try:
        yield
    finally:
        _local.busy = before


@contextlib.contextmanager
def loading(watch: Watch) -> Iterator[None]:
    """Trace what modules read while they are imported in this thread; see `read_at_import`."""
    global _loading, _import_watch
    _install()
    _import_watch = watch
    _loading += 1
    before = getattr(_local, "loads", False)
    _local.loads = True
    try:
        yield
    finally:
        _local.loads = before
        _loading -= 1


_import_watch = Watch()


def read_at_import(module: str) -> Trace | None:
    """What a module read while it was imported, None when that was nothing (or not seen)."""
    return _at_import.get(module)


def forget_reads(module: str) -> None:
    """A module is about to be imported anew: what it read before does not count."""
    _at_import.pop(module, None)


def _traces() -> Sequence[Trace]:
    """The traces that what happens now, in this thread, belongs to."""
    trace = getattr(_local, "trace", None)
    if trace is None:
        thread = threading.current_thread()
        trace = getattr(thread, _MARK, None)
        if trace is None and not isinstance(thread, threading._DummyThread):
            return ()  # a thread of ours, or of somebody who is not traced
        if trace is None:
            return _open  # not begun by Python: nobody can tell by whom
        if not trace.is_open:
            # A pool that one step began works for others: it can't be told for which.
            return _open
        return (trace,)
    return (trace,) if trace is not None else ()


def _targets() -> list[Trace]:
    """`_traces`, and those of the modules that are being imported."""
    found = list(_traces())
    if found or getattr(_local, "loads", False):
        module = _module_at_import()
        if module:
            known = _at_import.get(module)
            if known is None:
                watch = found[0].watch if found else _import_watch
                known = _at_import[module] = Trace(watch)
            found.append(known)
    return found


def _module_at_import() -> str:
    """The innermost module of the project whose body runs now."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            name = str(frame.f_globals.get("__name__", ""))
            return name if _is_own(frame) else ""
        frame = frame.f_back
    return ""


def _is_own(frame: FrameType) -> bool:
    path, top = frame.f_code.co_filename, _top(frame)
    if top in ("assets_core", "io_managers"):
        return False
    if top == "__main__" or path.startswith("<ipython"):
        return True
    # Compiled code tells a path of its own, relative to where it was compiled.
    return path.startswith(os.sep) and (_import_watch.is_given(path) or not is_installed(path))


def _top(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


# --------------------------------------------------------------------------------------------
# What is heard


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _open and not _loading:
        return
    handler = _EVENTS.get(event)
    if handler is None or getattr(_local, "busy", False):
        return
    _local.busy = True
    try:
        handler(arguments)
    finally:
        _local.busy = False


_MAY_GO_BACK = re.compile(r"/\.?\.?/|/\.?\.?$").search
"""Where a path may be longer than it need be."""


def _path(given: Any) -> str:
    """An absolute path, with links resolved in its folder; empty for what is none."""
    if isinstance(given, bytes):
        given = os.fsdecode(given)
    elif isinstance(given, os.PathLike):
        given = os.fspath(given)
    if not isinstance(given, str) or not given:
        return ""
    if given[0] == os.sep and not _MAY_GO_BACK(given):
        return given  # as most are that are opened a thousand times
    return os.path.abspath(given)  # noqa: PTH100  # in the hook, each call counts


def _opened(arguments: tuple[Any, ...]) -> None:
    given, _, flags = arguments
    if not _traces() and not getattr(_local, "loads", False):
        return
    path = _path(given)
    if not path:
        return
    if path.endswith(".pyc"):
        if _is_import() and not flags & _WRITING:
            _loaded(path)
    elif not _may_count(path):
        return
    elif flags & _WRITING:
        for trace in _traces():
            if flags & _MAKING or flags & os.O_WRONLY:
                trace.makes(path)
            else:
                trace.updates(path)
    elif _is_import():
        for trace in _traces():
            trace.imports(path)
    elif not _only_told():
        for trace in _targets():
            trace.reads(path)


def _is_import() -> bool:
    return sys._getframe(3).f_code.co_filename.startswith("<frozen importlib")


_MAKING = os.O_CREAT | os.O_TRUNC
_WRITING = os.O_WRONLY | os.O_RDWR | _MAKING


def _loaded(bytecode: str) -> None:
    """A module that is loaded from its bytecode: its source counts.

    Raises:
        OSError: the bytecode may be of an older source; then Python compiles the source anew.
    """
    try:
        source = importlib.util.source_from_cache(bytecode)
    except (ValueError, NotImplementedError):  # of no source, or of another Python
        return
    if not _may_count(source):
        return
    for trace in _traces():
        trace.imports(source)
    # Python tells one source from another by its size and the second of its time: two edits
    # within a second, and it runs the first for ever after.
    written, changed = stamp_of(bytecode), stamp_of(source)
    if written and changed and written[0] - changed[0] < _TWO_EDITS:
        raise OSError("bytecode that may be of an older source")


_TWO_EDITS = 2_000_000_000
"""ns between a source and its bytecode within which the one may have changed again."""


def _may_count(path: str) -> bool:
    """A first look, for the many files that are none of the project's."""
    for trace in _open:
        if trace.watch.counts(path):
            return True
    return bool(_loading) and _import_watch.counts(path)


def _only_told() -> bool:
    """Whether a file is read only to show its lines in a warning or a traceback."""
    frame: FrameType | None = sys._getframe(3)
    seen = False
    while frame is not None:
        if _top(frame) not in _TELLING:
            return seen
        seen = seen or _top(frame) in ("traceback", "warnings", "logging")
        frame = frame.f_back
    return seen


_LOOKING_FOR_PACKAGES = (
    *("importlib._bootstrap", "_frozen_importlib", "importlib.metadata"),
    *("importlib_metadata", "pkg_resources"),
)
"""What lists the folders of the import path to find what is installed."""


def _listed(arguments: tuple[Any, ...]) -> None:
    if not _traces() and not getattr(_local, "loads", False):
        return
    path = _path(arguments[0] if arguments[0] is not None else ".")
    if path and _may_count(path):
        frame = sys._getframe(2)
        module = str(frame.f_globals.get("__name__", ""))
        if not module.startswith(_LOOKING_FOR_PACKAGES):
            for trace in _targets():
                trace.lists(path)


def _made(arguments: tuple[Any, ...]) -> None:
    traces = _traces()
    for given in arguments[:2] if traces else ():
        path = _path(given)
        if path and _may_count(path):
            for trace in traces:
                trace.makes(path)


def _started(arguments: tuple[Any, ...]) -> None:
    """A program: the files of the project that its arguments name, and what a script imports."""
    words: list[str] = []
    for given in arguments[:2]:
        if isinstance(given, str | bytes | os.PathLike):
            words.append(os.fsdecode(given))
        elif isinstance(given, list | tuple):
            words += [
                os.fsdecode(one) for one in given if isinstance(one, str | bytes | os.PathLike)
            ]
    folder = arguments[2] if len(arguments) > 2 else None  # of the events that tell it
    if not isinstance(folder, str | bytes | os.PathLike):
        folder = "."
    from assets_core.scripts import read_by

    for path in read_by(words, os.fsdecode(folder)):
        for trace in _targets():
            trace.reads(path)


_MARK = "_assets_trace"


def _start_marked(thread: threading.Thread) -> None:
    """Start a thread that knows in which trace it began."""
    if _open or _loading:
        found = _traces()
        if len(found) == 1:
            setattr(thread, _MARK, found[0])
        elif found or getattr(_local, "loads", False):  # of a pool that a module made, say
            setattr(thread, _MARK, Trace(_import_watch, is_open=False))
    _start(thread)


_start = threading.Thread.start


def _forking(_: tuple[Any, ...]) -> None:
    for trace in _traces():
        trace.forked()


_EVENTS: dict[str, Callable[[tuple[Any, ...]], None]] = {
    "open": _opened,
    "os.listdir": _listed,
    "os.scandir": _listed,
    "os.remove": _made,
    "os.rename": _made,
    "sqlite3.connect": lambda arguments: _opened((arguments[0], None, 0)),
    "ctypes.dlopen": lambda arguments: _opened((arguments[0], None, 0)),
    "subprocess.Popen": _started,
    "os.system": _started,
    "os.exec": _started,
    "os.posix_spawn": _started,
    "os.fork": _forking,
}


class _Environment(os._Environ):  # type: ignore[type-arg]  # text or bytes
    """``os.environ``, telling what is read of it."""

    def __getitem__(self, key: Any) -> Any:
        if _open or _loading:
            _asked(key)
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[Any]:
        if (_open or _loading) and not getattr(_local, "busy", False):
            for trace in _targets() if _by_own_code() else ():
                trace.environment = True
            _local.whole = list(super().__iter__())
        return super().__iter__()

    def __reduce__(self) -> Any:
        return dict, (dict(self._data),)  # type: ignore[attr-defined]  # as it is kept


def _asked(key: Any) -> None:
    if getattr(_local, "busy", False):
        return
    # Going through all of them asks for each in turn: that is one look at the whole.
    whole = getattr(_local, "whole", None)
    if whole and whole[0] == key:
        del whole[0]
        return
    _local.whole = None
    _local.busy = True
    try:
        name = os.fsdecode(key) if isinstance(key, str | bytes) else ""
        for trace in _targets() if name and _by_own_code(name) else ():
            trace.variable(name)
    finally:
        _local.busy = False


def _by_own_code(name: str = "") -> bool:
    """Whether the project's own code asks, or a library that does so on its behalf.

    Compiled libraries leave no frame of their own: a variable that begins with the name of a
    loaded one is that library's, unless the code that called it says the name itself.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") in _PASSING_ON:
        frame = frame.f_back
    if frame is None:
        return False
    if _top(frame) in _READING_SETTINGS:
        return True
    if name.partition("_")[0].lower() in sys.modules and name not in frame.f_code.co_consts:
        return False
    return _is_own(frame)


_PASSING_ON = frozenset(
    {"os", "collections.abc", "collections", "string", "posixpath", "pathlib", "configparser"}
    | {"contextlib", __name__}
)
"""Modules that ask on behalf of whoever calls them."""


def _plain_environment() -> dict[str, str]:
    data: dict[Any, Any] = os.environ._data  # type: ignore[attr-defined]  # past the watch
    return {os.fsdecode(name): os.fsdecode(value) for name, value in data.items()}


def variable_now(name: str) -> str | None:
    """The value of a variable, without anybody hearing of it."""
    with unheard():
        return os.environ.get(name)


def _install() -> None:
    global _installed
    if _installed:
        return
    _installed = True
    sys.addaudithook(_hook)
    # No event tells which thread began in which before Python 3.13.
    threading.Thread.start = _start_marked  # type: ignore[method-assign, assignment]  # with a mark
    for environment in (os.environ, getattr(os, "environb", None)):
        if environment is not None:
            environment.__class__ = _Environment
