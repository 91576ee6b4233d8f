"""Submissions from Python: producing them, and hearing what became of them."""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

from agents.bus import Delivered, DeliveryError, Outcome, Publisher, UnservedPublisher
from agents.registry import codec
from ops.reading.facts import FINAL, Facts, News, document_of, status_of
from pipeline.codec import Codec
from pipeline.identity import family_of_hash, family_of_payload, payload_hash, type_of
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Rejected, Submitted
from pipeline.messages.trace import Trace
from pipeline.partitioning import partition_of
from pipeline.settings import Settings
from pipeline.statuses import Status
from pipeline.submission.rejection import NAMED
from pipeline.topic import Topic
from pipeline.topology import SUBMISSION_LIMIT

#: s that the broker may take to store a submission
DELIVERY_TIMEOUT = 15.0


class TooLargeError(ValueError):
    """The submission is larger than the gate takes."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A submission under a known id; `options` are further fields of `schemas/submission.avsc`."""

    job_type: str
    payload: Mapping[str, Any]
    submission_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    options: Mapping[str, Any] = field(default_factory=dict)
    #: the sender's trace context, which its jobs carry on
    trace: Trace = field(default_factory=Trace)

    def family(self, principal: str | None = None) -> str:
        """Return the family that its jobs are of, which nobody but its sender has where that is a principal."""
        own = self.options.get("payload_hash")
        if isinstance(own, str) and own:
            # a longer one is refused, and its rejection named after so much of it
            return family_of_hash(own[:NAMED], principal)
        # as the gate reads it: what JSON has no word for is written as something else
        payload = orjson.loads(orjson.dumps(self.payload))
        return family_of_payload(payload_hash(payload), type_of(self.job_type), principal)

    def record(self) -> dict[str, Any]:
        """Return the record that the codec encodes."""
        return {
            "job_type": self.job_type,
            "payload": orjson.dumps(self.payload).decode(),
            "submission_id": self.submission_id,
            **self.options,
        }


def submit_topic(settings: Settings) -> Topic:
    """Return the topic that submissions of this process go to."""
    return settings.topology.submit_of(settings.kafka.submit_as)


class Submitter:
    """Produces submissions. Many may be under way: `send` returns at once with a future."""

    #: What produces; one without a thread for `UnservedSubmitter`.
    publisher = Publisher

    def __init__(self, settings: Settings, **client: Any) -> None:
        self._topology = settings.topology
        self._topic = submit_topic(settings)
        self._codec = codec(settings)
        name = self._topology.name("jobstream-submitter")
        self._publisher = self.publisher(settings, name, **client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Deliver what is queued, within the client's own time-out, and let go of the broker."""
        self._publisher.close()

    def send(self, submission: Submission) -> "Future[Delivered]":
        """Queue a submission; raises TooLargeError, or ValueError where a field doesn't fit the schema."""
        future: Future[Delivered] = Future()

        def stored(outcome: Outcome) -> None:
            if isinstance(outcome, DeliveryError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        self.produce(submission, stored)
        return future

    def produce(self, submission: Submission, stored: Callable[[Outcome], None]) -> None:
        """Queue a submission like `send`; `stored` is called with the outcome, in the thread that hears of it.

        Blocks while the local queue is full.
        """
        value = encoded(self._codec, submission)
        partition = partition_of(submission.submission_id, self._topic.partitions)
        headers = [(name, text.encode()) for name, text in submission.trace.record().items()]
        self._publisher.produce(self._topic, submission.submission_id, value, partition, stored, headers)

    def serve(self, timeout: float) -> None:
        """Hear of deliveries, where no thread does; for `timeout` seconds at most while there are none."""
        self._publisher.serve(timeout)


class UnservedSubmitter(Submitter):
    """One without a thread: who submits calls `serve` now and then."""

    publisher = UnservedPublisher


def encoded(codec: Codec, submission: Submission) -> bytes:
    """Return a submission's bytes; raises TooLargeError, or ValueError where a field doesn't fit the schema."""
    value = codec.encode("submission", submission.record())
    if len(value) > SUBMISSION_LIMIT:
        raise TooLargeError(
            f"the submission has {len(value) / 1024:.0f} KiB, at most {SUBMISSION_LIMIT // 1024} KiB are taken: "
            "put large inputs where jobs can fetch them, and name their URLs"
        )
    return value


@dataclass(frozen=True, slots=True)
class Taken:
    """What a submission became: the first fact of each of its jobs."""

    submission_id: str
    facts: Mapping[str, Fact]

    @property
    def job_ids(self) -> list[str]:
        """The jobs, in the order in which the ledger took them."""
        return list(self.facts)


def await_taken(reader: Facts, follower: News, submission_id: str, timeout: float) -> Taken | None:
    """Return the jobs of a submission once the ledger has taken it, None where `timeout` seconds were not enough.

    `follower` must have been made before the submission was sent.
    """
    deadline = time.monotonic() + timeout
    facts: dict[str, Fact] = {}
    wanted: set[str] | None = None
    while wanted is None or not wanted <= facts.keys():
        fact = follower.next(deadline - time.monotonic()) if time.monotonic() < deadline else None
        if fact is None:
            return None
        if fact.submission_id == submission_id:
            facts.setdefault(fact.job_id, fact)
            wanted = wanted or siblings_of(reader, fact)
    return Taken(submission_id, facts)


def known(reader: Facts, submission: Submission, principal: str | None = None) -> Taken | None:
    """Return the jobs that a submission of this id and payload made before, each with its latest fact."""
    facts: dict[str, Fact] = {}
    for fact in reader.of_family(submission.family(principal)):
        if fact.submission_id == submission.submission_id and fact.seq > _seq(facts.get(fact.job_id)):
            facts[fact.job_id] = fact
    return Taken(submission.submission_id, facts) if facts else None


def await_final(
    follower: News, latest: Iterable[Fact], timeout: float | None, tell: Callable[[Fact], None] | None = None
) -> dict[str, Fact] | None:
    """Return the last fact of each job once all have ended, None where `timeout` seconds were not enough.

    `latest` are the newest facts known of them, read after `follower` was made; `tell` hears every new one.
    """
    facts = {fact.job_id: fact for fact in latest}
    deadline = None if timeout is None else time.monotonic() + timeout
    while not all(is_final(fact) for fact in facts.values()):
        if deadline is not None and time.monotonic() > deadline:
            return None
        fact = follower.next(1.0 if deadline is None else max(0.0, min(1.0, deadline - time.monotonic())))
        if fact is not None and fact.job_id in facts and fact.seq > facts[fact.job_id].seq:
            facts[fact.job_id] = fact
            if tell is not None:
                tell(fact)
    return facts


def is_final(fact: Fact) -> bool:
    """Say whether the job has ended: nothing follows but an explicit retry."""
    return status_of(fact) in FINAL


def exit_code(fact: Fact) -> int:
    """Return the job's own exit status: 0 where it completed, 1 where it failed without one."""
    if status_of(fact) == Status.COMPLETED:
        return 0
    info = (document_of(fact).get("job") or {}).get("job_info") or {}
    status = info.get("status")
    return status if isinstance(status, int) and 0 < status < 256 else 1


def original_of(fact: Fact) -> str | None:
    """Return the job that made this one unnecessary, None for one that is no duplicate."""
    original = document_of(fact).get("dedup_job")
    return original if isinstance(original, str) and status_of(fact) == Status.DEDUPED else None


def siblings_of(reader: Facts, fact: Fact) -> set[str]:
    """Return all jobs that the message behind a submission's first fact makes; they share its offset."""
    cause = reader.cause(fact)
    if cause is not None and isinstance(cause.body, Submitted):
        return {job.job_id for job in cause.body.jobs}
    if cause is not None and isinstance(cause.body, Rejected):
        return {cause.body.job_id}
    return {fact.job_id}


def _seq(fact: Fact | None) -> int:
    return 0 if fact is None else fact.seq
