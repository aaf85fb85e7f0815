"""How version files and fences are called, and what a receipt's location says.

``<partition's digest>.<token>.<run>.<attempt>`` is an attempt's *stem*: plain letters, so that no
engine's way of quoting paths matters. Files of rows go on as those of the Parquet store do.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from urllib.parse import quote

from assets_core.contracts import Target
from assets_core.errors import MissingDataError
from io_managers.parquet import names as _names

PARTITION = "_partition"
"""The column by which other engines see whose row it is."""

LONG = "long-keys"
ROWS, REJECTS = _names.ROWS, _names.REJECTS


def digest(partition: str) -> str:
    """24 letters that tell a partition from all others."""
    return blake2b(partition.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def folder_of(partition: str) -> str:
    """Where in a table's folder the files of a partition lie.

    Hive style, percent-encoded, as the formats' own clients do it: some engines read the key out
    of the path. A key too long for a folder's name goes without, rather than under a wrong name.
    """
    name = f"{PARTITION}={quote(partition, safe='', errors='surrogatepass')}"
    return name if len(name) <= 255 else f"{LONG}/{digest(partition)}"


def stem(target: Target) -> str:
    """What all file names of one attempt begin with."""
    full = _names.stem(target)
    return digest(target.partition) + full[full.rindex(f".{target.token}.{target.run}.") :]


def stem_of(name: str) -> str:
    """The stem in the name of a version file, also one that was converted; "" of a stranger's."""
    found = _names.parse(name)
    if found is None:
        return ""
    key = found.key.partition("-")[0]
    return f"{key}.{found.token}.{found.run}.{found.attempt}"


def converted(stem: str, mark: str) -> str:
    """The stem of a version's rows under other types."""
    key, _, rest = stem.partition(".")
    return f"{key}-{mark}.{rest}"


def token_of(stem: str) -> int:
    """The token of a stem; 0 of a stranger's."""
    return int(stem.split(".")[1]) if stem else 0


@dataclass(frozen=True, slots=True)
class VersionPlace:
    """What a location says: whose version it is, and its file."""

    environment: str
    asset: str
    partition: str
    file: str

    def location(self) -> str:
        """As a receipt has it."""
        parts = [self.environment, self.asset, self.partition, self.file]
        return json.dumps(parts, separators=(",", ":"), ensure_ascii=False)

    @property
    def stem(self) -> str:
        """The attempt that made it."""
        return stem_of(self.file)


def place_of(location: str) -> VersionPlace:
    """The inverse of `VersionPlace.location`; MissingDataError for any other text."""
    try:
        environment, asset, partition, file = json.loads(location)
        place = VersionPlace(str(environment), str(asset), str(partition), str(file))
    except (ValueError, TypeError):
        place = VersionPlace("", "", "", "")
    if not place.stem or "/" in place.file:
        raise MissingDataError(
            "A receipt does not name a version of this store.",
            facts={"location": location},
            hint="Was the asset moved to another IO manager? Build the partition again.",
        )
    return place
