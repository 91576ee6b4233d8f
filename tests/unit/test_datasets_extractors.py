"""Extractors and provenance: what goes along with a product."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.datasets.directory import DirectoryStore
from pipeline.datasets.errors import InvalidProduct
from pipeline.datasets.extractors import Extractors
from pipeline.datasets.publisher import publish
from pipeline.datasets.rules import parse
from pipeline.datasets.staging import Published
from tests.unit.datasets_support import make_product, simple_rules, visible
from tests.waiting import until

JOB = {"job_id": "fam-1", "payload_hash": "0" * 32, "type": "job-tile:v1", "container_image_name": "tiles:3"}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    product = make_product(tmp_path / "job", "TILE-1")
    (product / "TILE-1.met.json").unlink()
    return product.parent


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    (tmp_path / "programs").mkdir()
    return tmp_path / "programs"


def write(programs: Path, text: str) -> Path:
    program = programs / "extract"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return program


async def run(job: Path, extractor: str, extractors: Extractors | None = None, **document: Any) -> Published:
    async def granted() -> bool:
        return True

    rule = {**simple_rules("tiles/{met[day]}/{id}").datasets[0].model_dump(), "extractor": extractor}
    store = DirectoryStore(job.parent / "store")
    return await publish(
        job, {**JOB, **document}, 1, "w1", parse({"datasets": [rule]}), store, granted, "host-1", extractors
    )


async def test_an_extractor_makes_the_metadata_and_the_jobs_seed_wins(
    job: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(programs, 'echo "{\\"day\\": \\"2024-03-01\\", \\"of\\": \\"$1\\", \\"key\\": \\"$JOBSTREAM_TOKEN_KEY\\"}"')
    (job / "TILE-1" / "met.json").write_text('{"key": "seeded"}')
    monkeypatch.setenv("JOBSTREAM_TOKEN_KEY", "secret")
    monkeypatch.setenv("PROGRAMS", str(programs))
    published = await run(job, "script:${PROGRAMS}/extract", Extractors([programs]))
    met = {"day": "2024-03-01", "of": str(job / "TILE-1"), "data_product_name": "TILE-1", "key": "seeded"}
    assert published.documents[0]["metadata"] == met
    shown = job.parent / "store/tiles/2024-03-01/TILE-1"
    assert orjson.loads((shown / "TILE-1.met.json").read_bytes()) == met
    assert not (shown / "met.json").exists()


async def test_metadata_that_the_job_wrote_need_no_extractor(job: Path, programs: Path) -> None:
    (job / "TILE-1" / "TILE-1.met.json").write_text('{"day": "written"}')
    published = await run(job, str(write(programs, "exit 1")), Extractors([programs]))
    assert published.documents[0]["metadata"] == {"day": "written"}


def test_an_extractor_gets_nothing_of_the_workers_environment(
    job: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    program = write(programs, 'echo "{\\"key\\": \\"$AWS_SECRET_ACCESS_KEY\\"}"')
    assert Extractors([programs]).run(str(program), job / "TILE-1", lambda: None) == {"key": ""}


@pytest.mark.parametrize("name", ["extract", "../extract", "/bin/echo", "{link}", "{listed}; touch x"])
async def test_only_what_the_operator_lists_is_run(job: Path, programs: Path, name: str) -> None:
    listed = write(programs, "echo '{}'")
    (programs / "link").symlink_to("/bin/echo")
    with pytest.raises(InvalidProduct, match="extractor"):
        await run(job, name.format(link=programs / "link", listed=listed), Extractors([programs]))
    assert visible(job.parent / "store") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo broken >&2; exit 3", "exit code 3: broken"),
        ("echo '[1]'", "printed a list"),
        ("echo nonsense", "no JSON"),
        ("head -c 5000000 /dev/zero", "more than"),
        ("sleep 60", "did not end in 0.3 s"),
        ("exec >&-; sleep 60", "did not end in 0.3 s"),
    ],
)
def test_an_extractor_that_fails_says_how(job: Path, programs: Path, text: str, said: str) -> None:
    limit = 0.3 if "sleep" in text else 30.0
    with pytest.raises(InvalidProduct, match=said):
        Extractors([programs], limit).run(str(write(programs, text)), job / "TILE-1", lambda: None)


async def test_a_cancellation_ends_a_running_extractor(job: Path, programs: Path) -> None:
    begun = programs / "begun"
    program = write(programs, f"echo > {begun}; sleep 600")
    task = asyncio.ensure_future(run(job, str(program), Extractors([programs])))
    await asyncio.to_thread(until, begun.exists)
    task.cancel()
    async with asyncio.timeout(30):
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_prov_document_says_who_made_the_product_from_what(job: Path) -> None:
    (job / "TILE-1" / "TILE-1.met.json").write_text('{"day": "d"}')
    own = {"entity": {"my:note": {"prov:label": "kept"}}, "agent": {"jobstream:worker/w1": {"forged": 1}}}
    (job / "TILE-1" / "TILE-1.prov_es.json").write_bytes(orjson.dumps(own))
    await run(job, "unused", localize_urls=[{"url": "https://user:hidden@data.example/in.nc"}])
    shown = job.parent / "store/tiles/d/TILE-1"
    prov = orjson.loads((shown / "publish.prov_es.json").read_bytes())
    product, activity = "jobstream:product/TILE-1", "jobstream:job/fam-1/1"
    assert prov["entity"][product]["jobstream:dataset"] == "TILE"
    assert prov["entity"]["my:note"] == {"prov:label": "kept"}
    assert prov["activity"][activity]["prov:type"] == "job-tile:v1"
    assert prov["wasGeneratedBy"]["_:g"]["prov:activity"] == activity
    assert prov["used"]["_:u0"] == {"prov:activity": activity, "prov:entity": "jobstream:input/0"}
    assert prov["wasDerivedFrom"]["_:d0"]["prov:generatedEntity"] == product
    assert "hidden" not in str(prov)
    assert prov["agent"]["jobstream:worker/w1"] == {"prov:type": "prov:SoftwareAgent", "prov:label": "w1"}
    assert prov["agent"]["jobstream:image/tiles:3"]["prov:label"] == "tiles:3"


async def test_provenance_that_is_none_is_refused(job: Path) -> None:
    (job / "TILE-1" / "TILE-1.met.json").write_text('{"day": "d"}')
    (job / "TILE-1" / "TILE-1.prov_es.json").write_text('{"entity": []}')
    with pytest.raises(InvalidProduct, match="PROV"):
        await run(job, "unused")
