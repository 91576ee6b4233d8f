import os
from pathlib import Path

import pytest

from pipeline.datasets import discovery
from pipeline.datasets.discovery import Discovery, discover
from pipeline.datasets.errors import InvalidProduct
from pipeline.datasets.tree import JobTree
from tests.unit.datasets_support import make_product

POLYGON = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    directory = tmp_path / "job"
    directory.mkdir()
    return directory


def found(job: Path) -> Discovery:
    return discover(JobTree(job))


def ids(job: Path) -> list[str]:
    return [product.id for product in found(job).products]


def test_products_are_found_at_any_depth_in_order_of_path(job: Path) -> None:
    make_product(job / "out" / "deep", "B")
    make_product(job, "A")
    make_product(job / "zz", "C")
    assert ids(job) == ["A", "B", "C"]


def test_a_description_counts_only_in_a_directory_of_its_name(job: Path) -> None:
    product = make_product(job, "A")
    product.rename(job / "B")
    looked = found(job)
    assert looked.products == []
    assert "not named A" in looked.skipped[0]


def test_a_localized_input_is_not_published_again(job: Path) -> None:
    (make_product(job, "A") / ".localized").touch()
    looked = found(job)
    assert looked.products == []
    assert "localized" in looked.skipped[0]


def test_metadata_and_description_are_read(job: Path) -> None:
    make_product(job, "A", label="hello", location=POLYGON, starttime="2024-03-01T00:00:00Z", mine=[1])
    product = found(job).products[0]
    assert product.dataset["mine"] == [1]
    assert product.met == {"day": "2024-03-01", "cloud": {"cover": 7}}


def test_a_product_without_metadata_is_still_a_product(job: Path) -> None:
    (make_product(job, "A") / "A.met.json").unlink()
    assert found(job).products[0].met is None


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ({"version": ""}, "version"),
        ({"version": 1}, "version"),
        ({"label": 5}, "label"),
        ({"starttime": "yesterday"}, "starttime"),
        ({"starttime": "2024-03-02T00:00:00Z", "endtime": "2024-03-01T00:00:00"}, "after endtime"),
        ({"location": {"type": "Blob", "coordinates": []}}, "geometry type"),
        ({"location": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}}, "ring"),
        ({"location": {"type": "Point", "coordinates": [36.5, -184.2]}}, "not on Earth"),
        ({"location": {"type": "Polygon", "coordinates": [0, 1]}}, "not nested"),
        ({"index": {"suffix": "../jobs"}}, "index.suffix"),
        ({"index": {"suffix": "ok", "aliases": ["*"]}}, "index.aliases.0"),
    ],
)
def test_a_malformed_description_is_refused_and_the_field_named(job: Path, dataset: dict, said: str) -> None:
    make_product(job, "A", **dataset)
    with pytest.raises(InvalidProduct, match=said):
        found(job)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"label": "no version"}'])
def test_a_description_that_is_no_object_with_a_version_is_refused(job: Path, text: str) -> None:
    (make_product(job, "A") / "A.dataset.json").write_text(text)
    with pytest.raises(InvalidProduct, match=r"A\.dataset\.json"):
        found(job)


@pytest.mark.parametrize("name", ["A.dataset.json", "A.met.json"])
def test_what_could_not_be_written_again_is_refused(job: Path, name: str) -> None:
    deep = "[" * 300 + "]" * 300
    (make_product(job, "A") / name).write_text(f'{{"version": "1", "deep": {deep}}}')
    with pytest.raises(InvalidProduct, match=f"{name}: nested deeper than 200 levels"):
        found(job)


@pytest.mark.parametrize("number", ["1e999", "NaN", "-Infinity"])
def test_numbers_that_json_has_no_words_for_are_refused(job: Path, number: str) -> None:
    (make_product(job, "A") / "A.met.json").write_text(f'{{"cloud": {number}}}')
    with pytest.raises(InvalidProduct, match="not JSON"):
        found(job)


def test_a_number_of_any_length_is_one_that_can_be_written_again(job: Path) -> None:
    (make_product(job, "A") / "A.met.json").write_text(f'{{"cloud": {"9" * 300}}}')
    (product,) = found(job).products
    assert isinstance(product.met["cloud"], float)


def test_more_products_than_fit_into_memory_are_refused(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "MAX_PRODUCTS", 2)
    for name in "ABC":
        assert len(ids(job)) < 3
        make_product(job, name)
    with pytest.raises(InvalidProduct, match="more than 2 products"):
        found(job)


def test_more_metadata_than_fit_into_memory_are_refused(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "MAX_DESCRIBED", 1 << 20)
    for name in "AB":
        (make_product(job, name) / f"{name}.met.json").write_text(f'{{"a": "{"x" * 600_000}"}}')
    with pytest.raises(InvalidProduct, match="1 MiB of descriptions"):
        found(job)


def test_of_many_candidates_that_do_not_count_some_are_named(job: Path) -> None:
    for number in range(200):
        (job / f"{number}.dataset.json").touch()
    skipped = found(job).skipped
    assert len(skipped) == 51
    assert skipped[-1] == "and 150 more"


@pytest.mark.parametrize("name", ["..A", "a\nb", "-rf", "x" * 201, "{id}", "a b"])
def test_a_name_that_is_more_than_a_name_is_no_id(job: Path, name: str) -> None:
    make_product(job, name)
    with pytest.raises(InvalidProduct, match="can't be a product's id"):
        found(job)


def test_two_products_of_one_name_are_refused(job: Path) -> None:
    make_product(job / "one", "A")
    make_product(job / "two", "A")
    with pytest.raises(InvalidProduct, match="two products are named A"):
        found(job)


def test_a_link_to_a_product_outside_the_job_is_not_followed(job: Path, tmp_path: Path) -> None:
    make_product(tmp_path / "elsewhere", "A")
    (job / "A").symlink_to(tmp_path / "elsewhere" / "A")
    (job / "all").symlink_to(tmp_path / "elsewhere")
    looked = found(job)
    assert looked.products == []
    assert any("outside" in reason for reason in looked.skipped)


def test_a_description_that_is_a_link_is_refused(job: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"version": "v1"}')
    description = make_product(job, "A") / "A.dataset.json"
    description.unlink()
    description.symlink_to(secret)
    with pytest.raises(InvalidProduct):
        found(job)


def test_a_link_inside_the_job_names_a_product_once(job: Path) -> None:
    make_product(job / "out", "A").rename(job / "out" / "real")
    (job / "A").symlink_to("out/real")
    (job / "loop").symlink_to(".")
    assert ids(job) == ["A"]


def test_a_pipe_in_place_of_a_description_does_not_block(job: Path) -> None:
    description = make_product(job, "A") / "A.dataset.json"
    description.unlink()
    os.mkfifo(description)
    with pytest.raises(InvalidProduct, match="not a regular file"):
        found(job)
