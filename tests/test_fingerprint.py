"""What does and what does not alter a code version."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tracked import PACKAGE, Project

from assets_core.fingerprint.versions import Fingerprints, changed_parts, code_version, sql_version


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.forget()


BASE = """
    import math
    from .helpers import scale, Cleaner

    LIMIT = 3

    def build(rows):
        cleaned = Cleaner(LIMIT).clean(rows)
        return [scale(row) for row in cleaned]
"""
HELPERS = """
    FACTOR = 2
    UNUSED = 1

    def scale(value):
        return value * FACTOR

    def unused(value):
        return value

    class Base:
        def keep(self, row):
            return row > 0

    class Cleaner(Base):
        strict = True

        def __init__(self, limit):
            self.limit = limit

        def clean(self, rows):
            return [row for row in rows if self.keep(row)]
"""

SAME = {
    "comment": ("    return value * FACTOR", "    # a comment\n        return value * FACTOR"),
    "blank lines": ("    def scale", "\n\n    def scale"),
    "docstring": ("    def scale(value):", '    def scale(value):\n        """What it does."""'),
    "parentheses": ("return value * FACTOR", "return (value  *  FACTOR)"),
    "class docstring": ("class Cleaner(Base):", 'class Cleaner(Base):\n        "Cleans."'),
    "method docstring": (
        "def clean(self, rows):",
        'def clean(self, rows):\n            "Cleans rows."',
    ),
    "unused constant": ("UNUSED = 1", "UNUSED = 2"),
    "unused function": ("return value\n", "return value + 1\n"),
    "helper's annotation": ("def scale(value):", "def scale(value: int) -> int:"),
    "number's spelling": ("FACTOR = 2", "FACTOR = 0x2"),
    "constant computed otherwise": ("FACTOR = 2", "FACTOR = 1 + 1"),
    "a pass": ("return value * FACTOR", "pass\n        return value * FACTOR"),
}
DIFFERENT = {
    "helper's body": ("return value * FACTOR", "return value * FACTOR + 1", "helper scale changed"),
    "helper's constant": ("FACTOR = 2", "FACTOR = 3", "constant FACTOR changed"),
    "constant's type": ("FACTOR = 2", "FACTOR = 2.0", "constant FACTOR changed"),
    "method": ("if self.keep(row)", "if not self.keep(row)", "helper clean changed"),
    "base's method": ("return row > 0", "return row >= 0", "helper keep changed"),
    "class attribute": ("strict = True", "strict = False", "class Cleaner changed"),
    "parameter's name": ("def scale(value)", "def scale(value, /)", "helper scale changed"),
    "new default": ("def scale(value)", "def scale(value, by=1)", "default scale.by added"),
}


@pytest.mark.parametrize("case", SAME)
def test_what_does_not_matter(project: Project, case: str) -> None:
    before, after = SAME[case]
    assert before in HELPERS
    old = project.version({"main": BASE, "helpers": HELPERS})
    new = project.version({"main": BASE, "helpers": HELPERS.replace(before, after)})
    assert new.hex == old.hex


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_matters_is_named(project: Project, case: str) -> None:
    before, after, change = DIFFERENT[case]
    assert before in HELPERS
    old = project.version({"main": BASE, "helpers": HELPERS})
    new = project.version({"main": BASE, "helpers": HELPERS.replace(before, after)})
    assert new.hex != old.hex
    assert change in changed_parts(old.parts, new.parts)


def test_every_reached_part_has_a_name(project: Project) -> None:
    version = project.version({"main": BASE, "helpers": HELPERS})
    assert set(version.parts) == {
        "function build",
        f"constant {PACKAGE}.main.LIMIT",
        f"constant {PACKAGE}.helpers.FACTOR",
        f"helper {PACKAGE}.helpers.scale",
        f"class {PACKAGE}.helpers.Cleaner",
        f"class value {PACKAGE}.helpers.Cleaner.strict",
        f"class {PACKAGE}.helpers.Base",
        f"helper {PACKAGE}.helpers.Cleaner.__init__",
        f"helper {PACKAGE}.helpers.Cleaner.clean",
        f"helper {PACKAGE}.helpers.Base.keep",
    }
    assert version.warnings == ()


# Each pair of module texts differs in one thing that ``build`` reaches, some way or other.
REACHED = {
    "global list": ("X = [1, 2]", "X = [1, 3]", "return X"),
    "global dict": ("X = {'a': 1}", "X = {'a': 2}", "return X"),
    "filled dict": (
        "X = {}\nfor i in range(3):\n    X[i] = i",
        "X = {}\nfor i in range(4):\n    X[i] = i",
        "return X",
    ),
    "regex": ("import re\nX = re.compile('a')", "import re\nX = re.compile('b')", "return X.sub"),
    "regex flags": (
        "import re\nX = re.compile('a')",
        "import re\nX = re.compile('a', re.I)",
        "return X.sub",
    ),
    "path": (
        "from pathlib import Path\nX = Path('a')",
        "from pathlib import Path\nX = Path('b')",
        "return X",
    ),
    "datetime": (
        "import datetime\nX = datetime.date(2024, 1, 1)",
        "import datetime\nX = datetime.date(2024, 1, 2)",
        "return X",
    ),
    "numpy array": (
        "import numpy as np\nX = np.array([1, 2])",
        "import numpy as np\nX = np.array([1, 3])",
        "return X",
    ),
    "numpy type": (
        "import numpy as np\nX = np.dtype('i4')",
        "import numpy as np\nX = np.dtype('i8')",
        "return X",
    ),
    "enum": (
        "import enum\nclass X(enum.Enum):\n    A = 1",
        "import enum\nclass X(enum.Enum):\n    A = 2",
        "return X.A",
    ),
    "dataclass value": (
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n    a: int\nX = C(1)",
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n    a: int\nX = C(2)",
        "return X",
    ),
    "dataclass method": (
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n    a: int\n"
        "    def f(self): return 1\nX = C(1)",
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n    a: int\n"
        "    def f(self): return 2\nX = C(1)",
        "return X.f()",
    ),
    "dataclass field": (
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n    a: int = 1",
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n    a: float = 1",
        "return C()",
    ),
    "instance": (
        "class C:\n    def __init__(self, a): self.a = a\nX = C(1)",
        "class C:\n    def __init__(self, a): self.a = a\nX = C(2)",
        "return X.a",
    ),
    "named tuple": (
        "from collections import namedtuple\nP = namedtuple('P', 'a b')",
        "from collections import namedtuple\nP = namedtuple('P', 'b a')",
        "return P(1, 2)",
    ),
    "typed named tuple": (
        "from typing import NamedTuple\nclass P(NamedTuple):\n    a: int = 1",
        "from typing import NamedTuple\nclass P(NamedTuple):\n    a: int = 2",
        "return P()",
    ),
    "partial": (
        "import functools\ndef f(a, b): return a\nX = functools.partial(f, 1)",
        "import functools\ndef f(a, b): return a\nX = functools.partial(f, 2)",
        "return X(3)",
    ),
    "function in a partial": (
        "import functools\ndef f(a): return a\nX = functools.partial(f, 1)",
        "import functools\ndef f(a): return -a\nX = functools.partial(f, 1)",
        "return X()",
    ),
    "dispatch table": (
        "def f(): return 1\nX = {'f': f}",
        "def f(): return 2\nX = {'f': f}",
        "return X['f']()",
    ),
    "lambda": ("X = lambda a: a + 1", "X = lambda a: a + 2", "return X(1)"),
    "second lambda of a line": (
        "X, Y = lambda a: a + 1, lambda a: a + 1",
        "X, Y = lambda a: a + 1, lambda a: a + 2",
        "return Y(1)",
    ),
    "cached helper": (
        "import functools\n@functools.lru_cache\ndef f(): return 1",
        "import functools\n@functools.lru_cache\ndef f(): return 2",
        "return f()",
    ),
    "context manager": (
        "import contextlib\n@contextlib.contextmanager\ndef f(): yield 1",
        "import contextlib\n@contextlib.contextmanager\ndef f(): yield 2",
        "return f()",
    ),
    "single dispatch": (
        "import functools\n@functools.singledispatch\ndef f(x): return 1\n"
        "@f.register\ndef _(x: int): return 1",
        "import functools\n@functools.singledispatch\ndef f(x): return 1\n"
        "@f.register\ndef _(x: int): return 2",
        "return f(1)",
    ),
    "own decorator": (
        "def d(f):\n    def w(): return f() + 1\n    return w\n@d\ndef f(): return 1",
        "def d(f):\n    def w(): return f() + 2\n    return w\n@d\ndef f(): return 1",
        "return f()",
    ),
    "decorated by own decorator": (
        "def d(f):\n    def w(): return f() + 1\n    return w\n@d\ndef f(): return 1",
        "def d(f):\n    def w(): return f() + 1\n    return w\n@d\ndef f(): return 2",
        "return f()",
    ),
    "decorator that returns the function": (
        "def d(n):\n    def s(f):\n        f.n = n\n        return f\n    return s\n"
        "@d(1)\ndef f(): return 1",
        "def d(n):\n    def s(f):\n        f.n = n\n        return f\n    return s\n"
        "@d(2)\ndef f(): return 1",
        "return f.n",
    ),
    "closures exchanged": (
        "def m(n):\n    def f(): return n\n    return f\na, b = m(1), m(2)",
        "def m(n):\n    def f(): return n\n    return f\nb, a = m(1), m(2)",
        "return a() - b()",
    ),
    "helpers exchanged": (
        "def f(): return 1\ndef g(): return 2\na, b = f, g",
        "def f(): return 1\ndef g(): return 2\nb, a = f, g",
        "return a() - b()",
    ),
    "function in a registry": (
        "X = {}\ndef put(f):\n    X[f.__name__] = f\n    return f\n@put\ndef f(): return 1",
        "X = {}\ndef put(f):\n    X[f.__name__] = f\n    return f\n@put\ndef f(): return 2",
        "return X['f']()",
    ),
    "class in a registry": (
        "X = []\ndef put(c):\n    X.append(c)\n    return c\n@put\nclass C:\n    n = 1",
        "X = []\ndef put(c):\n    X.append(c)\n    return c\n@put\nclass C:\n    n = 2",
        "return [c.n for c in X]",
    ),
    "a default dict's default": (
        "import collections\nX = collections.defaultdict(lambda: 1)",
        "import collections\nX = collections.defaultdict(lambda: 2)",
        "return X['a']",
    ),
    "first of two classes": (
        "import sys\nif sys:\n    class C:\n        n = 1\nelse:\n    class C:\n        n = 3",
        "import sys\nif sys:\n    class C:\n        n = 2\nelse:\n    class C:\n        n = 3",
        "return C.n",
    ),
    "recursion": (
        "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - 1)",
        "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 1 and even(n - 1)",
        "return even(4)",
    ),
    "property": (
        "class C:\n    @property\n    def p(self): return 1",
        "class C:\n    @property\n    def p(self): return 2",
        "return C().p",
    ),
    "class method": (
        "class C:\n    @classmethod\n    def p(cls): return 1",
        "class C:\n    @classmethod\n    def p(cls): return 2",
        "return C.p()",
    ),
    "constant of a class body": (
        "N = 1\nclass C:\n    n = N",
        "N = 2\nclass C:\n    n = N",
        "return C.n",
    ),
    "bound method": (
        "class C:\n    def m(self): return 1\nX = C().m",
        "class C:\n    def m(self): return 2\nX = C().m",
        "return X()",
    ),
    "imported library name": (
        "from math import sin as f",
        "from math import cos as f",
        "return f(1)",
    ),
    "imported library": ("import json as lib", "import pickle as lib", "return lib.dumps(1)"),
    "conditional constant": (
        "import sys\nif sys: X = [1]\nelse: X = [2]",
        "import sys\nif not sys: X = [1]\nelse: X = [2]",
        "return X",
    ),
    "type alias": ("X = list[int]", "X = list[str]", "return X"),
    "state's beginning": (
        "X = {}\ndef put(): X['a'] = 1",
        "X = {'b': 1}\ndef put(): X['a'] = 1",
        "return X",
    ),
    "global by name": ("X = 1", "X = 2", "return globals()['X']"),
}


@pytest.mark.parametrize("case", REACHED)
def test_it_is_followed(project: Project, case: str) -> None:
    before, after, body = REACHED[case]
    old = project.version(f"{before}\n\ndef build():\n    {body}\n")
    same = project.version(f"{before}\n\ndef build():\n    {body}\n")
    new = project.version(f"{after}\n\ndef build():\n    {body}\n")
    assert same.hex == old.hex
    assert new.hex != old.hex
    assert changed_parts(old.parts, new.parts)


IMPORTED = {
    "from the package": "from . import helpers",
    "from the module": "from .helpers import scale",
    "absolute": f"import {PACKAGE}.helpers",
    "renamed": f"import {PACKAGE}.helpers as helpers",
    "from, absolute": f"from {PACKAGE}.helpers import scale",
    "re-exported": "from .middle import scale",
    "dynamic": f"import importlib; helpers = importlib.import_module('{PACKAGE}.helpers')",
}


def _call(statement: str) -> str:
    if "scale" in statement:
        return "scale(1)"
    return (
        f"{PACKAGE}.helpers.scale(1)"
        if " as " not in statement and "import t" in statement
        else "helpers.scale(1)"
    )


@pytest.mark.parametrize("case", IMPORTED)
@pytest.mark.parametrize("place", ["module", "function"])
def test_an_import_is_followed(project: Project, case: str, place: str) -> None:
    statement = IMPORTED[case]
    call = _call(statement)
    if place == "module":
        main = f"{statement}\n\ndef build():\n    return {call}\n"
    else:
        main = f"def build():\n    {statement}\n    return {call}\n"
    middle = "from .helpers import scale\n"
    files = {"main": main, "middle": middle, "helpers": HELPERS}
    old = project.version(files)
    new = project.version({**files, "helpers": HELPERS.replace("FACTOR = 2", "FACTOR = 3")})
    assert "constant FACTOR changed" in changed_parts(old.parts, new.parts)


def test_a_module_handed_on_counts_whole(project: Project) -> None:
    main = "from . import helpers\n\ndef build(name):\n    return getattr(helpers, name)(1)\n"
    old = project.version({"main": main, "helpers": HELPERS})
    new = project.version({"main": main, "helpers": HELPERS.replace("UNUSED = 1", "UNUSED = 2")})
    assert old.hex != new.hex
    assert any("all of tracked_project.helpers counts" in text for text in old.warnings)


def test_state_that_functions_change_counts_by_its_source(project: Project) -> None:
    module = project.load("CACHE = {}\n\ndef build(key):\n    CACHE[key] = 1\n    return CACHE\n")
    before = code_version(module.build, project_roots=[project.folder])
    module.build("a")
    assert code_version(module.build, project_roots=[project.folder]).hex == before.hex


def test_code_made_by_exec_counts_by_its_bytecode(project: Project) -> None:
    main = (
        "names = {}\nexec('def f():\\n    return 1', names)\nf = names['f']\n\n"
        "def build():\n    return f()\n"
    )
    old = project.version(main)
    new = project.version(main.replace("return 1", "return 2"))
    assert old.hex != new.hex
    assert any("bytecode" in text for text in old.warnings)


def test_a_loop_makes_assets_that_differ_by_their_closure(project: Project) -> None:
    module = project.load(
        "def make(partner):\n    def build():\n        return partner\n    return build\n\n"
        "made = [make(f'partner-{i}') for i in range(500)]\n"
    )
    session = Fingerprints([project.folder])
    versions = [session.of(fn) for fn in module.made]
    assert len({version.hex for version in versions}) == 500
    assert changed_parts(versions[0].parts, versions[1].parts) == ["closure partner changed"]


def test_one_session_gives_what_many_give(project: Project) -> None:
    module = project.load({"main": BASE, "helpers": HELPERS})
    session = Fingerprints([project.folder])
    session.of(module.scale)
    alone = code_version(module.build, project_roots=[project.folder])
    assert session.of(module.build) == alone


def test_the_annotation_of_a_parameter_matters_but_not_its_formatting(project: Project) -> None:
    text = "from typing import Any\n\ndef build(rows: {}):\n    return rows\n"
    old = project.version(text.format("dict[str, Any]"))
    assert project.version(text.format("dict[ str,Any ]")).hex == old.hex
    assert project.version(text.format("'dict[str, Any]'")).hex == old.hex
    assert project.version(text.format("list[Any]")).hex != old.hex


def test_a_config_model_in_the_signature_is_followed(project: Project) -> None:
    text = (
        "from pydantic import BaseModel\n\nclass Settings(BaseModel):\n    limit: int = 1\n"
        "    def twice(self):\n        return self.limit * 2\n\n"
        "def build(settings: Settings):\n    return settings.twice()\n"
    )
    old = project.version(text)
    new = project.version(text.replace("self.limit * 2", "self.limit + self.limit"))
    assert changed_parts(old.parts, new.parts) == ["helper twice changed"]


def test_default_values_count_by_value(project: Project) -> None:
    text = "N = 1\n\ndef build(rows, n=N, *, m=N):\n    return rows\n"
    old, new = project.version(text), project.version(text.replace("N = 1", "N = 2"))
    assert changed_parts(old.parts, new.parts) == ["default m changed", "default n changed"]


HOLDING = {
    "a default": "def build(x={}): return x",
    "a closure": "def make(x):\n    def build(): return x\n    return build\nbuild = make({})",
    "a list in a closure": "def make(x):\n    def build(): return x\n    return build\n"
    "build = make([{}])",
    "a partial": "import functools\ndef f(x): return x\nbuild = functools.partial(f, {})",
    "an attribute": "class C:\n    def __init__(self, x): self.x = x\ndef build(x=C({})): return x",
}
VALUES = {
    "a type": ("pa.int64()", "pa.int32()"),
    "a nested type": ("pa.list_(pa.int64())", "pa.list_(pa.int32())"),
    "a schema": ("pa.schema([('a', pa.int64())])", "pa.schema([('b', pa.int64())])"),
    "a polars type": ("pl.Datetime('us')", "pl.Datetime('ms')"),
    "a deque": ("collections.deque([1])", "collections.deque([2])"),
    "a namespace": ("types.SimpleNamespace(a=1)", "types.SimpleNamespace(a=2)"),
}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("place", HOLDING)
def test_a_librarys_value_counts_by_its_content(project: Project, place: str, value: str) -> None:
    imports = "import collections, types, pyarrow as pa, polars as pl\n"
    old, same, new = (
        project.version(imports + HOLDING[place].format(text))
        for text in (VALUES[value][0], *VALUES[value])
    )
    assert same.hex == old.hex != new.hex
    assert old.warnings == ()


def test_a_lock_counts_by_its_type(project: Project) -> None:
    text = "import threading\n\ndef build(x=threading.{}()):\n    return x\n"
    old, other = project.version(text.format("Lock")), project.version(text.format("Event"))
    assert old.warnings == ()
    assert project.version(text.format("Lock")).hex == old.hex != other.hex


def test_a_value_that_contains_itself_makes_its_module_count(project: Project) -> None:
    text = (
        "def make(x):\n    x.append(x)\n    def build():\n        return x\n    return build\n"
        "build = make([])\nOTHER = 1\n"
    )
    old, new = project.version(text), project.version(text.replace("OTHER = 1", "OTHER = 2"))
    assert "closure x has no plain form" in old.warnings[0]
    assert old.hex != new.hex


def test_a_deque_that_contains_itself_counts_by_what_it_holds(project: Project) -> None:
    version = project.version(
        "import collections\n\ndef make(x):\n    x.append(x)\n    def build():\n"
        "        return x\n    return build\nbuild = make(collections.deque())\n"
    )
    assert version.warnings == ()


def test_declaring_options_do_not_count(project: Project) -> None:
    text = (
        "import assets_core.fingerprint.hashing as ours\n\n"
        "def asset(**options):\n    return lambda f: f\n"
        "asset.__module__ = 'assets_core.declare.asset'\n\n"
        "@asset(owner='a')\ndef build():\n    return 1\n"
    )
    assert project.version(text).hex == project.version(text.replace("'a'", "'b'")).hex


def test_an_object_of_ours_counts_by_its_identity(project: Project) -> None:
    text = (
        "from assets_core.records import Code\n\nclass Thing(Code):\n    pass\n"
        "Thing.__module__ = 'assets_core.declare.asset'\n"
        "Thing.identity = lambda self: ('thing', self.hex)\n"
        "X = Thing({name!r}, {parts})\n\ndef build():\n    return X\n"
    )
    old = project.version(text.format(name="a", parts={"x": "1"}))
    assert project.version(text.format(name="a", parts={"x": "2"})).hex == old.hex
    assert project.version(text.format(name="b", parts={"x": "1"})).hex != old.hex


def test_where_the_project_lies_does_not_count(project: Project) -> None:
    # Each version lies in a folder of its own.
    text = (
        "import os\nfrom pathlib import Path\n\nHERE = Path(__file__).parent\n"
        "TEXT = os.path.dirname(__file__)\nFILES = {'a': HERE / 'a.csv'}\n\n"
        "def build(under=HERE / 'x'):\n    return HERE, TEXT, FILES\n"
    )
    old, new = project.version(text), project.version(text)
    assert old.hex == new.hex
    assert project.version(text.replace("'a.csv'", "'b.csv'")).hex != old.hex
    assert project.version(text.replace("'x'", "'y'")).hex != old.hex


def test_the_environment_is_not_read(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "from os import environ\nENV = environ\n\ndef build():\n    return ENV['HOME'], environ\n"
    )
    old = project.version(text)
    monkeypatch.setenv("SOMETHING", "else")
    assert project.version(text).hex == old.hex


def test_an_asset_that_is_called_counts_by_its_function(project: Project) -> None:
    text = (
        "from assets_core.records import Code\n\nclass Thing(Code):\n"
        "    def __call__(self):\n        return self.function()\n"
        "Thing.__module__ = 'assets_core.declare.asset'\n"
        "def other():\n    return 1\n"
        "Thing.function = staticmethod(other)\nX = Thing('a')\n\n"
        "def build():\n    return X{use}\n"
    )
    mentioned, called = (text.replace("{use}", use) for use in ("", "()"))
    edited = [t.replace("return 1", "return 2") for t in (mentioned, called)]
    assert project.version(mentioned).hex == project.version(edited[0]).hex
    assert project.version(called).hex != project.version(edited[1]).hex


CELLS = """
import json
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
def run(*cells):
    for cell in cells:
        shell.run_cell(cell, store_history=True).raise_error()
    from assets_core.fingerprint.versions import code_version
    version = code_version(shell.user_ns["build"])
    return [version.hex, sorted(version.parts), version.warnings]
limit = "LIMIT = {}"
helper = "def helper(x):\\n    return x * {}"
build = "def build(rows):\\n    return helper(LIMIT)"
found = [
    run(limit.format(3), helper.format(2), build),
    run("# again", helper.format("2  # twice"), "# moved\\n\\n" + build),
    run(limit.format(4)),
    run(limit.format(3), helper.format(5)),
]
print(json.dumps(found))
"""


def test_a_notebooks_cells_are_followed(tmp_path: Path) -> None:
    pytest.importorskip("IPython")
    done = subprocess.run(
        [sys.executable, "-c", CELLS],
        env={**os.environ, "IPYTHONDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    first, reformatted, other_limit, other_helper = json.loads(done.stdout.splitlines()[-1])
    assert first[1:] == [
        ["constant __main__.LIMIT", "function build", "helper __main__.helper"],
        [],
    ]
    assert reformatted[0] == first[0]
    assert len({first[0], other_limit[0], other_helper[0]}) == 3


def test_version_stands_for_the_code(project: Project) -> None:
    old = project.version("def build():\n    return 1\n", version="2", extra={"config": {"n": 1}})
    new = project.version("def build():\n    return 2\n", version="2", extra={"config": {"n": 1}})
    later = project.version("def build():\n    return 2\n", version="3", extra={"config": {"n": 2}})
    assert old.hex == new.hex
    assert changed_parts(old.parts, later.parts) == ["config n changed", "version 2 → 3"]


def test_extras_count_by_name_and_key() -> None:
    old = code_version(None, sql="SELECT 1", extra={"config": {"n": 1, "m": 1}, "io": ("a", 1)})
    new = code_version(None, sql="SELECT 1", extra={"config": {"n": 2, "k": 1}, "io": ("a", 2)})
    assert set(old.parts) == {"sql", "config n", "config m", "io"}
    assert changed_parts(old.parts, new.parts) == [
        "config k added",
        "config m removed",
        "config n changed",
        "io changed",
    ]


def test_a_library_counts_when_it_is_declared() -> None:
    import numpy

    with_it = code_version(None, libraries=["numpy"])
    assert list(with_it.parts) == [f"library numpy {numpy.__version__}"]
    assert changed_parts({"library numpy 1.0": "a"}, {"library numpy 2.0": "b"}) == [
        "library numpy 1.0 → 2.0"
    ]


def test_a_library_that_is_missing_is_warned_about() -> None:
    assert "not installed" in code_version(None, libraries=["no-such-thing"]).warnings[0]


QUERY = "SELECT a, sum(b) AS Total FROM t WHERE a >= 1 AND c <> 'x' GROUP BY ALL"


@pytest.mark.parametrize(
    "text",
    [
        "select a,sum(b) as Total from t where a>=1 and c<>'x' group by all",
        "SELECT a, SUM (b) AS Total\n-- comment\nFROM t /* more /* inner */ */ "
        "WHERE a >= 1 AND c <> 'x' GROUP BY ALL;",
    ],
)
def test_sql_counts_without_its_formatting(text: str) -> None:
    assert sql_version(text) == sql_version(QUERY)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("1", "2"),
        ("'x'", "'X'"),
        ("'x'", "'x '"),
        ("'x'", '"x"'),
        ("'x'", "'x --'"),
        ("'x'", "$$x$$"),
        ("'x'", "$n"),
        ("Total", "total"),
        ("FROM t", "FROM u"),
        ("a, sum(b) AS Total", "sum(b) AS Total, a"),
        ("SELECT", "SELECT DISTINCT"),
        ("AND", "OR"),
        (">= 1", "> 1"),
        ("c <>", "c --<>\n ="),
    ],
)
def test_other_sql_is_another_version(before: str, after: str) -> None:
    assert before in QUERY
    assert sql_version(QUERY.replace(before, after)).hex != sql_version(QUERY).hex


@pytest.mark.parametrize("text", ["SELECT 'a", 'SELECT "a', "SELECT 1 /* /* */", "SELECT $$a"])
def test_sql_that_is_cut_off_counts_by_its_text(text: str) -> None:
    odd, spaced = sql_version(text), sql_version(text.replace(" ", "\n  "))
    assert odd.hex == spaced.hex
    assert "its text counts" in odd.warnings[0]


def test_sql_versions_stay_what_they_were() -> None:
    assert sql_version(QUERY).hex == "cf3b5099e7ff611e4113219260fb74a9"


SEEDED = """
import json, sys
sys.path.insert(0, sys.argv[1])
from assets_core.fingerprint.versions import code_version
from tracked_project.main import build
extra = {"config": {"tags": {"x", "y", "z"}}}
version = code_version(build, project_roots=[sys.argv[1]], extra=extra)
print(json.dumps([version.hex, dict(version.parts), version.warnings]))
"""


def test_hash_seeds_do_not_matter(project: Project) -> None:
    project.load(
        "WORDS = {'a', 'b', 'c', 'd', ('e', 1)}\nFROZEN = frozenset('xyz')\n"
        "TABLE = {'b': {'q', 'r'}, 'a': 1}\nclass C:\n    pass\nTHING = C()\n\n"
        "def build(by=frozenset({'k', 'l', 'm'})):\n"
        "    return [w for w in {'p', 'q', 'r'} if w in {'s', 't'}], WORDS, FROZEN, TABLE, THING\n"
    )
    found = set()
    for seed in ("0", "1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", SEEDED, str(project.folder)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent.parent,
        )
        found.add(done.stdout)
    assert len(found) == 1
    assert json.loads(found.pop())[2] == []


def test_a_file_edited_after_its_import_does_not_stand_for_the_code_that_runs(
    project: Project,
) -> None:
    module = project.load("def helper():\n    return 1\n\ndef build():\n    return helper()\n")
    before = code_version(module.build, project_roots=[project.folder])
    path = Path(module.__file__)
    path.write_text("# moved\ndef helper():\n    return 2\n\ndef build():\n    return helper()\n")
    os.utime(path, ns=(1, 1))
    assert code_version(module.build, project_roots=[project.folder]).hex == before.hex


def test_functions_of_the_standard_library_and_of_packages_are_not_followed(
    project: Project,
) -> None:
    version = project.version(
        "import json, numpy as np, textwrap\n\ndef build():\n"
        "    return json.dumps(np.sum([1])), textwrap.dedent('x')\n"
    )
    assert list(version.parts) == ["function build"]


@pytest.mark.parametrize("place", ["site-packages", "elsewhere"])
def test_a_function_outside_the_roots_is_followed_all_the_same(
    project: Project, tmp_path: Path, place: str
) -> None:
    project.root = tmp_path / place
    files = {"main": BASE, "helpers": HELPERS}
    old = project.load(files)
    before = code_version(old.build, project_roots=[tmp_path / "project"])
    inside = code_version(old.build, project_roots=[tmp_path])
    new = project.load({**files, "helpers": HELPERS.replace("FACTOR = 2", "FACTOR = 3")})
    after = code_version(new.build, project_roots=[tmp_path / "project"])
    assert changed_parts(before.parts, after.parts) == ["constant FACTOR changed"]
    if place == "elsewhere":
        assert inside == before


def test_what_the_function_wraps_is_followed(project: Project) -> None:
    text = (
        "import functools\n\ndef wrap(f):\n    @functools.wraps(f)\n    def inner(*a):\n"
        "        return f(*a)\n    return inner\n\n@wrap\ndef build():\n    return 1\n"
    )
    old, new = project.version(text), project.version(text.replace("return 1", "return 2"))
    assert old.hex != new.hex


def test_a_partial_can_be_the_function(project: Project) -> None:
    module = project.load("def make(n):\n    return n\n")
    one, two = (
        code_version(functools.partial(module.make, n), project_roots=[project.folder])
        for n in (1, 2)
    )
    assert one.hex != two.hex


def test_a_thousand_functions_have_a_thousand_versions(project: Project) -> None:
    bodies = [
        f"def f{i}(rows):\n    total = LIMIT\n    for row in rows:\n        if row > {i}:\n"
        f"            total += helper(row) * {i}\n        else:\n            total -= 1\n"
        f"    return [total, len(rows), '{i}']\n"
        for i in range(1000)
    ]
    module = project.load("LIMIT = 3\n\ndef helper(row):\n    return row\n\n" + "\n".join(bodies))
    functions = [getattr(module, f"f{i}") for i in range(1000)]
    session = Fingerprints([project.folder])
    versions = {session.of(fn).hex for fn in functions}
    assert len(versions) == 1000
