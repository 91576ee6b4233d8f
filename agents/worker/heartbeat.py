"""Keeps the leases of held attempts alive: one record per inbox partition that has any."""

import asyncio
import logging

from agents.bus import DeliveryError
from agents.worker.actor import Actor
from agents.worker.reporting import Reporter
from pipeline.holding.holdings import Holdings
from pipeline.messages.report import HEARTBEAT, Shown, WorkerReport
from pipeline.topology import Topology

log = logging.getLogger(__name__)

#: Heartbeats that fit into a lease at least.
PER_LEASE = 3
#: Seconds between two beats at least, whatever lease a grant names.
LEAST_PAUSE = 0.2


class Heart(Actor):
    """Beats every `every` seconds, or faster if a lease that was granted is shorter than was foreseen."""

    def __init__(self, reporter: Reporter, topology: Topology, holdings: Holdings, every: float) -> None:
        super().__init__()
        self._reporter = reporter
        self._topology = topology
        self._holdings = holdings
        self._every = every
        self._under_way: dict[int, asyncio.Task[None]] = {}

    async def act(self) -> None:
        """Beat for each partition whose last beat is delivered: beats don't pile up while the broker is away."""
        while True:
            for partition, shown in self._holdings.heartbeats(self._topology.job_partition).items():
                if partition not in self._under_way:
                    self._under_way[partition] = asyncio.create_task(self._beat(partition, shown))
            lease = self._holdings.shortest_lease()
            shorter = self._every if lease is None else max(LEAST_PAUSE, lease / PER_LEASE / 1000)
            await asyncio.sleep(min(self._every, shorter))

    async def _beat(self, partition: int, shown: tuple[Shown, ...]) -> None:
        beat = WorkerReport(HEARTBEAT, self._holdings.offer.holder, attempts=shown)
        try:
            await self._reporter.send_to(partition, self._holdings.offer.worker_id, beat)
        except DeliveryError as error:
            log.warning("heartbeat of partition %d not delivered: %s", partition, error)
        finally:
            del self._under_way[partition]
