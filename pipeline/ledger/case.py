"""One message being decided: gathers the new state and the outputs, and builds every fact in one place."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from pipeline import __version__
from pipeline.identity import attempt_key
from pipeline.ledger.decision import At, Decision, Dispatch
from pipeline.ledger.document import Document
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Family, Job, Phase, Stub
from pipeline.messages.command import STOP, Command
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Inbox
from pipeline.messages.mark import HEADER
from pipeline.messages.run import CLAIM_HEADER, HOLDER_HEADER, REFUSED, RESULT_HEADER, WITHDRAWN, Run
from pipeline.messages.trace import Trace
from pipeline.shortening import cut_text, fitted, short_error
from pipeline.statuses import Status
from pipeline.topic import KIB

#: Bytes of a fact's document, and characters of its error and of its reason: a fact always fits a record.
_DOCUMENT_LIMIT = 600 * KIB
_ERROR_LENGTH, _REASON_LENGTH = 16 * KIB, 1000
_NO_TRACE = Trace()

#: Looks a document up by job id; None where the tables hold none.
Documents = Callable[[str], Document | None]
Result = Mapping[str, Any]


class Case:
    """A message, the family it is for, and what has been decided so far."""

    def __init__(self, family: Family, message: Inbox, at: At, policy: Policy, documents: Documents) -> None:
        self.message = message
        self.at = at
        self.policy = policy
        self.decision = Decision(family.at(at.offset, message.source))
        #: ms by the broker's clock: of the record that was forwarded, else of the inbox record itself.
        self.time = message.time or at.timestamp
        self._documents = documents
        #: Read once: each read of a table decodes the whole document.
        self._read: dict[str, Document] = {}

    @property
    def family(self) -> Family:
        """The family as decided so far."""
        return self.decision.family

    @property
    def full(self) -> str | None:
        """Why the family takes no more unfinished jobs, None while it does: its row must fit a record."""
        most = self.policy.max_unfinished
        if len(self.family.jobs) < most:
            return None
        return (
            f"{most} jobs with this payload hash are unfinished: "
            "wait for some to end, or raise JOBSTREAM_LEDGER__MAX_UNFINISHED"
        )

    def document(self, job_id: str) -> Document:
        """Return the job's document; a blank one where it is lost, so that the job can still end."""
        if job_id not in self._read:
            self._read[job_id] = self.decision.documents.get(job_id) or self._documents(job_id) or self._blank(job_id)
        return self._read[job_id]

    def has_document(self, job_id: str) -> bool:
        """Say whether the job's document is still there: without it no attempt can run."""
        return (self.decision.documents.get(job_id) or self._documents(job_id)) is not None

    def remember(self, document: Document) -> None:
        """Have a new job's document written."""
        self.decision.documents[document.job_id] = self._read[document.job_id] = document

    def forget_documents(self, job_ids: Iterable[str]) -> None:
        """Have the documents of jobs that can't run again deleted, where there are any."""
        self.decision.documents.update({job_id: None for job_id in job_ids if self.has_document(job_id)})

    def keep(self, job_id: str, job: Job) -> None:
        """Put an unfinished job into the state."""
        self.decision.family = self.family.with_job(job_id, job)

    def record(
        self, job_id: str, job: Job, status: Status, result: Result | None = None, reason: str = "", said: str = ""
    ) -> Job:
        """Build the job's next fact from its document and state; return the job as the fact numbered it.

        `said` is what the fact calls what happened where that is not the job's own new status.
        """
        job = replace(job, seq=job.seq + 1, status=status)
        document = self.document(job_id)
        body = document.status_document(job, status, self.time, result or {})
        self._fact(
            job_id,
            (job.submission_id, job.seq, job.attempt),
            said or status,
            fitted(body, _DOCUMENT_LIMIT),
            reason,
            _text(body.get("error"), _ERROR_LENGTH),
            _text(body.get("short_error"), _REASON_LENGTH),
            document.trace,
        )
        return job

    def finish(self, job_id: str, job: Job, status: Status, result: Result | None = None, reason: str = "") -> None:
        """Build the last fact of a job and shrink it to a stub."""
        job = self.record(job_id, job, status, result, reason)
        moved = job.queue if job.queue != self.document(job_id).queue else ""
        stub = Stub(job.submission_id, status, job.seq, job.attempt, self.time, job.holder, moved, job.memory_mib)
        before = self.family.done
        self.decision.family = self.family.with_stub(job_id, stub)
        self.forget_documents(name for name in before if name not in self.family.done)

    def fail(self, job_id: str, job: Job, error: str, category: str, result: Result | None = None) -> None:
        """Finish a job as failed for a reason of the ledger's own; `result` is what else its document says."""
        told = {**(result or {}), "error": error, "short_error": short_error(error), "category": category}
        self.finish(job_id, job, Status.FAILED, told, category)

    def refuse(self, job_id: str, status: str, reason: str) -> None:
        """Record that a message about a known job was refused; its own status does not change.

        Such a fact says why, and carries neither document nor trace: those of a finished job are no longer held here.
        """
        job = self.family.jobs.get(job_id)
        stub = self.family.done.get(job_id)
        if job is not None:
            job = replace(job, seq=job.seq + 1)
            self.decision.family = replace(self.family, jobs={**self.family.jobs, job_id: job})
            subject: Job | Stub = job
        elif stub is not None:
            stub = replace(stub, seq=stub.seq + 1)
            self.decision.family = replace(self.family, done={**self.family.done, job_id: stub})
            subject = stub
        else:
            return
        body = {"job_id": job_id, "status": subject.status, "seq": subject.seq, "attempt": subject.attempt}
        self._fact(
            job_id,
            (subject.submission_id, subject.seq, subject.attempt),
            status,
            orjson.dumps(body).decode(),
            reason,
            None,
            None,
        )

    def wait(self, job_id: str, job: Job) -> None:
        """Put the job's attempt on its run topic."""
        document = self.document(job_id)
        run = Run(
            job_id,
            job.attempt,
            job.seq,
            job.queue,
            job.priority,
            job.since,
            document.job_type,
            document.needs_of(job),
            document.max_wait,
        )
        marked = document.replay
        headers = ((HEADER, marked),) if marked else ()
        self.decision.dispatches.append(Dispatch(job.queue, run.key, run, headers))

    def answer(self, queue: str, job_id: str, attempt: int, result: str, holder: str, claim_id: str) -> None:
        """Clear an attempt's run record with the headers that answer a claim."""
        headers = ((RESULT_HEADER, result), (HOLDER_HEADER, holder), (CLAIM_HEADER, claim_id))
        self.decision.dispatches.append(Dispatch(queue, attempt_key(job_id, attempt), None, headers))

    def refuse_claim(self, queue: str, job_id: str, attempt: int, holder: str, claim_id: str) -> None:
        """Answer a claim that gets nothing."""
        self.answer(queue, job_id, attempt, REFUSED, holder, claim_id)

    def withdraw(self, job_id: str, job: Job) -> None:
        """Clear the run record of an attempt that waits and never will be granted."""
        if job.phase is Phase.WAITING:
            self.answer(job.queue, job_id, job.attempt, WITHDRAWN, "", "")

    def stop(self, holder: str, job_id: str, attempt: int, reason: str) -> None:
        """Tell a holder to end an attempt and never to start it."""
        self.command(Command(STOP, holder, job_id, attempt, reason=reason))

    def command(self, command: Command) -> None:
        """Send a command to its holder."""
        self.decision.commands.append(command)

    def _blank(self, job_id: str) -> Document:
        place = (self.at.partition, -1)
        return Document(job_id, "", self.family.payload_hash, True, self.time, "unknown", 0, {}, {}, *place)

    def _fact(
        self,
        job_id: str,
        numbers: tuple[str, int, int],
        status: str,
        document: str,
        reason: str,
        error: str | None,
        short: str | None,
        trace: Trace = _NO_TRACE,
    ) -> None:
        submission_id, seq, attempt = numbers
        self.decision.facts.append(
            Fact(
                job_id,
                self.family.id,
                submission_id,
                self.family.payload_hash,
                seq,
                status,
                attempt,
                self.time,
                document,
                self.at.partition,
                self.at.offset,
                len(self.decision.facts),
                __version__,
                cut_text(reason, _REASON_LENGTH) or None,
                error,
                short,
                trace.parent or None,
                trace.state or None,
            )
        )


def _text(value: object, longest: int) -> str | None:
    return None if value is None else cut_text(str(value), longest)
