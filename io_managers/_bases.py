"""What several stores have in common: a catalog elsewhere, notes beside the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from assets_core.contracts import Fence
from io_managers import _notes


class CatalogStore:
    """A store whose pointers and fences are the state store's."""

    transactional = False

    def fences(self, environment: str, asset: str, partitions: Sequence[str]) -> list[Fence]:  # noqa: ARG002 -- the contract's signature
        """None: the state store is the fence."""
        return []

    def fence_off(self, environment: str, asset: str, tokens: Mapping[str, int]) -> None:
        """Nothing to do: what the state store does not point to, nobody sees."""


class NotesBeside:
    """Small texts in a folder beside the data, see `NotingIOManager`."""

    @property
    def _notes_folder(self) -> Path:
        raise NotImplementedError

    def note(self, environment: str, name: str, text: str) -> None:
        """Keep a small text beside the data."""
        _notes.write(self._notes_folder, environment, name, text)

    def noted(self, environment: str, name: str) -> str:
        """The text that was kept last under this name, empty before the first."""
        return _notes.read(self._notes_folder, environment, name)
