"""The gate's checks and the ledger's own decisions in memory: one partition, and nobody who crashes."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from ops.reading.facts import is_whole
from ops.submitting import Submission, encoded
from pipeline.codec import Codec
from pipeline.identity import family_of_job
from pipeline.ledger import timers
from pipeline.ledger.decide import decide
from pipeline.ledger.decision import At
from pipeline.ledger.document import Document
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Family, Job, Phase
from pipeline.messages import report as kinds
from pipeline.messages.control import ControlRequest
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Body, Claim, Control, Due, Inbox, Report, Source
from pipeline.submission import request
from pipeline.submission.creators import Creators
from pipeline.submission.errors import UnacceptableError
from pipeline.submission.jobs import Origin, jobs_of
from pipeline.submission.rejection import rejected

_HOLDER = "memory:1:memory"
#: s between a soft time limit and the hard one, as the gate's default has it
_LIMIT_GAP = 60


class MemoryLedger:
    """Takes submissions and requests, and decides on them as an installation does; `tell` hears each fact."""

    def __init__(self, tell: Callable[[Fact], None]) -> None:
        self.codec = Codec()
        self.log: list[Inbox] = []
        self.facts: dict[str, list[Fact]] = {}
        #: the last fact of each job that carries its whole document
        self.latest: dict[str, Fact] = {}
        #: jobs that began to wait, until somebody takes them from here
        self.dispatched: list[str] = []
        self.now = int(time.time() * 1000)
        self._tell = tell
        self._families: dict[str, Family] = {}
        self._documents: dict[str, Document] = {}
        self._policy = Policy()
        self._stored = {"submit": 0, "control": 0}

    def submit(self, submission: Submission) -> tuple[int, list[str]]:
        """Take a submission; return its offset and the jobs that it made. Raises ValueError for one that isn't sent."""
        value = encoded(self.codec, submission)
        fields = self.codec.decode("submission", value)
        source = self._source("submit")
        origin = Origin("jobs.submit", source, self.now)
        try:
            parsed = request.parse(fields, value)
            message = jobs_of(parsed, Creators().of(parsed), origin, _LIMIT_GAP)
        except UnacceptableError as error:
            message = rejected(fields, str(error), origin)
        facts = self._apply(message)
        return source.offset, list(dict.fromkeys(fact.job_id for fact in facts))

    def control(self, asked: ControlRequest) -> Source:
        """Take a request and return where it is stored."""
        asked = ControlRequest.of(self.codec.decode("control", self.codec.encode("control", asked.record())))
        source = self._source("control")
        body = Control(asked.action, asked.job_id, asked.by, asked.reason, asked.arguments)
        self._apply(Inbox(family_of_job(asked.job_id), body, source, self.now))
        return source

    def job(self, job_id: str) -> Job | None:
        """Return the state of an unfinished job."""
        family = self._families.get(family_of_job(job_id))
        return None if family is None else family.jobs.get(job_id)

    def waiting(self) -> list[str]:
        """Return the jobs that a worker could take, those first that wait longest."""
        found = [
            (job.since - job.priority * self._step, job_id)
            for family in self._families.values()
            for job_id, job in family.jobs.items()
            if job.phase is Phase.WAITING
        ]
        return [job_id for _, job_id in sorted(found, key=lambda one: one[0])]

    def start(self, job_id: str) -> None:
        """Have a worker take the job and begin."""
        job = self._unfinished(job_id)
        self._about(job_id, Claim(job_id, job.attempt, job.queue, _HOLDER, f"{job_id}/{job.attempt}"))
        self._about(job_id, Report(kinds.STARTED, job_id, job.attempt, _HOLDER))

    def end(self, job_id: str, kind: str, result: Mapping[str, Any]) -> None:
        """Have the worker report how the attempt ended."""
        job = self._unfinished(job_id)
        self._about(job_id, Report(kind, job_id, job.attempt, _HOLDER, json.dumps(result)))

    def advance(self, ms: int) -> None:
        """Let time pass; attempts that wait for a back-off then wait for a worker."""
        self.now += ms
        due = [
            (job_id, job.attempt)
            for family in self._families.values()
            for job_id, job in family.jobs.items()
            if job.phase is Phase.BACKOFF and job.due <= self.now
        ]
        for job_id, attempt in due:
            self._about(job_id, Due(timers.RETRY, job_id, attempt, len(self.log)))

    #: ms of waiting that a priority is worth, as the scheduler's default has it
    _step = 3_600_000

    def _unfinished(self, job_id: str) -> Job:
        job = self.job(job_id)
        if job is None:
            raise LookupError(f"{job_id}: there is no such job, or it has ended")
        return job

    def _source(self, topic: str) -> Source:
        self._stored[topic] += 1
        return Source(topic, 0, self._stored[topic] - 1)

    def _about(self, job_id: str, body: Body) -> None:
        self._apply(Inbox(family_of_job(job_id), body))

    def _apply(self, message: Inbox) -> list[Fact]:
        self.now += 1
        at = At(0, len(self.log), self.now)
        self.log.append(message)
        before = self._families.get(message.family) or Family(message.family)
        decision = decide(before, message, at, self._policy, self._documents.get)
        self._families[message.family] = decision.family
        for job_id, document in decision.documents.items():
            if document is None:
                self._documents.pop(job_id, None)
            else:
                self._documents[job_id] = document
        self.dispatched += [dispatch.run.job_id for dispatch in decision.dispatches if dispatch.run is not None]
        for fact in decision.facts:
            self.facts.setdefault(fact.family, []).append(fact)
            if is_whole(fact):
                self.latest[fact.job_id] = fact
            self._tell(fact)
        return decision.facts
