"""A gate's surroundings: topics of its own on the shared broker, senders, and readers of what comes out."""

import os
import subprocess
import sys
import uuid
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from confluent_kafka import TopicPartition

from agents.admin import apply
from agents.bus import Delivered, Headers, Publisher, consumer
from pipeline.codec import Codec
from pipeline.identity import token
from pipeline.messages.inbox import Inbox
from pipeline.messages.report import WorkerReport
from pipeline.settings import GateSettings, KafkaSettings, Settings, TopicSettings
from pipeline.topic import Topic
from pipeline.topology import ORCHESTRATOR_ID

KEY = "a key for tests"
START = (
    "import sys; from agents.gate.main import run; from pipeline.settings import Settings; sys.exit(run(Settings()))"
)


def settings_for(bootstrap: str, home: Path, **gate: Any) -> Settings:
    """Return settings with topics of their own."""
    return Settings(
        home=home,
        token_key=KEY,
        kafka=KafkaSettings(bootstrap=bootstrap),
        topics=TopicSettings(
            prefix=f"g{uuid.uuid4().hex[:8]}-", inbox_partitions=3, submit_partitions=2, commands_partitions=1
        ),
        gate=GateSettings(lag_check_ms=50, **gate),
    )


class Tail:
    """Everything on a topic, from its start."""

    def __init__(self, settings: Settings, topic: Topic) -> None:
        self._client = consumer(settings, f"tail-{topic.name}")
        self._client.assign([TopicPartition(topic.name, number, 0) for number in range(topic.partitions)])
        self.messages: list[Any] = []

    def more(self) -> list[Any]:
        """Take in what has come, and return all so far."""
        fresh = self._client.consume(1000, timeout=0.1)
        self.messages += [message for message in fresh if message.error() is None]
        return self.messages

    def close(self) -> None:
        self._client.close()


class Site:
    """One installation: its topics, a sender to them, and what the gate made of it."""

    def __init__(self, settings: Settings) -> None:
        apply(settings)
        self.settings = settings
        self.topology = settings.topology
        self.codec = Codec()
        self.publisher = Publisher(settings, "test")
        self._inbox = Tail(settings, self.topology.inbox)
        self._dead = Tail(settings, self.topology.dead)

    def submit(
        self,
        record: dict[str, Any] | bytes | None,
        partition: int = 0,
        headers: Headers = (("client", b"test"),),
        by: str | None = None,
    ) -> "Future[Delivered]":
        value = self.codec.encode("submission", record) if isinstance(record, dict) else record
        return self.publisher.send(self.topology.submit_of(by), b"key", value, partition, headers)

    def report(self, kind: str, job: str, holder: str = "w:1:a", partition: int | None = None, **more: Any) -> None:
        report = WorkerReport(kind, holder, job, 1, token(KEY.encode(), job, 1, holder), **more)
        self.send_report(self.codec.encode("report", report.record()), partition or self.topology.job_partition(job))

    def send_report(self, value: bytes, partition: int) -> None:
        self.publisher.send(self.topology.reports, b"key", value, partition).result(30)

    def inbox(self) -> list[Inbox]:
        """All inbox messages so far, in order within each partition."""
        return [Inbox.of(self.codec.decode("inbox", one.value())) for one in self._inbox.more()]

    def bodies(self, kind: type) -> list[Any]:
        """The bodies of one kind in the inbox so far."""
        return [message.body for message in self.inbox() if isinstance(message.body, kind)]

    def dead(self) -> list[tuple[bytes | None, dict[str, bytes]]]:
        """Value and headers of each dead letter so far."""
        return [(one.value(), dict(one.headers())) for one in self._dead.more()]

    def partitions_of_inbox(self) -> list[tuple[int, Inbox]]:
        """Inbox partition and message of everything so far."""
        return [(one.partition(), Inbox.of(self.codec.decode("inbox", one.value()))) for one in self._inbox.more()]

    def ledger_reaches_the_end(self) -> None:
        """Commit what the ledger would have: all that is in the inbox."""
        client = consumer(self.settings, "ledger", self.topology.name(ORCHESTRATOR_ID))
        reached: dict[int, int] = {}
        for message in self._inbox.more():
            reached[message.partition()] = max(reached.get(message.partition(), 0), message.offset() + 1)
        name = self.topology.inbox.name
        offsets = [
            TopicPartition(name, number, reached.get(number, 0)) for number in range(self.topology.inbox.partitions)
        ]
        client.commit(offsets=offsets, asynchronous=False)
        client.close()

    def close(self) -> None:
        self.publisher.close()
        self._inbox.close()
        self._dead.close()


def started(settings: Settings, folder: Path, start: str = START) -> subprocess.Popen[bytes]:
    """Start a gate as a process of its own; its log is appended to FOLDER/gate.log."""
    with (folder / "gate.log").open("ab") as log:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("JOBSTREAM_")}
        return subprocess.Popen(
            [sys.executable, "-c", start],
            env=environment | settings.environment(),
            cwd=Path(__file__).resolve().parents[2],
            stdout=log,
            stderr=log,
        )
