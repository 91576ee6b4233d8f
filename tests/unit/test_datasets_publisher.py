import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.datasets.directory import DirectoryStore
from pipeline.datasets.errors import Collision, DatasetError, InvalidProduct, NotRecognised, PublishRefused
from pipeline.datasets.publisher import Published, publish
from pipeline.datasets.rules import Rules, parse
from tests.unit.datasets_support import make_product, simple_rules, staged, visible

JOB = {
    "job_id": "fam-1",
    "payload_hash": "0" * 32,
    "localize_urls": [{"url": "https://data.example/in.nc"}, "s3://b/k"],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    directory = tmp_path / "job"
    directory.mkdir()
    return directory


async def granted() -> bool:
    return True


async def run(job: Path, root: Path, rules: Rules | None = None, **options: Any) -> Published:
    store = options.pop("store", None) or DirectoryStore(root)
    document = {**JOB, **options.pop("document", {})}
    attempt = options.pop("attempt", 1)
    ask = options.pop("ask", granted)
    return await publish(job, document, attempt, "worker-1", rules or simple_rules(), store, ask, "host-1")


async def test_products_are_published_and_described(job: Path, root: Path) -> None:
    make_product(job / "out", "TILE-1", label="tile one", starttime="2024-03-01T00:00:00Z")
    make_product(job / "out", "TILE-2")
    (job / "_context.json").write_text('{"a": 1}')
    published = await run(job, root)
    assert visible(root) == {"tiles/v1.0/TILE-1": "data", "tiles/v1.0/TILE-2": "data"}
    first = published.products_staged[0]
    assert set(first) == {
        "path", "disk_usage", "time_start", "time_end", "duration", "transfer_rate", "id", "urls", "browse_urls",
        "dataset", "ipath", "system_version", "dataset_level", "dataset_type", "index",
    }  # fmt: skip
    assert first["urls"] == [f"file://{root}/tiles/v1.0/TILE-1"]
    assert first["path"] == str(job / "out" / "TILE-1")
    assert first["index"] == "grq_v1.0_tile"
    assert first["disk_usage"] == sum(f.stat().st_size for f in (root / "tiles/v1.0/TILE-1").iterdir())
    assert (root / "tiles/v1.0/TILE-1/TILE-1.context.json").read_text() == '{"a": 1}'
    assert orjson.loads((job / "_datasets.json").read_bytes()) == published.documents


async def test_the_index_document_is_overlaid_with_what_the_product_says(job: Path, root: Path) -> None:
    make_product(job, "TILE-1", label="one", instrument="SAR", dataset_level="L3", id="forged", urls=["http://evil"])
    document = (await run(job, root)).documents[0]
    assert document == {
        "id": "TILE-1",
        "objectid": "TILE-1",
        "metadata": {"day": "2024-03-01", "cloud": {"cover": 7}},
        "dataset": "TILE",
        "ipath": "demo::data/TILE",
        "system_version": "v1.0",
        "dataset_level": "L3",
        "dataset_type": "tile",
        "urls": [f"file://{root}/tiles/v1.0/TILE-1"],
        "browse_urls": [],
        "images": [],
        "prov": {
            "wasGeneratedBy": ["job:fam-1/1"],
            "wasDerivedFrom": ["url:https://data.example/in.nc", "url:s3://b/k"],
        },
        "version": "v1.0",
        "label": "one",
        "instrument": "SAR",
    }


async def test_browse_images_are_listed_in_the_order_of_the_rule(job: Path, root: Path) -> None:
    product = make_product(job, "TILE-1")
    for name in ("a.browse.png", "b.browse.png", "b.browse_small.png", "c.browse.png"):
        (product / name).touch()
    rules = simple_rules()
    rules = parse(
        {
            "datasets": [
                {**rules.datasets[0].model_dump(), "browse": {"urls": ["{location}/"], "sort_order": ["^c", "^b"]}}
            ]
        }
    )
    published = await run(job, root, rules)
    assert published.documents[0]["images"] == [
        {"img": "c.browse.png", "small_img": None, "tooltip": "c"},
        {"img": "b.browse.png", "small_img": "b.browse_small.png", "tooltip": "b"},
        {"img": "a.browse.png", "small_img": None, "tooltip": "a"},
    ]
    assert published.products_staged[0]["browse_urls"] == [f"file://{root}/tiles/v1.0/TILE-1/"]


async def test_browse_images_can_have_a_place_of_their_own(job: Path, root: Path) -> None:
    product = make_product(job, "TILE-1")
    (product / "x.browse.png").touch()
    (product / "sub").mkdir()
    browse = {"location": "browse/{id}", "urls": ["{location}"]}
    rules = parse({"datasets": [{**simple_rules().datasets[0].model_dump(), "browse": browse}]})
    published = await run(job, root, rules)
    assert sorted(path.name for path in (root / "browse/TILE-1").iterdir()) == [".jobstream.json", "x.browse.png"]
    assert published.documents[0]["browse_urls"] == [f"file://{root}/browse/TILE-1"]


async def test_a_products_choice_of_index_wins_over_the_rules(job: Path, root: Path) -> None:
    make_product(job, "TILE-1", index={"suffix": "mine", "aliases": ["all"]})
    published = await run(job, root)
    assert published.products_staged[0]["index"] == "grq_mine"
    assert published.documents[0]["index"] == {"suffix": "mine", "aliases": ["all"]}


async def test_permission_is_asked_once_when_everything_is_staged(job: Path, root: Path) -> None:
    make_product(job, "TILE-1")
    make_product(job, "TILE-2")
    seen = []

    async def ask() -> bool:
        seen.append((visible(root), len(list((root / ".staging/fam-1/1").iterdir()))))
        return True

    await run(job, root, ask=ask)
    assert seen == [({}, 2)]


async def test_without_permission_nothing_is_published(job: Path, root: Path) -> None:
    make_product(job, "TILE-1")

    async def refused() -> bool:
        return False

    with pytest.raises(PublishRefused):
        await run(job, root, ask=refused)
    assert (visible(root), staged(root)) == ({}, [])
    assert not (job / "_datasets.json").exists()


async def test_nothing_to_publish_asks_nobody(job: Path, root: Path) -> None:
    async def never() -> bool:
        raise AssertionError("asked")

    assert await run(job, root, ask=never) == Published()


async def test_one_product_that_nothing_recognises_keeps_all_back(job: Path, root: Path) -> None:
    make_product(job, "TILE-1")
    make_product(job, "UNKNOWN")
    with pytest.raises(NotRecognised, match="UNKNOWN"):
        await run(job, root)
    assert visible(root) == {}


async def test_a_collision_of_one_takes_all_back(job: Path, root: Path) -> None:
    make_product(job, "TILE-2")
    await run(job, root, document={"job_id": "other-1"})
    make_product(job, "TILE-1")
    with pytest.raises(Collision, match="other-1"):
        await run(job, root)
    assert list(visible(root)) == ["tiles/v1.0/TILE-2"]
    assert staged(root) == []


@pytest.mark.parametrize(("asked", "replaced"), [(True, True), ("true", False), (1, False)])
async def test_only_a_true_publish_overwrite_ok_replaces_another_jobs_product(
    job: Path, root: Path, asked: object, replaced: bool
) -> None:
    make_product(job, "TILE-1")
    await run(job, root, document={"job_id": "other-1"})
    (job / "TILE-1" / "data.txt").write_text("new")
    if replaced:
        await run(job, root, document={"publish_overwrite_ok": asked})
    else:
        with pytest.raises(Collision):
            await run(job, root, document={"publish_overwrite_ok": asked})
    assert visible(root) == {"tiles/v1.0/TILE-1": "new" if replaced else "data"}


async def test_a_job_can_not_choose_a_place_outside_the_store(job: Path, root: Path) -> None:
    make_product(job, "TILE-1", label="../../../etc")
    with pytest.raises(InvalidProduct, match="plain path"):
        await run(job, root, simple_rules("tiles/{dataset[label]}/{id}"))


async def test_the_record_is_not_written_through_a_link(job: Path, root: Path, tmp_path: Path) -> None:
    make_product(job, "TILE-1")
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (job / "_datasets.json").symlink_to(victim)
    await run(job, root)
    assert victim.read_text() == "untouched"
    assert not (job / "_datasets.json").is_symlink()


async def test_a_record_that_can_not_be_written_is_only_a_note(job: Path, root: Path) -> None:
    make_product(job, "TILE-1")
    (job / "_datasets.json" / "full").mkdir(parents=True)
    published = await run(job, root)
    assert "_datasets.json was not written" in published.notes[0]
    assert list(visible(root)) == ["tiles/v1.0/TILE-1"]


async def test_a_rule_without_publish_only_indexes(job: Path, root: Path) -> None:
    make_product(job, "TILE-1")
    rule = {**simple_rules().datasets[0].model_dump(), "publish": None}
    published = await run(job, root, parse({"datasets": [rule]}))
    assert published.products_staged[0]["urls"] == []
    assert visible(root) == {}


async def test_a_cancellation_while_staging_ends_it_soon_and_leaves_nothing(job: Path, root: Path) -> None:
    make_product(job, "TILE-1")
    make_product(job, "TILE-2")
    at_first, go_on = threading.Event(), threading.Event()
    products = []

    def wait(step: str) -> None:
        if step == "staged":
            products.append(step)
            at_first.set()
            assert go_on.wait(timeout=30)

    task = asyncio.ensure_future(run(job, root, store=DirectoryStore(root, on_step=wait)))
    await asyncio.to_thread(at_first.wait, 30)
    task.cancel()
    for _ in range(10):  # turns of the loop, in which the cancellation reaches the thread
        await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(products) == 1
    assert (visible(root), staged(root)) == ({}, [])


async def test_a_cancellation_after_the_permission_comes_too_late(job: Path, root: Path) -> None:
    make_product(job, "TILE-1")
    make_product(job, "TILE-2")
    at_first, go_on = threading.Event(), threading.Event()

    def wait(step: str) -> None:
        if step == "journal":
            at_first.set()
            assert go_on.wait(timeout=30)

    task = asyncio.ensure_future(run(job, root, store=DirectoryStore(root, on_step=wait)))
    await asyncio.to_thread(at_first.wait, 30)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(visible(root)) == ["tiles/v1.0/TILE-1", "tiles/v1.0/TILE-2"]
    assert staged(root) == []


async def test_of_jobs_that_race_for_one_place_exactly_one_publishes_everything(tmp_path: Path, root: Path) -> None:
    everybody = 4
    waiting = asyncio.Barrier(everybody)

    async def together() -> bool:
        await waiting.wait()
        return True

    async def one(number: int) -> str:
        directory = tmp_path / f"job-{number}"
        for name in ("TILE-1", "TILE-2", "TILE-3"):
            make_product(directory, name, f"from {number}")
        try:
            await run(directory, root, document={"job_id": f"job-{number}"}, ask=together)
        except DatasetError as error:
            return type(error).__name__
        return f"from {number}"

    results = await asyncio.gather(*(one(number) for number in range(everybody)))
    winners = [result for result in results if result.startswith("from")]
    shown = visible(root)
    assert len(winners) == 1
    assert shown == {f"tiles/v1.0/TILE-{n}": winners[0] for n in (1, 2, 3)}
    assert set(results) - set(winners) <= {"Collision"}
    assert staged(root) == []


async def test_a_name_that_is_not_utf8_is_published_but_not_listed(job: Path, root: Path) -> None:
    product = make_product(job, "TILE-1")
    os.close(os.open(os.fsencode(product) + b"/\xff.browse.png", os.O_CREAT))
    published = await run(job, root)
    assert published.documents[0]["images"] == []
    assert (job / "_datasets.json").exists()
