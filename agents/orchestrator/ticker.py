"""Produces a partition's ticks: one at a time, and only while it needs them (design §4)."""

import asyncio
import time

import structlog

from agents.bus import DeliveryError
from agents.orchestrator.outputs import Outputs
from agents.orchestrator.partition import Partition
from pipeline.crash_points import here

log = structlog.stdlib.get_logger(__name__)

#: Intervals after which a tick that has not come back is followed by another, marked `resumed`.
_PATIENCE = 10


async def tick(partition: Partition, outputs: Outputs, owner: str) -> None:
    """Tick for a partition until cancelled; raises RefusedError where the broker refuses a tick for good.

    One that it does not take for minutes, because it is away, is forgotten, and the next one is marked `resumed`. The
    next tick is produced only after the one before was counted. It travels through jobs.reports and the gate, so it
    can't overtake a heartbeat, and a gate that stands still stops time.
    """
    resumed = True
    while True:
        clock = partition.clock
        await asyncio.sleep(clock.policy.tick_ms / 1000)
        if not partition.needs_ticks(time.time_ns() // 1_000_000):
            continue
        here("ledger.tick-due")
        before = clock.last_tick
        sent = outputs.tick(owner, -1 if resumed else before, resumed, partition.number)
        try:
            await outputs.publish([sent], partition.number)
        except DeliveryError as error:
            log.warning("a tick was not delivered", partition=partition.number, error=str(error))
            resumed = True
            continue
        here("ledger.tick-sent")
        resumed = not await _counted(partition, before, _PATIENCE * clock.policy.tick_ms / 1000)


async def _counted(partition: Partition, before: int, patience: float) -> bool:
    """Wait until a tick after `before` was counted; say whether that was within `patience` seconds."""
    try:
        async with asyncio.timeout(patience):
            while partition.clock.last_tick == before:
                partition.applied.clear()
                await partition.applied.wait()
    except TimeoutError:
        return False
    return True
