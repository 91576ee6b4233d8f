"""A worker's work on jobs with inputs, as the settings say; the other side is a real web server."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.worker.engine_work import EngineWork
from agents.worker.work import Assignment, WorkResult
from pipeline.containers.stop import Stop
from pipeline.settings import Settings
from tests.integration.file_server import FileServer, Remote, serving

DATA = b"granule" * 1000


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as running:
        yield running


def settings(tmp_path: Path, **inputs: Any) -> Settings:
    given = {"hosts": ("127.0.0.1",), "tries": 1, **inputs}
    return Settings.model_validate({"home": tmp_path / "home", "worker": {"id": "w1", "slots": 1}, "inputs": given})


async def work(tmp_path: Path, script: str, *urls: Any, attempt: int = 1, **more: Any) -> tuple[WorkResult, list[Any]]:
    document = {
        "type": "job-x:1",
        "job_id": "fam-1",
        "params": {"_command": f"{sys.executable} -c $script", "script": script, **more.pop("params", {})},
        "job_info": {},
        "localize_urls": list(urls),
    }
    said: list[Any] = []
    doing = EngineWork(settings(tmp_path, **more), "w1:1:aa")
    await doing.reap()
    assignment = Assignment(document=document, job_id="fam-1", attempt=attempt, worker="w1", holder="w1:1:aa")

    async def may_publish() -> bool:
        return True

    result = await doing.run(assignment, Stop(), said.append, may_publish)
    await doing.close()
    return result, said


async def test_a_job_reads_its_inputs_and_the_facts_say_how_they_came(tmp_path: Path, server: FileServer) -> None:
    server.files = {"/g.nc": Remote(DATA), "/g.nc.sha256": Remote(hashlib.sha256(DATA).hexdigest().encode())}
    urls = [
        {"url": f"{server.url}/g.nc?sig=hidden", "local_path": "in/"},
        {"url": f"{server.url}/g.nc.sha256", "local_path": "in/"},
    ]
    result, said = await work(tmp_path, "assert open('in/g.nc').read() == 'granule' * 1000", *urls)
    assert result.completed, result.result
    info = result.result["job_info"]
    assert (said[0]["inputs"]["done"], said[0]["inputs"]["checked"]) == (2, 1)
    assert info["inputs"]["transferred"] == len(DATA) + 64
    assert [entry["path"] for entry in info["metrics"]["inputs_localized"]] == ["in/g.nc", "in/g.nc.sha256"]
    assert "hidden" not in str(info)
    again, _ = await work(tmp_path, "pass", *urls, attempt=2)
    assert again.result["job_info"]["inputs"]["cached"] == 2


@pytest.mark.parametrize("cause", ["absent", "checksum", "refused", "malformed"])
async def test_inputs_that_can_not_be_brought_are_a_failure_of_their_own(
    tmp_path: Path, server: FileServer, cause: str
) -> None:
    server.files = {"/g.nc": Remote(DATA), "/g.nc.md5": Remote(b"0" * 32)}
    url = f"{server.url}/g.nc".replace("//", "//me:hidden@")
    entries: dict[str, list[Any]] = {
        "absent": [url.replace("g.nc", "absent")],
        "checksum": [url, f"{server.url}/g.nc.md5"],
        "refused": [str(tmp_path / "home" / "token.key")],
        "malformed": [{"no": "url"}],
    }
    result, said = await work(tmp_path, "open('ran', 'w')", *entries[cause])
    assert not result.completed
    assert result.result["category"] == "localize"
    assert result.result["error"].startswith("localize failed: ")
    assert "hidden" not in str(result.result)
    assert said == []


async def test_a_processor_that_the_settings_do_not_list_is_not_run(tmp_path: Path) -> None:
    params = {"job_specification": {"pre": ["os.abort"]}}
    result, _ = await work(tmp_path, "pass", params=params)
    assert (result.completed, result.result["category"]) == (False, "cannot-run")
    assert "'os.abort' is not on this worker's list" in result.result["error"]


async def test_a_wrong_storage_file_keeps_a_worker_from_starting(tmp_path: Path) -> None:
    (tmp_path / "storage.json").write_text("[]")
    with pytest.raises(ValueError, match=r"storage\.json"):
        EngineWork(settings(tmp_path, storage_file=tmp_path / "storage.json"), "w1:1:aa")
