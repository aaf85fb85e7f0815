"""The notebook in docs runs from top to bottom, and its displays draw themselves."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
TOUR = ROOT / "docs" / "notebooks" / "tour.ipynb"

missing = [
    name for name in ("ipykernel", "nbclient", "nbformat") if importlib.util.find_spec(name) is None
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(missing),
        reason=f"NOT TESTED: the notebook needs {', '.join(missing)} (pip install .[notebook])",
    ),
]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notebook after a run of all its cells in a fresh kernel."""
    import nbclient
    import nbformat

    notebook = nbformat.read(TOUR, as_version=4)
    folder = tmp_path_factory.mktemp("notebook")
    environment = pytest.MonkeyPatch()
    # The kernel is a process of its own, and the package need not be installed to be tested.
    environment.setenv("PYTHONPATH", str(ROOT))
    try:
        client = nbclient.NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=120,
            resources={"metadata": {"path": str(folder)}},
        )
        return client.execute()
    finally:
        environment.undo()


def output_of(notebook: Any, source: str) -> dict[str, str]:
    """What the cell that begins with this source displayed last, by media type."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.startswith(source):
            shown = [o.data for o in cell.outputs if o.output_type == "execute_result"]
            return dict(shown[-1])
    raise AssertionError(f"no cell begins with {source!r}")


def test_every_cell_runs(executed: Any) -> None:
    ran = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in ran)
    assert not [o for cell in ran for o in cell.outputs if o.output_type == "error"]


@pytest.mark.parametrize(
    "source",
    [
        "SCALE",
        "project.plan()",
        "project.materialize()",
        "project.status()",
        'project.lineage("hottest',
        'project.lineage("readings',
        "project.history",
        "project.freshness",
    ],
)
def test_displays_are_drawn_and_have_a_text(executed: Any, source: str) -> None:
    shown = output_of(executed, source)
    assert "<svg" in shown["text/html"]
    assert "<script" not in shown["text/html"]
    assert shown["text/plain"]


def test_late_data_of_one_day_stales_what_read_it_and_no_more(executed: Any) -> None:
    html = output_of(executed, "write_day(datetime(2024, 1, 5)")["text/html"]
    assert "late data in landing[2024-01-05]" in html
    assert "1 must run, 9 may run" in html


def test_the_repository_keeps_no_outputs() -> None:
    text = TOUR.read_text(encoding="utf-8")
    assert '"outputs": []' in text
    assert '"output_type"' not in text
