"""Deliveries as the loop awaits them."""

import asyncio

from agents.bus import Delivered, DeliveryError, Headers, Outcome, Publisher
from pipeline.crash_points import here
from pipeline.topic import Topic


async def delivered(
    publisher: Publisher, topic: Topic, key: str, value: bytes, partition: int, headers: Headers = ()
) -> Delivered:
    """Send a record and return where it went; raises DeliveryError.

    Who is cancelled no longer waits, but the record stays queued and the publisher is not disturbed.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Delivered] = loop.create_future()

    def settle(outcome: Outcome) -> None:
        if future.done():
            return
        if isinstance(outcome, DeliveryError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def called_back(outcome: Outcome) -> None:
        try:
            loop.call_soon_threadsafe(settle, outcome)
        except RuntimeError:
            # the loop is closed: nobody waits any more
            return

    publisher.produce(topic, key, value, partition, called_back, headers)
    here("worker.record-sent")
    return await future
