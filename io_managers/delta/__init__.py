"""The store that keeps partitions in Delta Lake tables."""

from io_managers.delta.store import DeltaTables

__all__ = ["DeltaTables"]
