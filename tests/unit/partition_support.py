"""One inbox partition over tables of its own, and a publisher that keeps what it is given instead of sending it."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import faust
import orjson
from confluent_kafka import KafkaError
from faust.types import TP

from agents.bus import Delivered, DeliveryError, Headers, Outcome
from agents.orchestrator.merging_table import MergingTable
from agents.orchestrator.outputs import Outputs
from agents.orchestrator.partition import Partition, Record
from agents.orchestrator.tables import LedgerTables
from pipeline.codec import Codec
from pipeline.identity import family_of_hash, family_of_job, job_id
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Body, Claim, Inbox, NewJob, Report, Submitted, Tick
from pipeline.messages.needs import Needs
from pipeline.topic import Topic
from pipeline.topology import Topology

TOPOLOGY = Topology(inbox_partitions=1)
CODEC = Codec()
START = 1_764_000_000_000
HOLDER = "w1:1000:aa"


class KeptPublisher:
    """Delivers at once, to lists; `refuses` says what the broker would answer to a record, None for a delivery."""

    def __init__(self) -> None:
        self.records: dict[str, list[tuple[bytes, bytes | None, Headers]]] = {}
        self.refuses: Callable[[Topic, bytes | None], int | None] = lambda topic, value: None

    def produce(
        self,
        topic: Topic,
        key: str | bytes,
        value: bytes | None,
        partition: int,
        delivered: Callable[[Outcome], None],
        headers: Headers = (),
    ) -> None:
        code = self.refuses(topic, value)
        if code is not None:
            delivered(DeliveryError(KafkaError(code)))
            return
        log = self.records.setdefault(topic.name, [])
        log.append((key.encode() if isinstance(key, str) else key, value, headers))
        delivered(Delivered(partition, len(log) - 1, START))

    def read(self, topic: Topic, schema: str) -> list[dict]:
        """Return the decoded records of a topic, tombstones left out."""
        return [CODEC.decode(schema, value) for _, value, _ in self.records.get(topic.name, []) if value is not None]


def tables(folder: Path, store: str = "memory") -> LedgerTables:
    """Return the ledger's tables without a broker, their partition 0 open."""
    app = faust.App("t", broker="kafka://localhost:1", store=STORES[store], datadir=folder, Table=MergingTable)
    return LedgerTables(app, TOPOLOGY)


STORES = {"memory": "memory://", "rocksdb": "rocksdb://?driver=rocksdict"}


class Owner:
    """An orchestrator's life on the partition: each message gets the next offset and a later time."""

    def __init__(self, folder: Path, store: str = "memory", *, sealing: bool = False) -> None:
        self.sealing = sealing
        self.publisher = KeptPublisher()
        self.tables = tables(folder, store)
        self.log: list[Record] = []
        self.now = START
        self.recover()

    def recover(self) -> None:
        """Begin another life over the same tables."""
        self.outputs = Outputs(self.publisher, CODEC, TOPOLOGY, b"key", sealing=self.sealing)  # type: ignore[arg-type]
        self.partition = Partition(0, self.tables, self.outputs, CODEC, lambda: None)
        asyncio.run(self.partition.recover())

    def append(self, family: str, body: Body, step: int = 10, **fields: object) -> Record:
        """Write a message to the inbox, which nobody has read yet."""
        self.now += step
        value = CODEC.encode("inbox", Inbox(family, body, **fields).record())
        self.log.append(Record(len(self.log), self.now, b"", value))
        return self.log[-1]

    def apply(self, records: Sequence[Record]) -> None:
        asyncio.run(self.partition.apply(records))

    def send(self, family: str, body: Body, step: int = 10, **fields: object) -> None:
        self.apply([self.append(family, body, step, **fields)])

    def tick(self, step: int) -> None:
        """Let time pass by a tick, and apply what comes back of it, and of that."""
        seen = len(self.publisher.records.get(TOPOLOGY.inbox.name, []))
        self.send("", Tick(self.partition.clock.last_tick, False, "o"), step)
        while back := self.publisher.records.get(TOPOLOGY.inbox.name, [])[seen:]:
            seen += len(back)
            for _, value, _ in back:
                self.now += 10
                self.log.append(Record(len(self.log), self.now, b"", value or b""))
            self.apply(self.log[len(self.log) - len(back) :])

    def submit(self, hash_: str, submission: str = "s1", step: int = 10) -> str:
        family = family_of_hash(hash_)
        job = job_id(family, submission, hash_, "c", "q")
        body = orjson.dumps({"type": "t", "job_info": {"id": job}}).decode()
        new = NewJob(job, "q", "c", 0, Needs(), body)
        self.send(family, Submitted(submission, hash_, True, (new,)), step)
        return job

    def finish(self, job: str, kind: str = "completed", **result: object) -> None:
        family = family_of_job(job)
        self.send(family, Claim(job, 1, "q", HOLDER, "c"))
        self.send(family, Report(kind, job, 1, HOLDER, orjson.dumps(result).decode()))

    def rows(self) -> tuple[list[str], list[str]]:
        """Return the ids of the families and of the documents that have a row."""
        return self.tables.families_after(0, "", 9999), self.tables.documents_after(0, "", 9999)

    def facts(self) -> list[Fact]:
        return [Fact.of(one) for one in self.publisher.read(TOPOLOGY.events, "fact")]


def changelog(table: str) -> TP:
    return TP(f"jobstream-orchestrator-{table}-changelog", 0)
