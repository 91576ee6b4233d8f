"""What follows from a product's description and helps to find it: the middle of its place, its days (spec §4.6).

City and continent are left out: they need a gazetteer of the whole world, which an index is no place to ask.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline.datasets.geojson import positions_of

_HALF_DAY = 43_200


def enriched(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return `center` and `temporal_span` as far as they follow from a checked dataset.json.

    A center that the product states itself stays; one that there is no place for isn't made up.
    """
    made: dict[str, Any] = {}
    location, start, end = dataset.get("location"), dataset.get("starttime"), dataset.get("endtime")
    if location and not dataset.get("center"):
        made["center"] = {"type": "point", "coordinates": center(location)}
    if start and end:
        made["temporal_span"] = temporal_span(start, end)
    return made


def center(location: Mapping[str, Any]) -> list[float]:
    """Return [longitude, latitude] of the middle of a geometry's bounding box.

    A geometry that is wider than half the Earth is taken for one across the date line.

    >>> center({"type": "LineString", "coordinates": [[179.0, 1.0], [-178.0, 3.0]]})
    [-179.5, 2.0]
    """
    positions = positions_of(location)
    longitudes = [float(position[0]) for position in positions]
    latitudes = [float(position[1]) for position in positions]
    if max(longitudes) - min(longitudes) > 180:
        longitudes = [longitude + 360 if longitude < 0 else longitude for longitude in longitudes]
    middle = (min(longitudes) + max(longitudes)) / 2
    return [middle - 360 if middle > 180 else middle, (min(latitudes) + max(latitudes)) / 2]


def temporal_span(start: str, end: str) -> int:
    """Return the days between two times, rounded, half a day up.

    >>> temporal_span("2026-01-01T00:00:00Z", "2026-01-03T12:00:00Z")
    3
    """
    seconds = abs((instant(end) - instant(start)).total_seconds())
    return int(seconds + _HALF_DAY) // (2 * _HALF_DAY)


def instant(text: str) -> datetime:
    """Return an ISO 8601 time, in UTC where it says no zone. Raises ValueError."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
