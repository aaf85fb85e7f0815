"""What all tests share: how hypothesis searches.

A deadline measures the machine and its other load, not the code: there is none.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("project", deadline=None, print_blob=True)
settings.load_profile("project")
