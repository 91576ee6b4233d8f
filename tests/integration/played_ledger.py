"""A ledger played by the test: takes submissions and requests as they are, and says facts that the test chooses."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from agents.bus import Publisher
from ops.reading.log import Log
from pipeline.codec import Codec
from pipeline.identity import family_of_hash, family_of_job, job_id, payload_hash
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Control, Inbox, NewJob, Source, Submitted
from pipeline.messages.needs import Needs
from pipeline.settings import Settings


@dataclass
class PlayedLedger:
    """Writes to inbox and events as the gate and the ledger would."""

    settings: Settings
    codec: Codec = field(default_factory=Codec)
    seqs: dict[str, int] = field(default_factory=dict)
    submissions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.topology = self.settings.topology
        self.publisher = Publisher(self.settings, "played-ledger", **{"linger.ms": 0})

    def close(self) -> None:
        self.publisher.close()

    def take(
        self,
        record: Mapping[str, Any],
        offset: int = 0,
        queues: tuple[str, ...] = ("q",),
        status: str = "job-queued",
        document: dict[str, Any] | None = None,
    ) -> list[str]:
        """Put the submission's jobs on the inbox, one a queue, and say their first facts."""
        hash_ = payload_hash(orjson.loads(record["payload"]))
        family = family_of_hash(hash_)
        submission_id = record["submission_id"]
        jobs = [job_id(family, submission_id, hash_, "creator", queue) for queue in queues]
        new = tuple(NewJob(job, queue, "creator", 0, Needs(), "{}") for job, queue in zip(jobs, queues, strict=True))
        place = self.inbox(Inbox(family, Submitted(submission_id, hash_, True, new), Source("submit", 0, offset)))
        for index, job in enumerate(jobs):
            self.submissions[job] = submission_id
            self.say(job, status, at=(*place, index), document=document)
        return jobs

    def control(self, job: str, action: str, source: Source) -> tuple[int, int]:
        """Put an operator's request on the inbox; return where it lies."""
        return self.inbox(Inbox(family_of_job(job), Control(action, job), source))

    def inbox(self, message: Inbox) -> tuple[int, int]:
        partition = self.topology.inbox_partition(message.family)
        value = self.codec.encode("inbox", message.record())
        sent = self.publisher.send(self.topology.inbox, message.family, value, partition).result(30)
        return sent.partition, sent.offset

    def say(
        self,
        job: str,
        status: str,
        *,
        at: tuple[int, int, int] = (0, 0, 0),
        seq: int | None = None,
        document: dict[str, Any] | None = None,
        whole: bool = True,
        **fields: Any,
    ) -> Fact:
        """Publish a fact of a job with its next number; the document names the status and what is given.

        One that isn't `whole` records a refusal, as the ledger does.
        """
        family = family_of_job(job)
        number = seq or self.seqs.get(job, 0) + 1
        self.seqs[job] = max(number, self.seqs.get(job, 0))
        submission_id = self.submissions.get(job, "s")
        body = {"job_id": job, "status": status, "type": "t", "seq": number} | (document or {})
        body = ({"job": {"job_info": {}}} if whole else {}) | body
        text = orjson.dumps(body).decode()
        attempt = fields.pop("attempt", 1)
        first = (job, family, submission_id, "h", number, status, attempt, 1_764_000_000_123)
        fact = Fact(*first, text, *at, "1", **fields)
        value = self.codec.encode("fact", fact.record())
        partition = self.topology.inbox_partition(family)
        self.publisher.send(self.topology.events, family, value, partition).result(30)
        return fact

    def answering(self, answer: "Callable[[PlayedLedger, str, dict[str, Any], Source], None]") -> "Answering":
        """Return a thread that calls `answer` with each record that comes on submit and control."""
        return Answering(self, answer)


class Answering:
    """Reads what the command line produces, from the moment it is made, until it is left."""

    def __init__(
        self, ledger: PlayedLedger, answer: Callable[[PlayedLedger, str, dict[str, Any], Source], None]
    ) -> None:
        self._ledger = ledger
        self._answer = answer
        self._stop = threading.Event()
        self.seen: list[dict[str, Any]] = []
        topology = ledger.topology
        self._topics = {"submission": topology.submit, "control": topology.control}
        self._logs = {}
        for schema, topic in self._topics.items():
            log = Log(ledger.settings, f"played-{schema}")
            log.follow(topic, log.ends(topic, range(topic.partitions)))
            self._logs[schema] = log
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Answering":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        for log in self._logs.values():
            log.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for schema, log in self._logs.items():
                message = log.poll(0.05)
                if message is not None:
                    record = self._ledger.codec.decode(schema, message.value())
                    self.seen.append(record | {"key": message.key().decode(), "partition": message.partition()})
                    source = Source(
                        "submit" if schema == "submission" else "control", message.partition(), message.offset()
                    )
                    self._answer(self._ledger, schema, record, source)
