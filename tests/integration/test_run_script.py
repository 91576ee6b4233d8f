"""`_run.sh` of an attempt that ended, run as a person would: it does what the attempt did."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.containers.processes import TOKEN_VARIABLE
from pipeline.work.place import Place
from pipeline.work.worker_config import JobWorkerConfig
from tests.integration.attempt_support import assert_closed, job, make_place, run
from tests.integration.engine_support import ENGINES

#: Writes down all that it was given, and fails in its own way.
NOSY = f"""
import json, os, sys
given = {{name: value for name, value in os.environ.items() if name not in ({TOKEN_VARIABLE!r}, "HOSTNAME")}}
left = {{"words": sys.argv[1:], "environment": given, "in": os.getcwd(), "input": sys.stdin.read()}}
with open("left.json", "w") as file:
    json.dump(left, file, indent=1, sort_keys=True)
print("said: " + sys.argv[1])
print("and complained", file=sys.stderr)
sys.exit(23)
"""
WORDS = [
    "two words",
    'it\'s "quoted" and `quoted`',
    "$HOME ${HOME} $(id) \\$5 \\",
    "first line\nsecond\tline\n",
    "Grüße, 世界 🛰",
    "",
    "-n",
    "--",
    "* ? [a-z] {a,b} ~ ! #no comment & | ; < >",
    "A=B",
]
ENVIRONMENT = {
    "GREETING": 'it\'s $HOME\nand "more"',
    "PLACE": "Zürich 🛰",
    "EMPTY": "",
    "with.dot-and-dash": "kept",
    "API_TOKEN": "hush",
}
#: What a person has, and the job had not.
PERSON = {"PATH": os.environ["PATH"], "HOME": "/", "LANG": "C", "EDITOR": "ed", "GREETING": "mine"}
IMAGE = "jobstream/python:1"


@pytest.fixture(params=ENGINES)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    engine, _ = request.param(tmp_path, request)
    yield replace(make_place(tmp_path), engine=engine)
    await engine.close()


def configured(place: Place, path: str, options: list[str]) -> Place:
    env = [{"key": key, "value": value} for key, value in ENVIRONMENT.items()]
    command = {"path": path, "options": options, "arguments": ["$words"], "env": env}
    config = {"configs": [{"type": "job-x:1", "command": command}]}
    return replace(place, worker_config=JobWorkerConfig.model_validate(config))


def by_hand(directory: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [directory / "_run.sh"], cwd="/", env=environment, input=b"typed by mistake", capture_output=True, check=False
    )


async def test_the_script_does_again_what_the_attempt_did(place: Place) -> None:
    python = "python3" if place.engine.needs_image else sys.executable
    document = job(params={"words": WORDS}, container_image_name=IMAGE)
    result = await run(document, configured(place, python, ["-c", NOSY]))
    assert (result.exit_code, result.oom) == (23, False), result.error
    path = assert_closed(result, place)
    left = (path / "left.json").read_bytes()
    (path / "left.json").unlink()
    again = by_hand(path, {**PERSON, "API_TOKEN": "hush"})
    assert again.returncode == 23, again.stderr
    assert again.stdout == (path / "_stdout.txt").read_bytes() == b"said: two words\n"
    assert again.stderr == (path / "_stderr.txt").read_bytes() == b"and complained\n"
    assert (path / "left.json").read_bytes() == left


async def test_the_script_holds_no_secret_and_takes_it_from_who_runs_it(place: Place) -> None:
    python = "python3" if place.engine.needs_image else sys.executable
    script = "import os; print(os.environ.get('API_TOKEN', 'none'), os.environ['GREETING'])"
    document = job(params={"words": []}, container_image_name=IMAGE)
    result = await run(document, configured(place, python, ["-c", script]))
    assert result.succeeded, result.error
    path = assert_closed(result, place)
    text = (path / "_run.sh").read_text()
    assert "hush" not in text
    assert "# 'API_TOKEN' is left out here" in text
    assert by_hand(path, PERSON).stdout.startswith(b"none it's $HOME")
    assert by_hand(path, {**PERSON, "API_TOKEN": "of mine"}).stdout.startswith(b"of mine it's $HOME")


async def test_a_program_whose_name_looks_like_a_variable_is_run(tmp_path: Path) -> None:
    program = tmp_path / "a=b"
    program.write_text('#!/bin/sh\necho "$0 $1"\nexit 4\n')
    program.chmod(0o755)
    place = make_place(tmp_path)
    result = await run(job(params={"words": ["x y"]}), configured(place, str(program), []))
    path = assert_closed(result, place)
    again = by_hand(path, PERSON)
    assert (again.returncode, again.stdout) == (4, f"{program} x y\n".encode())


async def test_a_command_that_was_found_in_the_workers_path_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\nexec echo found\n")
    (tmp_path / "tool").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    place = make_place(tmp_path)
    result = await run(job(params={"_command": "tool"}), place)
    assert result.succeeded, result.error
    assert by_hand(assert_closed(result, place), PERSON).stdout == b"found\n"
