"""Inputs before the command, products after it: when the seams are called, and what their failures mean."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.containers.stop import Stop
from pipeline.statuses import Status
from pipeline.work.errors import Category
from pipeline.work.place import Place
from tests.integration.attempt_support import assert_closed, job, make_place, run


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


async def test_products_are_published_after_success_with_the_directory_still_open(place: Place) -> None:
    async def publish(path: Path, document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        assert (path / ".running").exists()
        assert (path / "product").read_text() == "x"
        return [{"id": document["job_id"]}]

    result = await run(job("open('product', 'w').write('x')"), place, publish=publish)
    assert result.succeeded, result.traceback
    assert result.products_staged == [{"id": "fam-1"}]
    assert result.report()["job_info"]["metrics"]["products_staged"] == [{"id": "fam-1"}]


async def test_a_failed_publication_fails_the_job(place: Place) -> None:
    async def publish(_: Path, __: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        raise ValueError("no such place")

    result = await run(job("pass"), place, publish=publish)
    assert (result.status, result.exit_code, result.category) == (Status.FAILED, 0, Category.PUBLISH)
    assert result.error == "publish failed: ValueError: no such place"
    assert result.job_info["status"] == 1
    assert (assert_closed(result, place) / "_exit_code").read_text() == "1\n"


async def test_a_publication_that_hangs_is_given_up(place: Place) -> None:
    async def publish(_: Path, __: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        await asyncio.Event().wait()
        return []

    result = await run(job("pass"), replace(place, transfer_timeout=0.2), publish=publish)
    assert result.error == "publish failed: not done in 0.2 s"


async def test_a_failed_command_publishes_nothing(place: Place) -> None:
    published = []

    async def publish(path: Path, _: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        published.append(path)
        return []

    result = await run(job("raise SystemExit(1)"), place, publish=publish)
    assert result.category is Category.COMMAND
    assert published == []


async def test_inputs_are_brought_before_the_start_is_announced(place: Place) -> None:
    order = []

    async def prepare(path: Path, _: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        order.append("prepare")
        (path / "input").write_text("in")
        return [{"url": "u"}]

    async def announce(info: Mapping[str, Any]) -> None:
        order.append("announce")
        assert info["time_start"]
        assert info["job_dir"]

    result = await run(job("print(open('input').read())"), place, prepare=prepare, announce=announce)
    assert result.succeeded, result.traceback
    assert order == ["prepare", "announce"]
    assert result.job_info["metrics"]["inputs_localized"] == [{"url": "u"}]


async def test_inputs_that_can_not_be_brought_fail_the_job_before_its_command(place: Place) -> None:
    async def prepare(_: Path, __: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        raise OSError("no route")

    result = await run(job("open('ran', 'w')"), place, prepare=prepare)
    assert (result.category, result.exit_code) == (Category.INPUTS, None)
    assert not (assert_closed(result, place) / "ran").exists()


async def test_a_stop_ends_the_bringing_of_inputs(place: Place) -> None:
    stop = Stop()

    async def prepare(_: Path, __: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        stop.request(reason="revoked")
        await asyncio.Event().wait()
        return []

    result = await run(job("open('ran', 'w')"), place, prepare=prepare, stop=stop)
    assert (result.status, result.exit_code) == (Status.REVOKED, None)
