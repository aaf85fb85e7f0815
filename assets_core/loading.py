"""The former place of `declare.loading`, for projects that import from it."""

from assets_core.declare.loading import load_definitions

__all__ = ["load_definitions"]
