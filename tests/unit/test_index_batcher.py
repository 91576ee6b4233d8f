"""Batches of the sink."""

import asyncio

from agents.sink.batcher import Batcher


async def test_a_full_batch_does_not_wait_for_the_linger() -> None:
    batcher: Batcher[int] = Batcher(3, linger=60)
    for number in range(5):
        await batcher.put(number)
    async with asyncio.timeout(5):
        assert await batcher.take() == [0, 1, 2]


async def test_a_batch_that_does_not_fill_is_taken_after_the_linger() -> None:
    batcher: Batcher[int] = Batcher(3, linger=0.01)
    taking = asyncio.create_task(batcher.take())
    await batcher.put(1)
    async with asyncio.timeout(5):
        assert await taking == [1]


async def test_writers_wait_while_two_batches_wait_and_nothing_is_lost_or_reordered() -> None:
    batcher: Batcher[int] = Batcher(2, linger=0)
    writing = asyncio.create_task(_put_all(batcher, 20))
    taken: list[int] = []
    async with asyncio.timeout(5):
        while len(taken) < 20:
            batch = await batcher.take()
            assert 1 <= len(batch) <= 2
            taken += batch
    await writing
    assert taken == list(range(20))


async def test_a_reader_that_is_cancelled_while_it_lingers_loses_nothing() -> None:
    batcher: Batcher[int] = Batcher(3, linger=60)
    await batcher.put(1)
    taking = asyncio.create_task(batcher.take())
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    await _put_all(batcher, 2)
    async with asyncio.timeout(5):
        assert await batcher.take() == [1, 0, 1]


async def _put_all(batcher: Batcher[int], count: int) -> None:
    for number in range(count):
        await batcher.put(number)
