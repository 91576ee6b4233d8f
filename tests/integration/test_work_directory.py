"""The special files of a work directory, from its making to its end, however that comes (spec §3.4)."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.worker.engine_work import EngineWork
from pipeline.containers.docker import DockerEngine
from pipeline.datasets.publisher import DATASETS_FILE
from pipeline.processors.program import Program
from pipeline.settings import Settings
from pipeline.statuses import Status
from pipeline.triage.triage import TRIAGED
from pipeline.work import files
from pipeline.work.directory import WorkRoot
from pipeline.work.errors import AttemptError, Category
from pipeline.work.place import Place
from tests.integration.attempt_support import TASK, assert_closed, job, make_place, run
from tests.waiting import until

PROJECT = Path(__file__).resolve().parent.parent.parent
#: A worker's process that runs one job, whose command says where it is and never ends.
LIVES = """
import asyncio, sys
from agents.worker.engine_work import EngineWork
from agents.worker.work import Assignment
from pipeline.containers.stop import Stop
from pipeline.settings import Settings

async def may_publish():
    return True

async def main():
    worker = {"id": "w1", "slots": 1, "post": ["triage"]}
    settings = Settings.model_validate({"home": sys.argv[1], "worker": worker})
    params = {"_command": "sh -c 'echo up > up; exec sleep 300'"}
    document = {"type": "job-x:1", "job_id": "fam-1", "payload_hash": "h", "params": params, "job_info": {}}
    assignment = Assignment(document=document, job_id="fam-1", attempt=1, worker="w1", holder="w1:1:aa")
    await EngineWork(settings, "w1:1:aa").run(assignment, Stop(), lambda _: None, may_publish)

asyncio.run(main())
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of 256 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "jobstream-test", path], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {made.stderr.decode().strip()}")
    yield path
    subprocess.run(["umount", path], check=True)


def directories(place: Place) -> list[Path]:
    return sorted(place.root.root.glob("jobs/*/*/*/*/*/*"))


async def test_a_directory_has_all_special_files_while_the_command_runs_and_after_it(place: Place) -> None:
    script = (
        "import json, os\n"
        "json.dump(sorted(os.listdir()), open('seen.json', 'w'))\n"
        "assert open('.exit_code_hold').read() == '255\\n' and open('.running').read().endswith('Z')\n"
    )
    result = await run(job(script), place)
    assert result.succeeded, result.traceback
    path = assert_closed(result, place)
    before = {".running", ".exit_code_hold", "_job.json", "_context.json", "_run.sh", "_stdout.txt", "_stderr.txt"}
    # the command may look before its pid is written
    assert set(orjson.loads((path / "seen.json").read_bytes())) - {"_pid", "seen.json"} == before
    after = before - {".running", ".exit_code_hold"} | {".done", "_exit_code", "_pid"}
    assert {one.name for one in path.iterdir()} - {"seen.json"} == after
    told = orjson.loads((path / "_job.json").read_bytes())
    assert (told["task_id"], told["job_info"]["status"]) == (TASK, 0)
    assert told["job_info"]["context_file"] == str(path / "_context.json")


async def test_the_exit_code_and_the_end_are_written_on_a_full_disk_too(small_disk: Path, place: Place) -> None:
    full = replace(place, root=WorkRoot(small_disk, "w1"))
    result = await run(
        job("import os; os.write(os.open('all', os.O_CREAT | os.O_WRONLY), bytes(1 << 20)); 1 / 0"), full
    )
    path = result.job_dir
    assert path is not None
    assert (path / "all").stat().st_size < 1 << 18
    # nothing else got there
    assert (path / "_stderr.txt").read_text() == ""
    assert (path / "_exit_code").read_text() == "1\n"
    assert (path / ".done").exists()
    assert not (path / ".running").exists()
    assert list(full.root.leftovers()) == []


@pytest.mark.parametrize("instead", ["link", "hard link", "folder", "pipe", "short", "nothing"])
async def test_the_exit_code_does_not_go_where_the_job_put_something_in_its_place(
    place: Place, tmp_path: Path, instead: str
) -> None:
    other = tmp_path / "other"
    other.write_text("as it was")
    made = {
        "link": f"os.symlink('{other}', hold)",
        "hard link": f"os.link('{other}', hold)",
        "folder": "os.mkdir(hold)",
        "pipe": "os.mkfifo(hold)",
        "short": "open(hold, 'w')",
        "nothing": "pass",
    }[instead]
    result = await run(job(f"import os; hold = '.exit_code_hold'; os.remove(hold); {made}; raise SystemExit(7)"), place)
    assert (assert_closed(result, place) / "_exit_code").read_text() == "7\n"
    assert other.read_text() == "as it was"


async def fails(*_: object) -> Sequence[Mapping[str, Any]]:
    raise OSError("not today")


async def dies(*_: object) -> None:
    raise OSError("not today")


@pytest.mark.parametrize(
    ("step", "document", "more", "category"),
    [
        ("command", {"params": {}}, {}, Category.INVALID),
        ("limits", {"needs": {"memory_mib": -1}}, {}, Category.INVALID),
        ("inputs", {}, {"prepare": fails}, Category.INPUTS),
        ("pre-processor", {}, {"pre": [Program("no.such.thing")]}, Category.PROCESSOR),
        ("announcement", {}, {"announce": dies}, Category.WORKER),
        ("products", {}, {"publish": fails}, Category.PUBLISH),
        ("post-processor", {}, {"post": [Program("no.such.thing")]}, Category.PROCESSOR),
    ],
)
async def test_a_failure_at_each_step_closes_the_directory_with_its_exit_code(
    place: Place, step: str, document: dict[str, Any], more: dict[str, Any], category: Category
) -> None:
    result = await run({**job("pass"), **document}, place, **more)
    assert (result.status, result.category) == (Status.FAILED, category), step
    assert (assert_closed(result, place) / "_exit_code").read_text() == "1\n"


async def test_an_engine_or_an_image_that_there_is_not_closes_the_directory(place: Place, tmp_path: Path) -> None:
    engine = DockerEngine(base_url=f"unix://{tmp_path}/nothing.sock")
    result = await run(job("pass", container_image_name="x"), replace(place, engine=engine))
    assert result.category is Category.WORKER
    assert_closed(result, place)


def test_a_directory_that_can_be_made_and_not_used_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = files.write

    def short(path: Path, data: bytes, mode: int = 0o644) -> None:
        if path.name == files.EXIT_CODE_HOLD:
            raise OSError(28, "No space left on device")
        write(path, data, mode)

    monkeypatch.setattr(files, "write", short)
    root = WorkRoot(tmp_path, "w1")
    with pytest.raises(AttemptError, match="No space left"):
        root.create("fam-1", 1, datetime.now(UTC))
    (path,) = tmp_path.glob("jobs/*/*/*/*/*/*")
    assert {one.name for one in path.iterdir()} == {".done"}
    assert list(root.leftovers()) == []


def test_what_a_killed_worker_left_open_is_closed_by_the_next_and_nothing_else(tmp_path: Path) -> None:
    others = WorkRoot(tmp_path / "work", "w2").create("fam-9", 1, datetime.now(UTC))
    process = subprocess.Popen([sys.executable, "-c", LIVES, tmp_path], cwd=PROJECT)
    try:
        (up,) = until(lambda: list(tmp_path.glob("work/jobs/*/*/*/*/*/fam-1-1/up")))
    finally:
        process.kill()
        process.wait()
    path = up.parent
    assert (path / ".running").exists()
    assert asyncio.run(_reaped(tmp_path)) == [("fam-1", 1)]
    assert (path / ".done").read_text().endswith("Z")
    assert not (path / ".running").exists()
    # how it would have ended, nobody knows
    assert not (path / "_exit_code").exists()
    assert (path / ".exit_code_hold").read_text() == "255\n"
    assert (others.path / ".running").exists()


async def _reaped(home: Path) -> list[tuple[str, int]]:
    settings = Settings.model_validate({"home": home, "worker": {"id": "w1", "slots": 1}})
    work = EngineWork(settings, "w1:2:bb")
    try:
        return await work.reap()
    finally:
        await work.close()


def test_the_names_of_special_files_are_those_of_hysds() -> None:
    named = {
        files.RUNNING, files.DONE, files.JOB, files.CONTEXT, files.DOCKER_PARAMS, files.RUN_SCRIPT, files.STDOUT,
        files.STDERR, files.EXIT_CODE, files.EXIT_CODE_HOLD, files.PID, files.ALT_ERROR, files.ALT_TRACEBACK,
        files.ALT_MSG, files.ALT_MSG_DETAILS, DATASETS_FILE, TRIAGED,
    }  # fmt: skip
    assert named == {
        ".running", ".done", "_job.json", "_context.json", "_docker_params.json", "_run.sh", "_stdout.txt",
        "_stderr.txt", "_exit_code", ".exit_code_hold", "_pid", "_alt_error.txt", "_alt_traceback.txt",
        "_alt_msg.txt", "_alt_msg_details.txt", "_datasets.json", "_triaged.json",
    }  # fmt: skip
