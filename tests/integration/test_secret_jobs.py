"""Jobs with secrets by reference: their command has them, and nothing that is written down or listed does."""

import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.containers.process import ProcessEngine
from pipeline.secrets import Vault
from pipeline.statuses import Status
from pipeline.work.errors import Category
from pipeline.work.place import Place
from pipeline.work.worker_config import JobWorkerConfig
from tests.integration.attempt_support import job, make_place, run
from tests.integration.engine_support import ENCLOSING

SECRET = "s3cr3t-of-the-archive"
SCRIPT = """
import os, sys
value = os.environ["JOBSTREAM_SECRET_ARCHIVE"]
print("digits", len(value), value)
sys.stderr.write("half "); sys.stderr.write(value[:9]); sys.stderr.flush(); sys.stderr.write(value[9:]); sys.exit(3)
"""


class Seen:
    def __init__(self) -> None:
        self.data = b""

    def told(self, _stream: str, data: bytes) -> None:
        self.data += data

    def ended(self) -> None: ...


@pytest.fixture
def place(tmp_path: Path) -> Place:
    vault = Vault({"archive": ("*",)}, environment={"JOBSTREAM_SECRET_ARCHIVE": SECRET})
    return replace(make_place(tmp_path), vault=vault)


@pytest.fixture(params=ENCLOSING)
async def enclosing(request: pytest.FixtureRequest, place: Place, tmp_path: Path) -> AsyncIterator[Place]:
    made, _ = request.param(tmp_path, request)
    yield replace(place, engine=made)
    await made.close()


def with_secret(script: str = SCRIPT) -> dict[str, Any]:
    document = job(script)
    document["params"]["login"] = "secret://archive"
    return document


def everything_below(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return "\n".join(f"{path}\n{path.read_bytes().decode(errors='replace')}" for path in files)


async def test_the_command_has_the_secret_and_nothing_that_is_kept_or_sent_does(place: Place, tmp_path: Path) -> None:
    seen = Seen()
    result = await run(with_secret(), place, observer=seen)
    assert (result.status, result.exit_code) == (Status.FAILED, 3)
    assert result.job_dir is not None
    assert (result.job_dir / "_stdout.txt").read_text() == f"digits {len(SECRET)} ***\n"
    assert (result.job_dir / "_stderr.txt").read_text() == "half ***"
    assert b"digits 21 ***" in seen.data
    kept = everything_below(tmp_path) + json.dumps(result.report()) + repr(result) + seen.data.decode()
    assert SECRET not in kept
    assert "secret://archive" in (result.job_dir / "_context.json").read_text()


async def test_the_process_list_shows_a_reference_and_no_secret(place: Place) -> None:
    document = job("")
    command = f"{sys.executable} -c $script $login"
    script = "import sys; print(open('/proc/self/cmdline').read().replace(chr(0), ' '))"
    document["params"] = {"_command": command, "script": script, "login": "secret://archive"}
    result = await run(document, place)
    assert result.job_dir is not None
    # masked output would hide it here: ask for what takes its place instead
    printed = (result.job_dir / "_stdout.txt").read_text()
    assert "secret://archive" in printed
    assert "***" not in printed


async def test_a_variable_of_the_worker_s_configuration_may_refer_to_a_secret(place: Place, tmp_path: Path) -> None:
    entry = {
        "type": "job-x:1",
        "command": {
            "path": sys.executable,
            "arguments": ["-c", "import os; print(len(os.environ['LOGIN']))"],
            "env": [{"key": "LOGIN", "value": "secret://archive"}],
        },
    }
    file = tmp_path / "job_worker.json"
    file.write_text(json.dumps({"configs": [entry]}))
    result = await run(job(), replace(place, worker_config=JobWorkerConfig.load(file)))
    assert result.job_dir is not None
    assert (result.job_dir / "_stdout.txt").read_text() == f"{len(SECRET)}\n", result.error
    assert "secret://archive" in (result.job_dir / "_run.sh").read_text()


async def test_what_a_job_says_of_itself_at_its_end_is_masked_in_the_report(place: Place) -> None:
    script = """
import os
value = os.environ["JOBSTREAM_SECRET_ARCHIVE"]
open("_alt_error.txt", "w").write("refused " + value)
open("_alt_msg.txt", "w").write(value)
raise SystemExit(1)
"""
    result = await run(with_secret(script), place)
    report = result.report()
    assert report["error"] == "refused ***"
    assert SECRET not in json.dumps(report)


@pytest.mark.parametrize(("name", "category"), [("other", Category.INVALID), ("absent", Category.WORKER)])
async def test_a_secret_that_a_job_can_t_have_fails_it_before_its_command(
    place: Place, name: str, category: Category
) -> None:
    document = job("print('ran')")
    document["params"]["login"] = f"secret://{name}"
    result = await run(document, replace(place, vault=Vault({"absent": ("*",)}, environment={})))
    assert (result.status, result.category) == (Status.FAILED, category)
    assert f"secret://{name}" in (result.error or "")
    assert result.exit_code is None


class Imaged(ProcessEngine):
    """One that would run the command in an image."""

    needs_image = True


@pytest.mark.parametrize(("own", "refused"), [({}, False), ({"container_of_submitter": True}, True)])
async def test_a_known_command_in_an_image_of_the_submitter_s_gets_no_secret(
    place: Place, tmp_path: Path, own: dict[str, Any], refused: bool
) -> None:
    script = "import os; print(len(os.environ['JOBSTREAM_SECRET_ARCHIVE']))"
    command = {"path": sys.executable, "options": ["-c", script], "arguments": [], "env": []}
    document = {**job(), "command": command, "params": {"login": "secret://archive"}, **own}
    vault = Vault({"archive": ("job-x:1",)}, environment={"JOBSTREAM_SECRET_ARCHIVE": SECRET})
    without_images = await run(document, replace(place, vault=vault))
    assert without_images.status == Status.COMPLETED
    other = {**document, "job_id": "fam-2"}
    result = await run(other, replace(place, vault=vault, engine=Imaged(tmp_path / "state")))
    # of the other one its image is missed
    assert ("isn't allowed" in (result.error or "")) is refused, result.error
    assert result.exit_code is None


async def test_in_containers_too(enclosing: Place, python_image: str, tmp_path: Path) -> None:
    document = with_secret("import os; print(os.environ['JOBSTREAM_SECRET_ARCHIVE'] == '" + SECRET[::-1] + "'[::-1])")
    document["params"]["_command"] = "python3 -c $script"
    result = await run({**document, "container_image_name": python_image}, enclosing)
    assert result.job_dir is not None
    assert (result.job_dir / "_stdout.txt").read_text() == "True\n", result.error
    assert SECRET not in everything_below(tmp_path)
    assert SECRET not in json.dumps(result.report())
    assert os.environ.get("JOBSTREAM_SECRET_ARCHIVE") is None
