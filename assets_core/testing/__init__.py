"""The laws of an IO manager as tests that anyone can run on one of their own.

Subclass :class:`IOManagerContract`, give it a ``manager`` fixture and collect it with pytest::

    class TestMyStore(IOManagerContract):
        @pytest.fixture
        def manager(self, tmp_path):
            store = MyStore("data")
            store.bind("mine", tmp_path)
            return store

The only package of the library that imports pytest.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from assets_core.contracts import IOManager
from assets_core.testing.making import HOSTILE_NAMES, publish, rows, target
from assets_core.testing.many import RangeLaws
from assets_core.testing.neighbours import NeighbourLaws
from assets_core.testing.publishing import PublishingLaws
from assets_core.testing.querying import QueryingLaws
from assets_core.testing.reading import ReadingLaws
from assets_core.testing.recovery import RecoveryLaws
from assets_core.testing.staging import StagingLaws
from assets_core.testing.views import ViewLaws

__all__ = ["HOSTILE_NAMES", "IOManagerContract", "publish", "rows", "target"]


class IOManagerContract(
    StagingLaws,
    PublishingLaws,
    ReadingLaws,
    NeighbourLaws,
    ViewLaws,
    RecoveryLaws,
    RangeLaws,
    QueryingLaws,
):
    """Every law of :class:`assets_core.contracts.IOManager`, one test for each fact."""

    @pytest.fixture
    def manager(self, tmp_path: Path) -> IOManager:
        """A bound manager with nothing in it: override this."""
        raise NotImplementedError
