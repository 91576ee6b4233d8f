"""A worker's work on jobs that fail, with triage as the settings or the jobs say."""

import sys
from pathlib import Path
from typing import Any

import orjson

from agents.worker.engine_work import EngineWork
from agents.worker.work import Assignment, WorkResult
from pipeline.containers.stop import Stop
from pipeline.settings import Settings
from pipeline.triage.triage import TRIAGED

ID = "triaged_job-fam-1_task-0a"
FAILS = "import sys; open('_note', 'w').write('why'); open('x.log', 'w').write('log'); sys.exit(3)"
PRODUCT = """
import json, os
os.makedirs('P'); json.dump({'version': 'v1'}, open('P/P.dataset.json', 'w'))
"""
RULE = {
    "ipath": "x::data/P",
    "match_pattern": "/P$",
    "publish": {"location": "P", "urls": ["{location}"]},
}


async def work(tmp_path: Path, script: str, permitted: bool = True, attempt: int = 1, **more: Any) -> WorkResult:
    rules = tmp_path / "datasets.json"
    rules.write_bytes(orjson.dumps({"datasets": [RULE]}))
    worker = {"id": "w1", "slots": 1, "datasets_file": rules, **more.pop("worker", {})}
    settings = Settings.model_validate({"home": tmp_path / "home", "worker": worker})
    params = {"_command": f"{sys.executable} -c $script", "script": script, **more.pop("params", {})}
    document = {
        **{"type": "job-x:1", "job_id": "fam-1", "task_id": "0a", "payload_hash": "h", "params": params},
        **{"job_info": {}, **more},
    }
    doing = EngineWork(settings, "w1:1:aa")

    async def may_publish() -> bool:
        return permitted

    assignment = Assignment(document=document, job_id="fam-1", attempt=attempt, worker="w1", holder="w1:1:aa")
    result = await doing.run(assignment, Stop(), lambda _: None, may_publish)
    await doing.close()
    return result


def published(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "home" / "products").glob("triaged_job/*/*"))


def notes(result: WorkResult) -> str:
    return " ".join(result.result.get("notes", ()))


async def test_what_a_failed_job_left_is_published_as_a_dataset(tmp_path: Path) -> None:
    result = await work(tmp_path, FAILS, post=["hysds.triage.triage"])
    assert not result.completed
    assert result.result["error"].startswith("the command failed with exit code 3")
    (path,) = published(tmp_path)
    assert path.name == ID
    assert {"_note", "_stderr.txt", "_job.json", "_context.json", "x.log", f"{ID}.dataset.json"} <= {
        one.name for one in path.iterdir()
    }
    assert orjson.loads((path / f"{ID}.met.json").read_bytes())["status"] == 3
    (entry,) = result.result["job_info"]["metrics"]["products_staged"]
    assert (entry["id"], entry["dataset"]) == (ID, "triaged_job")
    (document,) = result.result["triaged"]
    assert (document["id"], document["metadata"]["status"]) == (ID, 3)
    job_dir = Path(result.result["job_info"]["job_dir"])
    assert orjson.loads((job_dir / TRIAGED).read_bytes()) == [document]
    assert "products" not in result.result


async def test_the_operator_can_have_it_for_all_jobs_and_a_job_can_do_without(tmp_path: Path) -> None:
    for_all: dict[str, Any] = {"worker": {"post": ["triage"]}}
    await work(tmp_path, FAILS, params={"_triage_disabled": True}, **for_all)
    assert published(tmp_path) == []
    result = await work(tmp_path, FAILS, attempt=2, **for_all)
    assert len(published(tmp_path)) == 1
    assert "notes" not in result.result


async def test_a_job_that_succeeded_leaves_none(tmp_path: Path) -> None:
    result = await work(tmp_path, PRODUCT, post=["triage"])
    assert result.completed, result.result
    assert published(tmp_path) == []
    assert [one["id"] for one in result.result["products"]] == ["P"]


async def test_a_job_whose_products_can_not_be_published_has_triage_and_the_first_error(tmp_path: Path) -> None:
    script = PRODUCT.replace("'version'", "'no_version'")
    result = await work(tmp_path, script, post=["triage"])
    assert "publish failed" in result.result["error"]
    assert len(published(tmp_path)) == 1


async def test_a_post_processor_that_fails_before_it_keeps_it_from_nothing(tmp_path: Path) -> None:
    result = await work(tmp_path, FAILS, worker={"post": ["os.absent", "triage"]})
    assert "os.absent" in notes(result)
    assert "exit code 3" in result.result["error"]
    assert len(published(tmp_path)) == 1


async def test_without_permission_nothing_is_visible_and_the_jobs_own_error_stays(tmp_path: Path) -> None:
    result = await work(tmp_path, FAILS, permitted=False, post=["triage"])
    assert published(tmp_path) == []
    assert "triaged" not in result.result
    assert "no permission" in notes(result)
    assert "exit code 3" in result.result["error"]


async def test_a_job_that_put_something_where_its_triage_belongs_harms_nothing(tmp_path: Path) -> None:
    script = f"import os, sys; os.symlink('/etc', '{ID}'); sys.exit(3)"
    result = await work(tmp_path, script, post=["triage"])
    assert "left something named" in notes(result)
    assert published(tmp_path) == []
