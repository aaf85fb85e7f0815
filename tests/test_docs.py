"""Every command and Python block of README and docs is run, page by page, in a folder of its own.

The fence's first word decides what becomes of a block:

- ``python``: run in the page's one interpreter; with ``title="orders.py"``, written to that file.
- ``pycon``: run as a doctest in the same interpreter, its output compared.
- ``console``: the lines after ``$ `` are commands, in a shell. What stands below one is found in
  its output, line by line and in order; ``…`` stands for anything. ``exit=1``: it ends with that.
- ``sql``, ``toml``: written to the file in ``title=``; without one, a page has no use for them.
- ``text``: for reading only.

``<!-- project: definitions -->`` on a page puts the bundled project into its folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(path for path in sorted((ROOT / "docs").rglob("*.md"))),
]
RUN = ("python", "pycon", "console")
WRITTEN = ("sql", "toml")
FENCE = re.compile(r"^```(?P<word>\w*)(?P<rest>[^\n]*)\n(?P<body>.*?)^```$", re.M | re.S)
OPTION = re.compile(r'(\w+)=(?:"([^"]*)"|(\S+))')


@dataclass
class Block:
    """A fenced block: its language, options, text and first line's number."""

    word: str
    options: dict[str, str]
    body: str
    line: int


@dataclass
class Command:
    """A command of a console block, and the lines that its output shows."""

    line: int
    text: str
    shown: list[str] = field(default_factory=list)


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        options = {name: a or b for name, a, b in OPTION.findall(match["rest"])}
        line = text.count("\n", 0, match.start("body")) + 1
        found.append(Block(match["word"], options, match["body"], line))
    return found


def commands_of(block: Block) -> list[Command]:
    commands: list[Command] = []
    continued = False
    for number, line in enumerate(block.body.splitlines(), start=block.line):
        if continued:
            commands[-1].text += "\n" + line.removeprefix("> ")
        elif line.startswith("$ "):
            commands.append(Command(number, line[2:]))
        else:
            assert commands, f"line {number}: a console block begins with a command"
            commands[-1].shown.append(line)
        continued = commands[-1].text.endswith("\\") and not commands[-1].shown
    return commands


def unlike(shown: list[str], output: str) -> str | None:
    """The first shown line that is not in the output, after those before it; None if all are."""
    rest = iter(squeezed(line) for line in output.splitlines())
    for line in shown:
        pattern = re.escape(squeezed(line)).replace("…", ".*").replace(r"\.\.\.", ".*")
        if squeezed(line) and not any(re.fullmatch(pattern, found) for found in rest):
            return line
    return None


def squeezed(line: str) -> str:
    return " ".join(line.split())


# --------------------------------------------------------------------------------------------
# Running


INTERPRETER = """
import contextlib, doctest, io, json, sys, traceback
space = {"__name__": "__page__"}
flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
answers = sys.stdout
for request in sys.stdin:
    word, text, name = json.loads(request)
    said = io.StringIO()
    failed = ""
    with contextlib.redirect_stdout(said):
        try:
            if word == "python":
                exec(compile(text, name, "exec", dont_inherit=True), space)
            else:
                text = text.replace("\u2026", "...")
                test = doctest.DocTestParser().get_doctest(text, space, name, name, 0)
                runner = doctest.DocTestRunner(optionflags=flags)
                runner.run(test, clear_globs=False)
                space.update(test.globs)
                failed = said.getvalue() if runner.summarize(verbose=False).failed else ""
        except BaseException:
            failed = traceback.format_exc()
    print(json.dumps([said.getvalue(), failed]), file=answers, flush=True)
"""


class Page:
    """A page being worked through: its folder, its interpreter and the environment of both."""

    def __init__(self, page: Path, folder: Path) -> None:
        self.page, self.folder = page, folder / "page"
        self.folder.mkdir()
        self.environment = environment(folder / "bin")
        if "<!-- project: definitions -->" in page.read_text(encoding="utf-8"):
            shutil.copytree(
                ROOT / "definitions",
                self.folder / "definitions",
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        self.interpreter = subprocess.Popen(
            [sys.executable, "-c", INTERPRETER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self.folder,
            env=self.environment,
            text=True,
        )

    def close(self) -> None:
        assert self.interpreter.stdin is not None
        self.interpreter.stdin.close()
        self.interpreter.wait(30)
        assert self.interpreter.stdout is not None
        self.interpreter.stdout.close()

    def run(self, block: Block) -> None:
        if "title" in block.options:
            path = self.folder / block.options["title"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, encoding="utf-8")
        elif block.word == "console":
            for command in commands_of(block):
                self.command(command, int(block.options.get("exit", 0)))
        elif block.word in RUN:
            self.python(block)
        else:
            assert block.word == "text", (
                f"{self.at(block.line)}: a {block.word!r} block without title"
            )

    def at(self, line: int) -> str:
        return f"{self.page.relative_to(ROOT)}:{line}"

    def python(self, block: Block) -> None:
        assert self.interpreter.stdin is not None
        assert self.interpreter.stdout is not None
        request = json.dumps([block.word, block.body, self.at(block.line)])
        self.interpreter.stdin.write(request + "\n")
        self.interpreter.stdin.flush()
        answer = self.interpreter.stdout.readline()
        assert answer, f"{self.at(block.line)}: the interpreter ended"
        said, failed = json.loads(answer)
        assert not failed, f"{self.at(block.line)}\n{said}\n{failed}"

    def command(self, command: Command, code: int) -> None:
        text = command.text
        if " -m venv " in text:
            # Installing is the slow test's below; and the tests are running now.
            text = text.split(" && ", 2)[2].replace(".venv/bin/", "")
            if "-m pytest" in text:
                return
        done = subprocess.run(
            ["bash", "-eu", "-c", text],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        told = f"{self.at(command.line)}: $ {text}\n{done.stdout}"
        assert done.returncode == code, f"ended with {done.returncode}, not {code}\n{told}"
        missing = unlike(command.shown, done.stdout)
        assert missing is None, f"not in the output: {missing!r}\n{told}"


def environment(scripts: Path) -> dict[str, str]:
    """`assets` and `python` are those of this interpreter, whatever is installed."""
    scripts.mkdir()
    for name, command in (("assets", "-m assets_core"), ("python", "")):
        script = scripts / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {command} "$@"\n')
        script.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ASSETS_", "PYTEST_"))}
    return {
        **kept,
        "PATH": f"{scripts}{os.pathsep}{kept.get('PATH', '')}",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "120",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }


@pytest.fixture
def work(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    page = Page(request.param, tmp_path)
    yield page
    page.close()


RUNNABLE = [p for p in PAGES if any(b.word in (*RUN, *WRITTEN) for b in blocks_of(p))]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("work", RUNNABLE, ids=name_of, indirect=True)
def test_page(work: Page) -> None:
    for block in blocks_of(work.page):
        work.run(block)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"^```", text, re.M)) == 2 * len(blocks_of(page))
    unknown = [b.line for b in blocks_of(page) if b.word not in (*RUN, *WRITTEN, "text")]
    assert unknown == []


LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    links = [link for link in LINK.findall(prose) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = [p for p in (ROOT / "docs").rglob("*.md") if "decisions" not in p.parts]
    missing = [p for p in pages if p.name != "README.md" and f"{p.name})" not in index]
    assert missing == []


@pytest.mark.slow
def test_the_readmes_first_command_in_a_fresh_clone(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(".*", "data", "__pycache__"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    after = text.split("<!-- command one -->")[1]
    command = next(line[2:] for line in after.splitlines() if line.startswith("$ "))
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        ["bash", "-c", command], cwd=clone, env=clean, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in all            32  14,238" in done.stdout


def test_ci_runs_the_readmes_second_command() -> None:
    after = (ROOT / "README.md").read_text(encoding="utf-8").split("<!-- command two -->")[1]
    command = next(line for line in after.splitlines() if line.startswith("$ "))
    assert "pip install" in command
    assert "-m pytest" in command
