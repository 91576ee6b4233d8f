"""Fills an installation with families, faster than jobs could run.

Written are the real inbox and the real changelogs: each life is four messages, and the rows that they leave. Of each
partition the first lives are folded by the orchestrator's own code (`agents.orchestrator.partition`), whose rows must
be the same, byte for byte; the others are made by the same lines. What an orchestrator also publishes (facts, run
records, commands) is left out, and gate, scheduler and workers take no part.
"""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from confluent_kafka import KafkaException, Producer, TopicPartition

from agents.admin import apply
from agents.bus import client_config, consumer
from agents.faust_worker import faust_app
from agents.orchestrator.inbox_identity import inbox_bounds, inbox_id
from agents.orchestrator.merging_table import MergingTable
from agents.orchestrator.outputs import Outputs
from agents.orchestrator.partition import Partition, Record
from agents.orchestrator.policy import policy_of
from agents.orchestrator.tables import LedgerTables, Row
from ops.bench.altering import alter
from ops.bench.errors import BenchError
from ops.bench.installation import say
from ops.bench.lives import Life, payload_of
from pipeline.codec import Codec
from pipeline.identity import family_of_hash, payload_hash
from pipeline.messages.inbox import Inbox, PolicySet
from pipeline.settings import Settings
from pipeline.topic import Topic

#: Lives of each partition that the orchestrator's code folds too.
_FOLDED = 50
#: Seconds between two lines of progress, and that the broker is waited for.
_TELL, _PATIENCE = 15.0, 120.0


@dataclass(frozen=True, slots=True)
class Filled:
    """What was written: families, messages of the inbox, rows of the changelogs, and the seconds that it took."""

    families: int
    messages: int
    rows: int
    seconds: float


def fill(settings: Settings, families: int) -> Filled:
    """Write so many families with a completed job each, and commit the inbox for the orchestrators' group.

    The topics must be there and empty, and no orchestrator may run. Raises BenchError where the inbox isn't empty, or
    where a row isn't what the orchestrator makes of the messages.
    """
    if any(inbox_lengths(settings).values()):
        raise BenchError("the inbox isn't empty")
    begun = time.monotonic()
    # so that rows can name times and offsets before the broker has said them
    alter(settings, {settings.topology.inbox.name: {"message.timestamp.type": "CreateTime"}})
    partitions = range(settings.topology.inbox_partitions)
    with ProcessPoolExecutor(len(partitions), get_context("spawn")) as pool:
        done = list(pool.map(partial(_fill_partition, settings, families), partitions))
    ends = inbox_lengths(settings)
    if any(ends[number] != one.messages for number, one in enumerate(done)):
        raise BenchError("the inbox holds more or less than was written")
    apply(settings)
    _commit(settings, ends)
    seconds = round(time.monotonic() - begun, 1)
    return Filled(
        sum(one.families for one in done), sum(one.messages for one in done), sum(one.rows for one in done), seconds
    )


def _fill_partition(settings: Settings, families: int, number: int) -> Filled:
    with TemporaryDirectory(prefix="jobstream-fill-") as folder:
        return _Filling(settings, number, Path(folder)).run(families)


class _Filling:
    """One partition, to which this process alone writes."""

    def __init__(self, settings: Settings, number: int, folder: Path) -> None:
        self._settings = settings
        self._number = number
        self._inbox = settings.topology.inbox
        self._codec = Codec()
        app = faust_app(settings, f"fill-{number}", Table=MergingTable, datadir=folder)
        self._tables = LedgerTables(app, settings.topology)
        self._failures: list[str] = []
        bulk = {"enable.idempotence": True, "linger.ms": 20, "compression.type": "lz4", "acks": "all"}
        self._producer = Producer(
            client_config(settings, f"bench-fill-{number}")
            | bulk
            | {"delivery.report.only.error": True, "on_delivery": self._failed, "queue.buffering.max.kbytes": 65_536}
        )
        self._folding = _Folding(settings, number, folder)
        self._time = 0
        self._messages = self._rows = 0

    def run(self, families: int) -> Filled:
        begun = told = time.monotonic()
        done = 0
        self._set_policy()
        for number in self._numbers(families):
            self._time = time.time_ns() // 1_000_000
            life = Life.of(number, self._number, self._time, self._messages)
            records = [self._write(message) for message in life.messages()]
            rows = life.rows(self._tables)
            if done < _FOLDED:
                self._folding.compare(records, rows)
            for row in rows:
                self._send(row.changelog, row.key, row.value, row.headers)
            self._rows += len(rows)
            done += 1
            if time.monotonic() - told > _TELL:
                told = time.monotonic()
                say(f"filling partition {self._number}: {done} families")
        if self._producer.flush(_PATIENCE) or self._failures:
            raise BenchError(f"not all was written: {self._failures[:1]}")
        return Filled(done, self._messages, self._rows, time.monotonic() - begun)

    def _numbers(self, families: int) -> Iterator[int]:
        """Yield the numbers of the lives whose families are this partition's."""
        for number in range(families):
            if (
                self._settings.topology.inbox_partition(family_of_hash(payload_hash(payload_of(number))))
                == self._number
            ):
                yield number

    def _set_policy(self) -> None:
        """Say the policy first, as an orchestrator does."""
        self._time = time.time_ns() // 1_000_000
        policy, topic = policy_of(self._settings), inbox_id(self._settings)
        record = self._write(Inbox("", PolicySet(topic, policy.json())))
        row = self._tables.policy_row(self._number, topic, policy, record.offset)
        self._folding.compare([record], [row])
        self._send(row.changelog, row.key, row.value, row.headers)
        self._rows += 1

    def _write(self, message: Inbox) -> Record:
        value = self._codec.encode("inbox", message.record())
        self._send(self._inbox, message.family, value)
        self._messages += 1
        return Record(self._messages - 1, self._time, message.family.encode(), value)

    def _send(self, topic: Topic, key: str | bytes, value: bytes | None, headers: Any = ()) -> None:
        while True:
            try:
                self._producer.produce(
                    topic.name, value, key, self._number, timestamp=self._time, headers=list(headers) or None
                )
                return
            except BufferError:
                self._producer.poll(0.1)

    def _failed(self, error: object, _: object) -> None:
        self._failures.append(str(error))


class _Folding(Outputs):
    """The orchestrator's own fold of a partition, whose rows are looked at instead of sent."""

    def __init__(self, settings: Settings, number: int, folder: Path) -> None:
        super().__init__(None, Codec(), settings.topology, b"bench")  # type: ignore[arg-type]
        app = faust_app(settings, f"fold-{number}", Table=MergingTable, datadir=folder)
        self._partition = Partition(number, LedgerTables(app, settings.topology), self, Codec(), lambda: None)
        self._made: list[Row] = []

    def compare(self, records: list[Record], rows: list[Row]) -> None:
        """Apply the records at once; raises BenchError where the orchestrator makes other rows of them."""
        self._made.clear()
        asyncio.run(self._partition.apply(records))
        made = [(row.key, row.value, row.headers) for row in self._made]
        # the index forgets many at a time, and by then says the same of each
        if made != [(row.key, row.value, row.headers) for row in rows[: len(made)]]:
            raise BenchError(f"the orchestrator makes other rows: {made}")

    async def publish(self, outputs: Any, partition: int) -> None:
        """Publish nothing."""

    async def back(self, rows: list[Row]) -> None:
        """Keep the rows."""
        self._made += rows


def inbox_lengths(settings: Settings) -> dict[int, int]:
    """Return where each partition of the inbox ends; a broker that has only just made it may need a moment."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return {number: bounds.end for number, bounds in inbox_bounds(settings).items()}
        except (KafkaException, OSError) as error:
            if time.monotonic() > deadline:
                raise BenchError(f"the inbox's ends are not known: {error}") from error
            time.sleep(0.5)


def _commit(settings: Settings, ends: dict[int, int]) -> None:
    topology = settings.topology
    client = consumer(settings, "bench-fill", topology.name(topology.ledger_id))
    try:
        places = [TopicPartition(topology.inbox.name, number, end) for number, end in ends.items()]
        for place in client.commit(offsets=places, asynchronous=False):
            if place.error is not None:
                raise BenchError(f"the inbox could not be committed: {place.error.str()}")
    finally:
        client.close()
