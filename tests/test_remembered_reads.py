"""What was read once and is kept in memory counts for every later step that uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sandbox import Sandbox

# Each builds and plans in processes of its own.
pytestmark = pytest.mark.slow


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


BOTH = """
D = daily('2024-01-01', end='2024-01-04')
@asset(partitions=D)
def a(partition: Partition) -> pa.Table: return pa.table({'v': [str(read())]})
@asset
def b() -> pa.Table: return pa.table({'v': [str(read())]})
@asset
def other() -> pa.Table: return pa.table({'v': [len(CONSTANTS)]})
CONSTANTS = {'n': [1]}
NAME = 'q' + '.sql'
def load(): return (HERE / NAME).read_text()
"""

KEPT = {
    "by a cache": "import functools\n@functools.lru_cache\ndef read(): return load()\n",
    "by a cache without bounds": "import functools\n@functools.cache\ndef read(): return load()\n",
    "by a cache within a cache": """
import functools
@functools.cache
def text(): return load()
@functools.cache
def read(): return text().upper()
""",
    "by a global": """
TEXT = None
def read():
    global TEXT
    if TEXT is None: TEXT = load()
    return TEXT
""",
    "by a global that was not there": """
def read():
    if 'TEXT' not in globals(): globals()['TEXT'] = load()
    return TEXT
""",
    "by a dict": """
TEXTS = {}
def read():
    if NAME not in TEXTS: TEXTS[NAME] = load()
    return TEXTS[NAME]
""",
    "by a dict that others fill": """
TEXTS = {}
def keep(where, key, make):
    if key not in where: where[key] = make()
    return where[key]
def read(): return keep(TEXTS, NAME, load)
""",
    "by an object": """
import functools
class Texts:
    @functools.cached_property
    def text(self): return load()
TEXTS = Texts()
def read(): return TEXTS.text
""",
    "by an object, far inside": """
class Texts:
    def __init__(self): self.parts = [{'by name': {}}]
TEXTS = Texts()
def read():
    if not TEXTS.parts[0]['by name']: TEXTS.parts[0]['by name']['x'] = load()
    return TEXTS.parts[0]['by name']['x']
""",
    "by a class": """
class Texts:
    one = None
    @classmethod
    def get(cls):
        if cls.one is None: cls.one = cls()
        return cls.one
    def __init__(self): self.text = load()
def read(): return Texts.get().text
""",
    "by a closure": """
def keeping():
    text = []
    def get():
        if not text: text.append(load())
        return text[0]
    return get
GET = keeping()
def read(): return GET()
""",
    "by a default": """
def read(kept=[]):
    if not kept: kept.append(load())
    return kept[0]
""",
    "by an attribute of a function": """
def read():
    if not hasattr(read, 'text'): read.text = load()
    return read.text
""",
    "by a thread": """
import threading
LOCAL = threading.local()
def read():
    if not hasattr(LOCAL, 'text'): LOCAL.text = load()
    return LOCAL.text
""",
    "by a variable of a context": """
import contextvars
TEXT = contextvars.ContextVar('text', default=[])
def read():
    if not TEXT.get(): TEXT.get().append(load())
    return TEXT.get()[0]
""",
    "by a connection": """
import sqlite3
CON = sqlite3.connect(':memory:', check_same_thread=False)
CON.execute('create table t (v)')
def read():
    if not CON.execute('select * from t').fetchall():
        CON.execute('insert into t values (?)', [load()])
    return CON.execute('select v from t').fetchall()
""",
    "by a generator": """
def texts():
    text = load()
    while True: yield text
TEXTS = texts()
def read(): return next(TEXTS)
""",
    "by a cache that import has filled": """
import functools
@functools.cache
def read(): return load()
LENGTH = len(read())
""",
    "by a cache that a source has filled": """
import functools
@functools.cache
def read(): return load()
@source
def src() -> Path: return HERE / read()[:0] / '__init__.py'
@asset
def c(src: Path) -> pa.Table: return pa.table({'v': [str(src)]})
""",
    "by a library's cache": """
import linecache
def read(): return linecache.getlines(str(HERE / NAME))
""",
}


@pytest.mark.parametrize("way", KEPT)
def test_what_was_read_once_counts_for_all_that_use_it(sandbox: Sandbox, way: str) -> None:
    sandbox.write(BOTH + KEPT[way], q__sql="one")
    sandbox.build("--jobs", "1")
    assert sandbox.fresh
    sandbox.put("q.sql", "two")
    out = sandbox.run("plan")
    assert "2024-01-01..2024-01-03  (3)  must" in out, out
    assert "  b " in out
    assert "  other " not in out
    sandbox.build()
    assert sandbox.fresh


POOLS = {
    "that its first step made": """
from concurrent.futures import ProcessPoolExecutor
import multiprocessing
POOL = []
def one(name): return (HERE / name).read_text()
def read():
    if not POOL: POOL.append(ProcessPoolExecutor(1, multiprocessing.get_context('fork')))
    return POOL[0].submit(one, NAME).result()
""",
    "that its first step made, keeping what it read": """
from concurrent.futures import ProcessPoolExecutor
import functools, multiprocessing
POOL = []
@functools.cache
def one(name): return (HERE / name).read_text()
def read():
    if not POOL: POOL.append(ProcessPoolExecutor(1, multiprocessing.get_context('fork')))
    return POOL[0].submit(one, NAME).result()
""",
    "that its module made": """
import multiprocessing
def one(name): return (HERE / name).read_text()
POOL = multiprocessing.get_context('fork').Pool(1)
def read(): return POOL.apply(one, [NAME])
""",
    "that is kept for its answers": """
import functools, multiprocessing
def one(name): return (HERE / name).read_text()
@functools.cache
def read():
    with multiprocessing.get_context('fork').Pool(1) as pool: return pool.apply(one, [NAME])
""",
}


@pytest.mark.parametrize("way", POOLS)
def test_what_a_pool_of_forks_reads_counts_for_every_step(sandbox: Sandbox, way: str) -> None:
    sandbox.write(BOTH + POOLS[way], q__sql="one")
    sandbox.build("--jobs", "1")
    assert sandbox.fresh
    sandbox.put("q.sql", "two")
    out = sandbox.run("plan")
    assert "2024-01-01..2024-01-03  (3)  must" in out, out
    assert "  b " in out


def test_what_a_resource_keeps_counts_for_every_step(sandbox: Sandbox) -> None:
    sandbox.write(
        "class Texts:\n"
        "    text = None\n"
        "    def get(self):\n"
        "        if self.text is None: self.text = (HERE / ('q' + '.sql')).read_text()\n"
        "        return self.text\n"
        "D = daily('2024-01-01', end='2024-01-04')\n"
        "@asset(partitions=D)\n"
        "def a(context: Context) -> pa.Table:\n"
        "    return pa.table({'v': [context.resources['texts'].get()]})\n"
        "definitions = Definitions(resources={'texts': Texts()})\n",
        q__sql="one",
    )
    sandbox.build("--jobs", "1")
    sandbox.put("q.sql", "two")
    assert "3 must run" in sandbox.run("plan")


def test_what_a_module_keeps_that_was_found_by_a_computed_name_counts(sandbox: Sandbox) -> None:
    sandbox.write(
        "import importlib, sys\nsys.path.insert(0, str(HERE.parent / 'plugins'))\n"
        "def read(): return importlib.import_module('plug' + 'in_a').value()\n" + BOTH
    )
    sandbox.put("../plugins/plugin_a.py", "def value(): return 1\n")
    sandbox.build("--jobs", "1")
    assert sandbox.fresh
    sandbox.put("../plugins/plugin_a.py", "def value(): return 22\n")
    assert "4 must run" in sandbox.run("plan")


def test_a_variable_that_was_asked_for_once_counts_for_every_step(sandbox: Sandbox) -> None:
    sandbox.write(
        "import functools, os\n@functools.cache\ndef read(): return os.environ['RATE_X']\n" + BOTH
    )
    sandbox.environment["RATE_X"] = "1"
    sandbox.build("--jobs", "1")
    assert sandbox.fresh
    sandbox.environment["RATE_X"] = "2"
    assert "4 must run" in sandbox.run("plan")


@pytest.mark.parametrize("options", ["executor='process', ", "retry=Retry(2, delay='0s'), "])
def test_what_a_worker_or_a_failed_attempt_has_read_counts(sandbox: Sandbox, options: str) -> None:
    sandbox.write(
        "import functools\n"
        "@functools.cache\ndef read(): return load()\n"
        "TRIED = []\n"
        "D = daily('2024-01-01', end='2024-01-04')\n"
        f"@asset({options}partitions=D)\n"
        "def a(partition: Partition) -> pa.Table:\n"
        "    text = read()\n"
        "    TRIED.append(1)\n"
        "    if len(TRIED) == 1 and 'retry' in OPTIONS: raise ValueError('again')\n"
        "    return pa.table({'v': [text]})\n"
        f'OPTIONS = "{options}"\n'
        "NAME = 'q' + '.sql'\n"
        "def load(): return (HERE / NAME).read_text()\n",
        q__sql="one",
    )
    sandbox.build("--jobs", "1")
    assert sandbox.fresh
    sandbox.put("q.sql", "two")
    assert "3 must run" in sandbox.run("plan")


@pytest.mark.parametrize(
    "job",
    [
        "import os\nprint(open(os.path.join(HERE, 'q' + '.sql')).read())",
        "import os\nprint(os.environ.get('RATE_X'))",
        "import subprocess, sys\nCODE = f\"print(open(r'{HERE}/q' + '.sql').read())\"\n"
        "print(subprocess.check_output([sys.executable, '-c', CODE]))",
        "import importlib\nprint(importlib.import_module('help' + 'ing').V)",
    ],
)
@pytest.mark.parametrize("way", ["", ", env={**os.environ, 'OTHER_X': '1'}", ", shell=True"])
def test_what_a_python_reads_that_a_step_starts_counts(
    sandbox: Sandbox, job: str, way: str
) -> None:
    words = "[sys.executable, JOB]" if "shell" not in way else "f'{sys.executable} {JOB}'"
    sandbox.write(
        "import os, subprocess, sys\nJOB = str(HERE.parent / 'jobs' / 'job.py')\n"
        f"def read(): return subprocess.check_output({words}{way})\n"
        "@asset\ndef a() -> pa.Table: return pa.table({'v': [str(read())]})\n",
        q__sql="one",
    )
    sandbox.put("../jobs/job.py", f"HERE = {str(sandbox.root / 'definitions')!r}\n{job}\n")
    sandbox.put("../jobs/helping.py", "V = 1\n")
    sandbox.environment["RATE_X"] = "1"
    sandbox.build()
    assert sandbox.fresh
    sandbox.put("q.sql", "two")
    sandbox.put("../jobs/helping.py", "V = 22\n")
    sandbox.environment["RATE_X"] = "2"
    assert "1 must run" in sandbox.run("plan")


def test_what_a_worker_reads_that_is_not_a_fork_counts(sandbox: Sandbox) -> None:
    sandbox.write(
        "import multiprocessing\nfrom helping_x import one\n"
        "def read():\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        return pool.apply(one, [str(HERE)])\n"
        "@asset\ndef a() -> pa.Table: return pa.table({'v': [str(read())]})\n",
        q__sql="one",
    )
    sandbox.put("../helping_x.py", "def one(where): return open(f'{where}/q' + '.sql').read()\n")
    sandbox.build()
    assert sandbox.fresh
    sandbox.put("q.sql", "two")
    assert "1 must run" in sandbox.run("plan")


def test_what_a_python_reads_that_was_started_outside_of_steps_is_none_of_them(
    sandbox: Sandbox,
) -> None:
    sandbox.write(
        "import subprocess, sys\nCODE = \"print(open('definitions/q' + '.sql').read())\"\n"
        "N = subprocess.check_output([sys.executable, '-c', CODE]) is None\n"
        "@source\ndef src() -> Path:\n"
        "    subprocess.check_output([sys.executable, '-c', CODE])\n"
        "    return HERE / '__init__.py'\n"
        "@asset\ndef a(src: Path) -> pa.Table: return pa.table({'v': [1]})\n",
        q__sql="one",
    )
    sandbox.build()
    sandbox.put("q.sql", "two")
    assert sandbox.fresh


def test_a_python_that_a_step_starts_keeps_its_own_customization(sandbox: Sandbox) -> None:
    sandbox.write(
        "import os, subprocess, sys\n"
        "def read():\n"
        "    code = 'import sys; print(sys.custom, [p for p in sys.path if \"started\" in p])'\n"
        "    env = {**os.environ, 'PYTHONPATH': str(HERE / 'custom')}\n"
        "    return subprocess.check_output([sys.executable, '-c', code], env=env, text=True)\n"
        "@asset\ndef a() -> pa.Table:\n"
        "    text = read()\n"
        "    assert text.split() == ['yes', '[]'], text\n"
        "    return pa.table({'v': [text]})\n"
    )
    sandbox.put("custom/sitecustomize.py", "import sys\nsys.custom = 'yes'\n")
    sandbox.build()


# What does not count

DAYS = """
D = daily('2024-01-01', end='2024-01-04')
@asset(partitions=D)
def a(partition: Partition) -> pa.Table:
    return pa.table({'v': [str(read(partition.key + '.txt'))]})
def load(name): return (HERE / name).read_text()
"""

NOT_KEPT = {
    "read anew": "def read(name): return load(name)\n",
    "beside constants": """
import functools, logging, re
import pandas as pd
RULES, TABLE, log = {'a': [1, {'b': 2}]}, pd.DataFrame({'n': [1]}), logging.getLogger('x')
class Settings:
    def __init__(self): self.upper = True
SETTINGS, WORD = Settings(), re.compile('x')
@functools.cache
def rule(): return RULES['a']
def read(name): return load(name), SETTINGS.upper, len(TABLE), rule(), WORD.sub('', 'x')
rule()
""",
    "by an object of the step": """
class Texts:
    def __init__(self, name): self.text = load(name)
def read(name): return Texts(name).text
""",
    "in a pool of threads": """
from concurrent.futures import ThreadPoolExecutor
POOL = ThreadPoolExecutor(2)
def read(name): return POOL.submit(load, name).result()
""",
    "in a pool of processes": """
import multiprocessing
def read(name):
    with multiprocessing.get_context('fork').Pool(1) as pool: return pool.apply(load, [name])
""",
}


@pytest.mark.parametrize("way", NOT_KEPT)
def test_what_is_not_kept_counts_for_one_step_alone(sandbox: Sandbox, way: str) -> None:
    sandbox.write(DAYS + NOT_KEPT[way])
    for day in (1, 2, 3):
        sandbox.put(f"2024-01-0{day}.txt", f"{day}")
    sandbox.build("--jobs", "1")
    assert sandbox.fresh
    sandbox.put("2024-01-01.txt", "other")
    out = sandbox.run("plan")
    assert "1 must run" in out, out


def test_what_one_cache_keeps_is_no_matter_of_another(sandbox: Sandbox) -> None:
    sandbox.write(
        "import functools\n"
        "@functools.cache\ndef one(): return (HERE / ('one' + '.txt')).read_text()\n"
        "@functools.cache\ndef two(): return (HERE / ('two' + '.txt')).read_text()\n"
        "@asset\ndef a() -> pa.Table: return pa.table({'v': [one()]})\n"
        "@asset\ndef b() -> pa.Table: return pa.table({'v': [two()]})\n"
        "@asset\ndef c() -> pa.Table: return pa.table({'v': [one() + two()]})\n",
        one__txt="1",
        two__txt="2",
    )
    sandbox.build("--jobs", "1")
    sandbox.put("one.txt", "other")
    out = sandbox.run("plan")
    assert "2 must run" in out, out
    assert "  b " not in out


def test_a_process_that_goes_on_is_fresh_with_what_it_reads_anew(
    sandbox: Sandbox,
) -> None:
    sandbox.write(
        DAYS.replace("@asset(", "SEEN = []\n@asset(")
        + "def read(name):\n    SEEN.append(name)\n    return load(name)\n"
    )
    for day in (1, 2, 3):
        sandbox.put(f"2024-01-0{day}.txt", f"{day}")
    code = (
        "from assets_core import Project\nfrom pathlib import Path\n"
        "with Project.load('definitions') as p:\n    p.materialize(jobs=1)\n"
        "Path('definitions/2024-01-02.txt').write_text('other')\n"
        "with Project.load('definitions') as p:\n"
        "    p.materialize(jobs=1)\n"
        "with Project.load('definitions') as p:\n    print(p.plan())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=sandbox.root, capture_output=True, text=True
    )
    assert "fresh" in done.stdout, done.stdout + done.stderr


def test_looking_at_what_is_kept_calls_nobody(sandbox: Sandbox) -> None:
    sandbox.write(
        """
        class Proxy:
            def __getattribute__(self, name): raise RuntimeError("outside of a request")
            def __eq__(self, other): raise RuntimeError("no")
            def __hash__(self): raise RuntimeError("no")
        class Kind(type):
            def __getattribute__(cls, name): raise RuntimeError("no")
        class Odd(metaclass=Kind): pass
        PROXY, KINDS = Proxy(), [Odd]
        NAME = 'q' + '.sql'
        @asset(reads_env=["RATE_X"])
        def a() -> pa.Table:
            text = (HERE / NAME).read_text()
            return pa.table({'v': [text if PROXY is not KINDS else 0]})
        """,
        q__sql="one",
    )
    sandbox.build()
