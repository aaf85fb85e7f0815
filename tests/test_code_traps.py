"""Ways of editing a project: those that alter what comes out make it stale, the others don't.

Each trap is a package with a gap (``@@``) that is filled in two ways. What ``build()`` gives is
compared as well, so that a trap which is none is found out.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from tracked import Project

from assets_core.fingerprint import CodeVersion

Files = dict[str, str]

STALE: dict[str, tuple[Files, str, str]] = {
    "dict order": (
        {
            "main": ("D={@@}\ndef f(): return next(iter(D))\n\ndef build():\n    return (f())\n"),
        },
        "'a':1,'b':2",
        "'b':2,'a':1",
    ),
    "swap kw names2": (
        {
            "main": ("def h(@@\ndef f(): return h(b=1,a=2)\n\ndef build():\n    return (f())\n"),
        },
        "a, b): return a-b",
        "b, a): return b-a",
    ),
    "swap positional with kwargs dict": (
        {
            "main": (
                "K={'a':1,'b':2}\n"
                "def h(@@\n"
                "def f(): return h(**K)\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "a, b): return a-b",
        "b, a): return b-a",
    ),
    "partial kw": (
        {
            "main": (
                "import functools\n"
                "def h(@@\n"
                "P=functools.partial(h,b=1)\n"
                "def f(): return P(2)\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "a, b): return a-b",
        "b, a): return b-a",
    ),
    "method kw": (
        {
            "main": (
                "class C:\n"
                "    def h(self,@@\n"
                "def f(): return C().h(a=1,b=2)\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "a, b): return a-b",
        "b, a): return b-a",
    ),
    "nested def kw": (
        {
            "main": (
                "def f():\n    def h(@@\n    return h(a=1,b=2)\n\ndef build():\n    return (f())\n"
            ),
        },
        "a, b): return a-b",
        "b, a): return b-a",
    ),
    "duckdb local names": (
        {
            "main": (
                "import duckdb\n"
                "def f():\n"
                "    @@ = duckdb.sql('select 1 v'), duckdb.sql('select 2 v')\n"
                "    return duckdb.sql('select v from a').fetchall()[0][0]\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "a, b",
        "b, a",
    ),
    "duckdb local names, text elsewhere": (
        {
            "main": (
                "import duckdb\n"
                "Q='select v from a'\n"
                "def f():\n"
                "    @@ = duckdb.sql('select 1 v'), duckdb.sql('select 2 v')\n"
                "    return duckdb.sql(Q).fetchall()[0][0]\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "a, b",
        "b, a",
    ),
    "duckdb global table": (
        {
            "main": (
                "import duckdb, pyarrow as pa\n"
                "T=pa.table({'v':[@@]})\n"
                "def f():\n"
                "    return duckdb.sql('select v from T').fetchall()[0][0]\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "duckdb global table, text elsewhere": (
        {
            "main": (
                "import duckdb, pyarrow as pa\n"
                "T=pa.table({'v':[@@]})\n"
                "Q='select v from T'\n"
                "def f():\n"
                "    return duckdb.sql(Q).fetchall()[0][0]\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "pandas query local": (
        {
            "main": (
                "import pandas as pd\n"
                "D=pd.DataFrame({'v':[1,2,3]})\n"
                "def f():\n"
                "    @@ = 1, 2\n"
                "    return len(D.query('v > @lo'))\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "lo, hi",
        "hi, lo",
    ),
    "locals()": (
        {
            "main": (
                "def f():\n"
                "    @@ = 1, 2\n"
                "    return locals()['lo']\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "lo, hi",
        "hi, lo",
    ),
    "eval local": (
        {
            "main": (
                "E='lo'\n"
                "def f():\n"
                "    @@ = 1, 2\n"
                "    return eval(E)\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "lo, hi",
        "hi, lo",
    ),
    "f-string =": (
        {
            "main": (
                "def f():\n"
                "    @@ = 1\n"
                "    return f'{lo=}' if 'lo' in dir() else f'{hi=}'\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "lo",
        "hi",
    ),
    "helper __name__": (
        {
            "main": (
                "def @@(): return 1\n"
                "g=@@\n"
                "def f(): return g.__name__\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "h1",
        "h2",
    ),
    "agg names": (
        {
            "main": (
                "import pandas as pd\n"
                "def @@(s): return s.sum()\n"
                "FN=[@@]\n"
                "def f(): return list(pd.DataFrame({'v':[1]}).agg(FN).index)[0]\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "h1",
        "h2",
    ),
    "frames in helper": (
        {
            "main": (
                "import sys\n"
                "def peek(): return sorted(sys._getframe(1).f_locals)[0]\n"
                "def f():\n"
                "    @@ = 1\n"
                "    return peek()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "lo",
        "hi",
    ),
    "print captured": (
        {
            "main": (
                "import io,contextlib\n"
                "def say():\n"
                "    print('@@')\n"
                "def f():\n"
                "    b=io.StringIO()\n"
                "    with contextlib.redirect_stdout(b):\n"
                "        say()\n"
                "    return b.getvalue()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "x",
        "y",
    ),
    "print to file": (
        {
            "main": (
                "import io\n"
                "def f():\n"
                "    b=io.StringIO()\n"
                "    print('@@', file=b)\n"
                "    return b.getvalue()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "x",
        "y",
    ),
    "fake logger": (
        {
            "main": (
                "class L:\n"
                "    def info(self,t): self.t=t\n"
                "log=L()\n"
                "def f():\n"
                "    log.info('@@')\n"
                "    return log.t\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "x",
        "y",
    ),
    "fake local logger": (
        {
            "main": (
                "import logging\n"
                "log=logging.getLogger('a')\n"
                "class L:\n"
                "    def info(self,t): self.t=t\n"
                "def f():\n"
                "    log=L()\n"
                "    log.info('@@')\n"
                "    return log.t\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "x",
        "y",
    ),
    "own print": (
        {
            "main": (
                "O=[]\n"
                "def print(t): O.append(t)\n"
                "def f():\n"
                "    print('@@')\n"
                "    return O[0]\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "x",
        "y",
    ),
    "module random seed": (
        {
            "main": (
                "import random\n"
                "random.seed(@@)\n"
                "def f(): return random.random()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "decimal prec at import": (
        {
            "main": (
                "import decimal\n"
                "decimal.getcontext().prec = @@\n"
                "def f(): return str(decimal.Decimal(1)/3)\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "5",
        "6",
    ),
    "seed in other module": (
        {
            "main": (
                "from . import setup\n"
                "import random\n"
                "def f(): return random.random()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
            "setup": ("import random\nrandom.seed(@@)\n"),
        },
        "1",
        "2",
    ),
    "seed by own function": (
        {
            "main": (
                "from .setup import setup\n"
                "import random\n"
                "setup(@@)\n"
                "def f(): return random.random()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
            "setup": ("import random\ndef setup(n):\n    random.seed(n)\n"),
        },
        "1",
        "2",
    ),
    "docstring used": (
        {
            "main": (
                "def h():\n"
                "    '''@@'''\n"
                "def f(): return h.__doc__\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "x",
        "y",
    ),
    "annotation used": (
        {
            "main": (
                "import typing\n"
                "def h(a: @@): return a\n"
                "def f(): return str(typing.get_type_hints(h))\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "int",
        "str",
    ),
    "singledispatch annotation": (
        {
            "main": (
                "import functools\n"
                "@functools.singledispatch\n"
                "def h(x): return 0\n"
                "@h.register\n"
                "def _(x: @@): return 1\n"
                "def f(): return h(1)\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "int",
        "str",
    ),
    "duckdb udf annotation": (
        {
            "main": (
                "import duckdb\n"
                "def u(x: int) -> @@: return x\n"
                "def f():\n"
                "    c=duckdb.connect(); c.create_function('u',u)\n"
                "    return str(c.sql('select typeof(u(1))').fetchall())\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "int",
        "str",
    ),
    "class attr set after": (
        {
            "main": (
                "class C: pass\nC.v=@@\ndef f(): return C.v\n\ndef build():\n    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "class attr by setattr loop": (
        {
            "main": (
                "class C: pass\n"
                "for k,v in {'v':@@}.items(): setattr(C,k,v)\n"
                "def f(): return C.v\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "function attr getattr": (
        {
            "main": (
                "def h(): pass\n"
                "h.rate=@@\n"
                "def f(): return getattr(h,'ra'+'te')\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "registry nested": (
        {
            "main": (
                "R={'a':{'b':[]}}\n"
                "def r(fn): R['a']['b'].append(fn); return fn\n"
                "@r\n"
                "def r1(): return @@\n"
                "def f(): return R['a']['b'][0]()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "registry of instances": (
        {
            "main": (
                "class Rule:\n"
                "    def __init__(s,fn): s.fn=fn\n"
                "R=[]\n"
                "def r(fn): R.append(Rule(fn)); return fn\n"
                "@r\n"
                "def r1(): return @@\n"
                "def f(): return R[0].fn()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "registry set of functions": (
        {
            "main": (
                "R=set()\n"
                "def r(fn): R.add(fn); return fn\n"
                "@r\n"
                "def r1(): return @@\n"
                "@r\n"
                "def r2(): return 5\n"
                "def f(): return sum(x() for x in R)\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "subclasses deep in helper": (
        {
            "main": (
                "class B: pass\n"
                "def walk(c):\n"
                "    for s in c.__subclasses__():\n"
                "        yield s\n"
                "        yield from walk(s)\n"
                "class C(B): pass\n"
                "class D(C):\n"
                "    v=@@\n"
                "def f(): return sum(getattr(s,'v',0) for s in walk(B))\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "subclasses in other module": (
        {
            "main": (
                "from .m import B\n"
                "from . import n\n"
                "def f(): return sum(s.v for s in B.__subclasses__())\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
            "m": ("class B: pass\n"),
            "n": ("from .m import B\nclass C(B):\n    v=@@\n"),
        },
        "1",
        "2",
    ),
    "init_subclass with kw": (
        {
            "main": (
                "class B:\n"
                "    reg={}\n"
                "    def __init_subclass__(cls, key, **k): B.reg[key]=cls\n"
                "class C(B,key='a'):\n"
                "    def go(self): return @@\n"
                "def f(): return B.reg['a']().go()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "enum from file": (
        {
            "main": (
                "import enum,pathlib\n"
                "class E(enum.Enum):\n"
                "    A=pathlib.Path(__file__).with_name('c.txt').read_text()\n"
                "def f(): return E.A.value\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
            "c.txt": "@@",
        },
        "1",
        "2",
    ),
    "flag enum complex value": (
        {
            "main": (
                "import enum\n"
                "class E(enum.Enum):\n"
                "    A={'k':[@@]}\n"
                "def f(): return E.A.value['k'][0]\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "polars df constant": (
        {
            "main": (
                "import polars as pl,pathlib\n"
                "D=pl.read_csv(pathlib.Path(__file__).with_name('c.csv'))\n"
                "def f(): return D['r'].sum()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
            "c.csv": ("r\n@@\n"),
        },
        "1",
        "2",
    ),
    "arrow table constant": (
        {
            "main": (
                "import pyarrow.csv as pc,pathlib\n"
                "D=pc.read_csv(pathlib.Path(__file__).with_name('c.csv'))\n"
                "def f(): return D['r'][0].as_py()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
            "c.csv": ("r\n@@\n"),
        },
        "1",
        "2",
    ),
    "env into settings": (
        {
            "main": (
                "import os\n"
                "class S:\n"
                "    def __init__(s): s.rate=os.environ.get('RATE_X','@@')\n"
                "s=S()\n"
                "def f(): return s.rate\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "lru decorated by class with update_wrapper by call": (
        {
            "main": (
                "import functools\n"
                "class T:\n"
                "    def __init__(s,fn): functools.update_wrapper(s,fn); s.fn=fn\n"
                "    def __call__(s): return s.fn()*@@\n"
                "def h(): return 1\n"
                "g=T(h)\n"
                "def f(): return g()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "2",
        "3",
    ),
    "class decorator args": (
        {
            "main": (
                "class T:\n"
                "    def __init__(s,n): s.n=n\n"
                "    def __call__(s,fn): return lambda: fn()*s.n\n"
                "@T(@@)\n"
                "def f(): return 1\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "2",
        "3",
    ),
    "wrapped lib with own": (
        {
            "main": (
                "import functools\n"
                "def h(x): return x*@@\n"
                "f=functools.lru_cache(maxsize=None)(functools.partial(h,2))\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "property factory": (
        {
            "main": (
                "def prop(n): return property(lambda s: n)\n"
                "class C: v=prop(@@)\n"
                "def f(): return C().v\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "mixin order": (
        {
            "main": (
                "class A1:\n"
                "    def v(s): return 1\n"
                "class B1:\n"
                "    def v(s): return 2\n"
                "class C(@@): pass\n"
                "def f(): return C().v()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "A1,B1",
        "B1,A1",
    ),
    "star args order": (
        {
            "main": (
                "def h(*a, k=@@): return k\n"
                "def f(): return h(1)\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "conditional def by env const": (
        {
            "main": (
                "MODE='@@'\n"
                "if MODE=='a':\n"
                "    def h(): return 1\n"
                "else:\n"
                "    def h(): return 2\n"
                "def f(): return h()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "a",
        "b",
    ),
    "try import order": (
        {
            "main": (
                "def f():\n"
                "    try:\n"
                "        from .@@ import g\n"
                "    except ImportError:\n"
                "        from .m import g\n"
                "    return g()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
            "m": ("def g(): return 1\n"),
            "n": ("def g(): return 2\n"),
        },
        "m",
        "n",
    ),
    "import shadowing local": (
        {
            "main": (
                "def f():\n"
                "    from .m import g\n"
                "    g2 = g\n"
                "    def inner():\n"
                "        from .n import g\n"
                "        return g()\n"
                "    return g2() + inner()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
            "m": ("def g(): return 1\n"),
            "n": ("def g(): return @@\n"),
        },
        "2",
        "3",
    ),
    "computed import": (
        {
            "main": (
                "import importlib\n"
                "N=['m']\n"
                "def f(): return importlib.import_module('tracked_project.'+N[0]).g()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
            "m": ("def g(): return @@\n"),
        },
        "2",
        "3",
    ),
    "sys.modules": (
        {
            "main": (
                "import sys\n"
                "from . import m\n"
                "def f(): return sys.modules['tracked_project.m'].g()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
            "m": ("def g(): return @@\n"),
        },
        "2",
        "3",
    ),
    "getattr module": (
        {
            "main": (
                "from . import m\n"
                "N='g'\n"
                "def f(): return getattr(m,N)()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
            "m": ("def g(): return @@\n"),
        },
        "2",
        "3",
    ),
    "module __dict__": (
        {
            "main": (
                "from . import m\n"
                "def f(): return m.__dict__['g']()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
            "m": ("def g(): return @@\n"),
        },
        "2",
        "3",
    ),
    "vars(module)": (
        {
            "main": (
                "from . import m\n"
                "def f(): return vars(m)['g']()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
            "m": ("def g(): return @@\n"),
        },
        "2",
        "3",
    ),
    "iterate module functions helper of other module": (
        {
            "main": (
                "from . import m\n"
                "FNS=[v for k,v in sorted(vars(m).items()) if k.startswith('rule_')]\n"
                "def f(): return sum(x() for x in FNS)\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
            "m": ("def rule_a(): return @@\n"),
        },
        "2",
        "3",
    ),
    "connection at module level": (
        {
            "main": (
                "import duckdb\n"
                "X=@@\n"
                "def make(): return X\n"
                "CON=duckdb.connect()\n"
                "CON.execute('create table t as select '+str(make())+' v')\n"
                "def f(): return CON.sql('select v from t').fetchall()[0][0]\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "connection made elsewhere": (
        {
            "main": (
                "from .db import CON\n"
                "def f(): return CON.sql('select v from t').fetchall()[0][0]\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
            "db": (
                "import duckdb\n"
                "from .val import X\n"
                "CON=duckdb.connect()\n"
                "CON.execute('create table t as select '+str(X)+' v')\n"
            ),
            "val": ("X=@@\n"),
        },
        "1",
        "2",
    ),
    "generator const": (
        {
            "main": (
                "G=(x for x in [@@])\ndef f(): return next(G)\n\ndef build():\n    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "walrus default": (
        {
            "main": ("def f(a=(b:=@@)): return b\n\ndef build():\n    return (f())\n"),
        },
        "1",
        "2",
    ),
    "metaclass attr": (
        {
            "main": (
                "class M(type):\n"
                "    rate=@@\n"
                "class C(metaclass=M): pass\n"
                "def f(): return C.rate\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "global set in other function at import": (
        {
            "main": (
                "RATE=None\n"
                "def load():\n"
                "    global RATE\n"
                "    RATE=@@\n"
                "load()\n"
                "def f(): return RATE\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "slots instance": (
        {
            "main": (
                "class C:\n"
                "    __slots__=('v',)\n"
                "    def __init__(s): s.v=@@\n"
                "c=C()\n"
                "def f(): return c.v\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "dict subclass attr": (
        {
            "main": (
                "class C(dict): pass\n"
                "c=C(); c.v=@@\n"
                "def f(): return c.v\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "dataclass post attr": (
        {
            "main": (
                "import dataclasses\n"
                "@dataclasses.dataclass\n"
                "class C:\n"
                "    a:int=1\n"
                "c=C(); c.v=@@\n"
                "def f(): return c.v\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "pydantic private": (
        {
            "main": (
                "import pydantic\n"
                "class C(pydantic.BaseModel):\n"
                "    _v:int=pydantic.PrivateAttr(@@)\n"
                "c=C()\n"
                "def f(): return c._v\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "pydantic default from file": (
        {
            "main": (
                "import pydantic,pathlib\n"
                "class C(pydantic.BaseModel):\n"
                "    v:str=pathlib.Path(__file__).with_name('c.txt').read_text()\n"
                "def f(): return C().v\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
            "c.txt": "@@",
        },
        "1",
        "2",
    ),
    "dataclass default factory": (
        {
            "main": (
                "import dataclasses\n"
                "@dataclasses.dataclass\n"
                "class C:\n"
                "    v:list=dataclasses.field(default_factory=lambda:[@@])\n"
                "def f(): return C().v[0]\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "namedtuple functional default": (
        {
            "main": (
                "from collections import namedtuple\n"
                "C=namedtuple('C','v',defaults=[@@])\n"
                "def f(): return C().v\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "type() class": (
        {
            "main": (
                "C=type('C',(),{'v':@@})\ndef f(): return C.v\n\ndef build():\n    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "make_dataclass": (
        {
            "main": (
                "import dataclasses\n"
                "C=dataclasses.make_dataclass('C',[('v',int,dataclasses.field(default=@@))])\n"
                "def f(): return C().v\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "closure over df": (
        {
            "main": (
                "import pandas as pd\n"
                "def mk(n):\n"
                "    d=pd.DataFrame({'v':[n]})\n"
                "    def g(): return int(d['v'][0])\n"
                "    return g\n"
                "f=mk(@@)\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "asyncio helper": (
        {
            "main": (
                "import asyncio\n"
                "async def h(): return @@\n"
                "def f(): return asyncio.run(h())\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "operator.methodcaller": (
        {
            "main": (
                "import operator\n"
                "F=operator.methodcaller('@@')\n"
                "def f(): return F('aB')\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "upper",
        "lower",
    ),
    "itemgetter": (
        {
            "main": (
                "import operator\n"
                "F=operator.itemgetter(@@)\n"
                "def f(): return F([1,2])\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "0",
        "1",
    ),
    "string template const": (
        {
            "main": (
                "import string\n"
                "T=string.Template('@@')\n"
                "def f(): return T.substitute()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "x",
        "y",
    ),
    "jinja-like env object": (
        {
            "main": (
                "import re\n"
                "R1=re.compile('a').sub\n"
                "def f(): return R1('@@','a')\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "x",
        "y",
    ),
    "bound lib method": (
        {
            "main": ("S='@@'.upper\ndef f(): return S()\n\ndef build():\n    return (f())\n"),
        },
        "x",
        "y",
    ),
    "chained comparision swap": (
        {
            "main": ("def f():\n    a=1; b=2\n    return @@\n\ndef build():\n    return (f())\n"),
        },
        "a-b",
        "b-a",
    ),
    "nonlocal": (
        {
            "main": (
                "def f():\n"
                "    n=0\n"
                "    def g():\n"
                "        nonlocal n\n"
                "        n+=@@\n"
                "    g()\n"
                "    return n\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "comprehension shadows": (
        {
            "main": (
                "x=@@\ndef f(): return [x for y in [1]][0]\n\ndef build():\n    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "class body reads global": (
        {
            "main": (
                "rate=@@\n"
                "class C:\n"
                "    rate=rate\n"
                "def f(): return C.rate\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "inner class attr": (
        {
            "main": (
                "def f():\n"
                "    class C:\n"
                "        v=@@\n"
                "    return C.v\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "inner class name in repr": (
        {
            "main": (
                "import dataclasses\n"
                "def f():\n"
                "    @dataclasses.dataclass\n"
                "    class @@:\n"
                "        v:int=1\n"
                "    return repr(@@())\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "C",
        "D",
    ),
    "vars swapped in loop": (
        {
            "main": (
                "def f():\n"
                "    a,b=1,2\n"
                "    for i in range(2):\n"
                "        a,b=@@\n"
                "    return a\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "a+b,a",
        "b,a+b",
    ),
    "kwonly names": (
        {
            "main": (
                "def h(*,a=1,b=2): return a-b\n"
                "def f(): return h(@@=5)\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "a",
        "b",
    ),
    "kwonly renamed": (
        {
            "main": (
                "def h(*,@@=1,zz=2): return @@-zz\n"
                "def f(): return h(**{'a':5})\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "a",
        "b",
    ),
    "warnings filter error": (
        {
            "main": (
                "import warnings\n"
                "warnings.filterwarnings('@@')\n"
                "def f():\n"
                "    try: warnings.warn('x')\n"
                "    except UserWarning: return 1\n"
                "    return 2\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "error",
        "ignore",
    ),
    "sys path dependent": (
        {
            "main": (
                "import sys\n"
                "sys.setrecursionlimit(@@)\n"
                "def f(): return sys.getrecursionlimit()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "2000",
        "3000",
    ),
    "locale/os.environ at import": (
        {
            "main": (
                "import os\n"
                "os.environ['MYV']='@@'\n"
                "def f(): return os.environ['MYV']\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "monkeypatch library": (
        {
            "main": (
                "import math\n"
                "math.zz=@@\n"
                "def f(): return math.zz\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
    "monkeypatch lib class": (
        {
            "main": (
                "import decimal\n"
                "class P: pass\n"
                "import json\n"
                "json.JSONEncoder.item_separator='@@'\n"
                "def f(): return json.dumps([1,2])\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        ";",
        ",",
    ),
    "binary-ish resource via importlib.resources": (
        {
            "main": (
                "import importlib.resources as ir\n"
                "T=ir.files('tracked_project').joinpath('c.txt').read_text()\n"
                "def f(): return T\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
            "c.txt": "@@",
        },
        "1",
        "2",
    ),
}

FRESH: dict[str, tuple[Files, str, str]] = {
    "except name": (
        {
            "main": (
                "def f():\n"
                "    try: 1/0\n"
                "    except ZeroDivisionError as @@: return str(@@)\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "e",
        "err",
    ),
    "param renamed": (
        {
            "main": (
                "def h(@@): return @@+1\ndef f(): return h(1)\n\ndef build():\n    return (f())\n"
            ),
        },
        "v",
        "w",
    ),
    "helper renamed": (
        {
            "main": (
                "def @@(x): return x+1\ndef f(): return @@(1)\n\ndef build():\n    return (f())\n"
            ),
        },
        "h1",
        "h2",
    ),
    "from import vs attr": (
        {
            "main": ("@@\ndef f(): return h()\n\ndef build():\n    return (f())\n"),
            "m": ("def h(): return 1\n"),
        },
        "from .m import h",
        "from . import m\nh=m.h",
    ),
    "loop var renamed": (
        {
            "main": (
                "def f(): return sum(@@*2 for @@ in [1,2])\n\ndef build():\n    return (f())\n"
            ),
        },
        "i",
        "j",
    ),
    "logger text": (
        {
            "main": (
                "import logging\n"
                "log=logging.getLogger(__name__)\n"
                "def f():\n"
                "    log.info('@@ %s', 1)\n"
                "    return 1\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "x",
        "y",
    ),
    "logger fstring": (
        {
            "main": (
                "import logging\n"
                "log=logging.getLogger(__name__)\n"
                "def f():\n"
                "    v=1\n"
                "    log.info(f'@@ {v}')\n"
                "    return 1\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "x",
        "y",
    ),
    "nested def renamed": (
        {
            "main": (
                "def f():\n"
                "    def @@(): return 1\n"
                "    return @@()\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "g",
        "h",
    ),
    "unused import added": (
        {
            "main": ("@@\ndef f(): return 1\n\ndef build():\n    return (f())\n"),
        },
        "",
        "import json",
    ),
    "other rule unaffected": (
        {
            "main": (
                "import random\n"
                "def other(): random.seed(@@)\n"
                "def f(): return 1\n"
                "\n"
                "def build():\n"
                "    return (f())\n"
            ),
        },
        "1",
        "2",
    ),
}

MOVED: dict[str, tuple[Files, Files]] = {
    "from x import f -> x.f": (
        {
            "main": ("from . import m\n\ndef build():\n    return (m.h())\n"),
            "m": ("def h(): return 1\n"),
        },
        {
            "main": ("from .m import h\n\ndef build():\n    return (h())\n"),
            "m": ("def h(): return 1\n"),
        },
    ),
    "local import -> module import": (
        {
            "main": ("\ndef build():\n    from .m import h\n    return (h())\n"),
            "m": ("def h(): return 1\n"),
        },
        {
            "main": ("from .m import h\n\ndef build():\n    return (h())\n"),
            "m": ("def h(): return 1\n"),
        },
    ),
    "import numpy as np -> from numpy import": (
        {
            "main": ("import numpy as np\n\ndef build():\n    return (np.sum([1]))\n"),
        },
        {
            "main": ("from numpy import sum as sum_\n\ndef build():\n    return (sum_([1]))\n"),
        },
    ),
    "constant moved": (
        {
            "main": ("K=3\n\ndef build():\n    return (K)\n"),
        },
        {
            "main": ("from . import m\n\ndef build():\n    return (m.LIMIT)\n"),
            "m": ("LIMIT=3\n"),
        },
    ),
    "recursive helper renamed": (
        {
            "main": (
                "def fac(n): return 1 if n<2 else n*fac(n-1)\n\ndef build():\n    return (fac(3))\n"
            ),
        },
        {
            "main": (
                "def fact(n): return 1 if n<2 else n*fact(n-1)\n"
                "\n"
                "def build():\n"
                "    return (fact(3))\n"
            ),
        },
    ),
    "mutual recursion moved": (
        {
            "main": (
                "def even(n): return n==0 or odd(n-1)\n"
                "def odd(n): return n!=0 and even(n-1)\n"
                "\n"
                "def build():\n"
                "    return (even(3))\n"
            ),
        },
        {
            "main": ("from . import m\n\ndef build():\n    return (m.e(3))\n"),
            "m": ("def o(n): return n!=0 and e(n-1)\ndef e(n): return n==0 or o(n-1)\n"),
        },
    ),
    "class moved": (
        {
            "main": ("class C:\n    def v(self): return 1\n\ndef build():\n    return (C().v())\n"),
        },
        {
            "main": ("from .m import C\n\ndef build():\n    return (C().v())\n"),
            "m": ("class C:\n    def v(self): return 1\n"),
        },
    ),
}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.forget()


def filled(files: Files, text: str) -> Files:
    return {name: content.replace("@@", text) for name, content in files.items()}


def version_and_value(project: Project, files: Files) -> tuple[CodeVersion, object]:
    """The version of ``build``, asked before it ever ran, and what it gives."""
    version = project.version(files)
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            value: object = project.module.build()
        except Exception as error:  # noqa: BLE001  # a trap may fail in one of its two ways
            value = repr(error)
    return version, value


@pytest.mark.parametrize("trap", STALE)
def test_what_alters_the_output_makes_it_stale(project: Project, trap: str) -> None:
    files, before, after = STALE[trap]
    old, first = version_and_value(project, filled(files, before))
    again, _ = version_and_value(project, filled(files, before))
    new, second = version_and_value(project, filled(files, after))
    assert str(first) != str(second)
    assert again.hex == old.hex != new.hex


@pytest.mark.parametrize("trap", FRESH)
def test_what_alters_nothing_leaves_it_fresh(project: Project, trap: str) -> None:
    files, before, after = FRESH[trap]
    old, first = version_and_value(project, filled(files, before))
    new, second = version_and_value(project, filled(files, after))
    assert str(first) == str(second)
    assert old.hex == new.hex


@pytest.mark.parametrize("trap", MOVED)
def test_where_things_lie_and_how_they_are_imported_does_not_count(
    project: Project, trap: str
) -> None:
    before, after = MOVED[trap]
    old, first = version_and_value(project, before)
    new, second = version_and_value(project, after)
    assert first == second
    assert old.hex == new.hex
