"""Takes batches of facts and sees each one indexed, or on jobs.dead, before it is acknowledged."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import structlog
from faust.types import EventT, StreamT

from agents.dead_letters import DeadLetters
from agents.held_event import acknowledge
from agents.registry import RegistryError
from agents.sink.batcher import Batcher
from agents.sink.unavailable import UnavailableError
from agents.sink.writer import Writer, persist
from pipeline.codec import Codec, DecodeError
from pipeline.crash_points import here
from pipeline.index.documents import Action, Announced, Plan, plan
from pipeline.index.tasks import plan as plan_of_task
from pipeline.messages.fact import Fact
from pipeline.messages.task import TaskFact

log = structlog.stdlib.get_logger(__name__)


class Held(NamedTuple):
    """A record that was read and is not yet acknowledged."""

    stream: StreamT
    event: EventT


class Indexer:
    """One loop for all partitions: a batch is decoded, written, and then acknowledged in the order it was read."""

    def __init__(
        self,
        codec: Codec,
        writer: Writer,
        dead: DeadLetters,
        batches: "Batcher[Held]",
        prefix: str,
        announced: Announced | None = None,
        tasks: str = "",
    ) -> None:
        """`announced` reads the datasets that a fact only refers to; facts on topic `tasks` are of tasks."""
        self._tasks = tasks
        self._announced = announced
        self._codec = codec
        self._writer = writer
        self._dead = dead
        self._batches = batches
        self._prefix = prefix

    async def run(self) -> None:
        """Index batches until cancelled. Raises DeliveryError where jobs.dead takes no letter."""
        while True:
            await self.index(await self._batches.take())

    async def index(self, batch: Sequence[Held]) -> None:
        """Index one batch; when it returns, each of its records is indexed or dead, and acknowledged."""
        here("sink.taken")
        # asking a registry for a schema blocks, so that never happens on the loop
        plans = await persist(lambda: asyncio.to_thread(self._plans, batch), "decode")
        actions = [action for one in plans for action in one.actions]
        here("sink.planned")
        refused = await self._writer.write(actions)
        await self._bury(batch, plans, actions, refused)
        here("sink.buried")
        for held in batch:
            if _is_current(held.event):
                await acknowledge(held.stream, held.event)
                here("sink.one-acknowledged")
        here("sink.acknowledged")

    def _plans(self, batch: Sequence[Held]) -> list[Plan]:
        try:
            return [self._plan_of(held.event) for held in batch]
        except (OSError, RegistryError) as error:
            raise UnavailableError(f"schema registry: {error}") from error

    def _plan_of(self, event: EventT) -> Plan:
        if event.message.topic == self._tasks:
            return self._plan_of_task(event.value, round((event.message.timestamp or 0) * 1000))
        return self._plan(event.value)

    def _plan_of_task(self, value: bytes | None, time_ms: int) -> Plan:
        try:
            return plan_of_task(TaskFact.of(self._codec.decode("task_fact", value)), time_ms, self._prefix)
        except (DecodeError, TypeError, AttributeError) as error:
            return Plan((), (f"not a task's fact: {error}",))

    def _plan(self, value: bytes | None) -> Plan:
        try:
            return plan(Fact.of(self._codec.decode("fact", value)), self._prefix, self._announced)
        except (DecodeError, TypeError, AttributeError) as error:  # JSON may hold any type anywhere
            return Plan((), (f"not a fact: {error}",))

    async def _bury(
        self, batch: Sequence[Held], plans: Sequence[Plan], actions: Sequence[Action], refused: dict[int, str]
    ) -> None:
        letters = []
        first = 0
        for held, one in zip(batch, plans, strict=True):
            places = range(first, first + len(one.actions))
            first = places.stop
            reasons = [*one.refused, *(f"{actions[n].index}: {refused[n]}" for n in places if n in refused)]
            if reasons:
                letters.append(self._letter(held.event, "; ".join(reasons)))
        await asyncio.gather(*letters)

    async def _letter(self, event: EventT, reason: str) -> None:
        message = event.message
        log.warning(
            "a fact can't be indexed as it is", partition=message.partition, offset=message.offset, reason=reason
        )
        await asyncio.wrap_future(
            self._dead.send(
                message.topic,
                message.partition,
                message.offset,
                round((message.timestamp or 0) * 1000),
                message.key,
                message.value,
                reason,
            )
        )


def _is_current(event: EventT) -> bool:
    """Whether it was read since the last rebalance: what was read before is read again by whoever owns it now."""
    return bool(event.message.generation_id == event.app.consumer_generation_id)
