"""A bus without any server, for tests of code that uses the client."""

import threading
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.bus import Delivered
from agents.index_reader import JobQuery
from ops.client.bus import Stored
from ops.client.errors import ClosedError, InvalidSubmissionError
from ops.client.job import Job
from ops.client.memory_ledger import MemoryLedger
from ops.client.memory_query import fits
from ops.client.memory_streams import Chunks, News
from ops.reading.facts import document_of
from ops.submitting import Submission
from pipeline.identity import family_of_job
from pipeline.ledger.state import Phase
from pipeline.messages import report as kinds
from pipeline.messages.control import ControlRequest
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Inbox, Source
from pipeline.messages.log import LogChunk
from pipeline.shortening import short_error
from pipeline.statuses import Status
from pipeline.work.errors import Category


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job of a `MemoryBus` ends: as completed where `exit_code` is 0, else as failed."""

    exit_code: int = 0
    output: str = ""
    error: str = ""
    products: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    category: str = Category.COMMAND.value


class MemoryBus:
    """What an installation does, without servers: the gate's checks, ids and the ledger's decisions are the real ones.

    Jobs wait until the test ends them: `complete`, `fail`. With `run`, each job that waits is given to it at once, and
    ends as it says, or as failed where it raises; None leaves the job waiting. There are no registered job types, no
    job creators, and no worker that could refuse a job. Time passes by `advance` alone.
    """

    def __init__(self, run: Callable[[Job], Ending | None] | None = None) -> None:
        self._run = run
        self._changed = threading.Condition(threading.RLock())
        self._ledger = MemoryLedger(self._tell)
        self._news: list[News] = []
        self._chunks: dict[str, list[LogChunk]] = {}
        self._closed = False

    @property
    def principal(self) -> str | None:
        """None: here nobody vouches for who sends."""
        return None

    # -- for tests

    def jobs(self) -> list[Job]:
        """Return all jobs as they are, in the order in which they were made."""
        with self._changed:
            return [Job.of_fact(fact) for fact in self._ledger.latest.values()]

    def waiting(self) -> list[Job]:
        """Return the jobs that wait for a worker, in the order in which they would be run."""
        with self._changed:
            return [Job.of_fact(self._ledger.latest[job_id]) for job_id in self._ledger.waiting()]

    def start(self, job_id: str) -> None:
        """Have a worker begin the job; raises LookupError where it has ended, or never was."""
        with self._changed:
            self._ledger.start(job_id)

    def complete(self, job_id: str, output: str = "", products: Sequence[Mapping[str, Any]] = ()) -> None:
        """End the job as completed; it is started first where it waits. Raises LookupError like `start`."""
        self._end(job_id, Ending(output=output, products=products))

    def fail(
        self, job_id: str, error: str, exit_code: int = 1, category: str = Category.COMMAND.value, output: str = ""
    ) -> None:
        """End the job's attempt as failed; whether another follows, its rules say. Raises LookupError like `start`."""
        self._end(job_id, Ending(exit_code, output, error, category=category))

    def write(self, job_id: str, data: str | bytes, stream: str = "stdout", *, last: bool = False) -> None:
        """Have the running job print something."""
        raw = data.encode() if isinstance(data, str) else data
        with self._changed:
            job = self._ledger.job(job_id)
            attempt = 1 if job is None else job.attempt
            known = self._chunks.setdefault(job_id, [])
            mine = [chunk for chunk in known if (chunk.attempt, chunk.stream) == (attempt, stream)]
            offset = mine[-1].offset + len(mine[-1].data) if mine else 0
            known.append(LogChunk(job_id, attempt, stream, len(known) + 1, offset, raw, last=last))
            self._changed.notify_all()

    def advance(self, seconds: float) -> None:
        """Let time pass: back-offs of retries end."""
        with self._changed:
            self._ledger.advance(int(seconds * 1000))
        self._run_all()

    # -- for the client

    def send(self, submission: Submission, stored: Stored) -> None:
        """Take a submission, and say at once that it is stored."""
        try:
            with self._changed:
                self._check()
                offset, _ = self._ledger.submit(submission)
                time_ms = self._ledger.now
        except (ValueError, TypeError) as error:
            raise InvalidSubmissionError(f"{submission.submission_id}: {error}") from error
        stored(Delivered(0, offset, time_ms))
        self._run_all()

    def sending(self) -> "_Sending":
        """Return what sends many submissions."""
        return _Sending(self.send)

    def ask(self, request: ControlRequest) -> Source:
        """Take a request."""
        with self._changed:
            self._check()
            source = self._ledger.control(request)
        self._run_all()
        return source

    def of_job(self, job_id: str) -> list[Fact]:
        """Return the job's facts by `seq`."""
        return [fact for fact in self.of_family(family_of_job(job_id)) if fact.job_id == job_id]

    def of_family(self, family: str) -> list[Fact]:
        """Return the facts of all jobs of a family."""
        with self._changed:
            self._check()
            return list(self._ledger.facts.get(family, ()))

    def follow(self, families: Sequence[str] | None = None, only: Container[bytes] | None = None) -> News:
        """Return what follows the facts that come from now on."""
        keys = only if families is None else {family.encode() for family in families}
        with self._changed:
            self._check()
            news = News(self._changed, keys, self._news.remove)
            self._news.append(news)
            return news

    def cause(self, fact: Fact) -> Inbox | None:
        """Return the message that the fact was decided from."""
        return self._ledger.log[fact.inbox_offset]

    def find(self, query: JobQuery, limit: int) -> list[dict[str, Any]]:
        """Return the documents of the jobs that fit, the last changed first."""
        with self._changed:
            self._check()
            latest = sorted(self._ledger.latest.values(), key=lambda fact: fact.time, reverse=True)
        found = (document_of(fact) for fact in latest if query.since is None or fact.time >= query.since * 1000)
        return [document for document in found if fits(document, query)][:limit]

    def chunks(self, job_id: str, since_ms: int) -> Chunks:
        """Return the job's output, from its beginning."""
        with self._changed:
            return Chunks(self._changed, self._chunks.setdefault(job_id, []))

    def close(self) -> None:
        """Take nothing more; what the test asks of it goes on."""
        with self._changed:
            self._closed = True

    # -- inside

    def _check(self) -> None:
        if self._closed:
            raise ClosedError

    def _tell(self, fact: Fact) -> None:
        for news in self._news:
            news.put(fact)
        self._changed.notify_all()

    def _end(self, job_id: str, ending: Ending) -> None:
        with self._changed:
            job = self._ledger.job(job_id)
            if job is None or job.status is not Status.STARTED:
                self._ledger.start(job_id)
            self.write(job_id, ending.output, last=True)
            self.write(job_id, "", "stderr", last=True)
            kind = kinds.FAILED if ending.exit_code else kinds.COMPLETED
            self._ledger.end(job_id, kind, _result(ending))
        self._run_all()

    def _run_all(self) -> None:
        while self._run is not None and (job := self._next()) is not None:
            try:
                ending = self._run(job)
            except Exception as error:  # a job's program may fail as it likes
                ending = Ending(1, error=f"{type(error).__name__}: {error}", category=Category.COMMAND.value)
            if ending is not None and self._waits(job.job_id, job.attempt):
                self._end(job.job_id, ending)

    def _next(self) -> Job | None:
        """Return a job that began to wait and still does, each time once."""
        with self._changed:
            while self._ledger.dispatched:
                latest = self._ledger.latest[self._ledger.dispatched.pop(0)]
                if self._waits(latest.job_id, latest.attempt):
                    return Job.of_fact(latest)
        return None

    def _waits(self, job_id: str, attempt: int) -> bool:
        with self._changed:
            known = self._ledger.job(job_id)
            return known is not None and (known.attempt, known.phase) == (attempt, Phase.WAITING)


class _Sending:
    def __init__(self, send: Callable[[Submission, Stored], None]) -> None:
        self.send = send

    def serve(self, timeout: float) -> None:
        pass

    def close(self) -> None:
        pass


def _result(ending: Ending) -> dict[str, Any]:
    info = {"status": ending.exit_code, "metrics": {"products_staged": [dict(one) for one in ending.products]}}
    if not ending.exit_code:
        return {"status": Status.COMPLETED, "job_info": info}
    error = ending.error or f"the command failed with exit code {ending.exit_code}"
    told = {"error": error, "short_error": short_error(error), "category": ending.category}
    return {"status": Status.FAILED, "job_info": info, **told}
