"""What code reads while it runs counts: files, folders, variables, scripts; and what does not."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from assets_core import Project

# Each builds and plans in processes of its own.
pytestmark = pytest.mark.slow

HEAD = """
import pyarrow as pa
from pathlib import Path
from assets_core import *
HERE = Path(__file__).parent
"""


class Sandbox:
    """A project on disk that is built and planned by processes of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "definitions").mkdir()
        (root / "assets.toml").touch()
        self.environment = dict(os.environ)

    def write(self, body: str, **files: str) -> None:
        text = HEAD + textwrap.dedent(body)
        (self.root / "definitions" / "__init__.py").write_text(text)
        for name, content in files.items():
            self.put(name.replace("__", "."), content)

    def put(self, name: str, content: str) -> None:
        path = self.root / "definitions" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        # Written a while ago, as far as caches can tell.
        os.utime(path, ns=(10**18 + len(content), 10**18 + hash(content) % 10**9))

    def run(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "assets_core", *words],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode in (0, 1), done.stderr
        return done.stdout + done.stderr

    def build(self, *words: str) -> None:
        out = self.run("materialize", "--yes", *words)
        assert "failed" not in out, out

    @property
    def fresh(self) -> bool:
        return "everything selected is fresh" in self.run("plan")


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


ASSET = """
@asset
def a() -> pa.Table:
    return pa.table({"v": [str(read())]})
"""

READS = {
    "a file": "def read(): return (HERE / 'q.sql').read_text()",
    "a file, by open": "def read():\n    with open(HERE / 'q.sql') as f: return f.read()",
    "a file, by os.open": "import os\ndef read(): return os.read(os.open(HERE / 'q.sql', 0), 99)",
    "a file, by a library": "import pandas as pd\ndef read(): return pd.read_csv(HERE / 'q.sql')",
    "a file, through getattr": "def read(): return getattr(HERE / 'q.sql', 'read_' + 'text')()",
    "a file, relative": "def read(): return open('definitions/q.sql').read()",
    "a file, in a thread": (
        "import threading\ndef read():\n    got = []\n"
        "    t = threading.Thread(target=lambda: got.append((HERE / 'q.sql').read_text()))\n"
        "    t.start(); t.join()\n    return got"
    ),
    "a file, in a pool": (
        "from concurrent.futures import ThreadPoolExecutor as T\n"
        "def one(n): return (HERE / n).read_text()\n"
        "def read():\n    with T(2) as pool: return list(pool.map(one, ['q.sql']))"
    ),
    "a file, in a pool of the module's": (
        "from concurrent.futures import ThreadPoolExecutor as T\nPOOL = T(1)\n"
        "POOL.submit(lambda: 1).result()\n"
        "def one(n): return (HERE / n).read_text()\n"
        "def read(): return POOL.submit(one, 'q.sql').result()"
    ),
    "a file, in a fork": (
        "import multiprocessing\n"
        "def one(n): return (HERE / n).read_text()\n"
        "def read():\n"
        "    with multiprocessing.get_context('fork').Pool(1) as p: return p.map(one, ['q.sql'])"
    ),
    "a file, by a generator": (
        "def lines():\n    yield (HERE / 'q.sql').read_text()\ndef read(): return list(lines())"
    ),
    "a script": (
        "import subprocess, sys\n"
        "def read(): return subprocess.check_output(['cat', str(HERE / 'q.sql')])"
    ),
    "names in a folder": "def read(): return sorted(p.name for p in (HERE / 'rules').iterdir())",
    "files by a pattern": "def read(): return sorted(p.name for p in HERE.glob('rules/*.txt'))",
}


@pytest.mark.parametrize("way", READS)
def test_what_a_step_reads_counts(sandbox: Sandbox, way: str) -> None:
    sandbox.write(READS[way] + ASSET, q__sql="one", **{"rules/a__txt": "1"})
    sandbox.build()
    assert sandbox.fresh
    sandbox.put("q.sql", "two")
    sandbox.put("rules/b.txt", "2")
    out = sandbox.run("plan")
    assert "1 must run" in out, out
    sandbox.build()
    assert sandbox.fresh


def test_a_change_that_is_taken_back_is_fresh_again(sandbox: Sandbox) -> None:
    sandbox.write(READS["a file"] + ASSET, q__sql="one")
    sandbox.build()
    sandbox.put("q.sql", "two")
    assert not sandbox.fresh
    sandbox.put("q.sql", "one")
    assert sandbox.fresh


def test_plan_and_why_name_what_moved(sandbox: Sandbox) -> None:
    sandbox.write(READS["a file"] + ASSET, q__sql="one")
    sandbox.build()
    sandbox.put("q.sql", "two")
    assert "file definitions/q.sql" in sandbox.run("plan")
    assert "file definitions/q.sql changed" in sandbox.run("plan", "--explain", "a")


def test_a_file_that_was_not_there_counts_when_it_appears(sandbox: Sandbox) -> None:
    sandbox.write(
        "def read():\n"
        "    try: return (HERE / 'extra.txt').read_text()\n"
        "    except FileNotFoundError: return 'none'\n" + ASSET
    )
    sandbox.build()
    assert sandbox.fresh
    sandbox.put("extra.txt", "now")
    assert not sandbox.fresh


def test_a_worker_process_tells_what_it_read(sandbox: Sandbox) -> None:
    sandbox.write(READS["a file"] + ASSET.replace("@asset", "@asset(executor='process')"))
    sandbox.put("q.sql", "one")
    sandbox.build()
    assert sandbox.fresh
    sandbox.put("q.sql", "two")
    assert not sandbox.fresh


def test_each_partition_counts_by_what_it_read_itself(sandbox: Sandbox) -> None:
    sandbox.write(
        "D = daily('2024-01-01', end='2024-01-04')\n"
        "@asset(partitions=D)\n"
        "def a(partition: Partition) -> pa.Table:\n"
        "    return pa.table({'v': [(HERE / f'{partition.key}.txt').read_text()]})\n"
    )
    for day in (1, 2, 3):
        sandbox.put(f"2024-01-0{day}.txt", f"{day}")
    sandbox.build("--jobs", "3")
    assert sandbox.fresh
    sandbox.put("2024-01-02.txt", "other")
    out = sandbox.run("plan")
    assert "1 must run" in out
    assert "2024-01-02" in out


def test_a_range_in_one_call_counts_by_what_the_call_read(sandbox: Sandbox) -> None:
    sandbox.write(
        "D = daily('2024-01-01', end='2024-01-04')\n"
        "@asset(partitions=D, batch=True, partition_column='day')\n"
        "def a(partitions: Partitions) -> pa.Table:\n"
        "    text = (HERE / 'q.sql').read_text()\n"
        "    days = [p.key for p in partitions]\n"
        "    return pa.table({'day': days, 'v': [text] * len(days)})\n",
        q__sql="one",
    )
    sandbox.build()
    assert sandbox.fresh
    sandbox.put("q.sql", "two")
    assert "3 must run" in sandbox.run("plan")


def test_a_variable_counts_by_its_value(sandbox: Sandbox) -> None:
    sandbox.write("import os\ndef read(): return os.environ.get('RATE_X', '')\n" + ASSET)
    sandbox.environment["RATE_X"] = "1"
    sandbox.build()
    assert sandbox.fresh
    sandbox.environment["OTHER_X"] = "1"
    assert sandbox.fresh
    sandbox.environment["RATE_X"] = "2"
    assert "variable RATE_X" in sandbox.run("plan")
    del sandbox.environment["RATE_X"]
    assert not sandbox.fresh


def test_the_value_of_a_variable_is_not_recorded(sandbox: Sandbox) -> None:
    sandbox.write("import os\ndef read(): return len(os.environ['PASS_X'])\n" + ASSET)
    sandbox.environment["PASS_X"] = "correct horse"
    sandbox.build()
    kept = [path.read_bytes() for path in (sandbox.root / ".assets").rglob("*") if path.is_file()]
    assert not any(b"correct horse" in content for content in kept)
    assert (sandbox.root / ".assets" / "secret.key").stat().st_mode & 0o077 == 0


def test_another_key_makes_variables_look_changed(sandbox: Sandbox) -> None:
    sandbox.write("import os\ndef read(): return os.environ['PASS_X']\n" + ASSET)
    sandbox.environment["PASS_X"] = "1"
    sandbox.build()
    (sandbox.root / ".assets" / "secret.key").unlink()
    assert not sandbox.fresh


def test_reading_all_variables_counts_none_and_says_so(sandbox: Sandbox) -> None:
    sandbox.write("import os\ndef read(): return len(dict(os.environ)) > 0\n" + ASSET)
    assert "reads_env=" in sandbox.run("materialize", "--yes") + sandbox.run("logs", "latest", "a")
    sandbox.environment["OTHER_X"] = "1"
    assert sandbox.fresh


def test_declared_files_and_variables_count_as_code(sandbox: Sandbox) -> None:
    sandbox.write(
        "def read(): return 1\n"
        + ASSET.replace(
            "@asset", "@asset(reads_files=['definitions/sql', 'lib/*.txt'], reads_env=['RATE_X'])"
        ),
        **{"sql/a__sql": "1"},
    )
    sandbox.build()
    assert sandbox.fresh
    sandbox.put("sql/b.sql", "2")
    assert "file definitions/sql/b.sql added" in sandbox.run("plan", "--explain", "a")
    sandbox.build()
    sandbox.put("../lib/x.txt", "2")
    assert not sandbox.fresh
    sandbox.build()
    sandbox.environment["RATE_X"] = "2"
    assert "variable RATE_X changed" in sandbox.run("plan", "--explain", "a")


def test_what_is_declared_makes_no_sense_is_refused(sandbox: Sandbox) -> None:
    sandbox.write("def read(): return 1\n" + ASSET.replace("@asset", "@asset(reads_env=[3])"))
    done = subprocess.run(
        [sys.executable, "-m", "assets_core", "plan"],
        cwd=sandbox.root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "reads_env=3 names no variable" in done.stderr


# What does not count


NOT_COUNTED = {
    "what it was handed": (
        "@source\ndef src() -> Path: return HERE / 'q.sql'\n"
        "@asset\ndef a(src: Path) -> pa.Table: return pa.table({'v': [len(src.read_text())]})\n"
    ),
    "what it wrote itself": (
        "@asset\ndef a() -> pa.Table:\n    (HERE / 'own.txt').write_text('x')\n"
        "    return pa.table({'v': [(HERE / 'own.txt').read_text()]})\n"
    ),
    "the folders of the import path, looked through for packages": (
        "import importlib.metadata as m\n@asset\ndef a() -> pa.Table:\n"
        "    return pa.table({'v': [len(list(m.distributions())) > 0]})\n"
    ),
    "what lies elsewhere": (
        "import json\n@asset\ndef a() -> pa.Table:\n"
        "    return pa.table({'v': [len(open(json.__file__).read())]})\n"
    ),
    "a variable that a library reads": (
        "import tempfile\n@asset\ndef a() -> pa.Table:\n    tempfile.mkdtemp()\n"
        "    return pa.table({'v': [1]})\n"
    ),
    "its own source in a warning": (
        "import warnings\n@asset\ndef a() -> pa.Table:\n    warnings.warn('old')\n"
        "    return pa.table({'v': [1]})\n"
    ),
}


@pytest.mark.parametrize("what", NOT_COUNTED)
def test_it_does_not_count(sandbox: Sandbox, what: str) -> None:
    sandbox.write(NOT_COUNTED[what], q__sql="one")
    sandbox.build()
    with Project.from_module(root=sandbox.root) as project:
        (fact,) = project.history("a").facts
    assert [name for name in fact.code.parts if name.startswith("traced ")] == []


def test_a_file_that_changes_while_the_step_runs_makes_it_stale(sandbox: Sandbox) -> None:
    sandbox.write(
        "import os\ndef read():\n    text = (HERE / 'q.sql').read_text()\n"
        "    os.system(f'echo other > {HERE}/q.sql')\n    return text\n" + ASSET,
        q__sql="one",
    )
    sandbox.build()
    assert not sandbox.fresh


@pytest.fixture
def clean_modules() -> Iterator[None]:
    before, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("definitions", "common_x"):
            del sys.modules[name]
    sys.path[:] = path


def test_code_roots_count_even_among_packages(sandbox: Sandbox) -> None:
    vendored = sandbox.root / "site-packages" / "vendored_x"
    vendored.mkdir(parents=True)
    sandbox.environment["PYTHONPATH"] = str(vendored.parent)
    sandbox.environment["ASSETS_CODE_ROOTS"] = "site-packages"
    sandbox.write("from vendored_x import read\n" + ASSET)
    (vendored / "__init__.py").write_text("def read(): return 1\n")
    sandbox.build()
    assert sandbox.fresh
    (vendored / "__init__.py").write_text("def read(): return 22\n")
    assert not sandbox.fresh
    del sandbox.environment["ASSETS_CODE_ROOTS"]
    sandbox.build()
    (vendored / "__init__.py").write_text("def read(): return 333\n")
    assert sandbox.fresh


EFFECTS = {
    "a file": (
        "import decimal\ndecimal.getcontext().prec = int((HERE / 'p.txt').read_text())\n"
        "def read(): return decimal.Decimal(1) / 3\n"
    ),
    "a connection": (
        "import duckdb\nCON = duckdb.connect()\n"
        "CON.execute('create table t as select ' + (HERE / 'p.txt').read_text() + ' v')\n"
        "def read(): return CON.sql('select v from t').fetchall()\n"
    ),
}


@pytest.mark.parametrize("what", EFFECTS)
def test_what_a_module_reads_at_import_counts_where_its_values_cannot_tell(
    sandbox: Sandbox, what: str
) -> None:
    sandbox.write(EFFECTS[what] + ASSET, p__txt="5")
    sandbox.build()
    assert sandbox.fresh
    sandbox.put("p.txt", "6")
    assert not sandbox.fresh


RESOURCES = """
class Client:
    def __init__(self, url): self.url = url
@asset
def a(context: Context) -> pa.Table: return pa.table({'v': [context.resources['db'].url]})
@asset
def b() -> pa.Table: return pa.table({'v': [1]})
definitions = Definitions(resources={'db': Client('@@'), 'other': Client('##')})
"""


def test_a_resource_counts_for_whoever_uses_it(
    sandbox: Sandbox, clean_modules: Callable[[], None]
) -> None:
    sandbox.write(RESOURCES)
    sandbox.build()
    sandbox.write(RESOURCES.replace("##", "else"))
    assert sandbox.fresh
    sandbox.write(RESOURCES.replace("@@", "else"))
    out = sandbox.run("plan")
    assert "1 must run" in out
    assert "resource db" in out


NAMED = {
    "by native code": "import duckdb\ndef read():\n"
    "    return duckdb.read_csv(HERE / 'p.csv').fetchall()",
    "by a library": "import pyarrow.csv as c\ndef read(): return c.read_csv(HERE / 'p.csv')",
    "relative to the root": "import duckdb\ndef read():\n"
    "    return duckdb.read_csv('definitions/p.csv').fetchall()",
}


@pytest.mark.parametrize("way", NAMED)
def test_a_file_that_code_names_counts_whoever_reads_it(sandbox: Sandbox, way: str) -> None:
    sandbox.write(NAMED[way] + ASSET, p__csv="n\n1\n")
    sandbox.build()
    assert sandbox.fresh
    sandbox.put("p.csv", "n\n22\n")
    assert "file definitions/p.csv" in sandbox.run("plan")
