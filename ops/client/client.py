"""The client: submits jobs, and hears what becomes of them."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Self, Unpack

from agents.bus import DeliveryError, Outcome
from agents.index_reader import JobQuery
from ops.caller import user
from ops.client import submissions
from ops.client.bulk import Bulk, Sent
from ops.client.bus import Bus
from ops.client.errors import (
    ClosedError,
    InvalidSubmissionError,
    NotStoredError,
    NotYetError,
    RefusedError,
    UnknownJobError,
)
from ops.client.handle import Handle
from ops.client.job import Job
from ops.client.kafka_bus import DELIVERY_TIMEOUT, KafkaBus
from ops.client.listener import Listener
from ops.client.output import Output, output_of
from ops.client.progress import Tell, shown
from ops.client.submissions import Options
from ops.client.tracker import Tracker
from ops.client.watch import Watch
from ops.controlling import Answer, Answers
from ops.submitting import Submission
from pipeline.identity import family_of_job
from pipeline.messages.control import RETRY, REVOKE, ControlRequest
from pipeline.settings import Settings
from pipeline.statuses import status_named

#: s for an answer of the ledger
ANSWER_TIMEOUT = 30.0


class Client:
    """Submits jobs to one installation and hears what becomes of them. Safe to use from any thread.

    Without arguments it finds the installation as the command line does: `JOBSTREAM_*`, `jobstream.toml`, what
    `jobstream up` wrote. `bootstrap` names other brokers, `settings` all of it; `bus` is for tests (`MemoryBus`).
    Nothing is connected to before it is needed. Close it, or use it as a context manager: no thread is left then.
    Whatever it raises is a `ClientError`.
    """

    def __init__(
        self, settings: Settings | None = None, *, bootstrap: str | None = None, bus: Bus | None = None
    ) -> None:
        self._bus: Bus = KafkaBus(_settings(settings, bootstrap)) if bus is None else bus
        self._listener = Listener(self._bus)
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Deliver what is queued, end every wait with ClosedError, and end all threads. Closing twice is nothing."""
        if not self._closed:
            self._closed = True
            self._listener.close()
            self._bus.close()

    # -- submitting

    #: Makes a submission for `submit_many`, of what `submit` takes.
    submission = staticmethod(submissions.submission)

    def submit(
        self,
        job_type: str,
        payload: Mapping[str, Any],
        *,
        submission_id: str | None = None,
        **options: Unpack[Options],
    ) -> Handle:
        """Submit a job and return its handle once Kafka has stored the submission.

        `submission_id` is yours to choose: sent again, it makes the same jobs. Raises InvalidSubmissionError,
        UnreachableError, or NotStoredError: then send it again, under the same id.
        """
        sent = submissions.submission(job_type, payload, submission_id, **options)
        handle, stored = self.begin(sent, submission_id is None)
        try:
            stored.result(DELIVERY_TIMEOUT + 5)
        except (DeliveryError, TimeoutError) as error:
            raise not_stored(handle, error) from error
        return handle

    def submit_many(self, submissions: Iterable[Submission], *, progress: bool | Tell = False) -> Sent:
        """Send submissions (`Client.submission` makes one), and return how many Kafka has confirmed: all of them.

        They are taken from the iterable no faster than Kafka stores them, so that any number takes little memory.
        `progress` shows a bar on standard error, or is called with how many are stored and how many there are in all.
        Raises NotAllStoredError, which says which are not; what became of them says `watch`, or `handle` of an id.
        """
        with shown(progress) as tell, self.bulk(tell) as bulk:
            bulk.add(submissions)
            return bulk.finish()

    def handle(self, sent: Submission) -> Handle:
        """Return the handle of a submission that was sent before, by anybody: its jobs are looked for in the log."""
        return Handle(self, self._tracked(self._family(sent), sent.submission_id, fresh=False), self._listener)

    def job(self, job_id: str) -> Handle:
        """Return the handle of a job; its waits raise UnknownJobError where the log knows no such job."""
        tracker = Tracker(self._bus, family_of_job(job_id), None, job_id)
        tracker.has_a_past()
        self._listener.add(tracker)
        return Handle(self, tracker, self._listener)

    # -- looking

    def watch(self) -> Watch:
        """Return an iterator over what happens to any job from now on; it is its own context manager.

        `next(timeout)` returns None where nothing came in time.
        """
        self._check()
        return Watch(self._bus.follow())

    def list(
        self,
        *,
        status: str | None = None,
        type: str | None = None,  # noqa: A002
        queue: str | None = None,
        tag: str | None = None,
        submission_id: str | None = None,
        since: float | None = None,
        limit: int = 100,
    ) -> Sequence[Job]:
        """Return the jobs that fit, the last changed first, from the index: it is about a second behind.

        `status` may be short (`failed`); `since` is a time of the last change, in seconds since the epoch.
        Raises UnreachableError where Elasticsearch doesn't answer.
        """
        self._check()
        full = None if status is None else status_named(status)
        query = JobQuery(status=full, type=type, queue=queue, tag=tag, submission_id=submission_id, since=since)
        return [Job.of_document(document) for document in self._bus.find(query, limit)]

    def logs(
        self, job_id: str, *, stream: str | None = None, attempt: int | None = None, follow: bool = False
    ) -> Iterator[Output]:
        """Yield what a job printed, as far as jobs.logs has it; with `follow`, until the attempt has ended.

        `stream` is `stdout` or `stderr`, None both; `attempt` by default the newest. Raises UnknownJobError.
        """
        self._check()
        return output_of(self._bus, job_id, stream, attempt, follow=follow)

    # -- asking

    def revoke(self, job_id: str, reason: str = "", timeout: float = ANSWER_TIMEOUT) -> Job:
        """Stop a job: one that waits never starts, one that runs is ended; return it as it is then.

        Raises UnknownJobError, RefusedError where it has ended already, NotYetError where nobody answered.
        """
        return self._ask(REVOKE, job_id, reason, {}, timeout)

    def retry(
        self,
        job_id: str,
        reason: str = "",
        *,
        queue: str | None = None,
        force: bool = False,
        attempt: int | None = None,
        timeout: float = ANSWER_TIMEOUT,
    ) -> Job:
        """Run a job that has ended once more, as its next attempt; return it as it is then.

        `force`: even if such a job waits, runs or has completed. `attempt`: only if this was its last, so that the
        call can be repeated. Raises like `revoke`.
        """
        arguments: dict[str, Any] = {"force": True} if force else {}
        arguments |= {} if queue is None else {"queue": queue}
        arguments |= {} if attempt is None else {"attempt": attempt}
        return self._ask(RETRY, job_id, reason, arguments, timeout)

    # -- for the client in an event loop

    def bulk(self, tell: Tell) -> Bulk:
        """Return what sends many submissions."""
        self._check()
        return Bulk(self._bus, tell)

    def begin(self, sent: Submission, fresh: bool) -> "tuple[Handle, Future[None]]":
        """Queue a submission; the future ends with its delivery. `fresh`: its id was never used before."""
        self._check()
        handle = Handle(self, self._tracked(self._family(sent), sent.submission_id, fresh), self._listener)
        future: Future[None] = Future()
        # who stops waiting for it cancels the wait: the record is under way, and its outcome must find the future
        future.set_running_or_notify_cancel()

        def stored(outcome: Outcome) -> None:
            if isinstance(outcome, DeliveryError):
                future.set_exception(outcome)
            else:
                future.set_result(None)

        self._bus.send(sent, stored)
        return handle, future

    # -- inside

    def _tracked(self, family: str, submission_id: str, fresh: bool) -> Tracker:
        tracker = Tracker(self._bus, family, submission_id)
        if not fresh:
            tracker.has_a_past()
        self._listener.add(tracker)
        return tracker

    def _ask(self, action: str, job_id: str, reason: str, arguments: dict[str, Any], timeout: float) -> Job:
        self._check()
        with Answers(self._bus, [job_id]) as answers:
            if not self._bus.of_job(job_id):
                raise UnknownJobError(job_id)
            request = ControlRequest(action, job_id, user(), reason, json.dumps(arguments))
            answer, fact = answers.to(self._bus.ask(request), timeout)
        if answer is Answer.REFUSED and fact is not None:
            raise RefusedError(job_id, fact.reason or "")
        if fact is None:
            raise NotYetError(
                f"{job_id}: the {action} is in Kafka, not applied within {timeout:g} s: `jobstream status` says "
                "whether gate and orchestrator run"
            )
        return Job.of_fact(fact)

    def _family(self, sent: Submission) -> str:
        try:
            return sent.family(self._bus.principal)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidSubmissionError(f"payload: a JSON object is needed: {error}") from error

    def _check(self) -> None:
        if self._closed:
            raise ClosedError


def _settings(settings: Settings | None, bootstrap: str | None) -> Settings:
    known = settings or Settings()
    if bootstrap is None:
        return known
    return known.model_copy(update={"kafka": known.kafka.model_copy(update={"bootstrap": bootstrap})})


def not_stored(handle: Handle, error: Exception) -> NotStoredError:
    """Return the error for a submission that Kafka did not confirm."""
    why = str(error) or "it did not answer in time"
    return NotStoredError(
        f"Kafka did not confirm the submission: {why}: send it again with submission_id={handle.submission_id!r}: "
        "if it is stored already, that makes no second job"
    )
