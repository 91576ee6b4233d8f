"""Requests of operators: put on jobs.control, and answered by facts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from agents.bus import Publisher
from agents.registry import codec
from ops.reading.facts import FINAL, FactReader, Facts, status_of
from pipeline.identity import family_of_job
from pipeline.messages.control import ControlRequest
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Source
from pipeline.settings import Settings
from pipeline.statuses import CONTROL_REFUSED

#: s that the broker may take to store a request
DELIVERY_TIMEOUT = 15.0


class Answer(StrEnum):
    """What came of a request."""

    DONE = "done"
    REFUSED = "refused"
    #: The log knows no such job.
    UNKNOWN = "unknown"
    #: It ended longer ago than the ledger remembers, which then answers nothing.
    FORGOTTEN = "forgotten"
    #: Nothing came within the time.
    NOT_YET = "not-yet"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is stored: where it lies on jobs.control tells its answer from others'.

    `forgotten`: by the settings here the ledger no longer knows the job, so that silence is an answer.
    """

    job_id: str
    source: Source
    known: bool
    forgotten: bool = False


class Answers:
    """Hears what comes of requests on these jobs. Make it before anything is asked, so that no answer can be missed.

    Raises BrokerError where Kafka can't be reached.
    """

    def __init__(self, facts: Facts, job_ids: Sequence[str]) -> None:
        self._facts = facts
        self._news = facts.follow([family_of_job(job_id) for job_id in job_ids])
        self._known: dict[Source, Fact] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hear no more."""
        self._news.close()

    def to(self, source: Source, timeout: float) -> tuple[Answer, Fact | None]:
        """Return what came of the request that is stored there, and the fact that says so."""
        deadline = time.monotonic() + timeout
        while source not in self._known:
            fact = self._news.next(max(0.0, deadline - time.monotonic()))
            if fact is None:
                return Answer.NOT_YET, None
            cause = self._facts.cause(fact)
            if cause is not None and cause.source is not None:
                self._known.setdefault(cause.source, fact)
        found = self._known[source]
        return (Answer.REFUSED if found.status == CONTROL_REFUSED else Answer.DONE), found


class Requests:
    """Puts requests on jobs.control."""

    def __init__(self, settings: Settings) -> None:
        self._topology = settings.topology
        self._codec = codec(settings)
        client: dict[str, Any] = {"message.timeout.ms": int(DELIVERY_TIMEOUT * 1000), "linger.ms": 0}
        self._publisher = Publisher(settings, settings.topology.name("jobstream-controller"), **client)

    def close(self) -> None:
        """Let go of the broker."""
        self._publisher.close()

    def store(self, request: ControlRequest) -> Source:
        """Store a request and return where. Raises DeliveryError."""
        partition = self._topology.job_partition(request.job_id)
        value = self._codec.encode("control", request.record())
        sent = self._publisher.send(self._topology.control, family_of_job(request.job_id), value, partition)
        return Source("control", partition, sent.result(DELIVERY_TIMEOUT + 5).offset)


class Controller:
    """Asks for actions on these jobs. Raises BrokerError where Kafka can't be reached."""

    def __init__(self, settings: Settings, job_ids: Sequence[str]) -> None:
        self._window_ms = settings.ledger.window_ms
        self._reader = FactReader(settings)
        self._answers = Answers(self._reader, job_ids)
        self._requests = Requests(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.close()
        self._answers.close()
        self._reader.close()

    def ask(self, request: ControlRequest, *, known: bool = False) -> Asked:
        """Store a request; a job that the log doesn't know gets none. Raises DeliveryError.

        `known` spares the look into the log where the index has the job already.
        """
        facts = [] if known else self._reader.of_job(request.job_id)
        if not known and not facts:
            return Asked(request.job_id, Source("control", 0, -1), known=False)
        forgotten = bool(facts) and self._is_forgotten(facts[-1])
        return Asked(request.job_id, self._requests.store(request), known=True, forgotten=forgotten)

    def answer(self, asked: Asked, timeout: float) -> tuple[Answer, Fact | None]:
        """Return what came of a request, and the fact that says so."""
        if not asked.known:
            return Answer.UNKNOWN, None
        answer, fact = self._answers.to(asked.source, timeout)
        if answer is Answer.NOT_YET and asked.forgotten:
            # the request was made all the same: the ledger may remember for longer than the settings here say
            return Answer.FORGOTTEN, None
        return answer, fact

    def _is_forgotten(self, last: Fact) -> bool:
        return status_of(last) in FINAL and time.time() * 1000 - last.time > self._window_ms
