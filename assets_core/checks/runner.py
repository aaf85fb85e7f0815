"""Runs many checks in one pass over the staged rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from assets_core.checks import declared
from assets_core.checks.all_rows import SqlEvaluator, UniqueEvaluator
from assets_core.checks.declared import Check, CheckResult
from assets_core.checks.domains import UnfitError
from assets_core.checks.evaluator import Broken, Evaluator
from assets_core.checks.functions import FunctionEvaluator
from assets_core.checks.rows import AllRows, CheckedRows, Reopen
from assets_core.checks.streaming import (
    AcceptedValuesEvaluator,
    FreshnessOfColumnEvaluator,
    InRangeEvaluator,
    NotNullEvaluator,
    RowCountEvaluator,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from assets_core.partitions import Partition

_EVALUATORS: dict[type[Check], type[Evaluator]] = {
    declared.NotNull: NotNullEvaluator,
    declared.RowCount: RowCountEvaluator,
    declared.InRange: InRangeEvaluator,
    declared.AcceptedValues: AcceptedValuesEvaluator,
    declared.FreshnessOfColumn: FreshnessOfColumnEvaluator,
    declared.Unique: UniqueEvaluator,
    declared.SqlCheck: SqlEvaluator,
    declared.FunctionCheck: FunctionEvaluator,
}


class CheckRunner:
    """Evaluates checks while the batches of the staged rows go by.

    ``reopen`` reads the rows again from where they are staged; checks that need all rows at a
    time use it when there are more than 64 MB of them. Without it they are held in memory.
    What reading raises (StorageError) comes out of ``finish`` unchanged; everything else that
    goes wrong within a check is a failed result of that check.
    """

    def __init__(
        self,
        checks: Sequence[Check],
        schema: pa.Schema,
        partition: Partition | None = None,
        *,
        reopen: Reopen | None = None,
    ) -> None:
        import pyarrow as pa

        self._unable = (UnfitError, pa.ArrowException)
        self._staged = staged = CheckedRows(schema, partition)
        self._all = [self._evaluator(check) for check in checks]
        whole = [each for each in self._all if not each.streams]
        if whole:
            staged.whole = AllRows(schema, [each.needed() for each in whole], reopen)

    @property
    def needs_table(self) -> bool:
        """Whether some check needs all rows at a time."""
        return self._staged.whole is not None

    def update(self, batch: pa.RecordBatch) -> None:
        """Look at the next batch."""
        staged = self._staged
        for at, each in enumerate(self._all):
            try:
                each.update(batch)
            except self._unable as error:
                self._all[at] = Broken(each.check, staged, f"it can't be evaluated: {error}")
        if staged.whole is not None:
            staged.whole.add(batch)
        staged.rows += batch.num_rows

    def finish(self) -> tuple[CheckResult, ...]:
        """The results, in the order of the checks."""
        whole = self._staged.whole
        if whole is None:
            return tuple([each.finish() for each in self._all])
        with whole:
            return tuple([self._finished(each) for each in self._all])

    def _evaluator(self, check: Check) -> Evaluator:
        names = self._staged.schema.names
        missing = [name for name in check.named_columns() if name not in names]
        if missing:
            return Broken(check, self._staged, _no_column(missing[0], names))
        try:
            return _EVALUATORS[type(check)](check, self._staged)
        except UnfitError as unfit:
            return Broken(check, self._staged, str(unfit))

    def _finished(self, each: Evaluator) -> CheckResult:
        try:
            return each.finish()
        except UnfitError as unfit:
            return each.failed(str(unfit))
        except self._unable as error:
            return each.failed(f"it can't be evaluated: {error}")


def _no_column(name: str, names: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, names, 1)
    meant = f", did you mean {close[0]!r}? The" if close else "; the"
    return f"there is no column {name!r}{meant} columns are {', '.join(names)}"
