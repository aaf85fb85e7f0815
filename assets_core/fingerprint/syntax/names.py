"""Names in the scopes around them: those of variables are numbered, outside ones leave a gap."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import contextmanager

from assets_core.fingerprint.syntax.overview import Overview, chain_of
from assets_core.fingerprint.syntax.scopes import BoundNames
from assets_core.fingerprint.syntax.unit import Chain, How, Sees, Use

_SEES_NAMES = frozenset(
    re.findall(
        r"\w+",
        """
    __name__ __qualname__ __module__ __doc__ __code__ __annotations__ __subclasses__
    _getframe currentframe f_locals f_globals f_back
    getmembers get_annotations get_type_hints getdoc signature getfullargspec
    pickle cloudpickle dill joblib shelve
    redirect_stdout redirect_stderr stdout stderr capture_output
    """,
    )
)
"""Names by which code can see what the lean form leaves out, anywhere in what an asset reaches."""

_SEES_SOURCE = frozenset(
    re.findall(
        r"\w+",
        """
    getsource getsourcelines getsourcefile getcomments findsource getframeinfo linecache
    f_lineno tb_lineno co_firstlineno co_lines co_positions __firstlineno__ extract_stack extract_tb
    """,
    )
)
"""Names by which code can see its own text, comments and numbers of lines included."""

_DYNAMIC = frozenset({"eval", "exec", "globals", "__import__"})
IMPORTING = frozenset({("import_module",), ("importlib", "import_module")})
_SETTING = (("setattr",), ("delattr",))
_COMPUTED_IMPORT = "import_module"


class ScopedNames:
    """Tells what each name is in the scopes that are open; collects the uses of outside names."""

    def __init__(self, about: Overview, *, full: bool) -> None:
        self.uses: list[Use] = []
        self.acts: dict[Use, None] = {}
        self.dynamic: dict[str, None] = {}
        self.sees: Sees = ""
        self.scopes: list[BoundNames] = []
        self._full = full
        self._pinned = about.pinned
        self._numbers: dict[tuple[int, str], int] = {}
        self._kept: list[BoundNames] = []  # so that the ids of scopes are not used again

    @contextmanager
    def inside(self, scope: BoundNames) -> Iterator[None]:
        """Read and bind names within a scope."""
        self.scopes.append(scope)
        self._kept.append(scope)
        try:
            yield
        finally:
            self.scopes.pop()

    def read(self, chain: Chain, how: How = "value") -> object:
        """A name where it is read: a variable, or a gap for what is outside."""
        name, rest = chain[0], chain[1:]
        self._notice(chain)
        for at in range(len(self.scopes) - 1, -1, -1):
            scope = self.scopes[at]
            if name in scope.module:
                break  # said to be `global`: whatever lies between does not count
            if scope.kind == "class" and at != len(self.scopes) - 1:
                continue  # names of a class's body are not seen by functions in it
            if name in scope.imports:
                return self.use(Use(chain, how, tuple(scope.imports[name])))
            if name in scope.bound:
                if scope.kind == "class":
                    # Python looks it up outside as long as the class's body has not bound it.
                    return ("class name", name, self.use(Use(chain, how)))
                return ("local", self.local(scope, name), rest)
        return self.use(Use(chain, how))

    def use(self, use: Use) -> object:
        self.uses.append(use)
        return ("use",)

    def local(self, scope: BoundNames, name: str) -> object:
        """A variable, by a number in order of occurrence where nobody can tell its name."""
        if self._full or self._pinned is None or name in self._pinned or name in scope.keep:
            return name
        return self._numbers.setdefault((id(scope), name), len(self._numbers))

    def bind(self, name: str) -> object:
        """A name where it is bound by something else than a name's node."""
        for at in range(len(self.scopes) - 1, -1, -1):
            scope = self.scopes[at]
            if name in scope.bound and name not in scope.module:
                return name if scope.kind == "class" else self.local(scope, name)
        return name

    def _notice(self, chain: Chain) -> None:
        self.look(*chain)
        if chain[0] in _DYNAMIC or chain[:2] == ("sys", "modules"):
            self.dynamic[_COMPUTED_IMPORT if chain[0] in ("sys", "__import__") else chain[0]] = None

    def look(self, *names: str) -> None:
        """Heed names by which code sees names or texts of code, whatever they belong to."""
        if not _SEES_SOURCE.isdisjoint(names):
            self.sees = "source"
        elif not self.sees and not _SEES_NAMES.isdisjoint(names):
            self.sees = "names"

    def import_by_name(self, node: ast.Call) -> None:
        """``import_module("a.b")`` uses all of that module; with a computed name, who knows."""
        name = node.args[0] if node.args else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            level = len(name.value) - len(name.value.lstrip("."))
            self.use(Use((name.value,), "value", ((level, name.value[level:], None),)))
        else:
            self.dynamic[_COMPUTED_IMPORT] = None

    def act(self, node: ast.expr) -> None:
        """Note the outside name that a statement acts on."""
        inner: ast.expr = node
        if isinstance(node, ast.Call) and chain_of(node.func) in _SETTING and node.args:
            inner = node.args[0]
        chain = chain_of(inner)
        while chain is None and isinstance(inner, ast.Attribute | ast.Subscript | ast.Call):
            inner = inner.func if isinstance(inner, ast.Call) else inner.value
            chain = chain_of(inner)
        if chain is None:
            return
        for scope in reversed(self.scopes):
            if chain[0] in scope.imports:
                self.acts[Use(chain, "value", tuple(scope.imports[chain[0]]))] = None
                return
            if chain[0] in scope.bound:
                return
        self.acts[Use(chain)] = None
