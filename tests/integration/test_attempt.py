"""One attempt, from a job's document to its result, with real processes."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.containers.errors import UnavailableError
from pipeline.containers.factory import EngineSettings, engine
from pipeline.containers.noop import NoopEngine
from pipeline.containers.process import ProcessEngine
from pipeline.containers.spec import RunSpec
from pipeline.containers.stop import Level, Stop
from pipeline.statuses import Status
from pipeline.work.attempt import run_attempt
from pipeline.work.directory import WorkRoot
from pipeline.work.errors import Category
from pipeline.work.place import Limits, Place
from pipeline.work.worker_config import JobWorkerConfig
from tests.integration.attempt_support import TASK, assert_closed, job, make_place, run
from tests.integration.engine_support import ENCLOSING
from tests.waiting import until


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


@pytest.fixture(params=ENCLOSING)
async def enclosing(request: pytest.FixtureRequest, place: Place, tmp_path: Path) -> AsyncIterator[Place]:
    """With each engine that encloses what it runs."""
    made, _ = request.param(tmp_path, request)
    yield replace(place, engine=made)
    await made.close()


async def test_a_command_that_succeeds_completes_the_job(place: Place) -> None:
    result = await run(job("print('hello'); import sys; print('err', file=sys.stderr)"), place)
    assert (result.status, result.exit_code, result.error, result.category) == (Status.COMPLETED, 0, None, None)
    path = assert_closed(result, place)
    assert (path / "_stdout.txt").read_text() == "hello\n"
    assert (path / "_stderr.txt").read_text() == "err\n"
    assert (path / "_exit_code").read_text() == "0\n"
    info = result.job_info
    assert (info["status"], info["stdout"], info["stderr"], info["facts"]) == (0, "", "", {"a": 1})
    assert int((path / "_pid").read_text()) == info["pid"] > 0
    assert info["time_start"] <= info["cmd_start"] <= info["cmd_end"] <= info["time_end"]
    assert info["duration"] >= info["cmd_duration"] > 0
    assert info["job_dir"] == str(path)
    assert info["job_url"] == f"http://host:8085/{path.relative_to(place.root.root)}"
    assert info["metrics"]["job_dir_size"] > 0
    assert info["metrics"]["usage_stats"][0]["user_cpu_time"] > 0


async def test_a_command_that_fails_fails_the_job_with_its_exit_code(place: Place) -> None:
    result = await run(job("import sys; print('why', file=sys.stderr); sys.exit(7)"), place)
    assert (result.status, result.exit_code, result.category) == (Status.FAILED, 7, Category.COMMAND)
    assert result.error == "the command failed with exit code 7"
    assert result.short_error == "the command failed with exit code 7"
    assert "why" in str(result.traceback)
    path = assert_closed(result, place)
    assert (result.job_info["status"], result.job_info["stderr"]) == (7, "why\n")
    assert (path / "_exit_code").read_text() == "7\n"


async def test_a_command_ended_by_a_signal_says_which(place: Place) -> None:
    result = await run(job("import os; os.kill(os.getpid(), 11)"), place)
    assert (result.exit_code, result.signum, result.category) == (139, 11, Category.COMMAND)


@pytest.mark.parametrize(
    ("limits", "category"),
    [
        ({"soft_time_limit": 1}, Category.SOFT_LIMIT),
        ({"soft_time_limit": 1, "time_limit": 60}, Category.SOFT_LIMIT),
        ({"time_limit": 1}, Category.HARD_LIMIT),
    ],
)
async def test_a_time_limit_fails_the_job_and_says_so(place: Place, limits: dict[str, int], category: str) -> None:
    result = await run(job("import time; time.sleep(300)", job_info=limits), place)
    assert (result.status, result.category) == (Status.FAILED, category)
    assert "time limit of 1 s exceeded" in str(result.error)
    assert "time limit of 1 s exceeded" in (assert_closed(result, place) / "_stderr.txt").read_text()


async def test_a_limit_of_the_place_holds_for_jobs_without_one(place: Place) -> None:
    limited = replace(place, limits=Limits(time_limit=1.0))
    assert (await run(job("import time; time.sleep(300)"), limited)).category is Category.HARD_LIMIT


async def test_success_after_the_soft_limit_is_a_failure_whose_status_is_not_0(place: Place) -> None:
    script = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); time.sleep(300)"
    result = await run(job(script, job_info={"soft_time_limit": 1, "time_limit": 60}), place)
    assert (result.status, result.exit_code, result.job_info["status"]) == (Status.FAILED, 0, 1)
    assert (assert_closed(result, place) / "_exit_code").read_text() == "1\n"


async def test_a_stop_revokes_the_job(place: Place) -> None:
    stop = Stop()
    document = job("open('up', 'w'); import time; time.sleep(300)")
    attempt = asyncio.create_task(run(document, place, stop=stop))
    await asyncio.to_thread(until, lambda: list(place.root.root.glob("jobs/*/*/*/*/*/*/up")))
    stop.request(Level.TERM, "revoked by ops")
    result = await attempt
    assert (result.status, result.stopped, result.signum) == (Status.REVOKED, True, 15)
    assert "revoked by ops" in str(result.error)
    assert_closed(result, place)


async def test_a_stop_before_the_command_means_that_it_never_runs(place: Place) -> None:
    stop = Stop()

    async def announce(_: Mapping[str, Any]) -> None:
        stop.request(reason="revoked")

    result = await run(job("open('ran', 'w')"), place, stop=stop, announce=announce)
    assert (result.status, result.exit_code) == (Status.REVOKED, None)
    assert not (assert_closed(result, place) / "ran").exists()


async def test_a_cancelled_attempt_closes_its_directory(place: Place) -> None:
    attempt = asyncio.create_task(run(job("open('up', 'w'); import time; time.sleep(300)"), place))
    (up,) = await asyncio.to_thread(until, lambda: list(place.root.root.glob("jobs/*/*/*/*/*/*/up")))
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    assert (up.parent / ".done").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"params": {}}, "no command"),
        ({"params": {"_command": "no-such-program --x"}}, "no-such-program"),
        ({"params": {"_command": "echo 'open"}}, "can't be split"),
        ({"params": {"_command": "echo $missing"}}, "$missing"),
        ({"params": {"_command": "  "}}, "no program"),
        ({"params": {"_command": "echo a\0b"}}, "NUL"),
        ({"job_id": "../../x"}, "can't be part of a path"),
        ({"job_id": None}, "job id ''"),
        ({"runtime_options": {"privileged": True}}, "'privileged' isn't allowed"),
        ({"runtime_options": {"memory": "lots"}}, "'lots' can't be used"),
        ({"container_mappings": {"/data": []}}, "container_mappings"),
        ({"job_info": {"time_limit": "soon"}}, "'soon' isn't a positive number"),
        ({"needs": {"memory_mib": -5}}, "-5 isn't a positive number"),
    ],
)
async def test_what_can_not_be_run_is_a_failed_result(place: Place, change: dict[str, Any], said: str) -> None:
    result = await run({**job("pass"), **change}, place)
    assert result.status is Status.FAILED
    assert said in str(result.error)
    assert result.short_error
    assert result.traceback
    assert result.job_info["status"] not in (0, None)
    assert list(place.root.leftovers()) == []


async def test_a_job_without_command_fails_as_one_that_can_not_run(place: Place) -> None:
    result = await run(job(params={}), place)
    assert result.category is Category.INVALID
    assert_closed(result, place)


async def test_a_root_that_can_not_be_written_is_a_failed_result(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = await run(job("pass"), replace(place, root=WorkRoot(tmp_path / "file", "w1")))
    assert (result.status, result.category, result.job_dir) == (Status.FAILED, Category.WORK_DIR, None)


async def test_no_attempt_uses_a_directory_twice(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await run(job("open('left', 'w')"), place)
    second = await run_attempt(job("pass"), place, attempt=2, holder="w1:1:aa", task_id=TASK)
    assert first.job_dir != second.job_dir
    assert second.job_dir is not None
    assert not (second.job_dir / "left").exists()


@pytest.mark.parametrize("name", ["docker", "podman", "apptainer"])
async def test_an_engine_that_does_not_answer_is_the_workers_fault(place: Place, tmp_path: Path, name: str) -> None:
    absent = EngineSettings(state_dir=tmp_path, url=f"unix://{tmp_path}/nothing.sock", apptainer=f"{tmp_path}/nothing")
    result = await run(job("pass", container_image_name="x"), replace(place, engine=engine(name, absent)))
    assert (result.status, result.category) == (Status.FAILED, Category.WORKER)
    assert_closed(result, place)


async def test_an_engine_that_goes_away_before_the_files_are_written_is_the_workers_fault(place: Place) -> None:
    class Away(ProcessEngine):
        def command_line(self, spec: RunSpec, withheld: Collection[str] = ()) -> list[str]:
            raise UnavailableError("gone")

    result = await run(job("pass"), replace(place, engine=Away(place.root.root / "state")))
    assert (result.category, result.error) == (Category.WORKER, "gone")
    assert_closed(result, place)


async def test_a_type_without_a_configured_command_is_refused(place: Place) -> None:
    result = await run(job("pass"), replace(place, worker_config=JobWorkerConfig()))
    assert "no command for job type 'job-x:1'" in str(result.error)


async def test_noop_needs_no_command(place: Place) -> None:
    result = await run({"job_id": "fam-2"}, replace(place, engine=NoopEngine()))
    assert result.succeeded, result.traceback
    assert_closed(result, place)


async def test_a_job_runs_in_its_image_with_what_it_may_see(enclosing: Place, tmp_path: Path) -> None:
    data = tmp_path / "input"
    (data / "a").write_text("given")
    document = job(
        params={"_command": "sh -c $script", "script": "cat /in/a; cat _job.json > copy; echo 1 > _context.json"},
        container_image_name="jobstream/busybox:1",
        container_mappings={str(data): ["/in", "ro"]},
    )
    result = await run(document, enclosing)
    assert result.succeeded, result.traceback
    path = assert_closed(result, enclosing)
    assert (path / "_stdout.txt").read_text() == "given"
    assert str(result.container_image_id).startswith("sha256:")
    params = json.loads((path / "_docker_params.json").read_text())
    assert params["jobstream/busybox:1"]["network_mode"] == "none"
    assert json.loads((path / "copy").read_text())["container_image_id"] == result.container_image_id


async def test_memory_beyond_the_need_fails_the_job(enclosing: Place) -> None:
    document = job("b = bytearray(300 << 20)", container_image_name="jobstream/python:1", needs={"memory_mib": 64})
    document["params"]["_command"] = "python3 -c $script"
    result = await run(document, enclosing)
    assert (result.category, result.oom, result.exit_code) == (Category.OOM, True, 137)
    assert result.job_info["memory_limit_mib"] == 64
    assert result.error == "memory limit of 64 MiB exceeded (exit code 137)"


async def test_a_missing_image_or_refused_mount_is_a_failed_result(enclosing: Place) -> None:
    mounting = {"container_image_name": "jobstream/busybox:1", "container_mappings": {"/etc": "/x"}}
    for change, category, said in (
        ({"container_image_name": "jobstream/none:1"}, Category.IMAGE, "jobstream/none:1 isn't on this machine"),
        (mounting, Category.INVALID, "mount of /etc"),
        ({}, Category.INVALID, "no container image"),
    ):
        result = await run_attempt(
            job("pass", **change, job_id=f"fam-{len(said)}"),
            enclosing,
            attempt=1,
            holder="w1:1:aa",
            task_id=TASK,
        )
        assert (result.status, result.category) == (Status.FAILED, category)
        assert said in str(result.error)
