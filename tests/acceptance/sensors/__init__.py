"""Real sensors: every file of the benchmark split into days, cleaned, aggregated and watched.

The project that the acceptance tests run, copied to a folder of its own with the files beside it.
"""

from __future__ import annotations

from assets_core import Definitions
from io_managers import DuckDBTables
from sensors.pipeline import FILES, declare

for name, (first, last) in FILES.items():
    declare(name, first, last)

project = Definitions(io_managers={"warehouse": DuckDBTables("warehouse.duckdb")})
