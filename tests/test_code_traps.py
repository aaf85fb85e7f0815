"""Ways of editing a project: those that alter what comes out make it stale, the others don't.

Each trap is a package with a gap (``@@``) that is filled in two ways. What ``build()`` gives is
compared as well, so that a trap which is none is found out.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from tracked import Project

from assets_core.fingerprint.versions import CodeVersion

Files = dict[str, str]


def package(main: str, **modules: str) -> Files:
    """The modules of a package, by name."""
    return {name: dedent(text) for name, text in {"main": main, **modules}.items()}


def asset_of(main: str, **modules: str) -> Files:
    """A package whose ``build()`` gives what the ``f()`` of its main module gives."""
    return package(dedent(main) + "\n\ndef build(): return f()\n", **modules)


STALE: dict[str, tuple[Files, str, str]] = {
    "dict order": (
        asset_of(
            """
        D={@@}
        def f(): return next(iter(D))
        """,
        ),
        "'a':1,'b':2",
        "'b':2,'a':1",
    ),
    "swap kw names2": (
        asset_of(
            """
        def h(@@
        def f(): return h(b=1,a=2)
        """,
        ),
        "a, b): return a-b",
        "b, a): return b-a",
    ),
    "swap positional with kwargs dict": (
        asset_of(
            """
        K={'a':1,'b':2}
        def h(@@
        def f(): return h(**K)
        """,
        ),
        "a, b): return a-b",
        "b, a): return b-a",
    ),
    "partial kw": (
        asset_of(
            """
        import functools
        def h(@@
        P=functools.partial(h,b=1)
        def f(): return P(2)
        """,
        ),
        "a, b): return a-b",
        "b, a): return b-a",
    ),
    "method kw": (
        asset_of(
            """
        class C:
            def h(self,@@
        def f(): return C().h(a=1,b=2)
        """,
        ),
        "a, b): return a-b",
        "b, a): return b-a",
    ),
    "nested def kw": (
        asset_of(
            """
        def f():
            def h(@@
            return h(a=1,b=2)
        """,
        ),
        "a, b): return a-b",
        "b, a): return b-a",
    ),
    "duckdb local names": (
        asset_of(
            """
        import duckdb
        def f():
            @@ = duckdb.sql('select 1 v'), duckdb.sql('select 2 v')
            return duckdb.sql('select v from a').fetchall()[0][0]
        """,
        ),
        "a, b",
        "b, a",
    ),
    "duckdb local names, text elsewhere": (
        asset_of(
            """
        import duckdb
        Q='select v from a'
        def f():
            @@ = duckdb.sql('select 1 v'), duckdb.sql('select 2 v')
            return duckdb.sql(Q).fetchall()[0][0]
        """,
        ),
        "a, b",
        "b, a",
    ),
    "duckdb global table": (
        asset_of(
            """
        import duckdb, pyarrow as pa
        T=pa.table({'v':[@@]})
        def f():
            return duckdb.sql('select v from T').fetchall()[0][0]
        """,
        ),
        "1",
        "2",
    ),
    "duckdb global table, text elsewhere": (
        asset_of(
            """
        import duckdb, pyarrow as pa
        T=pa.table({'v':[@@]})
        Q='select v from T'
        def f():
            return duckdb.sql(Q).fetchall()[0][0]
        """,
        ),
        "1",
        "2",
    ),
    "pandas query local": (
        asset_of(
            """
        import pandas as pd
        D=pd.DataFrame({'v':[1,2,3]})
        def f():
            @@ = 1, 2
            return len(D.query('v > @lo'))
        """,
        ),
        "lo, hi",
        "hi, lo",
    ),
    "locals()": (
        asset_of(
            """
        def f():
            @@ = 1, 2
            return locals()['lo']
        """,
        ),
        "lo, hi",
        "hi, lo",
    ),
    "eval local": (
        asset_of(
            """
        E='lo'
        def f():
            @@ = 1, 2
            return eval(E)
        """,
        ),
        "lo, hi",
        "hi, lo",
    ),
    "f-string =": (
        asset_of(
            """
        def f():
            @@ = 1
            return f'{lo=}' if 'lo' in dir() else f'{hi=}'
        """,
        ),
        "lo",
        "hi",
    ),
    "helper __name__": (
        asset_of(
            """
        def @@(): return 1
        g=@@
        def f(): return g.__name__
        """,
        ),
        "h1",
        "h2",
    ),
    "agg names": (
        asset_of(
            """
        import pandas as pd
        def @@(s): return s.sum()
        FN=[@@]
        def f(): return list(pd.DataFrame({'v':[1]}).agg(FN).index)[0]
        """,
        ),
        "h1",
        "h2",
    ),
    "frames in helper": (
        asset_of(
            """
        import sys
        def peek(): return sorted(sys._getframe(1).f_locals)[0]
        def f():
            @@ = 1
            return peek()
        """,
        ),
        "lo",
        "hi",
    ),
    "print captured": (
        asset_of(
            """
        import io,contextlib
        def say():
            print('@@')
        def f():
            b=io.StringIO()
            with contextlib.redirect_stdout(b):
                say()
            return b.getvalue()
        """,
        ),
        "x",
        "y",
    ),
    "print to file": (
        asset_of(
            """
        import io
        def f():
            b=io.StringIO()
            print('@@', file=b)
            return b.getvalue()
        """,
        ),
        "x",
        "y",
    ),
    "fake logger": (
        asset_of(
            """
        class L:
            def info(self,t): self.t=t
        log=L()
        def f():
            log.info('@@')
            return log.t
        """,
        ),
        "x",
        "y",
    ),
    "fake local logger": (
        asset_of(
            """
        import logging
        log=logging.getLogger('a')
        class L:
            def info(self,t): self.t=t
        def f():
            log=L()
            log.info('@@')
            return log.t
        """,
        ),
        "x",
        "y",
    ),
    "own print": (
        asset_of(
            """
        O=[]
        def print(t): O.append(t)
        def f():
            print('@@')
            return O[0]
        """,
        ),
        "x",
        "y",
    ),
    "module random seed": (
        asset_of(
            """
        import random
        random.seed(@@)
        def f(): return random.random()
        """,
        ),
        "1",
        "2",
    ),
    "decimal prec at import": (
        asset_of(
            """
        import decimal
        decimal.getcontext().prec = @@
        def f(): return str(decimal.Decimal(1)/3)
        """,
        ),
        "5",
        "6",
    ),
    "seed in other module": (
        asset_of(
            """
        from . import setup
        import random
        def f(): return random.random()
        """,
            setup="""
        import random
        random.seed(@@)
        """,
        ),
        "1",
        "2",
    ),
    "seed by own function": (
        asset_of(
            """
        from .setup import setup
        import random
        setup(@@)
        def f(): return random.random()
        """,
            setup="""
        import random
        def setup(n):
            random.seed(n)
        """,
        ),
        "1",
        "2",
    ),
    "docstring used": (
        asset_of(
            """
        def h():
            '''@@'''
        def f(): return h.__doc__
        """,
        ),
        "x",
        "y",
    ),
    "annotation used": (
        asset_of(
            """
        import typing
        def h(a: @@): return a
        def f(): return str(typing.get_type_hints(h))
        """,
        ),
        "int",
        "str",
    ),
    "singledispatch annotation": (
        asset_of(
            """
        import functools
        @functools.singledispatch
        def h(x): return 0
        @h.register
        def _(x: @@): return 1
        def f(): return h(1)
        """,
        ),
        "int",
        "str",
    ),
    "duckdb udf annotation": (
        asset_of(
            """
        import duckdb
        def u(x: int) -> @@: return x
        def f():
            c=duckdb.connect(); c.create_function('u',u)
            return str(c.sql('select typeof(u(1))').fetchall())
        """,
        ),
        "int",
        "str",
    ),
    "class attr set after": (
        asset_of(
            """
        class C: pass
        C.v=@@
        def f(): return C.v
        """,
        ),
        "1",
        "2",
    ),
    "class attr by setattr loop": (
        asset_of(
            """
        class C: pass
        for k,v in {'v':@@}.items(): setattr(C,k,v)
        def f(): return C.v
        """,
        ),
        "1",
        "2",
    ),
    "function attr getattr": (
        asset_of(
            """
        def h(): pass
        h.rate=@@
        def f(): return getattr(h,'ra'+'te')
        """,
        ),
        "1",
        "2",
    ),
    "registry nested": (
        asset_of(
            """
        R={'a':{'b':[]}}
        def r(fn): R['a']['b'].append(fn); return fn
        @r
        def r1(): return @@
        def f(): return R['a']['b'][0]()
        """,
        ),
        "1",
        "2",
    ),
    "registry of instances": (
        asset_of(
            """
        class Rule:
            def __init__(s,fn): s.fn=fn
        R=[]
        def r(fn): R.append(Rule(fn)); return fn
        @r
        def r1(): return @@
        def f(): return R[0].fn()
        """,
        ),
        "1",
        "2",
    ),
    "registry set of functions": (
        asset_of(
            """
        R=set()
        def r(fn): R.add(fn); return fn
        @r
        def r1(): return @@
        @r
        def r2(): return 5
        def f(): return sum(x() for x in R)
        """,
        ),
        "1",
        "2",
    ),
    "subclasses deep in helper": (
        asset_of(
            """
        class B: pass
        def walk(c):
            for s in c.__subclasses__():
                yield s
                yield from walk(s)
        class C(B): pass
        class D(C):
            v=@@
        def f(): return sum(getattr(s,'v',0) for s in walk(B))
        """,
        ),
        "1",
        "2",
    ),
    "subclasses in other module": (
        asset_of(
            """
        from .m import B
        from . import n
        def f(): return sum(s.v for s in B.__subclasses__())
        """,
            m="""
        class B: pass
        """,
            n="""
        from .m import B
        class C(B):
            v=@@
        """,
        ),
        "1",
        "2",
    ),
    "init_subclass with kw": (
        asset_of(
            """
        class B:
            reg={}
            def __init_subclass__(cls, key, **k): B.reg[key]=cls
        class C(B,key='a'):
            def go(self): return @@
        def f(): return B.reg['a']().go()
        """,
        ),
        "1",
        "2",
    ),
    "enum from file": (
        asset_of(
            """
        import enum,pathlib
        class E(enum.Enum):
            A=pathlib.Path(__file__).with_name('c.txt').read_text()
        def f(): return E.A.value
        """,
            **{"c.txt": "@@"},
        ),
        "1",
        "2",
    ),
    "flag enum complex value": (
        asset_of(
            """
        import enum
        class E(enum.Enum):
            A={'k':[@@]}
        def f(): return E.A.value['k'][0]
        """,
        ),
        "1",
        "2",
    ),
    "polars df constant": (
        asset_of(
            """
        import polars as pl,pathlib
        D=pl.read_csv(pathlib.Path(__file__).with_name('c.csv'))
        def f(): return D['r'].sum()
        """,
            **{
                "c.csv": """
        r
        @@
        """
            },
        ),
        "1",
        "2",
    ),
    "arrow table constant": (
        asset_of(
            """
        import pyarrow.csv as pc,pathlib
        D=pc.read_csv(pathlib.Path(__file__).with_name('c.csv'))
        def f(): return D['r'][0].as_py()
        """,
            **{
                "c.csv": """
        r
        @@
        """
            },
        ),
        "1",
        "2",
    ),
    "env into settings": (
        asset_of(
            """
        import os
        class S:
            def __init__(s): s.rate=os.environ.get('RATE_X','@@')
        s=S()
        def f(): return s.rate
        """,
        ),
        "1",
        "2",
    ),
    "lru decorated by class with update_wrapper by call": (
        asset_of(
            """
        import functools
        class T:
            def __init__(s,fn): functools.update_wrapper(s,fn); s.fn=fn
            def __call__(s): return s.fn()*@@
        def h(): return 1
        g=T(h)
        def f(): return g()
        """,
        ),
        "2",
        "3",
    ),
    "class decorator args": (
        asset_of(
            """
        class T:
            def __init__(s,n): s.n=n
            def __call__(s,fn): return lambda: fn()*s.n
        @T(@@)
        def f(): return 1
        """,
        ),
        "2",
        "3",
    ),
    "wrapped lib with own": (
        asset_of(
            """
        import functools
        def h(x): return x*@@
        f=functools.lru_cache(maxsize=None)(functools.partial(h,2))
        """,
        ),
        "1",
        "2",
    ),
    "property factory": (
        asset_of(
            """
        def prop(n): return property(lambda s: n)
        class C: v=prop(@@)
        def f(): return C().v
        """,
        ),
        "1",
        "2",
    ),
    "mixin order": (
        asset_of(
            """
        class A1:
            def v(s): return 1
        class B1:
            def v(s): return 2
        class C(@@): pass
        def f(): return C().v()
        """,
        ),
        "A1,B1",
        "B1,A1",
    ),
    "star args order": (
        asset_of(
            """
        def h(*a, k=@@): return k
        def f(): return h(1)
        """,
        ),
        "1",
        "2",
    ),
    "conditional def by env const": (
        asset_of(
            """
        MODE='@@'
        if MODE=='a':
            def h(): return 1
        else:
            def h(): return 2
        def f(): return h()
        """,
        ),
        "a",
        "b",
    ),
    "try import order": (
        asset_of(
            """
        def f():
            try:
                from .@@ import g
            except ImportError:
                from .m import g
            return g()
        """,
            m="""
        def g(): return 1
        """,
            n="""
        def g(): return 2
        """,
        ),
        "m",
        "n",
    ),
    "import shadowing local": (
        asset_of(
            """
        def f():
            from .m import g
            g2 = g
            def inner():
                from .n import g
                return g()
            return g2() + inner()
        """,
            m="""
        def g(): return 1
        """,
            n="""
        def g(): return @@
        """,
        ),
        "2",
        "3",
    ),
    "computed import": (
        asset_of(
            """
        import importlib
        N=['m']
        def f(): return importlib.import_module('tracked_project.'+N[0]).g()
        """,
            m="""
        def g(): return @@
        """,
        ),
        "2",
        "3",
    ),
    "sys.modules": (
        asset_of(
            """
        import sys
        from . import m
        def f(): return sys.modules['tracked_project.m'].g()
        """,
            m="""
        def g(): return @@
        """,
        ),
        "2",
        "3",
    ),
    "getattr module": (
        asset_of(
            """
        from . import m
        N='g'
        def f(): return getattr(m,N)()
        """,
            m="""
        def g(): return @@
        """,
        ),
        "2",
        "3",
    ),
    "module __dict__": (
        asset_of(
            """
        from . import m
        def f(): return m.__dict__['g']()
        """,
            m="""
        def g(): return @@
        """,
        ),
        "2",
        "3",
    ),
    "vars(module)": (
        asset_of(
            """
        from . import m
        def f(): return vars(m)['g']()
        """,
            m="""
        def g(): return @@
        """,
        ),
        "2",
        "3",
    ),
    "iterate module functions helper of other module": (
        asset_of(
            """
        from . import m
        FNS=[v for k,v in sorted(vars(m).items()) if k.startswith('rule_')]
        def f(): return sum(x() for x in FNS)
        """,
            m="""
        def rule_a(): return @@
        """,
        ),
        "2",
        "3",
    ),
    "connection at module level": (
        asset_of(
            """
        import duckdb
        X=@@
        def make(): return X
        CON=duckdb.connect()
        CON.execute('create table t as select '+str(make())+' v')
        def f(): return CON.sql('select v from t').fetchall()[0][0]
        """,
        ),
        "1",
        "2",
    ),
    "connection made elsewhere": (
        asset_of(
            """
        from .db import CON
        def f(): return CON.sql('select v from t').fetchall()[0][0]
        """,
            db="""
        import duckdb
        from .val import X
        CON=duckdb.connect()
        CON.execute('create table t as select '+str(X)+' v')
        """,
            val="""
        X=@@
        """,
        ),
        "1",
        "2",
    ),
    "generator const": (
        asset_of(
            """
        G=(x for x in [@@])
        def f(): return next(G)
        """,
        ),
        "1",
        "2",
    ),
    "walrus default": (
        asset_of(
            """
        def f(a=(b:=@@)): return b
        """,
        ),
        "1",
        "2",
    ),
    "metaclass attr": (
        asset_of(
            """
        class M(type):
            rate=@@
        class C(metaclass=M): pass
        def f(): return C.rate
        """,
        ),
        "1",
        "2",
    ),
    "global set in other function at import": (
        asset_of(
            """
        RATE=None
        def load():
            global RATE
            RATE=@@
        load()
        def f(): return RATE
        """,
        ),
        "1",
        "2",
    ),
    "slots instance": (
        asset_of(
            """
        class C:
            __slots__=('v',)
            def __init__(s): s.v=@@
        c=C()
        def f(): return c.v
        """,
        ),
        "1",
        "2",
    ),
    "dict subclass attr": (
        asset_of(
            """
        class C(dict): pass
        c=C(); c.v=@@
        def f(): return c.v
        """,
        ),
        "1",
        "2",
    ),
    "dataclass post attr": (
        asset_of(
            """
        import dataclasses
        @dataclasses.dataclass
        class C:
            a:int=1
        c=C(); c.v=@@
        def f(): return c.v
        """,
        ),
        "1",
        "2",
    ),
    "pydantic private": (
        asset_of(
            """
        import pydantic
        class C(pydantic.BaseModel):
            _v:int=pydantic.PrivateAttr(@@)
        c=C()
        def f(): return c._v
        """,
        ),
        "1",
        "2",
    ),
    "pydantic default from file": (
        asset_of(
            """
        import pydantic,pathlib
        class C(pydantic.BaseModel):
            v:str=pathlib.Path(__file__).with_name('c.txt').read_text()
        def f(): return C().v
        """,
            **{"c.txt": "@@"},
        ),
        "1",
        "2",
    ),
    "dataclass default factory": (
        asset_of(
            """
        import dataclasses
        @dataclasses.dataclass
        class C:
            v:list=dataclasses.field(default_factory=lambda:[@@])
        def f(): return C().v[0]
        """,
        ),
        "1",
        "2",
    ),
    "namedtuple functional default": (
        asset_of(
            """
        from collections import namedtuple
        C=namedtuple('C','v',defaults=[@@])
        def f(): return C().v
        """,
        ),
        "1",
        "2",
    ),
    "type() class": (
        asset_of(
            """
        C=type('C',(),{'v':@@})
        def f(): return C.v
        """,
        ),
        "1",
        "2",
    ),
    "make_dataclass": (
        asset_of(
            """
        import dataclasses
        C=dataclasses.make_dataclass('C',[('v',int,dataclasses.field(default=@@))])
        def f(): return C().v
        """,
        ),
        "1",
        "2",
    ),
    "closure over df": (
        asset_of(
            """
        import pandas as pd
        def mk(n):
            d=pd.DataFrame({'v':[n]})
            def g(): return int(d['v'][0])
            return g
        f=mk(@@)
        """,
        ),
        "1",
        "2",
    ),
    "asyncio helper": (
        asset_of(
            """
        import asyncio
        async def h(): return @@
        def f(): return asyncio.run(h())
        """,
        ),
        "1",
        "2",
    ),
    "operator.methodcaller": (
        asset_of(
            """
        import operator
        F=operator.methodcaller('@@')
        def f(): return F('aB')
        """,
        ),
        "upper",
        "lower",
    ),
    "itemgetter": (
        asset_of(
            """
        import operator
        F=operator.itemgetter(@@)
        def f(): return F([1,2])
        """,
        ),
        "0",
        "1",
    ),
    "string template const": (
        asset_of(
            """
        import string
        T=string.Template('@@')
        def f(): return T.substitute()
        """,
        ),
        "x",
        "y",
    ),
    "jinja-like env object": (
        asset_of(
            """
        import re
        R1=re.compile('a').sub
        def f(): return R1('@@','a')
        """,
        ),
        "x",
        "y",
    ),
    "bound lib method": (
        asset_of(
            """
        S='@@'.upper
        def f(): return S()
        """,
        ),
        "x",
        "y",
    ),
    "chained comparision swap": (
        asset_of(
            """
        def f():
            a=1; b=2
            return @@
        """,
        ),
        "a-b",
        "b-a",
    ),
    "nonlocal": (
        asset_of(
            """
        def f():
            n=0
            def g():
                nonlocal n
                n+=@@
            g()
            return n
        """,
        ),
        "1",
        "2",
    ),
    "comprehension shadows": (
        asset_of(
            """
        x=@@
        def f(): return [x for y in [1]][0]
        """,
        ),
        "1",
        "2",
    ),
    "class body reads global": (
        asset_of(
            """
        rate=@@
        class C:
            rate=rate
        def f(): return C.rate
        """,
        ),
        "1",
        "2",
    ),
    "inner class attr": (
        asset_of(
            """
        def f():
            class C:
                v=@@
            return C.v
        """,
        ),
        "1",
        "2",
    ),
    "inner class name in repr": (
        asset_of(
            """
        import dataclasses
        def f():
            @dataclasses.dataclass
            class @@:
                v:int=1
            return repr(@@())
        """,
        ),
        "C",
        "D",
    ),
    "vars swapped in loop": (
        asset_of(
            """
        def f():
            a,b=1,2
            for i in range(2):
                a,b=@@
            return a
        """,
        ),
        "a+b,a",
        "b,a+b",
    ),
    "kwonly names": (
        asset_of(
            """
        def h(*,a=1,b=2): return a-b
        def f(): return h(@@=5)
        """,
        ),
        "a",
        "b",
    ),
    "kwonly renamed": (
        asset_of(
            """
        def h(*,@@=1,zz=2): return @@-zz
        def f(): return h(**{'a':5})
        """,
        ),
        "a",
        "b",
    ),
    "warnings filter error": (
        asset_of(
            """
        import warnings
        warnings.filterwarnings('@@')
        def f():
            try: warnings.warn('x')
            except UserWarning: return 1
            return 2
        """,
        ),
        "error",
        "ignore",
    ),
    "sys path dependent": (
        asset_of(
            """
        import sys
        sys.setrecursionlimit(@@)
        def f(): return sys.getrecursionlimit()
        """,
        ),
        "2000",
        "3000",
    ),
    "locale/os.environ at import": (
        asset_of(
            """
        import os
        os.environ['MYV']='@@'
        def f(): return os.environ['MYV']
        """,
        ),
        "1",
        "2",
    ),
    "monkeypatch library": (
        asset_of(
            """
        import math
        math.zz=@@
        def f(): return math.zz
        """,
        ),
        "1",
        "2",
    ),
    "monkeypatch lib class": (
        asset_of(
            """
        import decimal
        class P: pass
        import json
        json.JSONEncoder.item_separator='@@'
        def f(): return json.dumps([1,2])
        """,
        ),
        ";",
        ",",
    ),
    "binary-ish resource via importlib.resources": (
        asset_of(
            """
        import importlib.resources as ir
        T=ir.files('tracked_project').joinpath('c.txt').read_text()
        def f(): return T
        """,
            **{"c.txt": "@@"},
        ),
        "1",
        "2",
    ),
    "builtins other module": (
        asset_of(
            """
        from . import m
        def f(): return hlp2()
        """,
            m="""
        import builtins
        def g(): return @@
        builtins.hlp2=g
        """,
        ),
        "1",
        "2",
    ),
    "exec ns": (
        asset_of(
            """
        NS={}
        exec('def g(): return @@', NS)
        g=NS['g']
        def f(): return g()
        """,
        ),
        "1",
        "2",
    ),
    "code replace": (
        asset_of(
            """
        def a(): return 1
        def b(): return @@
        a.__code__=b.__code__
        def f(): return a()
        """,
        ),
        "1",
        "2",
    ),
    "defaults replaced": (
        asset_of(
            """
        def a(x=1): return x
        a.__defaults__=(@@,)
        def f(): return a()
        """,
        ),
        "1",
        "2",
    ),
    "singledispatch elsewhere": (
        asset_of(
            """
        from .m import g
        from . import n
        def f(): return g(1)
        """,
            m="""
        from functools import singledispatch
        @singledispatch
        def g(x): return 0
        """,
            n="""
        from .m import g
        @g.register
        def _(x: int): return @@
        """,
        ),
        "1",
        "2",
    ),
    "monkeypatch lib elsewhere": (
        asset_of(
            """
        import json
        from . import m
        def f(): return json.JSONEncoder().hlp9()
        """,
            m="""
        import json
        def g(self): return @@
        json.JSONEncoder.hlp9=g
        """,
        ),
        "1",
        "2",
    ),
    "contextvar": (
        asset_of(
            """
        from contextvars import ContextVar
        V=ContextVar('v')
        V.set(@@)
        def f(): return V.get()
        """,
        ),
        "1",
        "2",
    ),
    "module getattr": (
        asset_of(
            """
        from . import m
        def f(): return m.anything
        """,
            m="""
        def __getattr__(name):
            if name.startswith('__'): raise AttributeError(name)
            return @@
        """,
        ),
        "1",
        "2",
    ),
    "a module made by hand": (
        asset_of(
            """
        import sys,types
        x=types.ModuleType('fakemod9')
        x.v=@@
        sys.modules['fakemod9']=x
        def f():
            import fakemod9
            return fakemod9.v
        """,
        ),
        "1",
        "2",
    ),
    "np rng": (
        asset_of(
            """
        import numpy as np
        R=np.random.default_rng(@@)
        def f(): return R.integers(1000000)
        """,
        ),
        "1",
        "2",
    ),
    "generator state": (
        asset_of(
            """
        G=(x*@@ for x in [1,2,3])
        def f(): return str(next(G))
        """,
        ),
        "1",
        "2",
    ),
    "np vectorize": (
        asset_of(
            """
        import numpy as np
        U=np.vectorize(lambda x: x*@@)
        def f(): return int(U(3))
        """,
        ),
        "1",
        "2",
    ),
    "duckdb default con": (
        asset_of(
            """
        import duckdb
        duckdb.sql('create or replace table advt as select @@ v')
        def f(): return duckdb.sql('select v from advt').fetchall()[0][0]
        """,
        ),
        "1",
        "2",
    ),
    "duckdb macro": (
        asset_of(
            """
        import duckdb
        CON=duckdb.connect()
        CON.sql('create macro mm() as @@')
        def f(): return CON.sql('select mm()').fetchall()[0][0]
        """,
        ),
        "1",
        "2",
    ),
    "thread local": (
        asset_of(
            """
        import threading
        L=threading.local()
        L.v=@@
        def f(): return L.v
        """,
        ),
        "1",
        "2",
    ),
    "inspect source": (
        asset_of(
            """
        import inspect
        def g():
            # @@
            return 1
        def f(): return inspect.getsource(g)
        """,
        ),
        "1",
        "2",
    ),
    "line number": (
        asset_of(
            """
        @@
        import sys
        def f(): return sys._getframe().f_lineno
        """,
        ),
        "",
        "\n\n",
    ),
    "environ set at import": (
        asset_of(
            """
        import os
        os.environ['ADV_X']='@@'
        def f(): return os.environ['ADV_X']
        """,
        ),
        "1",
        "2",
    ),
    "csv dialect": (
        asset_of(
            """
        import csv,io
        csv.register_dialect('adv',delimiter='@@')
        def f():
            o=io.StringIO(); csv.writer(o,'adv').writerow([1,2]); return o.getvalue()
        """,
        ),
        ";",
        "|",
    ),
    "sqlalchemy": (
        asset_of(
            """
        import sqlalchemy as sa
        S=sa.select(sa.literal(@@))
        def f(): return str(S.compile(compile_kwargs={'literal_binds':True}))
        """,
        ),
        "1",
        "2",
    ),
    "weak dict registry": (
        asset_of(
            """
        import weakref
        REG=weakref.WeakValueDictionary()
        class C:
            def __init__(s,v): s.v=v
        K=C(@@)
        REG['a']=K
        def f(): return REG['a'].v
        """,
        ),
        "1",
        "2",
    ),
    "bound method const": (
        asset_of(
            """
        class C:
            def __init__(s,v): s.v=v
            def g(s): return s.v
        M=C(@@).g
        def f(): return M()
        """,
        ),
        "1",
        "2",
    ),
    "pydantic annotated": (
        asset_of(
            """
        from typing import Annotated
        from pydantic import BaseModel, AfterValidator
        def twice(v): return v*@@
        class M(BaseModel):
            v: Annotated[int, AfterValidator(twice)]
        def f(): return M(v=2).v
        """,
        ),
        "2",
        "3",
    ),
    "dunder all star": (
        asset_of(
            """
        from .m import *
        try: g
        except NameError:
            def g(): return 0
        def f(): return g()
        """,
            m="""
        __all__=[@@]
        def g(): return 1
        """,
        ),
        "'g'",
        "",
    ),
    "class registered with an abstract one": (
        asset_of(
            """
        import abc
        class A(abc.ABC): pass
        class B: pass
        @@
        def f(): return isinstance(B(), A)
        """,
        ),
        "",
        "A.register(B)",
    ),
    "library changed by setattr": (
        asset_of(
            """
        import math
        setattr(math, 'of_ours', @@)
        def f(): return math.of_ours
        """,
        ),
        "1",
        "2",
    ),
    "shadow builtin": (
        asset_of(
            """
        from .m import *
        def f(): return len('abc')
        """,
            m="""
        @@
        """,
        ),
        "",
        "def len(x): return 99",
    ),
}

FRESH: dict[str, tuple[Files, str, str]] = {
    "except name": (
        asset_of(
            """
        def f():
            try: 1/0
            except ZeroDivisionError as @@: return str(@@)
        """,
        ),
        "e",
        "err",
    ),
    "param renamed": (
        asset_of(
            """
        def h(@@): return @@+1
        def f(): return h(1)
        """,
        ),
        "v",
        "w",
    ),
    "helper renamed": (
        asset_of(
            """
        def @@(x): return x+1
        def f(): return @@(1)
        """,
        ),
        "h1",
        "h2",
    ),
    "from import vs attr": (
        asset_of(
            """
        @@
        def f(): return h()
        """,
            m="""
        def h(): return 1
        """,
        ),
        "from .m import h",
        "from . import m\nh=m.h",
    ),
    "loop var renamed": (
        asset_of(
            """
        def f(): return sum(@@*2 for @@ in [1,2])
        """,
        ),
        "i",
        "j",
    ),
    "logger text": (
        asset_of(
            """
        import logging
        log=logging.getLogger(__name__)
        def f():
            log.info('@@ %s', 1)
            return 1
        """,
        ),
        "x",
        "y",
    ),
    "logger fstring": (
        asset_of(
            """
        import logging
        log=logging.getLogger(__name__)
        def f():
            v=1
            log.info(f'@@ {v}')
            return 1
        """,
        ),
        "x",
        "y",
    ),
    "nested def renamed": (
        asset_of(
            """
        def f():
            def @@(): return 1
            return @@()
        """,
        ),
        "g",
        "h",
    ),
    "unused import added": (
        asset_of(
            """
        @@
        def f(): return 1
        """,
        ),
        "",
        "import json",
    ),
    "other rule unaffected": (
        asset_of(
            """
        import random
        def other(): random.seed(@@)
        def f(): return 1
        """,
        ),
        "1",
        "2",
    ),
}

MOVED: dict[str, tuple[Files, Files]] = {
    "from x import f -> x.f": (
        package(
            """
        from . import m

        def build():
            return (m.h())
        """,
            m="""
        def h(): return 1
        """,
        ),
        package(
            """
        from .m import h

        def build():
            return (h())
        """,
            m="""
        def h(): return 1
        """,
        ),
    ),
    "local import -> module import": (
        package(
            """

        def build():
            from .m import h
            return (h())
        """,
            m="""
        def h(): return 1
        """,
        ),
        package(
            """
        from .m import h

        def build():
            return (h())
        """,
            m="""
        def h(): return 1
        """,
        ),
    ),
    "import numpy as np -> from numpy import": (
        package(
            """
        import numpy as np

        def build():
            return (np.sum([1]))
        """,
        ),
        package(
            """
        from numpy import sum as sum_

        def build():
            return (sum_([1]))
        """,
        ),
    ),
    "constant moved": (
        package(
            """
        K=3

        def build():
            return (K)
        """,
        ),
        package(
            """
        from . import m

        def build():
            return (m.LIMIT)
        """,
            m="""
        LIMIT=3
        """,
        ),
    ),
    "recursive helper renamed": (
        package(
            """
        def fac(n): return 1 if n<2 else n*fac(n-1)

        def build():
            return (fac(3))
        """,
        ),
        package(
            """
        def fact(n): return 1 if n<2 else n*fact(n-1)

        def build():
            return (fact(3))
        """,
        ),
    ),
    "mutual recursion moved": (
        package(
            """
        def even(n): return n==0 or odd(n-1)
        def odd(n): return n!=0 and even(n-1)

        def build():
            return (even(3))
        """,
        ),
        package(
            """
        from . import m

        def build():
            return (m.e(3))
        """,
            m="""
        def o(n): return n!=0 and e(n-1)
        def e(n): return n==0 or o(n-1)
        """,
        ),
    ),
    "class moved": (
        package(
            """
        class C:
            def v(self): return 1

        def build():
            return (C().v())
        """,
        ),
        package(
            """
        from .m import C

        def build():
            return (C().v())
        """,
            m="""
        class C:
            def v(self): return 1
        """,
        ),
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
