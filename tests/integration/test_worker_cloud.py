"""A worker on a machine of the cloud: what it learns, and what it does when the machine will be taken away."""

import asyncio
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agents.worker.cloud import Cloud, CloudWatch
from agents.worker.metadata import Item, Metadata
from agents.worker.work import Assignment, MayPublish, Started, WorkResult
from pipeline.containers.stop import Stop
from pipeline.messages.report import COMPLETED, RELEASE, STARTED
from tests.integration.metadata_server import VALUES, Handler, MetadataServer, metadata_server
from tests.integration.worker_support import Ledger, ledger
from tests.unit.worker_bench import Bench, bench, eventually
from tests.waiting import until

NOTICE = '{"action": "terminate", "time": "2026-11-28T12:00:00Z"}'
INTERRUPTION = str(Item.INTERRUPTION)
SAID = "the machine is a spot instance that will terminate at 2026-11-28T12:00:00Z"


async def succeeds(assignment: Assignment, stop: Stop, started: Started, may_publish: MayPublish) -> WorkResult:
    return WorkResult(True, {})


@asynccontextmanager
async def watched(server: MetadataServer) -> AsyncIterator[tuple[Bench, Cloud]]:
    """Two slots, and a watch over what the server says."""
    async with bench(succeeds) as made:
        cloud = Cloud()
        watch = CloudWatch(Metadata(server.url, patience=0.2), cloud, made.rack, 0.01, retry=0.01)
        await watch.start()
        try:
            yield made, cloud
        finally:
            await watch.stop()


async def test_a_notice_drains_the_worker_again_should_somebody_resume_it() -> None:
    with metadata_server() as server:
        async with watched(server) as (made, cloud):
            await eventually(lambda: cloud.facts)
            assert not made.holdings.draining
            server.values[INTERRUPTION] = NOTICE
            await eventually(lambda: made.holdings.draining)
            assert SAID in made.holdings.reason
            made.rack.drain(False)
            await eventually(lambda: made.holdings.draining)


async def test_a_service_that_is_away_at_first_is_asked_again() -> None:
    def busy(request: Handler) -> bool:
        if len(request.server.asked) < 5:
            request.say(503)
            return True
        return False

    with metadata_server(busy) as server:
        async with watched(server) as (_, cloud):
            await eventually(lambda: cloud.facts)


async def test_what_is_no_notice_or_no_answer_drains_nobody() -> None:
    with metadata_server() as server:
        async with watched(server) as (made, cloud):
            server.values[INTERRUPTION] = "<html>everything is fine</html>"
            await eventually(lambda: server.paths().count(VALUES + INTERRUPTION) > 3)
            server.trick = lambda request: request.say(500) is None
            asked = len(server.asked)
            await eventually(lambda: len(server.asked) > asked + 3)
            assert cloud.facts
            assert not made.holdings.draining


@pytest.mark.parametrize(("life_cycle", "pause"), [("on-demand", 0.01), ("spot", 0.0)])
async def test_no_notice_is_looked_for_where_none_can_come_or_is_wanted(life_cycle: str, pause: float) -> None:
    with metadata_server() as server:
        server.values |= {"instance-life-cycle": life_cycle, INTERRUPTION: NOTICE}
        async with bench(succeeds) as made:
            cloud = Cloud()
            # where it looks for notices, it never ends
            await asyncio.wait_for(CloudWatch(Metadata(server.url), cloud, made.rack, pause).act(), 10)
            assert cloud.facts["ec2_instance_life_cycle"] == life_cycle
            assert VALUES + INTERRUPTION not in server.paths()


@pytest.fixture
def played(kafka: str, tmp_path: Path) -> Iterator[Ledger]:
    with ledger(kafka, tmp_path, f"t{uuid.uuid4().hex[:8]}.") as playing:
        yield playing


def test_a_worker_waits_for_no_service_tells_jobs_what_it_learnt_and_leaves_in_time(
    played: Ledger, tmp_path: Path
) -> None:
    answering = threading.Event()

    def slow(request: Handler) -> bool:
        if not answering.is_set():
            request.hang()
            return True
        return False

    def waits(name: str) -> dict[str, object]:
        script = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)"
        return {"params": {"_command": f"{sys.executable} -c $script {tmp_path / name}", "script": script}}

    with metadata_server(slow) as server:
        settings = {"engine": "process", "metadata": server.url, "notice_check": 0.1}
        with played.worker(**settings) as process:
            holder = played.holder(process)
            played.grant(holder, "fa-1", {"params": {"_command": "true"}})
            first = played.result("fa-1", COMPLETED)["job_info"]["facts"]
            assert "ec2_instance_id" not in first
            server.closing.set()
            answering.set()
            until(lambda: VALUES + INTERRUPTION in server.paths(), what="the facts are known")
            played.grant(holder, "fb-1", waits("go"))
            info = played.result("fb-1", STARTED)["job_info"]
            assert info["facts"]["ec2_instance_type"] == "c7g.2xlarge"
            assert info["execute_node"] == "ec2-54-70-1-2.us-west-2.compute.amazonaws.com"
            assert info["public_ip"] == "54.70.1.2"
            server.values[INTERRUPTION] = NOTICE
            assert SAID in played.status(lambda status: not status.accepting).reason
            played.grant(holder, "fc-1")
            assert SAID in played.result("fc-1", RELEASE)["reason"]
            # what runs goes on
            (tmp_path / "go").touch()
            played.report("fb-1", COMPLETED)
