"""Publishes what decisions put out, and says which of it the broker refused."""

import asyncio
import contextlib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import orjson
import structlog
from confluent_kafka import KafkaError

from agents.bus import DeliveryError, Headers, Outcome, Publisher
from agents.orchestrator.tables import Row
from pipeline import protocol
from pipeline.codec import Codec
from pipeline.crash_points import here
from pipeline.identity import tick_token, token, worker_of
from pipeline.ledger.decision import Decision
from pipeline.messages import cloud_event
from pipeline.messages.command import GRANT, Command
from pipeline.messages.inbox import Due, Inbox, OutputRefused
from pipeline.messages.report import TICK, WorkerReport
from pipeline.sealing import SealingError, seal
from pipeline.topic import Topic
from pipeline.topology import Topology

#: The record itself is too large: its job fails for it. Facts never are (`pipeline.ledger.case`).
_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
#: The topic isn't there: of a run topic that is the fault of the jobs that ask for this queue.
_NO_TOPIC = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)

#: The version of the schema of commands that workers of each release know.
_UNSEALED = 1

log = structlog.stdlib.get_logger(__name__)


class RefusedError(Exception):
    """The broker refuses what is no record's own fault: nothing may be acknowledged until that is put right."""


@dataclass(frozen=True, slots=True)
class Output:
    """One record to publish; `family` and `job_id` name what fails where the broker refuses it."""

    topic: Topic
    key: str | bytes
    value: bytes | None
    partition: int
    headers: Headers = ()
    family: str = ""
    job_id: str = ""


class Outputs:
    """Encodes decisions and awaits deliveries; a delivery that fails for good is an exception, never a log line."""

    def __init__(
        self, publisher: Publisher, codec: Codec, topology: Topology, key: bytes, *, sealing: bool = False
    ) -> None:
        """`key` is that of the tokens; with `sealing` no grant leaves this but sealed to its holder."""
        self._publisher = publisher
        self._codec = codec
        self._topology = topology
        self._key = key
        self._sealing = sealing
        self._speaks = protocol.own(sealing)

    @property
    def inbox_name(self) -> str:
        """The inbox's name, for dead letters."""
        return self._topology.inbox.name

    def of(self, decision: Decision, partition: int) -> Iterator[Output]:
        """Yield the records of a decision."""
        family, facts = decision.family.id, self._topology.fact_partition(partition)
        for fact in decision.facts:
            value = self._codec.encode("fact", fact.record())
            headers = cloud_event.of_fact(fact, self._topology.events.name)
            yield Output(self._topology.events, family, value, facts, headers, family, fact.job_id)
        for dispatch in decision.dispatches:
            run = None if dispatch.run is None else self._codec.encode("run", dispatch.run.record())
            headers = [(name, text.encode()) for name, text in dispatch.headers]
            job_id = "" if dispatch.run is None else dispatch.run.job_id
            yield Output(self._topology.run(dispatch.queue), dispatch.key, run, 0, headers, family, job_id)
        for command in decision.commands:
            try:
                yield self.command(command, family)
            except SealingError as error:
                # decided before the policy said so, or for a forged holder: its lease runs out, and another gets it
                log.error("a grant is kept back", job=command.job_id, holder=command.holder, why=str(error))

    def command(self, command: Command, family: str) -> Output:
        """Return the record of a command; a grant gets the token that reports on it must show.

        Raises SealingError for a grant that has to be sealed and can't be.
        """
        if command.kind == GRANT:
            shown = token(self._key, command.job_id, command.attempt, command.holder)
            command = replace(command, token=shown)
            if self._sealing:
                command = seal(command)
        partition = self._topology.commands_partition(worker_of(command.holder))
        version = _UNSEALED if command.sealed is None else None
        value = self._codec.encode("command", command.record(), version=version)
        headers = self._speaks.headers
        return Output(self._topology.commands, command.holder, value, partition, headers, family, command.job_id)

    def announcement(self) -> Output:
        """Return the setting that says what this orchestrator speaks: workers read it before their first grant."""
        return Output(self._topology.settings, protocol.SETTING, orjson.dumps(self._speaks.setting), 0)

    def due(self, due: Due, partition: int) -> Output:
        """Return the inbox record of a timer that ran out."""
        return self.inbox(Inbox(due.job_id.partition("-")[0], due), partition)

    def inbox(self, message: Inbox, partition: int) -> Output:
        """Return the record of a message to the ledger itself."""
        value = self._codec.encode("inbox", message.record())
        return Output(self._topology.inbox, message.family, value, partition)

    def tick(self, owner: str, previous: int, resumed: bool, partition: int) -> Output:
        """Return a tick; it takes the heartbeats' road, so that it can't overtake one, and shows that it is ours."""
        shown = tick_token(self._key, partition, previous, resumed, owner)
        report = WorkerReport(TICK, owner, token=shown, previous=previous, resumed=resumed)
        value = self._codec.encode("report", report.record())
        return Output(self._topology.reports, b"", value, partition)

    def dead(
        self, topic: str, partition: int, offset: int, key: bytes | None, value: bytes | None, reason: str
    ) -> Output:
        """Return the dead letter of a record that can't be handled: its bytes, and where and why in the headers."""
        told = {"topic": topic, "partition": partition, "offset": offset, "reason": reason[:1000]}
        headers = [(name, str(text).encode()) for name, text in told.items()]
        return Output(self._topology.dead, key or b"", value, 0, headers)

    async def publish(self, outputs: Iterable[Output], partition: int) -> None:
        """Publish all and await all deliveries; what is refused for its own fault comes back as a message.

        That is what is too large, and what is for a queue that has no topic. Raises DeliveryError where a record could
        not be delivered for a reason that a retry may cure, RefusedError where the broker's settings must change first.
        """
        sent = list(outputs)
        outcomes = await self._deliver([(o.topic, o.key, o.value, o.partition, o.headers) for o in sent])
        refusals = []
        for output, outcome in zip(sent, outcomes, strict=True):
            if isinstance(outcome, DeliveryError):
                if not outcome.refused:
                    raise outcome
                name = output.topic.name
                log.error("the broker refused an output", topic=name, job=output.job_id, error=str(outcome))
                if not self._is_its_own_fault(output, outcome):
                    raise RefusedError(f"{name}: {outcome}: put right the topic or this process's rights") from outcome
                if output.job_id:
                    refused = OutputRefused(output.job_id, output.topic.name, str(outcome)[:500])
                    refusals.append(self.inbox(Inbox(output.family, refused), partition))
        if refusals:
            await self.publish(refusals, partition)

    def _is_its_own_fault(self, output: Output, refusal: DeliveryError) -> bool:
        if refusal.code in _NO_TOPIC:
            return self._topology.queue_of(output.topic.name) is not None
        # of what not even jobs.dead takes nothing would be left
        return refusal.code in _TOO_LARGE and output.topic not in (self._topology.events, self._topology.dead)

    async def back(self, rows: list[Row]) -> None:
        """Write the changelog records of rows and await them; raises DeliveryError where one was not delivered."""
        outcomes = await self._deliver([(r.changelog, r.key, r.value, r.partition, r.headers) for r in rows])
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, DeliveryError):
                raise outcome
            row.table.delivered(row.partition, outcome.offset)

    async def _deliver(self, records: list[tuple[Topic, str | bytes, bytes | None, int, Headers]]) -> list[Outcome]:
        """Queue all and wait once; one wake-up of the loop, however many records."""
        if not records:
            return []
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        outcomes: list[Outcome | None] = [None] * len(records)
        left = len(records)
        lock = threading.Lock()

        def delivered(index: int, outcome: Outcome) -> None:
            nonlocal left
            outcomes[index] = outcome
            with lock:
                left -= 1
                last = left == 0
            if not last:
                here("ledger.one-delivered")
            if last:
                # a loop that is closed has nobody waiting in it
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(_finish, done)

        for index, (topic, key, value, partition, headers) in enumerate(records):
            self._publisher.produce(topic, key, value, partition, partial(delivered, index), headers)
            here("ledger.one-sent")
        here("ledger.sent")
        await done
        return [outcome for outcome in outcomes if outcome is not None]


def _finish(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
