"""Key spaces, partition keys, mappings between them, and selections of them.

Pure: no clock, no store. ``declarations`` is how users write definitions; what they are, and what
they resolve to, is in ``time_windows``, ``named_values`` and ``products``. ``windows`` lays out
time, ``edges`` are the resolved mappings that ``mappings`` declares, ``keys`` makes names safe.
"""

from __future__ import annotations

from assets_core.partitions.declarations import (
    cron_windows,
    daily,
    dynamic,
    hourly,
    monthly,
    product,
    quarterly,
    static,
    weekly,
    yearly,
)
from assets_core.partitions.definitions import KeySpace, Partition, PartitionsDefinition
from assets_core.partitions.edges import Edge
from assets_core.partitions.key_mappings import mapped, table
from assets_core.partitions.keys import canonical_key, quote_identifier, safe_path_part
from assets_core.partitions.mappings import (
    PartitionMapping,
    all_partitions,
    by_dimension,
    default_mapping,
    identity,
    lag,
    last,
    latest,
    overlap,
    window,
)
from assets_core.partitions.named_values import UNPARTITIONED
from assets_core.partitions.range_sets import KeyRanges, from_ranges, places, to_ranges
from assets_core.partitions.ranges import Partitions
from assets_core.partitions.requirements import ALL, AnyOrder, Require, any_order, require
from assets_core.partitions.selection import PartitionSelection, parse_selection

__all__ = [
    "ALL",
    "UNPARTITIONED",
    "AnyOrder",
    "Edge",
    "KeyRanges",
    "KeySpace",
    "Partition",
    "PartitionMapping",
    "PartitionSelection",
    "Partitions",
    "PartitionsDefinition",
    "Require",
    "all_partitions",
    "any_order",
    "by_dimension",
    "canonical_key",
    "cron_windows",
    "daily",
    "default_mapping",
    "dynamic",
    "from_ranges",
    "hourly",
    "identity",
    "lag",
    "last",
    "latest",
    "mapped",
    "monthly",
    "overlap",
    "parse_selection",
    "places",
    "product",
    "quarterly",
    "quote_identifier",
    "require",
    "safe_path_part",
    "static",
    "table",
    "to_ranges",
    "weekly",
    "window",
    "yearly",
]
