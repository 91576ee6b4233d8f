"""What is added to a product's document because it follows from what the product says."""

from typing import Any

import pytest

from pipeline.datasets.enrichment import center, enriched, temporal_span

BOX = {"type": "Polygon", "coordinates": [[[10, 40], [20, 40], [20, 50], [10, 50], [10, 40]]]}


@pytest.mark.parametrize(
    ("kind", "coordinates", "middle"),
    [
        ("Point", [8.5, 47.4], [8.5, 47.4]),
        ("point", [8.5, 47.4, 400], [8.5, 47.4]),
        ("MultiPoint", [[0, 0], [10, -4]], [5, -2]),
        ("Polygon", BOX["coordinates"], [15, 45]),
        ("MultiPolygon", [BOX["coordinates"], [[[30, 0], [40, 0], [40, 2], [30, 0]]]], [25, 25]),
        # across the date line, on either side of it
        ("Polygon", [[[178, 0], [-178, 0], [-178, 2], [178, 2], [178, 0]]], [180, 1]),
        ("Polygon", [[[179, 0], [-177, 0], [-177, 2], [179, 2], [179, 0]]], [-179, 1]),
        ("LineString", [[-180, -90], [0, 90]], [-90, 0]),
    ],
)
def test_the_center_is_the_middle_of_the_bounding_box(kind: str, coordinates: Any, middle: list[float]) -> None:
    assert center({"type": kind, "coordinates": coordinates}) == middle


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T11:59:59Z", 0),
        ("2026-01-01T00:00:00Z", "2026-01-01T12:00:00Z", 1),
        ("2026-01-01", "2026-01-31", 30),
        ("2026-01-01T00:00:00+05:00", "2026-01-02T00:00:00Z", 1),
    ],
)
def test_the_temporal_span_is_in_whole_days(start: str, end: str, days: int) -> None:
    assert temporal_span(start, end) == days


def test_a_center_of_its_own_stays_and_nothing_is_made_up() -> None:
    own = {"type": "point", "coordinates": [1, 2]}
    assert enriched({"version": "1", "location": BOX, "center": own}) == {}
    assert enriched({"version": "1", "starttime": "2026-01-01T00:00:00Z"}) == {}
    both = {"location": BOX, "starttime": "2026-01-01T00:00:00Z", "endtime": "2026-01-03T00:00:00Z"}
    assert enriched(both) == {"center": {"type": "point", "coordinates": [15, 45]}, "temporal_span": 2}
