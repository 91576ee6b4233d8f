"""What becomes of a record that submissions come by: jobs, a rejection, or a dead letter (design §3)."""

from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import structlog

from agents.dead_letters import LETTER_HEADER, SUBMISSION_HEADER
from agents.gate.dead import dead_letter
from agents.gate.job_types import JobTypes
from agents.gate.pool import Pool
from agents.gate.queues import Queues
from agents.gate.record import Incoming, Outgoing, TooLargeError, inbox_record
from pipeline.codec import Codec, DecodeError
from pipeline.messages.inbox import Inbox, Source
from pipeline.messages.mark import mark_of
from pipeline.messages.trace import Trace
from pipeline.settings import Settings
from pipeline.submission import headers, request
from pipeline.submission.creators import Creator, Creators
from pipeline.submission.errors import UnacceptableError
from pipeline.submission.jobs import Origin, jobs_of
from pipeline.submission.rejection import rejected

log = structlog.stdlib.get_logger(__name__)

#: Creators that never returned, after which the process is better begun anew.
MAX_STUCK = 16


class StuckError(Exception):
    """Too many job creators never returned."""


class Submissions:
    """Decides on submissions, one outgoing record for each; operators' creators run in a pool of threads."""

    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        creators: Creators,
        queues: Queues,
        job_types: JobTypes | None = None,
    ) -> None:
        self._settings = settings
        self._topology = settings.topology
        self._inbox, self._dead = self._topology.inbox, self._topology.dead
        self._codec = codec
        self._job_types = job_types or JobTypes(queues.catch_up)
        self._creators = creators.knowing(self._job_types.of)
        self._queues = queues
        self._pool = self._new_pool()
        self._stuck = 0

    def decide(self, records: Sequence[Incoming]) -> list[Outgoing]:
        """Return what takes each record's place, in their order.

        Queues are declared on the way. A creator may be called again for the same submission. Raises OSError
        where the broker or the registry can't be reached: call it again; StuckError once too many creators hang.
        """
        # before a batch, never within: else the next process would find the same one, and end the same way
        if self._stuck >= MAX_STUCK:
            raise StuckError(f"{self._stuck} job creators never returned")
        self._job_types.begin_batch()
        begun: list[tuple[Incoming, Outgoing | Future[Outgoing]]] = [(one, self._begin(one)) for one in records]
        return [self._end(record, pending) for record, pending in begun]

    def close(self) -> None:
        """Take no more work; creators that still run are left alone."""
        self._pool.leave()

    def _begin(self, record: Incoming) -> "Outgoing | Future[Outgoing]":
        try:
            fields = self._codec.decode("submission", record.value)
        except DecodeError as error:
            return dead_letter(self._dead, record, str(error))
        origin = self._origin(record, fields)
        try:
            fields = headers.completed(fields, record.key, record.value, record.headers)
            submission = request.parse(fields, record.value or b"")
            creators = self._creators.of(submission)
            for queue in dict.fromkeys(queue for creator in creators for queue in creator.queues):
                self._queues.require(queue)
        except UnacceptableError as error:
            return self._rejected(fields, str(error), origin)
        if all(creator.function is None for creator in creators):
            return self._made(fields, submission, creators, origin)
        return self._pool.submit(self._made, fields, submission, creators, origin)

    def _end(self, record: Incoming, pending: "Outgoing | Future[Outgoing]") -> Outgoing:
        limit = self._settings.gate.creator_timeout
        while not isinstance(pending, Outgoing):
            try:
                return pending.result(limit)
            except CancelledError:
                # the pool that it waited in was left behind
                pending = self._begin(record)
            except FutureTimeoutError:
                self._replace_pool()
                fields = self._codec.decode("submission", record.value)
                fields = headers.completed(fields, record.key, record.value, record.headers)
                error = f"its job creators did not return within {limit:g} s"
                return self._rejected(fields, error, self._origin(record, fields))
        return pending

    def _made(
        self,
        fields: dict[str, Any],
        submission: request.Submission,
        creators: tuple[Creator, ...],
        origin: Origin,
    ) -> Outgoing:
        try:
            return self._forwarded(jobs_of(submission, creators, origin, self._settings.gate.hard_limit_gap))
        except (UnacceptableError, TooLargeError) as error:
            return self._rejected(fields, str(error), origin)

    def _rejected(self, fields: dict[str, Any], error: str, origin: Origin) -> Outgoing:
        return self._forwarded(rejected(fields, error, origin))

    def _forwarded(self, message: Inbox) -> Outgoing:
        return inbox_record(self._codec, self._inbox, self._topology.inbox_partition(message.family), message)

    def _origin(self, record: Incoming, fields: dict[str, Any]) -> Origin:
        source = Source("submit", record.partition, record.offset, record.topic_id)
        said = dict(record.headers)
        named = (said.get(SUBMISSION_HEADER) or b"") if LETTER_HEADER in said else b""
        submission_id = named.decode(errors="replace")
        named_so = submission_id if request.is_id(submission_id) else ""
        # who may write to such a topic is the broker's business: its name tells who did
        principal = self._topology.principal_of(record.topic)
        replay, trace = mark_of(record.headers), Trace.sent(record.headers, fields)
        return Origin(record.topic, source, record.time, principal, replay, named_so, trace)

    def _replace_pool(self) -> None:
        """Leave a creator that doesn't return behind, with its thread: threads can't be ended from outside."""
        self._stuck += 1
        log.error("a job creator did not return", stuck=self._stuck)
        self._pool.leave()
        self._pool = self._new_pool()

    def _new_pool(self) -> Pool[Outgoing]:
        return Pool(self._settings.gate.threads, "gate-creators")
