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
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, FrameType
from typing import Any
from urllib.parse import urlsplit

from assets_core.fingerprint.other_processes import (
    NoteSpool,
    ToldTrace,
    beginning,
    begun,
    environment_of,
)
from assets_core.fingerprint.ownership import is_installed
from assets_core.fingerprint.trace import ReadKind, Trace, keep_for_all, keep_for_caches
from assets_core.fingerprint.watch import Watch, stamp_of
from assets_core.ours import PACKAGES

_READING_SETTINGS = frozenset(
    {"pydantic_settings", "environs", "decouple", "dotenv", "dynaconf", "environ", "omegaconf"}
)
"""Libraries that read variables on behalf of whoever calls them."""

_TELLING = frozenset({"linecache", "tokenize", "traceback", "warnings", "logging", "codecs"})
"""Modules that read source only to show it in a warning or a traceback."""


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
def tracing(
    watch: Watch, given: Sequence[str] = (), roots: Sequence[object] = ()
) -> Iterator[Trace]:
    """Trace what this thread does, and what begins in it. ``roots`` are the functions and objects
    that it begins with: what these find in memory was read as well."""
    global _open
    _install()
    _mark_programs()
    _mark_processes()
    with unheard():
        _hear_others()
        trace = Trace(watch, tuple(given), tuple(roots))
        if _spool is not None:
            trace.look()
    before = getattr(_local, "trace", None)
    with _lock:
        _open = [*_open, trace]
    _local.trace = trace
    try:
        yield trace
    finally:
        _local.trace = before
        with unheard():
            _hear_others()
            trace.is_open = False
            with _lock:
                _open = [one for one in _open if one is not trace]
            trace.close()


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
            watch = found[0].watch if found else _import_watch
            found.append(_at_import.setdefault(module, Trace(watch)))
    return found


def _note(kind: ReadKind, name: str, traces: Sequence[Trace]) -> None:
    """Note what is read, and by which code of the project."""
    loads = getattr(_local, "loads", False)
    if not loads and all((kind, name) in trace.notes for trace in traces):
        return
    codes = list(_own_codes())
    for trace in traces:
        trace.note(kind, name, codes)
    if loads and traces and (kind, name) in traces[-1].notes:
        keep_for_caches(codes, (kind, name), traces[-1].notes[kind, name])


def _own_codes() -> Iterator[CodeType]:
    """The code of the project that runs now, the innermost first, within the module that is being
    imported."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_name != "<module>":
        if _is_own(frame):
            yield frame.f_code
        frame = frame.f_back


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
    if top in PACKAGES:
        return False
    if top == "__main__" or path.startswith("<ipython"):
        return True
    # Compiled code tells a path of its own, relative to where it was compiled.
    return path.startswith(os.sep) and (_import_watch.is_given(path) or not is_installed(path))


def _top(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


# --------------------------------------------------------------------------------------------
# Other processes

_spool: NoteSpool | None = None


def _begins_process() -> Trace | None:
    """The trace that a process belongs to which begins now; what it answers may be kept."""
    global _spool
    found = _traces()
    with unheard():
        if _spool is None:
            _spool = NoteSpool.new()
        for trace in found:
            trace.look()
    return found[0] if len(found) == 1 else None


def _in_fork() -> None:
    assert _spool is not None
    found = _traces()
    watch, number = (found[0].watch, found[0].number) if len(found) == 1 else (_import_watch, 0)
    _tell(ToldTrace(watch, number=number, spool=_spool))


def _tell(trace: ToldTrace) -> None:
    """Nothing that is open is this process's own: all that it does is told."""
    global _open, _loading, _lock, _spool
    _open, _loading, _lock, _spool = [trace], 0, threading.Lock(), trace.spool
    _local.__dict__.update(trace=trace, loads=False, busy=False)


def tell_all(beginning: str) -> None:
    """This process was started by a step: tell that what is read."""
    _tell(begun(beginning))
    _install()


class _Beginning:
    """Part of a process that `multiprocessing` starts anew: it begins to tell as it is loaded."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __reduce__(self) -> Any:
        return tell_all, (self._text,)


def _start_process(process: Any) -> None:
    if _traces() or getattr(_local, "loads", False):
        trace = _begins_process() or Trace(_import_watch, number=0)
        assert _spool is not None
        process.assets_notes = _Beginning(beginning(trace, _spool))
    _start_of_process(process)


def _start_program(popen: Any, *arguments: Any, **options: Any) -> None:
    trace = _begins_process() if _traces() else None
    if trace is not None and len(arguments) <= _BEFORE_ENV:
        assert _spool is not None
        text = beginning(trace, _spool)
        options["env"] = environment_of(text, options.get("env"))
    _start_of_program(popen, *arguments, **options)


_BEFORE_ENV = 10
"""Arguments of ``Popen`` before its ``env``."""
_start_of_process: Callable[[Any], None]
_start_of_program: Callable[..., None]


def _mark_programs() -> None:
    """Have programs told as they start: any may be a Python, or start one."""
    global _start_of_program
    from subprocess import Popen

    if Popen.__init__ is not _start_program:
        _start_of_program = Popen.__init__
        Popen.__init__ = _start_program  # type: ignore[method-assign, assignment]  # no event may


def _mark_processes() -> None:
    """Have processes of `multiprocessing` told as they start, from when it is loaded."""
    global _start_of_process
    module = sys.modules.get("multiprocessing.process")
    if module is not None and module.BaseProcess.start is not _start_process:
        _start_of_process = module.BaseProcess.start
        module.BaseProcess.start = _start_process


def _imported(arguments: tuple[Any, ...]) -> None:
    if arguments[0] == "multiprocessing.reduction":  # comes after the processes themselves
        _mark_processes()


def _hear_others() -> None:
    """Hand the notes of other processes to the traces that they began in, or to all."""
    with _lock:
        lines = list(_spool.lines()) if _spool is not None else []
    for told in lines:
        note = (told.kind, told.name)
        for trace in [one for one in _open if one.number == told.trace] or _open:
            trace.note(*note)
            if note in trace.notes and told.lives_on:
                keep_for_all(note, trace.notes[note])


# --------------------------------------------------------------------------------------------
# What is heard


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _open and not _loading:
        return
    handler = _EVENTS.get(event)
    if handler is None or getattr(_local, "busy", False) or sys._getframe().f_back is None:
        return  # not of interest, of our own, or of Python itself as it starts
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
    elif path.endswith(".py") and _is_import():
        _note("module", path, _traces())
    elif not _only_told():
        _note("file", path, _targets())


def _of_address(database: Any) -> Any:
    """The path of a database that is named by an address: ``file:rates.db?mode=ro``."""
    if isinstance(database, str) and database.startswith("file:"):
        return urlsplit(database).path
    return database


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
    _note("module", source, _traces())
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
            _note("folder", path, _targets())


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
    from assets_core.fingerprint.scripts import read_by, variables_named

    targets = _targets()
    for path in read_by(words, os.fsdecode(folder)):
        _note("file", path, targets)
    for name in variables_named(words):
        _note("variable", name, targets)


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


_EVENTS: dict[str, Callable[[tuple[Any, ...]], None]] = {
    "import": _imported,
    "open": _opened,
    "os.listdir": _listed,
    "os.scandir": _listed,
    "os.remove": _made,
    "os.rename": _made,
    "sqlite3.connect": lambda arguments: _opened((_of_address(arguments[0]), None, 0)),
    "ctypes.dlopen": lambda arguments: _opened((arguments[0], None, 0)),
    "subprocess.Popen": _started,
    "os.system": _started,
    "os.exec": _started,
    "os.posix_spawn": _started,
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
        if name and _by_own_code(name):
            _note("variable", name, _targets())
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
    os.register_at_fork(before=_begins_process, after_in_child=_in_fork)
    _mark_processes()
    threading.Thread.start = _start_marked  # type: ignore[method-assign, assignment]  # with a mark
    for environment in (os.environ, getattr(os, "environb", None)):
        if environment is not None:
            environment.__class__ = _Environment
