"""How long it took until a product was there."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.datasets.directory import DirectoryStore
from pipeline.datasets.errors import InvalidProduct
from pipeline.datasets.latency import product_provenance
from pipeline.datasets.publisher import Published, publish
from tests.unit.datasets_support import make_product, simple_rules, visible

START, END = datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
SOURCE = {"acquisition_start_time": "2026-01-01T09:00:00Z", "source_production_time": "2026-01-01T11:00:00.000Z"}


def test_a_product_has_its_processing_latency_in_minutes() -> None:
    assert product_provenance("demo::data/TILE", START, END, {}) == {
        "product_type": "demo::data/TILE",
        "processing_start_time": "2026-01-01T12:00:00Z",
        "availability_time": "2026-01-01T12:30:00Z",
        "processing_latency": 30.0,
        "total_latency": 30.0,
    }


def test_latencies_of_source_and_access_are_added_to_the_total() -> None:
    made = product_provenance("demo::data/TILE", START, END, SOURCE)
    assert (made["ground_system_latency"], made["access_latency"], made["total_latency"]) == (120.0, 90.0, 240.0)
    assert made["source_production_time"] == SOURCE["source_production_time"]


def test_one_of_the_two_times_is_kept_and_adds_nothing() -> None:
    made = product_provenance("t", START, END, {"acquisition_start_time": "2026-01-01T09:00:00Z", "orbit": 7})
    assert (made["orbit"], made["total_latency"]) == (7, 30.0)
    assert "ground_system_latency" not in made


@pytest.mark.parametrize("own", [{"acquisition_start_time": "soon"}, {"source_production_time": 5}])
def test_a_time_that_is_none_is_an_error(own: dict[str, Any]) -> None:
    with pytest.raises(InvalidProduct, match="is no time"):
        product_provenance("t", START, END, SOURCE | own)


def test_a_total_that_is_no_number_is_an_error() -> None:
    with pytest.raises(InvalidProduct, match="total_latency"):
        product_provenance("t", START, END, SOURCE | {"total_latency": "long"})


async def published(tmp_path: Path, own: bytes) -> Published:
    job = tmp_path / "job"
    for name in ("TILE-1", "TILE-2"):
        make_product(job, name)
    (job / "TILE-2" / "TILE-2.prod_prov.json").write_bytes(own)
    info = {"time_start": "2026-01-01T12:00:00.000000Z"}
    document = {"job_id": "fam-1", "payload_hash": "0" * 32, "job_info": info}

    async def granted() -> bool:
        return True

    return await publish(job, document, 1, "w", simple_rules(), DirectoryStore(tmp_path / "store"), granted)


async def test_the_last_product_is_told_of_from_the_beginning_of_its_job_until_it_was_there(tmp_path: Path) -> None:
    made = (await published(tmp_path, orjson.dumps({**SOURCE, "product_type": "mine"}))).provenance
    assert made["product_type"] == "mine"
    assert made["processing_start_time"] == "2026-01-01T12:00:00Z"
    available = datetime.fromisoformat(made["availability_time"])
    assert abs((datetime.now(UTC) - available).total_seconds()) < 60
    assert made["processing_latency"] == pytest.approx((available - START).total_seconds() / 60)


@pytest.mark.parametrize(
    "own",
    [
        b"{",
        b"[]",
        b'{"total_latency": {}}',
        b'{"acquisition_start_time": 1, "source_production_time": 2}',
        b'{"deep": ' + 300 * b"[" + 300 * b"]" + b"}",
    ],
)
async def test_a_file_that_can_not_be_used_keeps_all_from_being_published(tmp_path: Path, own: bytes) -> None:
    with pytest.raises(InvalidProduct, match=r"prod_prov\.json"):
        await published(tmp_path, own)
    assert visible(tmp_path / "store") == {}
