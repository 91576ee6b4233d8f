"""Tells the schedulers what this worker offers and holds: at each change, and every few seconds."""

import asyncio
import logging

from agents.bus import DeliveryError, Publisher
from agents.worker.actor import Actor, now_ms
from agents.worker.delivery import delivered
from pipeline import protocol
from pipeline.codec import Codec
from pipeline.holding.clock import BrokerClock
from pipeline.holding.holdings import Holdings
from pipeline.protocol import Protocol
from pipeline.topology import Topology

log = logging.getLogger(__name__)

#: Seconds between two statuses at least: changes that come closer share one.
COALESCE = 0.01
#: Statuses that may be under way at a time; when the broker is away, no more are queued.
_UNDER_WAY = 4


class StatusSender(Actor):
    """Sends the absolute status; its deliveries teach the broker's clock."""

    def __init__(
        self,
        publisher: Publisher,
        codec: Codec,
        topology: Topology,
        holdings: Holdings,
        clock: BrokerClock,
        every: float,
        speaks: Protocol = protocol.OWN,
    ) -> None:
        super().__init__()
        self._publisher = publisher
        self._codec = codec
        self._topology = topology
        self._holdings = holdings
        self._clock = clock
        self._every = every
        self._headers = speaks.headers
        self._changed = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()

    def changed(self) -> None:
        """Say that what is held or offered changed: a status follows within COALESCE seconds."""
        self._changed.set()

    async def send(self) -> None:
        """Send the status of now; raises DeliveryError."""
        sent = now_ms()
        value = self._codec.encode("status", self._holdings.status(sent).record())
        worker = self._holdings.offer.worker_id
        record = await delivered(self._publisher, self._topology.status, worker, value, 0, self._headers)
        self._clock.observe(sent, record.timestamp)

    async def act(self) -> None:
        """Send at each change and every `every` seconds."""
        told = -1
        while True:
            if self._holdings.revision == told:
                await self._change()
            self._changed.clear()
            if len(self._under_way) >= _UNDER_WAY:
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            told = self._holdings.revision
            task = asyncio.create_task(self._try())
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            await asyncio.sleep(COALESCE)

    async def _change(self) -> None:
        try:
            async with asyncio.timeout(self._every):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _try(self) -> None:
        try:
            await self.send()
        except DeliveryError as error:
            log.warning("status not delivered: %s", error)
