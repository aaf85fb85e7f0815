"""Which kinds of data a function can ask for, and which one an annotation means."""

from __future__ import annotations

import inspect
import typing
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any


@dataclass(frozen=True, slots=True)
class Form:
    """What an annotation asks for.

    ``kind`` is one of ``table reader batch dataset polars lazy pandas duckdb path paths``;
    ``optional`` when it allows None, ``keyed`` when it is a dict of these by partition key.
    """

    kind: str
    optional: bool = False
    keyed: bool = False


_KINDS = {
    ("pyarrow", "Table"): "table",
    ("pyarrow", "RecordBatchReader"): "reader",
    ("pyarrow", "RecordBatch"): "batch",
    ("pyarrow", "Dataset"): "dataset",
    ("polars", "DataFrame"): "polars",
    ("polars", "LazyFrame"): "lazy",
    ("pandas", "DataFrame"): "pandas",
    ("duckdb", "DuckDBPyRelation"): "duckdb",
}


def can_supply(annotation: Any) -> bool:
    """Whether a value can be handed to a parameter that is annotated so."""
    return form_of(annotation) is not None


def describe_supported() -> str:
    """The annotations that can be supplied, in words."""
    return (
        "pyarrow.Table (also when there is no annotation), pyarrow.RecordBatchReader, "
        "pyarrow.RecordBatch, pyarrow.dataset.Dataset, polars.DataFrame, polars.LazyFrame, "
        "pandas.DataFrame, duckdb.DuckDBPyRelation, pathlib.Path, list[Path], "
        "dict[str, any of these] by partition key, or one of these | None"
    )


def form_of(annotation: Any) -> Form | None:
    """What ``annotation`` asks for; None when it can't be supplied."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return form_of(typing.get_args(annotation)[0])
    if origin in (typing.Union, UnionType):
        return _optional(typing.get_args(annotation))
    if origin is dict:
        return _keyed(typing.get_args(annotation))
    if origin is list:
        return Form("paths") if typing.get_args(annotation) == (Path,) else None
    kind = _plain_kind(annotation)
    return Form(kind) if kind else None


def _optional(members: tuple[Any, ...]) -> Form | None:
    others = [member for member in members if member is not NoneType]
    if len(others) != 1 or len(others) == len(members):
        return None
    form = form_of(others[0])
    return form and Form(form.kind, optional=True, keyed=form.keyed)


def _keyed(members: tuple[Any, ...]) -> Form | None:
    key, value = members
    form = form_of(value)
    if key is not str or form is None or form.keyed or form.kind == "paths":
        return None
    return Form(form.kind, keyed=True)


def _plain_kind(annotation: Any) -> str | None:
    if annotation is Any or annotation is inspect.Parameter.empty:
        return "table"
    if annotation is Path:
        return "path"
    if not isinstance(annotation, type):
        return None
    return _KINDS.get(_named(annotation))


def _named(kind: type) -> tuple[str, str]:
    """Root package and name of a class: where in the package it lives changes with releases."""
    return kind.__module__.partition(".")[0].lstrip("_"), kind.__qualname__


def is_any_of(value: object, *names: tuple[str, str]) -> bool:
    """Whether ``value`` is of a class (or a subclass of one) that is named so."""
    return any(_named(kind) in names for kind in type(value).__mro__)
