"""What draws which value: the one place that `assets_core.shown` asks."""

from __future__ import annotations

from functools import singledispatch

from assets_core.display.freshness import freshness_html, freshness_text
from assets_core.display.graphs import graph_html
from assets_core.display.history import history_html, history_text
from assets_core.display.lineage import lineage_html, lineage_text
from assets_core.display.plans import plan_html, plan_text
from assets_core.display.runs import result_html, result_text
from assets_core.display.status import status_html, status_text
from assets_core.display.why import why_html, why_text
from assets_core.execution.result import RunResult
from assets_core.graph import Graph
from assets_core.lineage.freshness import FreshnessReport
from assets_core.lineage.history import History
from assets_core.lineage.lineage import Lineage
from assets_core.lineage.status import Status
from assets_core.planning.plan import Plan
from assets_core.planning.why import Why


@singledispatch
def text(value: object) -> str:
    """A value as lines of text."""
    raise TypeError(f"{type(value).__name__} has no text of its own")


@singledispatch
def html(value: object) -> str:
    """A value as a fragment of HTML."""
    raise TypeError(f"{type(value).__name__} has no HTML of its own")


text.register(FreshnessReport)(freshness_text)
text.register(History)(history_text)
text.register(Lineage)(lineage_text)
text.register(Plan)(plan_text)
text.register(RunResult)(result_text)
text.register(Status)(status_text)
text.register(Why)(why_text)

html.register(FreshnessReport)(freshness_html)
html.register(Graph)(graph_html)
html.register(History)(history_html)
html.register(Lineage)(lineage_html)
html.register(Plan)(plan_html)
html.register(RunResult)(result_html)
html.register(Status)(status_html)
html.register(Why)(why_html)
