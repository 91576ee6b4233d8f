"""The client on the bus for tests, and what else that bus can do."""

import asyncio
import itertools
from typing import Any

import pytest

from agents.bus import Delivered
from ops.client.bus import Stored
from ops.submitting import Submission
from pipeline import AsyncClient, Client, Ending, Job, JobFailedError, MemoryBus
from pipeline.statuses import ATTEMPT_FAILED, Status
from tests.client_contract import ClientContract
from tests.waiting import until

_NUMBERS = itertools.count()


class MemorySite:
    """Clients on one bus, whose jobs do what their payload says."""

    def __init__(self) -> None:
        self.bus = MemoryBus(run=self._run)

    def client(self) -> Client:
        # each closes its own bus: here they share one, as clients share an installation
        return Client(bus=_Kept(self.bus))

    def async_client(self) -> AsyncClient:
        return AsyncClient(bus=_Kept(self.bus))

    def does(self, text: str = "", code: int = 0, *, hangs: bool = False) -> dict[str, Any]:
        return {"text": text, "code": code, "hangs": hangs, "number": next(_NUMBERS)}

    def _run(self, job: Job) -> Ending | None:
        if job.params.get("hangs"):
            self.bus.start(job.job_id)
            return None
        return Ending(job.params["code"], f"{job.params['text']}\n")


class _Kept:
    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus
        self._closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    def close(self) -> None:
        pass


@pytest.fixture
def site() -> MemorySite:
    return MemorySite()


class TestOnTheBusForTests(ClientContract):
    pass


def test_a_job_waits_until_the_test_ends_it() -> None:
    bus = MemoryBus()
    with Client(bus=bus) as client:
        handle = client.submit("align", {"scene": 7}, priority=2)
        urgent = client.submit("align", {"scene": 8}, priority=9)
        assert [job.params["scene"] for job in bus.waiting()] == [8, 7]
        (job_id,) = handle.job_ids()
        bus.start(job_id)
        until(lambda: handle.job().status == Status.STARTED, what="the start is heard")
        bus.complete(job_id, output="done\n", products=[{"id": "P1"}])
        assert handle.result(5).products == [{"id": "P1"}]
        bus.fail(urgent.job_ids()[0], "no such scene", exit_code=4)
        with pytest.raises(JobFailedError, match="no such scene"):
            urgent.result(5)
        assert [job.status for job in bus.jobs()] == [Status.COMPLETED, Status.FAILED]
        with pytest.raises(LookupError, match="ended"):
            bus.complete(job_id)


def test_rules_for_retries_are_followed_as_time_passes() -> None:
    bus = MemoryBus()
    with Client(bus=bus) as client:
        handle = client.submit("align", {}, retry={"exit:75": {"attempts": 2, "backoff_ms": 10_000}})
        (job_id,) = handle.job_ids()
        bus.fail(job_id, "busy", exit_code=75)
        assert bus.waiting() == []
        bus.advance(60)
        assert [job.attempt for job in bus.waiting()] == [2]
        bus.complete(job_id)
        began = [Status.QUEUED, Status.STARTED]
        assert [job.event for job in handle.watch(5)] == [*began, ATTEMPT_FAILED, *began, Status.COMPLETED]


def test_a_program_that_raises_fails_its_job() -> None:
    def program(job: Job) -> Ending:
        raise ArithmeticError("too hot")

    with Client(bus=MemoryBus(run=program)) as client, pytest.raises(JobFailedError, match="ArithmeticError: too hot"):
        client.submit("align", {}).result(5)


async def test_a_submission_that_nobody_awaits_any_more_may_still_be_confirmed() -> None:
    class Slow(MemoryBus):
        def send(self, submission: Submission, stored: Stored) -> None:
            under_way.append(stored)

    under_way: list[Stored] = []
    async with AsyncClient(bus=Slow()) as client:
        submitting = asyncio.ensure_future(client.submit("align", {}))
        await asyncio.to_thread(until, lambda: under_way, what="the submission is under way")
        submitting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submitting
        # in a real installation the thread that hears of all deliveries calls this, and an error would end it
        under_way[0](Delivered(0, 0, 0))


def test_a_closed_bus_takes_nothing_more() -> None:
    bus = MemoryBus()
    Client(bus=bus).close()
    with pytest.raises(Exception, match="closed"):
        bus.of_job("x")


def test_the_core_is_loaded_without_the_client() -> None:
    import subprocess
    import sys

    check = "import sys, pipeline; assert not [m for m in sys.modules if m.startswith(('ops', 'confluent_kafka'))]"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
