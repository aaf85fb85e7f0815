"""The bundled project: a city's climate sensors, from raw files to a daily report.

`raw` finds a day's file and knows the sensors, `cleaning` checks and enriches it, `aggregates`
makes hours, days and a weekly trend of it, `reports` says it in words. Everything is made on the
spot, needs no network, and comes out the same on every machine.
"""

from __future__ import annotations

from assets_core import Definitions
from io_managers import DuckDBTables

# What names no IO manager goes to Parquet files under data/, the built-in default.
project = Definitions(io_managers={"warehouse": DuckDBTables("data/warehouse.duckdb")})
