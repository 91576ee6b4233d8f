"""A place to run attempts in, and jobs to run there, for the tests of attempts."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.containers.process import ProcessEngine
from pipeline.work.attempt import run_attempt
from pipeline.work.directory import WorkRoot
from pipeline.work.place import Place
from pipeline.work.result import Result

TASK = "7d4a0a52-0000-5000-8000-000000000001"


def make_place(tmp_path: Path) -> Place:
    engine = ProcessEngine(tmp_path / "state")
    root = WorkRoot(tmp_path / "root", "w1")
    return Place(engine=engine, root=root, worker="w1", url="http://host:8085", grace=0.5, facts={"a": 1})


def job(script: str = "", **changes: Any) -> dict[str, Any]:
    """A job whose command is a Python script that is a parameter."""
    params = {"_command": f"{sys.executable} -c $script", "script": script}
    return {"type": "job-x:1", "name": "x", "job_id": "fam-1", "params": params, "job_info": {}, **changes}


async def run(document: Mapping[str, Any], place: Place, **more: Any) -> Result:
    return await run_attempt(document, place, attempt=1, holder="w1:1:aa", task_id=TASK, **more)


def assert_closed(result: Result, place: Place) -> Path:
    path = result.job_dir
    assert path is not None
    assert (path / ".done").read_text().endswith("Z")
    assert not (path / ".running").exists()
    assert list(place.root.leftovers()) == []
    return path
