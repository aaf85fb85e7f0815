"""What code reads while it runs counts: files, folders, variables, scripts; and what does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sandbox import Sandbox

from assets_core import Project
from assets_core.declare.registry import forget

# Each builds and plans in processes of its own.
pytestmark = pytest.mark.slow


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
    "a file, by a shell": (
        "import subprocess\nNAME = 'q' + '.sql'\n"
        "def read(): return subprocess.check_output(f'cat definitions/{NAME} | sort', shell=True)"
    ),
    "a file, by os.popen": (
        "import os\nNAME = 'q' + '.sql'\n"
        "def read(): return os.popen(f\"cat 'definitions/{NAME}'\").read()"
    ),
    "a file, in a program that is a text": (
        "import subprocess, sys\nNAME = 'q' + '.sql'\n"
        "def read(): return subprocess.check_output([sys.executable, '-c',"
        " f'print(open(\"definitions/{NAME}\").read())'])"
    ),
    "a file, mapped for writing, too": (
        "import numpy as np\nNAME = 'q' + '.sql'\ndef read(): return bytes(np.memmap(HERE / NAME))"
    ),
    "a file, of a package": (
        "import importlib.resources as r\n"
        "def read(): return r.files('definitions').joinpath('q' + '.sql').read_text()"
    ),
    "a file, in an executor of asyncio": (
        "import asyncio\nNAME = 'q' + '.sql'\n"
        "def read(): return asyncio.run(asyncio.to_thread((HERE / NAME).read_text))"
    ),
    "a file, as data of a package": (
        "import pkgutil\nNAME = 'q' + '.sql'\n"
        "def read(): return pkgutil.get_data('definitions', NAME)"
    ),
    "a database by its address": (
        "import sqlite3\nNAME = 'q' + '.sql'\n"
        "def read():\n    con = sqlite3.connect(f'file:{HERE / NAME}?mode=ro', uri=True)\n"
        "    return con is None"
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


@pytest.mark.parametrize(
    "way",
    [
        "os.getenv('RATE_X')",
        "os.environb[b'RATE_X']",
        "os.path.expandvars('$RATE_X')",
        "string.Template('$RATE_X').substitute(os.environ)",
        "collections.ChainMap({}, os.environ)['RATE_X']",
        "'%(RATE_X)s' % os.environ",
        "'{RATE_X}'.format_map(os.environ)",
        "operator.itemgetter('RATE_X')(os.environ)",
        "pathlib.Path('~').expanduser()",
    ],
)
def test_a_variable_counts_however_it_is_asked_for(sandbox: Sandbox, way: str) -> None:
    name = "HOME" if "expanduser" in way else "RATE_X"
    imports = "import collections, operator, os, pathlib, string\n"
    sandbox.write(f"{imports}def read(): return {way}\n" + ASSET)
    sandbox.environment[name] = "/one"
    sandbox.build()
    assert sandbox.fresh
    sandbox.environment[name] = "/two"
    assert f"variable {name}" in sandbox.run("plan")


def test_a_variable_counts_that_a_line_of_the_shell_asks_for(sandbox: Sandbox) -> None:
    sandbox.write(
        "import subprocess\nLINE = 'echo ${RATE' + '_X}'\n"
        "def read(): return subprocess.check_output(LINE, shell=True)\n" + ASSET
    )
    sandbox.environment["RATE_X"] = "1"
    sandbox.build()
    assert sandbox.fresh
    sandbox.environment["RATE_X"] = "2"
    assert "variable RATE_X" in sandbox.run("plan")


def test_a_file_counts_by_whatever_link_its_code_is_found(tmp_path: Path) -> None:
    libs = tmp_path / "elsewhere"
    libs.mkdir()
    (tmp_path / "libs").symlink_to(libs)
    (libs / "common_z.py").write_text(
        "from pathlib import Path\nNAME = 'q' + '.sql'\n"
        "def read(): return Path(__file__).with_name(NAME).read_text()\n"
    )
    (libs / "q.sql").write_text("one")
    project = tmp_path / "project"
    project.mkdir()
    inside = Sandbox(project)
    inside.environment["PYTHONPATH"] = str(tmp_path / "libs")
    inside.write("from common_z import read\n" + ASSET)
    inside.build()
    assert inside.fresh
    (libs / "q.sql").write_text("other")
    assert not inside.fresh


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


def test_a_folder_that_only_sounds_like_packages_is_the_projects_own(tmp_path: Path) -> None:
    root = tmp_path / "my-packages" / "shop"
    root.mkdir(parents=True)
    sandbox = Sandbox(root)
    sandbox.write(READS["a file"] + ASSET, q__sql="one")
    sandbox.build()
    sandbox.put("q.sql", "two")
    assert not sandbox.fresh


def test_an_editable_install_is_the_projects_own(sandbox: Sandbox, tmp_path: Path) -> None:
    site, source = tmp_path / "site-packages", tmp_path / "elsewhere" / "src"
    source.mkdir(parents=True)
    site.mkdir()
    (site / "__editable__.common_y.pth").write_text(f"{source}\n")
    starter = f"import site; site.addsitedir({str(site)!r})\n"
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "sitecustomize.py").write_text(starter)
    sandbox.environment["PYTHONPATH"] = str(tmp_path / "start")
    sandbox.write("from common_y import read\n" + ASSET)
    (source / "common_y.py").write_text("def read(): return 1\n")
    sandbox.build()
    assert sandbox.fresh
    (source / "common_y.py").write_text("def read(): return 22\n")
    assert not sandbox.fresh


def test_a_python_script_counts_with_what_it_imports(sandbox: Sandbox) -> None:
    sandbox.write(
        "import subprocess, sys\n"
        "JOB = str(HERE.parent / 'jobs' / 'job.py')\n"
        "def read(): return subprocess.check_output([sys.executable, JOB])\n" + ASSET
    )
    sandbox.put("../jobs/job.py", "import jobhelp\nprint(jobhelp.value())\n")
    sandbox.put("../jobs/jobhelp.py", "def value(): return 1\n")
    sandbox.build()
    assert sandbox.fresh
    sandbox.put("../jobs/jobhelp.py", "def value(): return 22\n")
    assert "jobhelp.py" in sandbox.run("plan")


def test_a_script_of_the_shell_counts_with_the_files_that_it_names(sandbox: Sandbox) -> None:
    sandbox.write(
        "import subprocess\nJOB = str(HERE.parent / 'jobs' / 'job')\n"
        "def read(): return subprocess.check_output(['sh', JOB])\n" + ASSET
    )
    sandbox.put("../jobs/job", "#!/bin/sh\n. jobs/more.sh\n")
    sandbox.put("../jobs/more.sh", "cat jobs/rates.txt | sort\n")
    sandbox.put("../jobs/rates.txt", "1")
    sandbox.build()
    assert sandbox.fresh
    sandbox.put("../jobs/rates.txt", "22")
    assert "jobs/rates.txt" in sandbox.run("plan")


def test_a_compiled_library_that_is_opened_by_hand_counts(sandbox: Sandbox) -> None:
    import _ctypes

    sandbox.write(
        "import ctypes\nLIB = str(HERE / 'native' / ('lib' + '.so'))\n"
        "def read(): return ctypes.CDLL(LIB) is None\n" + ASSET
    )
    library = sandbox.root / "definitions" / "native" / "lib.so"
    library.parent.mkdir()
    shutil.copy(_ctypes.__file__, library)
    sandbox.build()
    assert sandbox.fresh
    with library.open("ab") as file:
        file.write(b"another")
    assert "lib.so" in sandbox.run("plan")


def test_a_module_that_is_found_by_a_computed_name_counts(sandbox: Sandbox) -> None:
    sandbox.write(
        "import importlib, sys\nsys.path.insert(0, str(HERE.parent / 'plugins'))\n"
        "def read(): return importlib.import_module('plug' + 'in_a').value()\n" + ASSET
    )
    sandbox.put("../plugins/plugin_a.py", "def value(): return 1\n")
    sandbox.build()
    assert sandbox.fresh
    sandbox.put("../plugins/plugin_a.py", "# a comment\ndef value(): return 1\n")
    assert sandbox.fresh
    sandbox.put("../plugins/plugin_a.py", "def value(): return 22\n")
    assert "module plugins/plugin_a.py" in sandbox.run("plan")


@pytest.mark.parametrize("bytecode", ["1", ""])
def test_a_module_counts_whether_its_bytecode_was_kept(sandbox: Sandbox, bytecode: str) -> None:
    sandbox.environment["PYTHONDONTWRITEBYTECODE"] = bytecode
    sandbox.write(
        "import importlib, sys\nsys.path.insert(0, str(HERE.parent / 'plugins'))\n"
        "def read(): return importlib.import_module('plug' + 'in_a').value()\n" + ASSET
    )
    sandbox.put("../plugins/plugin_a.py", "def value(): return 1\n")
    sandbox.build()
    sandbox.build("--force")
    sandbox.put("../plugins/plugin_a.py", "def value(): return 22\n")
    assert not sandbox.fresh


def test_a_second_edit_within_a_second_is_what_runs(sandbox: Sandbox) -> None:
    sandbox.environment["PYTHONDONTWRITEBYTECODE"] = ""
    sandbox.write("def read(): return 'one'\n" + ASSET)
    source = sandbox.root / "definitions" / "__init__.py"
    os.utime(source, ns=(0, 10**18))
    sandbox.build()
    sandbox.write("def read(): return 'two'\n" + ASSET)
    os.utime(source, ns=(0, 10**18 + 500_000_000))
    for bytecode in source.parent.glob("__pycache__/*.pyc"):  # as it is when all is done at once
        os.utime(bytecode, ns=(0, 10**18 + 100_000_000))
    sandbox.build()
    built = [path.read_bytes() for path in sandbox.root.glob("data/**/a/**/*.parquet")]
    assert any(b"two" in one for one in built)


def test_what_a_module_read_before_it_was_loaded_anew_is_forgotten(
    tmp_path: Path, clean_modules: None
) -> None:
    sandbox = Sandbox(tmp_path)

    def code(names: list[str]) -> str:
        sandbox.write(
            "import decimal\n"
            + "".join(
                f"decimal.getcontext().prec = len((HERE / '{n}').read_text())\n" for n in names
            )
            + "def read(): return decimal.Decimal(1) / 3\n"
            + ASSET
        )
        for name in [n for n in sys.modules if n.partition(".")[0] == "definitions"]:
            del sys.modules[name]
        forget("definitions")
        with Project.from_module(root=tmp_path) as project:
            return " ".join(project.codes["a"].parts)

    sandbox.put("p.txt", "12345")
    sandbox.put("o.txt", "1234")
    assert "p.txt" in code(["p.txt", "o.txt"])
    again = code(["o.txt"])
    assert "o.txt" in again
    assert "p.txt" not in again


def test_what_is_accepted_goes_on_counting_by_what_it_read(sandbox: Sandbox) -> None:
    sandbox.write(READS["a file"] + ASSET, q__sql="one")
    sandbox.build()
    sandbox.put("q.sql", "two")
    sandbox.run("accept", "--yes")
    assert sandbox.fresh
    sandbox.put("q.sql", "three")
    assert not sandbox.fresh


@pytest.mark.parametrize("options", ["", "(batch=True, partitions=D, partition_column='day')"])
def test_a_rebuilt_state_store_invents_no_freshness(sandbox: Sandbox, options: str) -> None:
    sandbox.write(
        "D = daily('2024-01-01', end='2024-01-03')\n"
        f"@asset{options}\n"
        "def a(partitions: Partitions) -> pa.Table:\n"
        "    text = (HERE / ('q' + '.sql')).read_text()\n"
        "    days = [p.key for p in partitions]\n"
        "    return pa.table({'day': days, 'v': [text] * len(days)})\n"
        "@asset\ndef plain() -> pa.Table: return pa.table({'v': [1]})\n",
        q__sql="one",
    )
    sandbox.build()
    shutil.rmtree(sandbox.root / ".assets")
    sandbox.put("q.sql", "two")
    sandbox.run("repair", "--rebuild")
    out = sandbox.run("plan")
    assert "a " in out
    assert "plain" not in out


@pytest.mark.parametrize("write", ["(HERE / 'out.csv').write_text", "open('out.csv', 'w').write"])
def test_what_code_writes_by_name_does_not_make_it_stale(sandbox: Sandbox, write: str) -> None:
    sandbox.write(
        "import time\nimport pyarrow.csv as c\n@asset\ndef a() -> None:\n"
        f"    {write}(str(time.time()))\n"
        "    c.write_csv(pa.table({'n': [time.time()]}), HERE / 'native.csv')\n"
    )
    sandbox.build()
    assert sandbox.fresh
    sandbox.build("--force")
    assert sandbox.fresh


def test_a_warning_that_many_assets_share_is_told_once(sandbox: Sandbox) -> None:
    sandbox.write(
        "import duckdb\nCON = duckdb.connect()\ndef read(): return CON is None\n"
        + ASSET
        + ASSET.replace("def a", "def b")
    )
    out = sandbox.run("plan")
    assert out.count("has no plain form") == 1
    assert "Code version of a, b: constant definitions.CON has no plain form" in out


def test_everything_that_counts_is_shown(sandbox: Sandbox) -> None:
    sandbox.write(
        READS["a file"] + ASSET.replace("@asset", "@asset(reads_env=['RATE_X'])"), q__sql="one"
    )
    sandbox.build()
    shown = json.loads(sandbox.run("show", "a", "--code", "--json"))
    why = {(part["kind"], part["name"]): part["why"] for part in shown["parts"]}
    assert why["function", "a"] == "makes the asset"
    assert why["helper", "definitions.read"] == "reached by its code"
    assert why["variable", "RATE_X"].startswith("declared")
    assert why["file", "definitions/q.sql"] == "traced: a build read it"
    assert "traced: a build read it" in sandbox.run("show", "a", "--code")


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
    "in a query": "import duckdb\ndef read():\n"
    "    return duckdb.sql(\"from read_csv('definitions/p.csv')\").fetchall()",
    "in a query that is a constant": "import duckdb\nQ = \"from 'definitions/p.csv'\"\n"
    "def read(): return duckdb.sql(Q).fetchall()",
    "by a pattern": "import duckdb\ndef read():\n"
    "    return duckdb.sql(\"from read_csv('definitions/p*.csv')\").fetchall()",
    "by its size": "import os\ndef read(): return os.stat(HERE / 'p.csv').st_size",
}


@pytest.mark.parametrize("way", NAMED)
def test_a_file_that_code_names_counts_whoever_reads_it(sandbox: Sandbox, way: str) -> None:
    sandbox.write(NAMED[way] + ASSET, p__csv="n\n1\n")
    sandbox.build()
    assert sandbox.fresh
    sandbox.put("p.csv", "n\n22\n")
    assert "file definitions/p.csv" in sandbox.run("plan")


@pytest.mark.parametrize("name", ["p.csv", "*.csv"])
def test_a_file_that_an_sql_asset_names_counts(sandbox: Sandbox, name: str) -> None:
    sandbox.write(f"a = sql_asset('a', \"select n from read_csv('definitions/{name}')\")\n")
    sandbox.put("p.csv", "n\n1\n")
    sandbox.build()
    assert sandbox.fresh
    sandbox.put("p.csv", "n\n22\n")
    assert "file definitions/p.csv" in sandbox.run("plan")


def test_whether_a_file_is_there_counts(sandbox: Sandbox) -> None:
    sandbox.write("def read(): return (HERE / 'flag.txt').exists()\n" + ASSET)
    sandbox.build()
    assert sandbox.fresh
    sandbox.put("flag.txt", "")
    assert not sandbox.fresh


def test_modules_that_a_program_of_text_imports_count(sandbox: Sandbox) -> None:
    sandbox.write(
        "import subprocess, sys\nCODE = 'import jobs; print(jobs.V)'\n"
        "def read(): return subprocess.check_output([sys.executable, '-c', CODE], cwd=HERE)\n"
        + ASSET
    )
    sandbox.put("jobs.py", "V = 1\n")
    sandbox.build()
    assert sandbox.fresh
    sandbox.put("jobs.py", "V = 22\n")
    assert not sandbox.fresh


def test_a_file_that_code_updates_is_its_own(sandbox: Sandbox) -> None:
    sandbox.write(
        "def read():\n    with open(HERE / ('seen' + '.txt'), 'r+') as file:\n"
        "        seen = file.read()\n        file.write('one more ')\n    return seen\n" + ASSET
    )
    sandbox.put("seen.txt", "one ")
    sandbox.build()
    assert sandbox.fresh
    sandbox.build("--force")
    assert sandbox.fresh


MADE = """
import duckdb
@asset
def a(context: Context) -> pa.Table:
    return context.resources['db'].sql('select v from t').to_arrow_table()
@asset
def b() -> pa.Table: return pa.table({'v': [1]})
def connected(n):
    con = duckdb.connect()
    con.execute(f'create table t as select {n} v')
    return con
definitions = Definitions(resources={'db': @@})
"""


def test_a_resource_without_a_form_makes_its_module_count(sandbox: Sandbox) -> None:
    sandbox.write(MADE.replace("@@", "connected(1)"))
    sandbox.build()
    assert sandbox.fresh
    sandbox.write(MADE.replace("@@", "connected(2)"))
    out = sandbox.run("plan")
    assert "1 must run" in out
    assert 'Resource(…, version="1")' in out


def test_a_version_stands_for_a_resource(sandbox: Sandbox) -> None:
    sandbox.write(MADE.replace("@@", "Resource(connected(1), version='1')"))
    sandbox.build()
    sandbox.write(MADE.replace("@@", "Resource(connected(2), version='1')"))
    assert sandbox.fresh
    sandbox.write(MADE.replace("@@", "Resource(connected(2), version='2')"))
    assert "1 must run" in sandbox.run("plan")
