"""Checks: audits of staged data, declared with an asset and evaluated before the publish.

Importing this is light; what evaluates them is loaded when a `CheckRunner` is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assets_core.checks.declared import (
    Check,
    CheckResult,
    Inclusive,
    Severity,
    accepted_values,
    check,
    checks_identity,
    freshness_of_column,
    in_range,
    not_null,
    row_count,
    sql,
    unique,
)

if TYPE_CHECKING:
    from assets_core.checks.runner import CheckRunner

__all__ = [
    "Check",
    "CheckResult",
    "CheckRunner",
    "Inclusive",
    "Severity",
    "accepted_values",
    "check",
    "checks_identity",
    "freshness_of_column",
    "in_range",
    "not_null",
    "row_count",
    "sql",
    "unique",
]


def __getattr__(name: str) -> Any:
    if name != "CheckRunner":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from assets_core.checks.runner import CheckRunner

    globals()[name] = CheckRunner
    return CheckRunner
