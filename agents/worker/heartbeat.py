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
        #: partitions whose beat fell due while the one before was under way
        self._overdue: set[int] = set()

    async def act(self) -> None:
        """Beat for each partition whose last beat is delivered: beats don't pile up while the broker is away.

        A beat that fell due meanwhile follows at once: the late one doesn't list what was granted since it was
        made, and that lease need not live until the next.
        """
        while True:
            for partition, shown in self._shown().items():
                if partition in self._under_way:
                    self._overdue.add(partition)
                else:
                    self._begin(partition, shown)
            lease = self._holdings.shortest_lease()
            shorter = self._every if lease is None else max(LEAST_PAUSE, lease / PER_LEASE / 1000)
            await asyncio.sleep(min(self._every, shorter))

    def _shown(self) -> dict[int, tuple[Shown, ...]]:
        return self._holdings.heartbeats(self._topology.job_partition)

    def _begin(self, partition: int, shown: tuple[Shown, ...]) -> None:
        self._under_way[partition] = asyncio.create_task(self._beat(partition, shown))

    async def _beat(self, partition: int, shown: tuple[Shown, ...]) -> None:
        beat = WorkerReport(HEARTBEAT, self._holdings.offer.holder, attempts=shown)
        try:
            await self._reporter.send_to(partition, self._holdings.offer.worker_id, beat)
        except DeliveryError as error:
            log.warning("heartbeat of partition %d not delivered: %s", partition, error)
        finally:
            del self._under_way[partition]
        if partition in self._overdue:
            self._overdue.remove(partition)
            if held := self._shown().get(partition):
                self._begin(partition, held)
