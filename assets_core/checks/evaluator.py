"""What every evaluator is made of: the run it belongs to, and how it words its result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from assets_core.checks.declared import Check, CheckResult
from assets_core.checks.rows import CheckedRows
from assets_core.checks.wording import plain_value

if TYPE_CHECKING:
    import pyarrow as pa


class Evaluator:
    """One check on one run over the rows.

    Making it raises UnfitError when the check does not fit the schema or the partition.
    """

    streams = True

    def __init__(self, check: Any, staged: CheckedRows) -> None:
        self.check = check
        self.staged = staged
        self.prepare()

    def prepare(self) -> None:
        """Look at the schema, once."""

    def update(self, batch: pa.RecordBatch) -> None:
        """Look at the next batch; ``staged.rows`` rows went before it."""

    def finish(self) -> CheckResult:
        """The result, when all rows have gone by."""
        raise NotImplementedError

    def needed(self) -> tuple[str, ...] | None:
        """The columns that one that does not stream needs; None for all."""
        return None

    def passed(self, observed: Mapping[str, Any] | None = None) -> CheckResult:
        return CheckResult(self.check.name, True, self.check.severity, "", None, observed or {})

    def failed(
        self,
        message: str,
        *,
        rows: int | None = None,
        observed: Mapping[str, Any] | None = None,
        sample: Iterable[Any] = (),
    ) -> CheckResult:
        return CheckResult(
            self.check.name,
            False,
            self.check.severity,
            message,
            rows,
            observed or {},
            tuple([plain_value(value) for value in sample]),
        )


class Broken(Evaluator):
    """A check that can't be evaluated: it has failed, and says why."""

    def __init__(self, check: Check, staged: CheckedRows, problem: str) -> None:
        super().__init__(check, staged)
        self.problem = problem

    def finish(self) -> CheckResult:
        return self.failed(self.problem)
