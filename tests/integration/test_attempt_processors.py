"""Processors around a command: what they can say, and what their failures mean."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.containers.stop import Stop
from pipeline.processors.program import LOG, Program
from pipeline.statuses import Status
from pipeline.work.errors import Category
from pipeline.work.place import Place
from tests.integration.attempt_support import assert_closed, job, make_place, run
from tests.waiting import until

SITE = "tests.integration.processors_site"
PROJECT = Path(__file__).resolve().parent.parent.parent
SHOW = "print(open('_context.json').read()); open('ran', 'w')"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    return make_place(tmp_path)


def programs(*names: str) -> list[Program]:
    return [Program(f"{SITE}.{name}") for name in names]


async def test_a_pre_processor_sees_the_job_and_changes_the_context(place: Place) -> None:
    result = await run(job(SHOW), place, pre=programs("note"))
    path = assert_closed(result, place)
    assert result.succeeded, result.traceback
    assert '"note": "from a processor"' in (path / "_stdout.txt").read_text()
    assert result.context["note"] == "from a processor"
    assert "noted fam-1" in (path / LOG).read_text()
    assert (path / "noted").exists()


async def test_a_command_that_a_pre_processor_does_not_want_is_not_run_and_nothing_published(place: Place) -> None:
    async def publish(_: Path, __: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        raise AssertionError

    result = await run(job(SHOW), place, pre=programs("refuse", "note"), publish=publish, post=programs("end"))
    path = assert_closed(result, place)
    assert (result.status, result.job_info["status"], result.job_info["pid"]) == (Status.COMPLETED, 0, 0)
    assert not (path / "ran").exists()
    assert (path / "noted").exists()
    assert (path / "ended").read_text() == "job-completed 0 -"


@pytest.mark.parametrize(
    ("name", "said"),
    [("break_down", "RuntimeError: broken down"), ("vanish", "exit code 3"), ("absent", "LookupError")],
)
async def test_a_pre_processor_that_fails_fails_the_job_before_its_command(place: Place, name: str, said: str) -> None:
    result = await run(job(SHOW), place, pre=programs(name, "note"), post=programs("end"))
    path = assert_closed(result, place)
    assert (result.category, result.exit_code) == (Category.PROCESSOR, None)
    assert result.error is not None
    assert result.error.startswith(f"pre-processor {SITE}.{name} failed: ")
    assert said in result.error
    assert not (path / "ran").exists()
    assert not (path / "noted").exists()
    assert (path / "ended").read_text().startswith("job-failed 1 pre-processor")


async def test_all_post_processors_run_and_one_failure_does_not_hide_another(place: Place) -> None:
    result = await run(job(SHOW), place, post=programs("break_down", "note", "vanish", "end"))
    path = assert_closed(result, place)
    assert (result.status, result.category) == (Status.FAILED, Category.PROCESSOR)
    assert result.error is not None
    assert "break_down failed" in result.error
    assert "vanish failed" in result.error
    assert (path / "noted").read_text() == "0"
    assert (path / "ended").exists()
    assert result.job_info["status"] == 1


@pytest.mark.parametrize("fails", ["command", "publish"])
async def test_post_processors_run_after_a_failure_and_do_not_hide_it(place: Place, fails: str) -> None:
    async def publish(_: Path, __: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        raise ValueError("no such place")

    script = "raise SystemExit(7)" if fails == "command" else "pass"
    result = await run(job(script), place, publish=publish, post=programs("break_down", "end"))
    path = assert_closed(result, place)
    assert result.category is (Category.COMMAND if fails == "command" else Category.PUBLISH)
    assert (path / "ended").read_text().startswith(f"job-failed {7 if fails == 'command' else 1} ")
    assert any("break_down failed" in note for note in result.notes)


async def test_a_processor_that_hangs_is_ended(place: Place) -> None:
    result = await run(job("pass"), replace(place, processor_timeout=3.0), post=programs("hang", "end"))
    path = assert_closed(result, place)
    assert result.error == f"post-processor {SITE}.hang failed: not done in 3 s"
    assert not psutil.pid_exists(int((path / "hanging").read_text()))
    assert (path / "ended").exists()


async def test_a_stop_ends_a_processor_and_no_other_is_called(place: Place, tmp_path: Path) -> None:
    stop = Stop()
    working = asyncio.ensure_future(run(job(SHOW), place, pre=programs("hang"), post=programs("end"), stop=stop))
    hanging = await asyncio.to_thread(until, lambda: list(tmp_path.rglob("hanging")))
    await asyncio.to_thread(until, hanging[0].read_text)
    stop.request(reason="revoked")
    result = await asyncio.wait_for(working, 20)
    path = assert_closed(result, place)
    assert result.status is Status.REVOKED
    assert not psutil.pid_exists(int((path / "hanging").read_text()))
    assert not (path / "ended").exists()


async def test_processors_get_no_token_key_and_no_modules_of_the_jobs(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBSTREAM_TOKEN_KEY", "hidden")
    result = await run(
        job("open('orjson.py', 'w').write('raise SystemExit')"), place, post=programs("tell_environment")
    )
    path = assert_closed(result, place)
    assert result.succeeded, result.error
    said = (path / "environment").read_text().splitlines()
    assert "PATH" in said
    assert "JOBSTREAM_TOKEN_KEY" not in said
    assert str(path) not in said
    assert "" not in said
