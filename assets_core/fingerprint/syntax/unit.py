"""What a piece of source says, as values: its normalised forms, and what it uses from outside."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Literal, NamedTuple

Chain = tuple[str, ...]
"""A name and the attributes that follow it: ``helpers.scale.limit``."""

Import = tuple[int, str, str | None]
"""Level of dots, module, and the name taken from it (None: the module itself)."""

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

Sees = Literal["", "names", "source"]
"""What a piece of code may see of code besides what it does."""

How = Literal["call", "keywords", "value", "log"]
"""How a name is used: called by position, called with keywords, otherwise, or called to log."""


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
