"""Fingerprints: code versions, data versions, and the one framed hash that both are made of.

``versions`` puts code versions together and tells what changed; ``following`` goes from a function
to all of the project's own that it reaches; ``values`` are what names hold; ``linked`` hashes
structures with circles; ``syntax`` normalises source, ``sources`` finds it; ``ownership`` says
whose code it is. ``tracing`` hears what code reads while it runs, ``trace`` notes it, ``memory``
tells what of it may be kept, ``contents`` digests it; ``watch`` says which files count.
``data_version`` is of what was built, ``row_hash`` of its rows. ``hashing`` is the hash,
``sums`` add versions up. Nothing here knows of assets or plans.
"""

from __future__ import annotations

_HOMES = {"code_version": "versions", "sql_version": "versions", "Fingerprints": "versions"}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
