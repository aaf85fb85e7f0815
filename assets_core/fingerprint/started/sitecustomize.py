"""Runs first in each Python that a step starts: what that reads is told to the step.

Its folder is put on the import path for this alone, so it makes way for the ``sitecustomize`` that
would have run. It may be any Python, also one that knows nothing of this library.
"""

import contextlib
import os
import sys


def _begin() -> None:
    here = os.path.dirname(__file__)  # noqa: PTH120  # pathlib is not loaded yet
    sys.path[:] = [entry for entry in sys.path if entry != here]
    ours = sys.modules.pop(__name__)
    with contextlib.suppress(ImportError):
        __import__(__name__)  # the one that this one hides
    sys.modules.setdefault(__name__, ours)
    with contextlib.suppress(Exception):  # of another Python, perhaps
        from assets_core.fingerprint.tracing import tell_all

        tell_all(os.environ["ASSETS_NOTES"])


_begin()
