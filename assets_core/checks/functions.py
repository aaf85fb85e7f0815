"""Users' own functions as checks: what they are given, and what they mean by what they return."""

from __future__ import annotations

import traceback
from dataclasses import replace
from typing import Any

from assets_core.checks.declared import CheckResult, FunctionCheck
from assets_core.checks.domains import UnfitError
from assets_core.checks.evaluator import Evaluator
from assets_core.checks.signatures import parameters_of
from assets_core.checks.wording import SAMPLES, plain_value, shortened
from assets_core.errors import AssetsError, DefinitionError, StorageError

_FRAMES = 5
"""The innermost frames of a traceback that a message shows."""


class FunctionEvaluator(Evaluator):
    """Calls the function once, with all rows."""

    check: FunctionCheck
    streams = False

    def prepare(self) -> None:
        try:
            self.parameters = parameters_of(self.check.name, self.check.function, final=True)
        except DefinitionError as error:
            raise UnfitError(error.message) from error

    def finish(self) -> CheckResult:
        annotation = next(kind for role, kind in self.parameters if role == "rows")
        try:
            rows = self._rows(annotation)
            given = {"rows": rows, "partition": self.staged.partition}
            returned = self.check.function(*[given[role] for role, _ in self.parameters])
        except StorageError:  # the staged rows can't be read: not the check's failure
            raise
        except AssertionError as error:
            return self.failed(str(error) or f"assertion failed: {_last_line(error)}")
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever it raises fails it
            return self.failed(_told(error))
        return self._understood(returned)

    def _rows(self, annotation: Any) -> Any:
        from assets_core.tabular.inputs import from_reader, from_table

        whole = self.staged.whole
        assert whole is not None
        table = whole.table()
        if table is None:
            return from_reader(whole.reread(), annotation)
        return from_table(table, annotation)

    def _understood(self, returned: Any) -> CheckResult:
        if isinstance(returned, CheckResult):
            return self._completed(returned)
        if returned is None or _is_truth(returned):
            passed = returned is None or bool(returned)
            return self.passed() if passed else self.failed("it returned False")
        return self.failed(
            f"it returned {shortened(repr(returned), 60)}; a check returns True, False, "
            "a CheckResult or None"
        )

    def _completed(self, returned: CheckResult) -> CheckResult:
        passed = bool(returned.passed)
        return replace(
            returned,
            name=self.check.name,
            passed=passed,
            severity=self.check.severity,
            message="" if passed else returned.message or "it returned a failure",
            observed={str(name): plain_value(value) for name, value in returned.observed.items()},
            sample=tuple([plain_value(value) for value in returned.sample[:SAMPLES]]),
        )


def _is_truth(value: Any) -> bool:
    # numpy has a truth value of its own, which comparisons of data frames give.
    return isinstance(value, bool) or (
        type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_")
    )


# --------------------------------------------------------------------------------------------
# Tracebacks


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames from the user's function on."""
    return [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__
    ]


def _told(error: BaseException) -> str:
    text = error.message if isinstance(error, AssetsError) else str(error)
    head = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = traceback.format_list(_frames(error)[-_FRAMES:])
    return "\n".join([head, *(frame.rstrip() for frame in frames)])


def _last_line(error: BaseException) -> str:
    frames = _frames(error)
    return f"{frames[-1].line} (line {frames[-1].lineno})" if frames else ""
