"""The bus of a real installation."""

import threading
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from confluent_kafka import KafkaException

from agents.bus import DeliveryError
from agents.index_reader import IndexReader, IndexUnavailableError, JobQuery
from agents.registry import RegistryError
from ops.client.bus import Stored
from ops.client.errors import ClosedError, InvalidSubmissionError, NotStoredError, UnreachableError
from ops.controlling import Requests
from ops.reading.facts import FactReader, Follower
from ops.reading.job import patient
from ops.reading.log import BrokerError, Log
from ops.reading.logs import LogReader
from ops.submitting import Submission, Submitter, UnservedSubmitter, submit_topic
from pipeline.messages.control import ControlRequest
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Inbox, Source
from pipeline.settings import Settings

#: s in which Kafka must confirm a submission
DELIVERY_TIMEOUT = 60.0
#: submissions, and KiB of them, that wait for Kafka at most: `send` blocks beyond
PENDING, PENDING_KIB = 10_000, 32 * 1024
#: for many at once: batches may fill for a moment longer
_MANY = {"linger.ms": 20}

T = TypeVar("T")


class KafkaBus:
    """Kafka and Elasticsearch as the settings name them; each is connected to when it is first needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._closed = False
        self._submitter: Submitter | None = None
        self._reader: FactReader | None = None
        self._requests: Requests | None = None

    @property
    def principal(self) -> str | None:
        """As whom submissions are sent, None where nobody vouches for that."""
        return self._settings.kafka.submit_as

    def send(self, submission: Submission, stored: Stored) -> None:
        """Queue a submission; blocks while PENDING are under way."""
        with self._lock:
            self._check()
            submitter = self._submitter = self._submitter or self._connected(Submitter)
        _send(submitter, submission, stored)

    def sending(self) -> "_Sending":
        """Return what sends many submissions."""
        self._check()
        return _Sending(self._connected(UnservedSubmitter, **_MANY))

    def ask(self, request: ControlRequest) -> Source:
        """Store a request and return where."""
        with self._lock:
            self._check()
            requests = self._requests = self._requests or Requests(self._settings)
        try:
            return requests.store(request)
        except (DeliveryError, TimeoutError) as error:
            raise NotStoredError(f"Kafka did not take the request: {error}: ask again") from error

    def of_job(self, job_id: str) -> list[Fact]:
        """Return the job's facts by `seq`."""
        return self._read(lambda reader: reader.of_job(job_id))

    def of_family(self, family: str) -> list[Fact]:
        """Return the facts of all jobs of a family."""
        return self._read(lambda reader: list(reader.of_family(family)))

    def follow(self, families: Sequence[str] | None = None, only: Container[bytes] | None = None) -> Follower:
        """Return what follows the facts that are caused from now on."""
        return self._read(lambda reader: reader.follow(families, only))

    def cause(self, fact: Fact) -> Inbox | None:
        """Return the inbox message that the fact was decided from."""
        return self._read(lambda reader: reader.cause(fact))

    def find(self, query: JobQuery, limit: int) -> list[dict[str, Any]]:
        """Return the documents of the jobs that fit, from Elasticsearch."""
        try:
            with IndexReader(patient(self._settings)) as index:
                return index.find(query, limit)
        except IndexUnavailableError as error:
            raise UnreachableError(f"{error}: JOBSTREAM_SINK__ELASTICSEARCH names it") from error

    def chunks(self, job_id: str, since_ms: int) -> LogReader:
        """Return the job's output that came since then, from jobs.logs."""
        with _told():
            return LogReader(self._settings, job_id, since_ms)

    def close(self) -> None:
        """Deliver what is queued, within `agents.bus.CALL_TIMEOUT`, and let go of the broker."""
        with self._lock:
            self._closed = True
            known = (self._submitter, self._requests)
            self._submitter = self._requests = None
        for one in known:
            if one is not None:
                one.close()
        with self._reading:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    def _connected(self, kind: type[Submitter], **client: Any) -> Submitter:
        # once, for its error: one that says what to do, and at once
        with _told(), Log(self._settings) as log:
            log.require(submit_topic(self._settings))
        bounds = {"queue.buffering.max.messages": PENDING, "queue.buffering.max.kbytes": PENDING_KIB}
        timeout = {"message.timeout.ms": int(DELIVERY_TIMEOUT * 1000), "log_level": 0}
        return kind(self._settings, **bounds, **timeout, **client)

    def _read(self, ask: Callable[[FactReader], T]) -> T:
        with self._reading, _told():
            self._check()
            self._reader = self._reader or FactReader(self._settings)
            return ask(self._reader)

    def _check(self) -> None:
        if self._closed:
            raise ClosedError


class _Sending:
    def __init__(self, submitter: Submitter) -> None:
        self._submitter = submitter

    def send(self, submission: Submission, stored: Stored) -> None:
        _send(self._submitter, submission, stored)

    def serve(self, timeout: float) -> None:
        self._submitter.serve(timeout)

    def close(self) -> None:
        self._submitter.close()


def _send(submitter: Submitter, submission: Submission, stored: Stored) -> None:
    try:
        submitter.produce(submission, stored)
    except (OSError, RegistryError) as error:
        raise UnreachableError(str(error)) from error
    except BufferError as error:
        raise NotStoredError(f"{submission.submission_id}: Kafka takes nothing any more: try again") from error
    except (ValueError, TypeError) as error:
        raise InvalidSubmissionError(f"{submission.submission_id}: {error}") from error


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokerError as error:
        raise UnreachableError(str(error)) from error
    except KafkaException as error:
        raise UnreachableError(f"Kafka: {error.args[0].str()}") from error
