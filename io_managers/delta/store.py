"""Delta Lake tables: one table an asset, partitioned by the key that its rows belong to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from assets_core.errors import UsageError
from io_managers.lake.folder import Home
from io_managers.lake.store import LakeTables

if TYPE_CHECKING:
    from io_managers.lake.log import TableLog
    from io_managers.lake.types import Keeps


class DeltaTables(LakeTables):
    """Partitions in Delta Lake tables under ``root`` (relative to the project's folder).

    ``compression`` is a Parquet codec, ``row_group_size`` is in rows. ``timeout`` is how many
    seconds a publish tries again while others keep committing to the same table. Needs the
    package ``deltalake``.
    """

    format = "delta"

    def __init__(
        self,
        root: str | Path = "data/delta",
        *,
        compression: str = "zstd",
        row_group_size: int = 1_048_576,
        timeout: float = 60.0,
    ) -> None:
        super().__init__(
            root, compression=compression, row_group_size=row_group_size, timeout=timeout
        )

    @property
    def _keeps(self) -> Keeps:
        from io_managers.lake.types import Keeps

        return Keeps("Delta Lake", small_integers=True, times=False)

    def _open_log(self, home: Home) -> TableLog:
        try:
            from io_managers.delta.log import DeltaLog
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "deltalake":
                raise
            raise UsageError(
                "Delta Lake tables need the package deltalake.",
                hint="pip install 'assets-core[delta]'",
            ) from error
        return DeltaLog(self._table_folder(home), self._keeps)
