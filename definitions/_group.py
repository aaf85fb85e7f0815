"""What the assets of the bundled project share."""

from __future__ import annotations

from assets_core import Group, Retry, daily, hourly

ZONE = "Europe/Berlin"
DAYS = daily("2024-01-01", end="2024-01-15", timezone=ZONE)
HOURS = hourly("2024-01-01T00", end="2024-01-15T00", timezone=ZONE)

iot = Group(
    "iot",
    partitions=DAYS,
    owner="city-climate@example.com",
    tags=["climate"],
    retry=Retry(2, delay="200ms"),
)
