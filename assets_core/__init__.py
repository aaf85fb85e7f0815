"""Partitioned data assets: declared, planned, built, checked, published and recorded.

What users import is here, and each name loads its home when it is first asked for, so that
``import assets_core`` costs milliseconds: no data library, no database, no command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from assets_core.shown import draw_with

if TYPE_CHECKING:
    from assets_core import checks, errors
    from assets_core.checks import (
        Check,
        accepted_values,
        check,
        freshness_of_column,
        in_range,
        not_null,
        row_count,
        unique,
    )
    from assets_core.declare.asset import Asset, MultiAsset, Out
    from assets_core.declare.decorators import asset, multi_asset, source, sql_asset
    from assets_core.declare.definitions import Definitions, Resource
    from assets_core.declare.group import Group
    from assets_core.declare.policies import Batch, Freshness, Retry
    from assets_core.execution.context import Context
    from assets_core.execution.result import RunResult
    from assets_core.partitions import (
        UNPARTITIONED,
        Partition,
        Partitions,
        all_partitions,
        any_order,
        by_dimension,
        cron_windows,
        daily,
        dynamic,
        hourly,
        identity,
        lag,
        last,
        latest,
        mapped,
        monthly,
        overlap,
        product,
        quarterly,
        require,
        static,
        weekly,
        window,
        yearly,
    )
    from assets_core.planning.plan import Plan
    from assets_core.project import Project

__version__ = "0.1.0"

draw_with("assets_core.display.renderers")

__all__ = [
    "UNPARTITIONED",
    "Asset",
    "Batch",
    "Check",
    "Context",
    "Definitions",
    "Freshness",
    "Group",
    "MultiAsset",
    "Out",
    "Partition",
    "Partitions",
    "Plan",
    "Project",
    "Resource",
    "Retry",
    "RunResult",
    "__version__",
    "accepted_values",
    "all_partitions",
    "any_order",
    "asset",
    "by_dimension",
    "check",
    "checks",
    "cron_windows",
    "daily",
    "dynamic",
    "errors",
    "freshness_of_column",
    "hourly",
    "identity",
    "in_range",
    "lag",
    "last",
    "latest",
    "mapped",
    "monthly",
    "multi_asset",
    "not_null",
    "overlap",
    "product",
    "quarterly",
    "require",
    "row_count",
    "source",
    "sql_asset",
    "static",
    "unique",
    "weekly",
    "window",
    "yearly",
]

_HOMES = {
    "declare.asset": (
        "Asset",
        "MultiAsset",
        "Out",
    ),
    "declare.decorators": (
        "asset",
        "multi_asset",
        "source",
        "sql_asset",
    ),
    "declare.definitions": (
        "Definitions",
        "Resource",
    ),
    "declare.group": ("Group",),
    "declare.policies": (
        "Batch",
        "Freshness",
        "Retry",
    ),
    "checks": (
        "Check",
        "accepted_values",
        "check",
        "freshness_of_column",
        "in_range",
        "not_null",
        "row_count",
        "unique",
    ),
    "execution.context": ("Context",),
    "execution.result": ("RunResult",),
    "partitions": (
        "UNPARTITIONED",
        "Partition",
        "Partitions",
        "all_partitions",
        "any_order",
        "by_dimension",
        "cron_windows",
        "daily",
        "dynamic",
        "hourly",
        "identity",
        "lag",
        "last",
        "latest",
        "mapped",
        "monthly",
        "overlap",
        "product",
        "quarterly",
        "require",
        "static",
        "weekly",
        "window",
        "yearly",
    ),
    "planning.plan": ("Plan",),
    "project": ("Project",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("checks", "errors")


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
