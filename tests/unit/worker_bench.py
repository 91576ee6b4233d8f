"""A worker's actors without brokers: fakes stand at the seams, the publisher and the work."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from confluent_kafka import KafkaError

from agents.bus import Delivered, DeliveryError, Headers, Outcome, Publisher
from agents.worker.actor import now_ms
from agents.worker.crew import Crew
from agents.worker.documents import Documents
from agents.worker.rack import Rack
from agents.worker.reporting import Reporter
from agents.worker.slots import Slot
from agents.worker.status import StatusSender
from agents.worker.work import Assignment, MayPublish, Started, WorkResult
from pipeline.codec import Codec
from pipeline.containers.stop import Stop
from pipeline.holding.clock import BrokerClock
from pipeline.holding.holdings import Holdings
from pipeline.messages.command import GRANT, STOP, Command
from pipeline.messages.report import WorkerReport
from pipeline.messages.status import WorkerStatus
from pipeline.settings import Settings
from pipeline.topic import Topic
from pipeline.topology import Topology

OFFER = WorkerStatus("w1", "w1:1:ab", 0, slots=2, memory_mib=1000, disk_mib=500)
AWAY, TOO_LARGE = KafkaError(KafkaError._MSG_TIMED_OUT), KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)

Run = Callable[[Assignment, Stop, Started, MayPublish], Awaitable[WorkResult]]


class FakePublisher:
    """Takes records, or refuses as many as `errors` holds; reports of `held_kind` wait for `answer`."""

    def __init__(self) -> None:
        self.errors: list[KafkaError] = []
        self.held_kind = ""
        self.waiting: list[Callable[[Outcome], None]] = []
        self.reports: list[WorkerReport] = []
        self.statuses: list[WorkerStatus] = []
        self._codec = Codec()

    def produce(
        self,
        topic: Topic,
        key: str,
        value: bytes,
        partition: int,
        delivered: Callable[[Outcome], None],
        headers: Headers = (),
    ) -> None:
        if topic.schema == "report" and self.errors:
            delivered(DeliveryError(self.errors.pop(0)))
            return
        if topic.schema == "report":
            self.reports.append(WorkerReport.of(self._codec.decode("report", value)))
        else:
            self.statuses.append(WorkerStatus.of(self._codec.decode("status", value)))
        if topic.schema == "report" and self.reports[-1].kind == self.held_kind:
            self.waiting.append(delivered)
        else:
            delivered(Delivered(partition, 0, now_ms()))

    def answer(self) -> None:
        """Say that what is held was delivered, and hold nothing more."""
        self.held_kind = ""
        for delivered in self.waiting:
            delivered(Delivered(0, 0, now_ms()))
        self.waiting.clear()


class FakeWork:
    """Does what it is told for each attempt."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def reap(self) -> list[tuple[str, int]]:
        return []

    async def run(self, assignment: Assignment, stop: Stop, started: Started, may_publish: MayPublish) -> WorkResult:
        return await self._run(assignment, stop, started, may_publish)

    async def close(self) -> None:
        return


@dataclass
class Bench:
    """Two slots and what they need."""

    publisher: FakePublisher
    reporter: Reporter
    rack: Rack
    holdings: Holdings
    gave_up: asyncio.Event = field(default_factory=asyncio.Event)

    def grant(self, job: str = "fa-1", document: str | None = '{"params": {}}') -> None:
        self.rack.heed(Command(GRANT, OFFER.holder, job, 1, lease_ms=60_000, token="t", document=document), now_ms())

    def stop(self, job: str = "fa-1") -> None:
        self.rack.heed(Command(STOP, OFFER.holder, job, 1, reason="revoked"), now_ms())

    def kinds(self, job: str = "fa-1") -> list[str]:
        return [report.kind for report in self.publisher.reports if report.job_id == job]


@asynccontextmanager
async def bench(run: Run, ahead_ms: int = 0, **of_slot: Any) -> AsyncIterator[Bench]:
    """Run two slots on a fake publisher and fake work."""
    publisher, clock, holdings, topology = FakePublisher(), BrokerClock(), Holdings(OFFER), Topology()
    clock.observe(now_ms(), now_ms())
    seam = cast(Publisher, publisher)
    reporter = Reporter(seam, Codec(), topology, retry_pause=0.001)
    status = StatusSender(seam, Codec(), topology, holdings, clock, 60.0)
    made = Bench(publisher, reporter, Rack(holdings, clock, reporter, status, ahead_ms), holdings)
    documents = Documents(Settings(), Codec())
    slots = [Slot(made.rack, reporter, documents, FakeWork(run), "w1", **of_slot) for _ in range(2)]
    crew = Crew(made.gave_up.set, status, *slots)
    await crew.start()
    try:
        yield made
    finally:
        await crew.stop()
        documents.close()


async def eventually(condition: Callable[[], Any]) -> None:
    """Let the loop run until the condition holds, for 10 s at most."""
    deadline = now_ms() + 10_000
    while not condition():
        assert now_ms() < deadline, condition
        await asyncio.sleep(0.002)
