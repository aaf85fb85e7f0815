"""Code versions: what would build an asset, as one fingerprint.

``versions`` puts them together and tells what changed; ``follow`` goes from a function to all of
the project's own that it reaches; ``values`` are what names hold; ``rooted`` hashes structures
with circles; ``syntax`` normalises source, ``sources`` finds it; ``owning`` says whose code it is.
"""

from assets_core.fingerprint.sources import remembered
from assets_core.fingerprint.versions import (
    FORM_PART,
    CodeVersion,
    Fingerprints,
    changed_parts,
    code_version,
    sql_version,
    stored_parts,
)

__all__ = [
    "FORM_PART",
    "CodeVersion",
    "Fingerprints",
    "changed_parts",
    "code_version",
    "remembered",
    "sql_version",
    "stored_parts",
]
