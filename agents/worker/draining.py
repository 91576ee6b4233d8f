"""A worker that fails most of what it runs takes no more, and says why (spec §3.6)."""

import asyncio
import logging

import orjson
from confluent_kafka import KafkaError

from agents.bus import DeliveryError, Publisher
from agents.worker.actor import now_ms
from agents.worker.delivery import delivered
from agents.worker.rack import Rack
from agents.worker.work import WorkResult
from pipeline.holding.troubles import Tolerance, Troubles
from pipeline.settings import WorkerSettings
from pipeline.topology import Topology

log = logging.getLogger(__name__)

#: Seconds between two tries to say on jobs.settings that the worker drains.
RETRY_PAUSE = 5.0


class Warden:
    """Counts runs, and drains the worker.

    The record on jobs.settings is the same that an operator's drain leaves: it outlives the process, schedulers heed
    it, and a resume removes it. Until the brokers have it, or where it may not be written, the worker's own status
    says so.
    """

    def __init__(self, publisher: Publisher, topology: Topology, rack: Rack, tolerance: Tolerance) -> None:
        self._publisher = publisher
        self._topology = topology
        self._rack = rack
        self._troubles = Troubles(tolerance)
        self._drained = False
        self._telling: asyncio.Task[None] | None = None

    def count(self, result: WorkResult) -> str:
        """Count a run that ended; return why the worker drains because of it, empty where it doesn't."""
        if self._rack.holdings.draining:
            return ""
        if self._drained:
            self._drained = False
            self._troubles.forget()
        if result.completed:
            self._troubles.completed(now_ms())
            return ""
        reason = self._troubles.failed(str(result.result.get("category") or ""), now_ms())
        if reason:
            log.error("drains itself: %s", reason)
            self._drained = True
            self._rack.drain(True, reason)
            self._telling = asyncio.create_task(self._tell(reason))
        return reason

    async def _tell(self, reason: str) -> None:
        worker = self._rack.holdings.offer.worker_id
        value = orjson.dumps({"draining": True, "reason": reason, "by": "worker"})
        while self._rack.holdings.draining:
            try:
                await delivered(self._publisher, self._topology.settings, f"worker/{worker}", value, 0)
                return
            except DeliveryError as error:
                if error.code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    log.warning("this worker may not write jobs.settings: a restart will forget that it drains")
                    return
                log.warning("not said yet that this worker drains: %s", error)
            await asyncio.sleep(RETRY_PAUSE)


def tolerance(worker: WorkerSettings) -> Tolerance:
    """Return what a worker's settings allow."""
    given = Tolerance(worker.drain_failures, worker.drain_runs, int(worker.drain_window * 1000))
    return given.of_slots(worker.slots)
