"""Produces a partition's ticks: one at a time, and only while it needs them (design §4)."""

import asyncio
import time

from agents.orchestrator.outputs import Outputs
from agents.orchestrator.partition import Partition
from pipeline.crash_points import here

#: Intervals after which a tick that has not come back is followed by another, marked `resumed`.
_PATIENCE = 10


async def tick(partition: Partition, outputs: Outputs, owner: str) -> None:
    """Tick for a partition until cancelled; raises DeliveryError where a tick can't be delivered.

    The next tick is produced only after the one before was counted. It travels through jobs.reports and the gate, so
    it can't overtake a heartbeat, and a gate that stands still stops time.
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
        await outputs.publish([sent], partition.number)
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
