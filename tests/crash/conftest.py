"""Fixtures of the crash tests: one world per test and store."""

from __future__ import annotations

from pathlib import Path

import pytest
from crashing import STORES, World


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """An empty world on each store."""
    return World(tmp_path, request.param)
