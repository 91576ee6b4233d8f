"""Checks of a GeoJSON geometry, so that an index never has to refuse a product's location (RFC 7946)."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

#: How deep the arrays of each geometry type nest: 0 is a bare position.
_DEPTHS = {
    "Point": 0,
    "MultiPoint": 1,
    "LineString": 1,
    "MultiLineString": 2,
    "Polygon": 2,
    "MultiPolygon": 3,
}
#: More positions than this are a coastline, not the outline of a product.
MAX_POSITIONS = 100_000


def check_geometry(value: Mapping[str, Any]) -> None:
    """Raise ValueError saying what is wrong unless `value` is a GeoJSON geometry in degrees east and north.

    Type names count in any case, as Elasticsearch takes them. Polygons need closed rings.
    """
    kind = _kind(value)
    positions = _flatten(value.get("coordinates"), _DEPTHS[kind])
    if not positions or len(positions) > MAX_POSITIONS:
        raise ValueError(f"{len(positions)} positions; between 1 and {MAX_POSITIONS} are allowed")
    for position in positions:
        _check_position(position)
    if kind == "Polygon":
        _check_rings(value["coordinates"])
    if kind == "MultiPolygon":
        for rings in value["coordinates"]:
            _check_rings(rings)


def positions_of(value: Mapping[str, Any]) -> list[list[float]]:
    """Return all positions of a geometry that was checked."""
    return _flatten(value.get("coordinates"), _DEPTHS[_kind(value)])


def _kind(value: Mapping[str, Any]) -> str:
    named = str(value.get("type"))
    kind = next((known for known in _DEPTHS if known.lower() == named.lower()), None)
    if kind is None:
        raise ValueError(f"geometry type {named[:40]!r} is none of {', '.join(_DEPTHS)}")
    return kind


def _flatten(value: Any, depth: int) -> list[Any]:
    if depth == 0:
        return [value]
    if not isinstance(value, list):
        raise ValueError("coordinates are not nested as the geometry's type asks")
    return [position for item in value for position in _flatten(item, depth - 1)]


def _check_position(position: Any) -> None:
    if not isinstance(position, list) or len(position) not in (2, 3):
        raise ValueError(f"position {str(position)[:80]} is not [longitude, latitude]")
    if any(isinstance(x, bool) or not isinstance(x, int | float) or not isfinite(x) for x in position):
        raise ValueError(f"position {str(position)[:80]} is not made of finite numbers")
    if abs(position[0]) > 180 or abs(position[1]) > 90:
        raise ValueError(f"position {position} is not on Earth: longitude comes first, then latitude")


def _check_rings(rings: list[list[Any]]) -> None:
    for ring in rings:
        if len(ring) < 4 or ring[0] != ring[-1]:
            raise ValueError("a polygon's ring needs at least 4 positions, the last equal to the first")
