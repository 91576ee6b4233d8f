"""A worker's life: reap, listen, offer, run; and its end in two steps."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from confluent_kafka import KafkaException

from agents.announcing import Announcer
from agents.bus import DeliveryError, Publisher
from agents.registry import codec
from agents.worker.actor import now_ms
from agents.worker.cloud import Cloud, CloudWatch, metadata_service
from agents.worker.commands import Ear, Listener
from agents.worker.crew import Crew
from agents.worker.documents import Documents
from agents.worker.draining import Warden, tolerance
from agents.worker.exits import Exit
from agents.worker.heartbeat import Heart
from agents.worker.offer import offer
from agents.worker.rack import Rack
from agents.worker.reporting import Reporter
from agents.worker.slots import Slot
from agents.worker.status import StatusSender
from agents.worker.work import Work
from pipeline import protocol
from pipeline.containers.errors import EngineError
from pipeline.containers.stop import Level
from pipeline.containers.threads import in_thread
from pipeline.crash_points import here
from pipeline.holding.clock import BrokerClock
from pipeline.holding.holdings import Holdings
from pipeline.messages.report import HEARTBEAT, WorkerReport
from pipeline.sealing import HolderKey
from pipeline.settings import Settings

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Seconds between two tries to reach the engine or the brokers at the start.
RETRY_PAUSE = 2.0
#: Seconds that stopped attempts get, beyond their grace, until their last reports are delivered.
HAND_BACK = 15.0
#: Seconds for the last status and for closing the connections.
FAREWELL = 3.0


class Worker:
    """One process, under one holder name, from its start to its exit code."""

    def __init__(self, settings: Settings, holder: str, work: Work, cloud: Cloud, key: HolderKey | None = None) -> None:
        """Make the actors; nothing is started, and no broker needed, yet; `cloud` gets what is learnt.

        With a `key`, the holder's own, only grants that are sealed to it are taken.
        """
        speaks = protocol.own(key is not None)
        topology, worker = settings.topology, settings.worker
        self._settings = settings
        self._work = work
        self._publisher = Publisher(settings, f"worker-{worker.id}", **{"linger.ms": 1})
        self._codec = codec(settings)
        self._holdings = Holdings(offer(settings, holder), sealed=key is not None)
        self._documents = Documents(settings, self._codec)
        self._ear = Ear(settings, self._codec, holder, key)
        clock = BrokerClock()
        self._reporter = reporter = Reporter(self._publisher, self._codec, topology)
        self._status = StatusSender(
            self._publisher, self._codec, topology, self._holdings, clock, worker.status_ms / 1000, speaks
        )
        self._rack = Rack(self._holdings, clock, reporter, self._status, worker.ahead_ms, speaks)
        self._listener = Listener(self._rack, self.superseded)
        heart = Heart(reporter, topology, self._holdings, worker.heartbeat_ms / 1000)
        self._announcer = announcer = Announcer(self._publisher, self._codec, topology)
        warden = Warden(self._publisher, topology, self._rack, tolerance(worker))
        to_each = (self._rack, reporter, self._documents, work, worker.id, announcer, warden)
        slots = (Slot(*to_each, replays=worker.replays) for _ in range(worker.slots))
        service = metadata_service(worker)
        watch = (CloudWatch(service, cloud, self._rack, worker.notice_check),) if service else ()
        self._crew = Crew(self._gave_up, self._status, heart, *slots, self._listener, *watch)
        self._exit = Exit.OK
        self._asked = False
        self._told = asyncio.Event()
        self._hurried = asyncio.Event()

    def stop(self) -> None:
        """End in order: what runs may finish within the grace. Called again: end now."""
        if self._asked:
            self._hurried.set()
        self._asked = True
        self._told.set()

    def superseded(self) -> None:
        """End in order, for a newer process took this one's place."""
        self._exit = Exit.SUPERSEDED
        self._told.set()

    async def live(self) -> Exit:
        """Run until told to stop; return the exit code."""
        try:
            if not await self._unless_told(self._prepare()):
                return self._exit
            self._ear.start(self._listener.hand_over, self._deaf)
            await self._crew.start()
            log.info("worker %s offers %d slots", self._holdings.offer.holder, self._holdings.offer.slots)
            await self._told.wait()
            return await self._end()
        finally:
            await self._close()

    async def _prepare(self) -> None:
        orphans = await _until_done(self._work.reap, EngineError, "the engine")
        here("worker.reaped")
        for job_id, attempt in orphans:
            log.warning("job %s, attempt %d: left by an earlier process, ended", job_id, attempt)
            self._holdings.found_orphan(job_id, attempt, now_ms())
        await _until_done(lambda: in_thread(self._learn_schemas), OSError, "the schema registry")
        opened = _until_done(lambda: in_thread(self._ear.open), (KafkaException, TimeoutError), "Kafka")
        drain = await opened
        self._holdings.drain(drain.draining, drain.reason)
        here("worker.listening")
        await _until_done(self._status.send, DeliveryError, "Kafka")
        await _until_done(self._introduce, DeliveryError, "Kafka")

    async def _introduce(self) -> None:
        """Say to each partition of the ledger who this is: what an earlier process of this worker held is lost."""
        here("worker.introduced")
        hello = WorkerReport(HEARTBEAT, self._holdings.offer.holder)
        for partition in range(self._settings.topics.inbox_partitions):
            await self._reporter.send_to(partition, self._settings.worker.id, hello)

    def _learn_schemas(self) -> None:
        self._codec.encode("status", self._holdings.offer.record())
        self._codec.encode("report", WorkerReport(HEARTBEAT, self._holdings.offer.holder).record())
        self._announcer.learn()

    async def _end(self) -> Exit:
        self._rack.leave()
        worker = self._settings.worker
        grace = 0.0 if self._exit is Exit.FAILED else worker.grace
        emptied = asyncio.ensure_future(self._rack.emptied())
        hurried = asyncio.ensure_future(self._hurried.wait())
        try:
            await asyncio.wait({emptied, hurried}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
            if not emptied.done() and not hurried.done():
                self._rack.stop_all(Level.TERM)
                patience = worker.kill_grace + HAND_BACK
                await asyncio.wait({emptied, hurried}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if not emptied.done():
                self._rack.stop_all(Level.KILL)
                await asyncio.wait({emptied}, timeout=HAND_BACK)
            if not emptied.done():
                log.error("%d attempts are left to their leases", len(self._holdings))
                return self._exit or Exit.UNDELIVERED
            await self._say_farewell()
            return self._exit
        finally:
            emptied.cancel()
            hurried.cancel()

    async def _say_farewell(self) -> None:
        try:
            await asyncio.wait_for(self._status.send(), FAREWELL)
        except (DeliveryError, TimeoutError):
            log.warning("the last status was not delivered")

    async def _close(self) -> None:
        await self._crew.stop()
        await in_thread(self._ear.close)
        await in_thread(self._documents.close)
        await self._work.close()
        await in_thread(self._publisher.close, FAREWELL)

    async def _unless_told(self, step: Awaitable[None]) -> bool:
        """Do a step; return False if told to stop before it is done."""
        doing, told = asyncio.ensure_future(step), asyncio.ensure_future(self._told.wait())
        try:
            await asyncio.wait({doing, told}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()
            return doing.done()
        finally:
            doing.cancel()
            told.cancel()

    def _deaf(self, error: BaseException) -> None:
        log.error("commands can't be read any more: %s: %s", type(error).__name__, error)
        self._gave_up()

    def _gave_up(self) -> None:
        self._exit = Exit.FAILED
        self._told.set()


async def _until_done(
    step: Callable[[], Awaitable[T]], passing: type[Exception] | tuple[type[Exception], ...], what: str
) -> T:
    """Do a step again until it raises none of the errors that pass with time."""
    while True:
        try:
            return await step()
        except passing as error:
            log.warning("%s can't be reached: %s", what, error)
            await asyncio.sleep(RETRY_PAUSE)
