"""What the sink's tests share: facts as the ledger writes them, topics of a test's own, the sink as a process."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import NewTopic
from elasticsearch import Elasticsearch

from agents.admin_client import admin_client
from agents.bus import Publisher, end_offsets, read_to_end
from pipeline.codec import Codec
from pipeline.messages.fact import Fact
from pipeline.settings import Settings
from tests.waiting import until

T0 = 1_790_000_000_000
DAY = "2026.09.21"
SINK = "import sys, agents.sink.main as sink, pipeline.settings as s; sys.exit(sink.run(s.Settings()))"
#: The group's coordinator is found while the first group of a broker is made.
_NO_COORDINATOR_YET = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
)
STATUSES = ("job-queued", "job-started", "job-completed")


def make_fact(number: int, seq: int, **changes: Any) -> Fact:
    """The fact `seq` of job `number`; `document` given as a mapping is merged into the job's document."""
    family = f"{number:020x}"
    job_id = f"{family}-{number:012x}"
    status = changes.pop("status", STATUSES[min(seq, len(STATUSES)) - 1])
    document = {
        "uuid": f"uuid-{number}",
        "job_id": job_id,
        "payload_id": f"s-{number}",
        "payload_hash": f"hash-{number}",
        "dedup": True,
        "status": status,
        "type": "job-test:v1",
        "resource": "job",
        "@version": "1",
        "@timestamp": "2026-09-21T14:13:20.000000Z",
        "attempt": 1,
        "seq": seq,
        "job": {
            "type": "job-test:v1",
            "name": job_id,
            "job_id": job_id,
            "priority": 3,
            "tag": "test",
            "params": {"_command": "/bin/true", "deep": [1, {"a": None}]},
            "localize_urls": [{"url": "file:///x"}],
            "job_info": {
                "id": job_id,
                "index": f"job_status-{DAY}",
                "job_queue": "test",
                "payload_hash": f"hash-{number}",
            },
        },
        **changes.pop("document", {}),
    }
    return Fact(
        **{
            "job_id": job_id,
            "family": family,
            "submission_id": f"s-{number}",
            "payload_hash": f"hash-{number}",
            "seq": seq,
            "status": status,
            "attempt": 1,
            "time": T0 + seq,
            "document": json.dumps(document),
            "inbox_partition": 0,
            "inbox_offset": number * 100 + seq,
            "index": 0,
            "code_version": "test",
            **changes,
        }
    )


@dataclass
class SinkBench:
    """Topics and indices that one test has for itself on shared servers, and the sinks it started."""

    bootstrap: str
    elasticsearch: str
    home: Path
    sink: dict[str, Any] = field(default_factory=dict)
    name: str = field(default_factory=lambda: f"t{uuid4().hex[:8]}")
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.topic_prefix = f"{self.name}."
        self.settings = self.settings_with()
        self.publisher = Publisher(self.settings, f"{self.name}-test")
        self.codec = Codec()
        self.create_topics()

    def settings_with(self, **sink: Any) -> Settings:
        section = {
            "elasticsearch": self.elasticsearch,
            "index_prefix": f"{self.name}-",
            "refresh": "100ms",
            "linger_ms": 50,
        }
        return Settings(
            home=self.home,
            kafka={"bootstrap": self.bootstrap},
            topics={"prefix": self.topic_prefix, "inbox_partitions": 2},
            sink=section | self.sink | sink,
        )

    def create_topics(self) -> None:
        topology = self.settings.topology
        admin = admin_client({"bootstrap.servers": self.bootstrap})
        topics = [
            NewTopic(one.name, one.partitions, 1, config=one.config())
            for one in (topology.events, topology.task_events, topology.datasets, topology.dead)
        ]
        for future in admin.create_topics(topics).values():
            future.result(30)

    def produce(self, facts: Iterable[Fact]) -> int:
        """Deliver the facts in that order; return how many they were."""
        return self.produce_raw((fact.family, self.codec.encode("fact", fact.record())) for fact in facts)

    def produce_raw(self, records: Iterable[tuple[str, bytes | None]]) -> int:
        topology = self.settings.topology
        futures = [
            self.publisher.send(topology.events, key, value, topology.inbox_partition(key)) for key, value in records
        ]
        for future in futures:
            future.result(60)
        return len(futures)

    def start(self, **sink: Any) -> "subprocess.Popen[bytes]":
        """Start a sink; its log goes to the home."""
        settings = self.settings_with(**sink)
        with self.log_file.open("ab") as log:
            process = subprocess.Popen([sys.executable, "-c", SINK], env=settings.environment(), stderr=log, stdout=log)
        self.processes.append(process)
        return process

    @property
    def log_file(self) -> Path:
        self.home.mkdir(parents=True, exist_ok=True)
        return self.home / "sink.log"

    def log(self) -> list[dict[str, Any]]:
        lines = self.log_file.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def logged(self, text: str) -> bool:
        return any(text in str(line.get("event")) for line in self.log())

    def stop(self, process: "subprocess.Popen[bytes]", number: int = signal.SIGTERM) -> int:
        process.send_signal(number)
        return process.wait(30)

    def lag(self, group: str = "jobstream-sink") -> int:
        """How many facts are not acknowledged."""
        events = self.settings.topology.events
        # AdminClient.list_consumer_group_offsets ends the process where the group's coordinator is not known yet
        client = self._consumer(self.settings.topology.name(group))
        try:
            ends = end_offsets(client, events.name, range(events.partitions))
            asked = [TopicPartition(events.name, number) for number in ends]
            committed = {one.partition: max(one.offset, 0) for one in client.committed(asked, timeout=30)}
        except KafkaException as error:
            if error.args[0].code() not in _NO_COORDINATOR_YET:
                raise
            return 1
        finally:
            client.close()
        return sum(end - committed[number] for number, end in ends.items())

    def until_acknowledged(self, timeout: float = 60.0, group: str = "jobstream-sink") -> None:
        until(lambda: self.lag(group) == 0, timeout, 0.2, "all facts acknowledged")

    def _consumer(self, group: str = "unused") -> Consumer:
        return Consumer({"bootstrap.servers": self.bootstrap, "group.id": group, "enable.auto.commit": False})

    def dead(self) -> list[tuple[bytes | None, dict[str, bytes]]]:
        """Value and headers of each letter on jobs.dead."""
        client = self._consumer()
        try:
            found = read_to_end(client, self.settings.topology.dead.name, [0])
            return [(message.value(), dict(message.headers() or [])) for message in found]
        finally:
            client.close()

    def documents(self, alias: str, prefix: str | None = None) -> dict[tuple[str, str], dict[str, Any]]:
        """All documents behind an alias, by (index without prefix, id)."""
        start = f"{self.name}-" if prefix is None else prefix
        with Elasticsearch(self.elasticsearch) as client:
            client.indices.refresh(index=f"{start}*")
            hits: list[dict[str, Any]] = []
            after: Sequence[Any] | None = None
            while page := client.search(
                index=f"{start}{alias}", size=5000, sort=["_doc"], search_after=after, version=True
            )["hits"]["hits"]:
                hits += page
                after = page[-1]["sort"]
        return {
            (hit["_index"].removeprefix(start), hit["_id"]): {**hit["_source"], "_version": hit["_version"]}
            for hit in hits
        }

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait(10)
        self.publisher.close()
        with Elasticsearch(self.elasticsearch, request_timeout=30) as client:
            found = client.indices.get(index=f"{self.name}*", expand_wildcards="all")
            for name in found:
                client.indices.delete(index=name)
