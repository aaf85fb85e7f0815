"""Python source as normalised syntax: what a piece of code says, and which outside names it uses.

Two forms of each piece are kept. The *lean* one leaves out whatever can't alter a result: comments,
docstrings, positions, annotations, the names of local variables, the text of log messages. The
*full* one keeps all of that but comments and positions, for code that can see its own names
(through frames, ``__name__``, captured output). What outside names stand for is not decided here
but in ``follow``; files are found and read in ``sources``.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeGuard

from assets_core.hashing import digest
from assets_core.sqltext import files_named

Chain = tuple[str, ...]
"""A name and the attributes that follow it: ``helpers.scale.limit``."""

Import = tuple[int, str, str | None]
"""Level of dots, module, and the name taken from it (None: the module itself)."""

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

Sees = Literal["", "names", "source"]
"""What a piece of code may see of code besides what it does."""

How = Literal["call", "keywords", "value", "log"]
"""How a name is used: called by position, called with keywords, otherwise, or called to log."""

SEES_NAMES = frozenset(
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

SEES_SOURCE = frozenset(
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
_OWN_FRAME = frozenset({"locals", "vars", "dir", "eval", "exec", "globals"})
_IMPORTING = frozenset({("import_module",), ("importlib", "import_module")})
_COMPUTED_IMPORT = "import_module"
QUERYING = frozenset(
    {"sql", "query", "execute", "executemany", "eval", "evaluate", "from_query", "sqldf"}
)
"""Methods that may read variables of their caller by the names in a text (DuckDB, pandas, …)."""

_LOGGING = frozenset(
    {"debug", "info", "warning", "warn", "error", "exception", "critical", "log", "trace"}
)
_WORD = re.compile(r"[^\W\d]\w*")
_READING = re.compile(
    r"_?(read|scan|load|safe_load|open$|from_csv|from_json|from_parquet|i?glob$"
    r"|exists$|is_?file$|stat$|getsize$|getmtime$)"
)
_FILE = re.compile(r"[\w./ *?\[\]-]{1,200}\.\w{1,10}")


class Use(NamedTuple):
    """One use of a name that is bound outside of the piece of code, or by an import within it.

    ``imports`` are the imports that may have bound it, in order; all of them count.
    """

    chain: Chain
    how: How = "value"
    imports: tuple[Import, ...] = ()


@dataclass(frozen=True, slots=True)
class Unit:
    """A function's, class's, statement's or module's normalised syntax.

    ``uses`` are in order of occurrence, each as often as it occurs: the digests have a gap for
    each. ``texts`` are digests of log messages, with what is called to log them.
    ``dynamic`` names what reaches code by computed names. ``sees`` is "names" where the full form
    is needed, "source" where the texts of the modules are.
    ``queries``: it may read variables by the names in a text; ``words`` are those of its texts.
    ``files`` are texts that look like names of files, in calls that read. ``resources`` are the
    names that it looks up in something's ``.resources`` (empty: any; None: it does not). ``acts``
    are the outside names on which its statements act without binding a name: ``x.seed(1)``,
    ``x.prec = 5``. ``notes`` holds the annotations of a function's parameters, ``returns`` that of
    its result, ``methods`` the names of the functions in a class's body, which are units of their
    own.
    """

    lean: bytes
    full: bytes
    uses: tuple[Use, ...] = ()
    texts: tuple[tuple[Chain, bytes], ...] = ()
    dynamic: tuple[str, ...] = ()
    sees: Sees = ""
    queries: bool = False
    files: tuple[str, ...] = ()
    resources: tuple[str, ...] | None = None
    words: tuple[str, ...] = ()
    decorators: tuple[Unit, ...] = ()
    notes: Unit | None = None
    returns: Unit | None = None
    acts: tuple[Use, ...] = ()
    methods: tuple[str, ...] = ()
    name: str = ""


# --------------------------------------------------------------------------------------------
# Scopes


@dataclass(slots=True)
class _Scope:
    """The names that one function, class or comprehension binds.

    ``imports``: names that only imports bind, with these. ``keep``: names that stay as written.
    ``given``: parameters that nothing else binds.
    """

    kind: Literal["function", "class", "module"]
    bound: set[str] = field(default_factory=set)
    imports: dict[str, list[Import]] = field(default_factory=dict)
    outer: set[str] = field(default_factory=set)
    module: set[str] = field(default_factory=set)
    keep: set[str] = field(default_factory=set)
    given: set[str] = field(default_factory=set)


class _Binder(ast.NodeVisitor):
    """Collects what the statements of one scope bind, without going into scopes within it."""

    def __init__(self, scope: _Scope) -> None:
        self.scope = scope

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self.scope.bound.add(node.id)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.scope.bound.add(node.name)
        self._all([*node.decorator_list, *node.args.defaults, *node.args.kw_defaults])

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815  # named after the node

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.scope.bound.add(node.name)
        self._all([*node.decorator_list, *node.bases, *node.keywords])

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._all([*node.args.defaults, *node.args.kw_defaults])

    def _comprehension(self, node: ast.AST) -> None:
        # Only what `:=` binds belongs to the function around it.
        for inner in ast.walk(node):
            if isinstance(inner, ast.NamedExpr):
                self.scope.bound.add(inner.target.id)

    visit_ListComp = _comprehension  # noqa: N815  # named after the node
    visit_SetComp = _comprehension  # noqa: N815  # named after the node
    visit_DictComp = _comprehension  # noqa: N815  # named after the node
    visit_GeneratorExp = _comprehension  # noqa: N815  # named after the node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.scope.bound.add(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        if node.name:
            self.scope.bound.add(node.name)
        self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        if node.name:
            self.scope.bound.add(node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self.scope.bound.add(node.rest)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        self.scope.module.update(node.names)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self.scope.outer.update(node.names)

    def visit_Import(self, node: ast.Import) -> None:
        for name, found in imports_of(node):
            self.scope.imports.setdefault(name, []).append(found)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for name, found in imports_of(node):
            self.scope.imports.setdefault(name, []).append(found)

    def _all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)


def imports_of(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Import]]:
    """Name bound → what an import statement binds it to."""
    if isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name, (node.level, node.module or "", alias.name)
        return
    for alias in node.names:
        if alias.asname:
            yield alias.asname, (0, alias.name, None)
        else:
            yield alias.name.split(".")[0], (0, alias.name, "")


def _scope_of(
    kind: Literal["function", "class"], nodes: Sequence[ast.AST], args: ast.arguments | None = None
) -> _Scope:
    scope = _Scope(kind)
    binder = _Binder(scope)
    for node in nodes:
        binder.visit(node)
    if args is not None:
        scope.given = set(_parameters(args)) - scope.bound
        scope.bound.update(_parameters(args))
    scope.bound -= scope.outer | scope.module
    for name in scope.imports.keys() & (scope.bound | scope.outer | scope.module):
        del scope.imports[name]  # an assignment binds it, too: it is a variable like any other
        scope.bound.update({name} - scope.outer - scope.module)
    return scope


def _parameters(args: ast.arguments) -> list[str]:
    every = [*args.posonlyargs, *args.args, args.vararg, *args.kwonlyargs, args.kwarg]
    return [one.arg for one in every if one is not None]


# --------------------------------------------------------------------------------------------
# Normalising

_SKIPPED = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


@dataclass(frozen=True, slots=True)
class _About:
    """What has to be known of a whole piece of code before it is normalised.

    ``pinned`` are names of variables that stay as they are written (None: all), ``valued`` names
    that are used otherwise than by calling them by position, ``loaded`` all that are read.
    """

    pinned: frozenset[str] | None
    valued: frozenset[str]
    loaded: frozenset[str]
    words: frozenset[str]
    resources: tuple[str, ...] | None
    files: tuple[str, ...]

    @classmethod
    def of(cls, nodes: Sequence[ast.AST]) -> _About:
        called: set[int] = set()
        loaded: set[str] = set()
        valued: set[str] = set()
        words: set[str] = set()
        files: dict[str, None] = {}
        own_frame = False
        for node in _walk(nodes):
            if isinstance(node, ast.Call):
                if isinstance(node.func, ast.Name) and not node.keywords:
                    called.add(id(node.func))
                files.update(dict.fromkeys(_files_read(node)))
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                loaded.add(node.id)
                own_frame |= node.id in _OWN_FRAME
                if id(node) not in called:
                    valued.add(node.id)
            elif isinstance(node, ast.Attribute):
                own_frame |= node.attr in QUERYING
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.update(_WORD.findall(node.value))
        # A text may name a variable for whoever looks into this frame.
        pinned = None if own_frame else frozenset(words)
        every = frozenset(words)
        about = (frozenset(valued), frozenset(loaded), every)
        return cls(pinned, *about, _resources(nodes), tuple(files))


def _files_read(call: ast.Call) -> list[str]:
    """The texts in a call that reads, by its name, which look like names of files.

    Not those of a call that may write: what code makes itself would look changed each time.
    """
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    constants = (node.value for node in ast.walk(call) if isinstance(node, ast.Constant))
    if name in QUERYING and isinstance(call.func, ast.Attribute):
        return [f for text in constants if isinstance(text, str) for f in files_named(text)]
    if not _READING.match(name) or (name == "open" and _may_write(call)):
        return []
    return [text for text in constants if isinstance(text, str) and _FILE.fullmatch(text)]


def _may_write(call: ast.Call) -> bool:
    """Whether a call of ``open`` has another mode than one that only reads."""
    is_method = isinstance(call.func, ast.Attribute)
    modes = [k.value for k in call.keywords if k.arg == "mode"] or call.args[
        0 if is_method else 1 :
    ]
    return any(
        not isinstance(mode, ast.Constant)
        or (isinstance(mode.value, str) and not set(mode.value) <= set("rbt"))
        for mode in modes[:1]
    )


def _resources(nodes: Sequence[ast.AST]) -> tuple[str, ...] | None:
    """The names looked up in ``.resources``, empty where one is computed; None without any."""
    every = [node for top in nodes for node in ast.walk(top)]
    found = [n for n in every if isinstance(n, ast.Attribute) and n.attr == "resources"]
    if not found:
        return None
    names = {
        id(node.value): node.slice.value
        for node in every
        if isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
    }
    if any(id(node) not in names for node in found):
        return ()
    return tuple(sorted({names[id(node)] for node in found}))


def _walk(nodes: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Every node, parents first, but for docstrings, annotations and the texts of messages."""
    todo = [node for node in reversed(nodes) if not is_noise(node)]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.Expr) and is_message(node.value):
            yield node.value
            todo += [node.value.func, *(k.value for k in node.value.keywords)]
            for argument in node.value.args:
                parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
                todo += [part for part in parts if not isinstance(part, ast.Constant)]
            continue
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns") and not isinstance(node, ast.AnnAssign):
                continue
            inner = value if isinstance(value, list) else [value]
            todo += [n for n in inner if isinstance(n, ast.AST) and not is_noise(n)]


class _Normaliser:
    """Turns syntax into nested plain tuples, with a gap for each use of an outside name."""

    def __init__(self, about: _About, *, full: bool = False) -> None:
        self.full = full
        self.pinned = about.pinned
        self.valued = about.valued
        self.loaded = about.loaded
        self.uses: list[Use] = []
        self.texts: list[tuple[Chain, bytes]] = []
        self.acts: dict[Use, None] = {}
        self.dynamic: dict[str, None] = {}
        self.sees: Sees = ""
        self.queries = False
        self.scopes: list[_Scope] = []
        self.numbers: dict[tuple[int, str], int] = {}
        self.kept: list[_Scope] = []  # so that the ids of scopes are not used again

    # -- the walk ---------------------------------------------------------------------------

    def plain(self, node: Any) -> object:
        """The canonical form of a node, a list of nodes or a plain field."""
        if isinstance(node, list):
            kept = node if self.full else [item for item in node if not is_noise(item)]
            return tuple(plain for item in kept if (plain := self.plain(item)) != ())
        if not isinstance(node, ast.AST):
            return node
        handler = _HANDLERS.get(type(node))
        return handler(self, node) if handler is not None else self.fields(node)

    def fields(self, node: ast.AST, skip: frozenset[str] = frozenset()) -> tuple[object, ...]:
        parts: list[object] = [type(node).__name__]
        for name in node._fields:
            if name in _SKIPPED or name in skip:
                continue
            value = getattr(node, name, None)
            if value is None or value == []:
                continue
            plain = self.plain(value)
            if plain != ():
                parts += (name, plain)
        return tuple(parts)

    def inside(self, scope: _Scope, walk: Callable[[], object]) -> object:
        self.scopes.append(scope)
        self.kept.append(scope)
        try:
            return walk()
        finally:
            self.scopes.pop()

    # -- names ------------------------------------------------------------------------------

    def chain(self, chain: Chain, how: How = "value") -> object:
        name, rest = chain[0], chain[1:]
        self._notice(chain)
        for at in range(len(self.scopes) - 1, -1, -1):
            scope = self.scopes[at]
            if name in scope.module:
                break
            if scope.kind == "class" and at != len(self.scopes) - 1:
                continue  # names of a class's body are not seen by functions in it
            if name in scope.imports:
                return self.use(Use(chain, how, tuple(scope.imports[name])))
            if name in scope.bound:
                if scope.kind == "class":
                    # Not bound yet, it is looked up outside.
                    return ("class name", name, self.use(Use(chain, how)))
                return ("local", self.local(scope, name), rest)
        return self.use(Use(chain, how))

    def use(self, use: Use) -> object:
        self.uses.append(use)
        return ("use",)

    def local(self, scope: _Scope, name: str) -> object:
        if self.full or self.pinned is None or name in self.pinned or name in scope.keep:
            return name
        return self.numbers.setdefault((id(scope), name), len(self.numbers))

    def bind(self, name: str) -> object:
        """A name where it is bound by something else than a name's node."""
        for at in range(len(self.scopes) - 1, -1, -1):
            scope = self.scopes[at]
            if name in scope.bound and name not in scope.module:
                return name if scope.kind == "class" else self.local(scope, name)
        return name

    def _notice(self, chain: Chain) -> None:
        self._look(*chain)
        if chain[0] in _DYNAMIC or chain[:2] == ("sys", "modules"):
            self.dynamic[_COMPUTED_IMPORT if chain[0] in ("sys", "__import__") else chain[0]] = None

    def _look(self, *names: str) -> None:
        if not SEES_SOURCE.isdisjoint(names):
            self.sees = "source"
        elif not self.sees and not SEES_NAMES.isdisjoint(names):
            self.sees = "names"

    def on_name(self, node: ast.Name) -> object:
        if isinstance(node.ctx, ast.Load):
            return self.chain((node.id,))
        return ("set", self.bind(node.id))

    def on_attribute(self, node: ast.Attribute) -> object:
        chain = chain_of(node)
        if chain is None:
            self._look(node.attr)
            return self.fields(node)
        found = self.chain(chain)
        return found if isinstance(node.ctx, ast.Load) else (type(node.ctx).__name__, found)

    # -- calls ------------------------------------------------------------------------------

    def on_call(self, node: ast.Call) -> object:
        chain = chain_of(node.func)
        if isinstance(node.func, ast.Attribute) and node.func.attr in QUERYING:
            self.queries = True
        if chain is None:
            return self.fields(node)
        if chain in _IMPORTING:
            self._import_by_name(node)
        called = self.chain(chain, "keywords" if node.keywords else "call")
        return ("Call", called, self.plain(node.args), self.plain(node.keywords))

    def _import_by_name(self, node: ast.Call) -> None:
        """``import_module("a.b")`` uses all of that module; with a computed name, who knows."""
        name = node.args[0] if node.args else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            level = len(name.value) - len(name.value.lstrip("."))
            self.use(Use((name.value,), "value", ((level, name.value[level:], None),)))
        else:
            self.dynamic[_COMPUTED_IMPORT] = None

    def on_expr(self, node: ast.Expr) -> object:
        if is_message(node.value):
            return self.fields(node) if self.full else self._message(node.value)
        if isinstance(node.value, ast.Call):
            self._act(node.value)
        return self.fields(node)

    def on_assign(self, node: ast.Assign | ast.AugAssign | ast.Delete) -> object:
        targets = [node.target] if isinstance(node, ast.AugAssign) else node.targets
        for target in targets:
            if isinstance(target, ast.Attribute | ast.Subscript):
                self._act(target)
        return self.fields(node)

    def _act(self, node: ast.expr) -> None:
        """Note the outside name that a statement acts on."""
        inner: ast.expr = node
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

    def _message(self, node: ast.Call) -> object:
        """A call that logs or prints: the text of its message does not count by itself.

        Whether it is a logger that is called turns out where names are looked up, see `texts`.
        """
        chain = chain_of(node.func)
        assert chain is not None
        before = len(self.uses)
        called = self.chain(chain, "log")
        outside = len(self.uses) > before
        texts: list[object] = []
        arguments = [self._without_texts(argument, texts) for argument in node.args]
        given = len(self.scopes) == 1 and chain[0] in self.scopes[0].given
        if outside or given:
            self.texts.append((chain, digest(texts)))
        else:  # a local variable: nobody can tell what it is
            arguments.append(tuple(texts))
        return ("Call", called, tuple(arguments), self.plain(node.keywords))

    def _without_texts(self, node: ast.expr, texts: list[object]) -> object:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
            return ("text",)
        if isinstance(node, ast.JoinedStr):
            parts = [self._without_texts(value, texts) for value in node.values]
            return ("text", *[part for part in parts if part != ("text",)])
        return self.plain(node)

    # -- imports ----------------------------------------------------------------------------

    def on_import(self, node: ast.Import | ast.ImportFrom) -> object:
        """What an import binds counts where it is used; by itself only as far as it is not.

        Of a module, what names stand for is seen by their values.
        """
        parts: list[object] = []
        scope = self.scopes[-1] if self.scopes else None
        for name, found in imports_of(node) if scope is not None else ():
            assert scope is not None
            if name in scope.imports and name not in self.loaded:
                parts.append(self.use(Use((name,), "value", (found,))))
            elif name not in scope.imports:
                parts.append((self.bind(name), self.use(Use((name,), "value", (found,)))))
        return ("import", tuple(parts)) if parts else ()

    # -- things with a scope of their own ----------------------------------------------------

    def on_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> object:
        # Who only ever calls it, by position, can't tell its name or those of its parameters.
        keep = bool(node.decorator_list) or node.name in self.valued
        name = node.name if keep else self.bind(node.name)
        decorators = self.plain(node.decorator_list)
        defaults = self._defaults(node.args)
        notes = self.notes(node.args) if self.full or node.decorator_list else ()
        scope = _scope_of("function", node.body, node.args)
        body = self.inside(scope, lambda: self.function(node.args, node.body, scope, keep=keep))
        return (type(node).__name__, name, decorators, defaults, notes, body)

    def on_lambda(self, node: ast.Lambda) -> object:
        defaults = self._defaults(node.args)
        scope = _scope_of("function", [node.body], node.args)
        body: list[ast.AST] = [ast.Return(node.body)]
        inner = self.inside(scope, lambda: self.function(node.args, body, scope, keep=True))
        return ("Lambda", defaults, inner)

    def _defaults(self, args: ast.arguments) -> object:
        return self.plain([*args.defaults, *(one for one in args.kw_defaults if one is not None)])

    def function(
        self, args: ast.arguments, body: Sequence[ast.AST], scope: _Scope, *, keep: bool
    ) -> object:
        """Parameters and body, within their scope. ``keep``: names of parameters matter."""
        kwonly = [one.arg for one in args.kwonlyargs]
        scope.keep.update(_parameters(args) if keep else kwonly)
        header = (
            tuple(self.local(scope, one.arg) for one in args.posonlyargs),
            tuple(self.local(scope, one.arg) for one in args.args),
            self.local(scope, args.vararg.arg) if args.vararg else None,
            tuple(kwonly),
            self.local(scope, args.kwarg.arg) if args.kwarg else None,
            len(args.defaults),
            tuple(default is not None for default in args.kw_defaults),
        )
        return (header, self.plain(list(body)))

    def notes(self, args: ast.arguments) -> object:
        every = [*args.posonlyargs, *args.args, args.vararg, *args.kwonlyargs, args.kwarg]
        return tuple(
            (one.arg, self.plain(one.annotation)) for one in every if one and one.annotation
        )

    def on_class(self, node: ast.ClassDef) -> object:
        heads = (self.plain(node.decorator_list), self.plain(node.bases), self.plain(node.keywords))
        scope = _scope_of("class", node.body)
        return (
            "ClassDef",
            node.name,
            *heads,
            self.inside(scope, lambda: self.plain(node.body)),
        )

    def on_comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
    ) -> object:
        first = self.plain(node.generators[0].iter)  # evaluated outside
        scope = _Scope("function")
        for generator in node.generators:
            _Binder(scope).visit(generator.target)
        return (type(node).__name__, first, self.inside(scope, lambda: self._inner(node)))

    def _inner(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> object:
        parts: list[object] = []
        for at, one in enumerate(node.generators):
            source = self.plain(one.iter) if at else ()
            parts.append((self.plain(one.target), source, self.plain(one.ifs), one.is_async))
        if isinstance(node, ast.DictComp):
            return (*parts, self.plain(node.key), self.plain(node.value))
        return (*parts, self.plain(node.elt))

    # -- other nodes ------------------------------------------------------------------------

    def on_constant(self, node: ast.Constant) -> object:
        return ("Constant", node.value)

    def on_ann_assign(self, node: ast.AnnAssign) -> object:
        if self.full or (self.scopes and self.scopes[-1].kind == "class"):
            return self.fields(node)
        if node.value is None:
            return ()
        return ("Assign", "targets", (self.plain(node.target),), "value", self.plain(node.value))

    def on_handler(self, node: ast.ExceptHandler) -> object:
        name = self.bind(node.name) if node.name else None
        return ("ExceptHandler", self.plain(node.type), name, self.plain(node.body))

    def on_match_as(self, node: ast.MatchAs) -> object:
        return ("MatchAs", self.plain(node.pattern), self.bind(node.name) if node.name else None)

    def on_match_star(self, node: ast.MatchStar) -> object:
        return ("MatchStar", self.bind(node.name) if node.name else None)

    def on_match_mapping(self, node: ast.MatchMapping) -> object:
        rest = self.bind(node.rest) if node.rest else None
        return ("MatchMapping", self.plain(node.keys), self.plain(node.patterns), rest)

    def on_scope_statement(self, _: ast.AST) -> object:
        return ()  # `global` and `nonlocal` are heeded where names are looked up


_HANDLERS: dict[type[ast.AST], Callable[[_Normaliser, Any], object]] = {
    ast.Name: _Normaliser.on_name,
    ast.Attribute: _Normaliser.on_attribute,
    ast.Call: _Normaliser.on_call,
    ast.Expr: _Normaliser.on_expr,
    ast.Assign: _Normaliser.on_assign,
    ast.AugAssign: _Normaliser.on_assign,
    ast.Delete: _Normaliser.on_assign,
    ast.Constant: _Normaliser.on_constant,
    ast.Import: _Normaliser.on_import,
    ast.ImportFrom: _Normaliser.on_import,
    ast.FunctionDef: _Normaliser.on_function,
    ast.AsyncFunctionDef: _Normaliser.on_function,
    ast.Lambda: _Normaliser.on_lambda,
    ast.ClassDef: _Normaliser.on_class,
    ast.ListComp: _Normaliser.on_comprehension,
    ast.SetComp: _Normaliser.on_comprehension,
    ast.DictComp: _Normaliser.on_comprehension,
    ast.GeneratorExp: _Normaliser.on_comprehension,
    ast.AnnAssign: _Normaliser.on_ann_assign,
    ast.ExceptHandler: _Normaliser.on_handler,
    ast.MatchAs: _Normaliser.on_match_as,
    ast.MatchStar: _Normaliser.on_match_star,
    ast.MatchMapping: _Normaliser.on_match_mapping,
    ast.Global: _Normaliser.on_scope_statement,
    ast.Nonlocal: _Normaliser.on_scope_statement,
}


def is_noise(node: object) -> bool:
    """Docstrings, ``pass``, ``...`` and other statements that do nothing."""
    return isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


def is_message(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether a call prints or logs, by its looks."""
    if not isinstance(node, ast.Call):
        return False
    chain = chain_of(node.func)
    if chain == ("print",):
        return all(keyword.arg in ("end", "sep", "flush") for keyword in node.keywords)
    return chain is not None and len(chain) > 1 and chain[-1] in _LOGGING


def chain_of(node: ast.AST) -> Chain | None:
    """``a.b.c`` as a chain; None when it does not begin with a name."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return (node.id, *reversed(attributes)) if isinstance(node, ast.Name) else None


# --------------------------------------------------------------------------------------------
# Units


def _unit(
    about: _About, write: Callable[[_Normaliser], object], name: str = "", **parts: Any
) -> Unit:
    """Both forms of a piece of code; ``write`` gives its canonical form by a normaliser."""
    lean, full = _Normaliser(about), _Normaliser(about, full=True)
    content = digest(write(lean))
    whole = digest(write(full))
    return Unit(
        lean=content,
        full=whole,
        uses=tuple(lean.uses),
        texts=tuple(lean.texts),
        dynamic=tuple(lean.dynamic),
        sees=lean.sees,
        acts=tuple(lean.acts),
        queries=lean.queries,
        files=about.files,
        resources=about.resources,
        words=tuple(sorted(about.words)) if lean.queries else (),
        name=name,
        **parts,
    )


def function_unit(node: FunctionNode) -> Unit:
    """The unit of a function; defaults are left to their values, annotations to ``notes``."""
    statements: list[ast.AST] = (
        [ast.Return(node.body)] if isinstance(node, ast.Lambda) else list(node.body)
    )
    kind = "async" if isinstance(node, ast.AsyncFunctionDef) else "def"
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list

    def write(into: _Normaliser) -> object:
        scope = _scope_of("function", statements, node.args)
        body = into.inside(
            scope, lambda: into.function(node.args, statements, scope, keep=into.full)
        )
        return (kind, body)

    return _unit(
        _About.of(statements),
        write,
        getattr(node, "name", "<lambda>"),
        decorators=tuple(expression_unit([one]) for one in decorators),
        notes=_notes_unit(node.args),
        returns=None
        if isinstance(node, ast.Lambda) or not node.returns
        else expression_unit([_parsed(node.returns)]),
    )


def _notes_unit(args: ast.arguments) -> Unit | None:
    every = [*args.posonlyargs, *args.args, args.vararg, *args.kwonlyargs, args.kwarg]
    notes = [
        (one.arg, _without_policy(_parsed(one.annotation)))
        for one in every
        if one is not None and one.annotation is not None
    ]
    if not notes:
        return None
    nodes = [note for _, note in notes]
    return _unit(
        _About.of(nodes), lambda into: tuple((name, into.plain(note)) for name, note in notes)
    )


def _without_policy(note: ast.AST) -> ast.AST:
    """An annotation without ``require(…)``: that says when to build, and not what."""
    if not any(isinstance(inner, ast.Call) and _is_policy(inner) for inner in ast.walk(note)):
        return note
    found: ast.AST = _Policies().visit(copy.deepcopy(note))
    return found


def _is_policy(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
    return name == "require"


class _Policies(ast.NodeTransformer):
    """Takes the policies out of ``Annotated[…]``; ``orders.require(0.9)`` becomes ``orders``."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if not isinstance(node.slice, ast.Tuple):
            return self.generic_visit(node)
        kept = [e for e in node.slice.elts if not (_is_plain(e) and _is_policy(e))]
        dropped = len(node.slice.elts) - len(kept)
        node.slice.elts = kept
        self.generic_visit(node)
        return node.slice.elts[0] if dropped and len(kept) == 1 else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if _is_policy(node) and isinstance(node.func, ast.Attribute):
            return node.func.value
        return node


def _is_plain(node: ast.expr) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def _parsed(note: ast.expr) -> ast.expr:
    """An annotation, also where it is written as text."""
    if not isinstance(note, ast.Constant) or not isinstance(note.value, str):
        return note
    try:
        return ast.parse(note.value, mode="eval").body
    except SyntaxError:
        return note


def class_unit(node: ast.ClassDef) -> Unit:
    """The unit of a class: its body without its functions, which are units of their own."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    methods = [child for child in node.body if isinstance(child, functions)]
    rest = [child for child in node.body if not isinstance(child, functions)]
    heads: list[ast.AST] = [*node.bases, *node.keywords]

    def write(into: _Normaliser) -> object:
        scope = _scope_of("class", node.body)
        own = into.inside(
            scope,
            lambda: (
                into.plain(rest),
                tuple((one.name, into.plain(one.decorator_list)) for one in methods),
            ),
        )
        return ("class", node.name, into.plain(heads), own)

    return _unit(
        _About.of([*heads, *rest]),
        write,
        node.name,
        decorators=tuple(expression_unit([one]) for one in node.decorator_list),
        methods=tuple(dict.fromkeys(one.name for one in methods)),
    )


def expression_unit(nodes: Sequence[ast.AST]) -> Unit:
    """The unit of some statements or expressions of a module."""
    return _unit(_About.of(nodes), lambda into: into.plain(list(nodes)))
