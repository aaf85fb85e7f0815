"""Results of runs: numbers by asset, errors, and how to go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assets_core.display import svg
from assets_core.execution.events import RESULTS
from assets_core.execution.result import RunResult
from assets_core.wording import count, first_line, human_duration, reference, table

_FAILURES = 10


def result_title(result: RunResult) -> str:
    """A run in one line."""
    if not result.run_id:
        return "Nothing to do: everything selected is fresh."
    text = f"Run {result.run_id} {result.status} in {human_duration(result.seconds)}: "
    parts = [f"{result.counts[name]:,} {name}" for name in RESULTS if result.counts.get(name)]
    parts.append(count(result.rows, "row"))
    if result.rejected:
        parts.append(f"{result.rejected:,} rejected")
    if result.warnings:
        parts.append(count(result.warnings, "warning"))
    return text + ", ".join(parts)


def result_text(result: RunResult) -> str:
    """What came of a run: numbers by asset, then each failure's first line, and how to go on."""
    lines = [result_title(result)]
    header, rows = _result_rows(result)
    if rows:
        lines += table(header, rows, right=range(1, len(header)))
    lines += _problem_lines(result)
    if result.resume and not result.ok:
        lines.append(f"Resume with: {result.resume}")
    return "\n".join(lines)


def _result_rows(result: RunResult) -> tuple[list[str], list[list[str]]]:
    used = [name for name in RESULTS if result.counts.get(name)]
    rows = [
        [asset, *(count(counts.get(name, 0)) for name in used)]
        for asset, counts in result.by_asset.items()
    ]
    return ["asset", *used], rows


def _problem_lines(result: RunResult) -> list[str]:
    lines = []
    for failure in result.failures[:_FAILURES]:
        tries = f" ({failure.attempts} tries)" if failure.attempts > 1 else ""
        where = reference(failure.asset, failure.partition)
        lines.append(f"failed   {where}{tries}  {first_line(failure.error, 160)}")
    if len(result.failures) > _FAILURES:
        lines.append(f"failed   {len(result.failures) - _FAILURES:,} more")
    by_reason: dict[tuple[str, str], list[str]] = {}
    for asset, partition, reason in result.blocked:
        by_reason.setdefault((asset, reason), []).append(partition)
    for (asset, reason), keys in list(by_reason.items())[:_FAILURES]:
        where = reference(asset, keys[0]) + (f" and {len(keys) - 1:,} more" if keys[1:] else "")
        lines.append(f"blocked  {where}  {first_line(reason, 160)}")
    if len(by_reason) > _FAILURES:
        lines.append(f"blocked  {sum(map(len, list(by_reason.values())[_FAILURES:])):,} more")
    return lines


def result_html(result: RunResult) -> str:
    """What came of a run, with a bar per asset."""
    if not result.run_id:
        return svg.note(result_title(result))
    used = [name for name in RESULTS if result.counts.get(name)]
    rows = [_result_row(asset, counts, used) for asset, counts in result.by_asset.items()]
    problems = _problem_lines(result)
    if result.resume and not result.ok:
        problems.append(f"Resume with: {result.resume}")
    return svg.block(
        svg.heading(result_title(result)),
        svg.html_table(("asset", "", *used), rows, right=range(2, 2 + len(used))) if rows else "",
        svg.preformatted("\n".join(problems)) if problems else "",
    )


def _result_row(asset: str, counts: Mapping[str, int], used: Sequence[str]) -> list[str]:
    runs = [(name, counts.get(name, 0)) for name in used]
    bar = svg.strip(runs, width=180, label=asset)
    return [svg.text_of(asset), bar, *(count(number) for _, number in runs)]
