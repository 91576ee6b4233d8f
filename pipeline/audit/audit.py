"""One partition's facts, judged one after the other; see `finding.Check` for what must hold."""

from typing import Any

import orjson

from pipeline.audit.causes import Cause, Causes
from pipeline.audit.course import attempts_problem, course_problem, holder_problem
from pipeline.audit.finding import Check, Findings, Open, Violation
from pipeline.audit.life import BETWEEN_ATTEMPTS, OCCUPYING, Life, Lives
from pipeline.audit.store import Store, Table
from pipeline.identity import asked_of, attempt_key
from pipeline.messages.fact import Fact
from pipeline.replay.comparison import digest
from pipeline.statuses import REFUSALS, Status

#: Why something is not judged.
NO_CAUSE, NO_BEGINNING, NO_ORIGINAL, UNDECIDED = (
    "the message behind a fact is before the inbox begins",
    "a job's first facts are before jobs.events begins",
    "the job that a duplicate names is before jobs.events begins",
    "not decided yet when the reading began",
)


class Grants:
    """Who was granted which attempt, from workers.commands: as much of it as is kept."""

    def __init__(self, store: Store, findings: Findings) -> None:
        self._holders = Table(store, "grant")
        self._findings = findings

    def add(self, partition: int, job_id: str, attempt: int, holder: str) -> None:
        """Take the next grant; the same one again is a repeat of an old owner's."""
        key = attempt_key(job_id, attempt)
        known = self._holders.get(key)
        self._findings.judged[Check.ONE_LEASE] += 1
        if known is None:
            self._holders.put(key, {"holder": holder})
        elif known["holder"] != holder:
            detail = f"attempt {attempt} was granted to {known['holder']} and to {holder}"
            self._findings.violation(Violation(Check.ONE_LEASE, job_id, partition, -1, detail))

    def holder(self, job_id: str, attempt: int) -> str:
        """Return who was granted an attempt, "" where that is not known."""
        known = self._holders.get(attempt_key(job_id, attempt))
        return "" if known is None else str(known["holder"])


class Audit:
    """Judges the facts of one partition against each other and against the messages that they come from.

    All of the partition's messages must be in `causes` by then. Where that doesn't begin with the inbox's first, what
    came before is not held against what follows. `all_facts`: jobs.events is read from its very first fact on, so that
    a job without any has none.
    """

    def __init__(
        self,
        partition: int,
        store: Store,
        causes: Causes,
        grants: Grants,
        findings: Findings,
        *,
        all_facts: bool = True,
    ) -> None:
        self._all_facts = all_facts
        self._partition = partition
        self._causes = causes
        self._grants = grants
        self._findings = findings
        self._lives = Lives(partition, store)
        self._dead = Table(store, f"dead/{partition}")

    def buried(self, offset: int) -> None:
        """Say that an inbox record went to the dead letters: no fact comes of it."""
        self._dead.put(f"{offset}", {})

    def add(self, fact: Fact) -> None:
        """Take the next fact, in the order of jobs.events."""
        life = self._lives.of(fact.job_id)
        cause = self._causes.of(fact.inbox_offset)
        self._findings.facts += 1
        if fact.seq <= life.seq:
            if not self._begins_anew(fact, life, cause):
                self._repeats(fact, life)
                return
            life = Life()
        self._numbered(fact, life)
        self._caused(fact, life, cause)
        refused = fact.status in REFUSALS
        document = _document(fact)
        if life.seq == 0 and not refused:
            self._enters(fact, document, cause)
        if refused:
            self._refused(fact, life, document)
        else:
            self._goes_on(fact, life, document, cause)
        life.seq, life.offset = fact.seq, fact.inbox_offset
        life.add_digest(fact.seq, digest(fact).hex())
        self._lives.keep(fact.family, fact.job_id, life)

    def end(self, decided: int) -> None:
        """Say that all facts of messages before inbox offset `decided` were fed: what is missing now is missing."""
        for job_id, row in self._causes.submitted().rows():
            life = self._lives.of(job_id)
            if life.seq == 0 and any(self._lives.of(other).seq > 0 for other in self._causes.before(job_id)):
                # the same submission again: its job is the first one's
                continue
            self._findings.jobs += 1
            offset = int(row["offset"])
            if life.seq == 0 and offset >= decided:
                self._findings.unjudged[UNDECIDED] += 1
                continue
            if life.seq == 0 and not self._all_facts:
                # what was submitted before too has its facts there
                self._findings.unjudged[NO_BEGINNING] += 1
                continue
            if life.seq > 0 and not life.is_known:
                self._findings.unjudged[NO_BEGINNING] += 1
                continue
            self._findings.judged[Check.ENDS] += 1
            if life.seq == 0 and self._dead.get(f"{offset}") is None:
                self._violated(Check.ENDS, job_id, offset, "it was submitted, and has no fact")
            elif life.seq > 0 and not life.has_ended:
                self._findings.still_open(Open(job_id, life.status, life.attempt, life.time))

    def _begins_anew(self, fact: Fact, life: Life, cause: Cause | None) -> bool:
        """Say whether a job was submitted again after the ledger had forgotten it: its numbers begin anew."""
        if fact.seq > 1 or fact.inbox_offset <= life.offset or (life.is_known and not life.has_ended):
            return False
        if not life.is_known:
            # only refusals were seen of it: when it ended is not known
            return cause is not None and cause.kind in {"submitted", "rejected"}
        if cause is None:
            return fact.inbox_offset < self._causes.begins and fact.time - life.time >= self._causes.window
        return cause.kind in {"submitted", "rejected"} and cause.time - life.time >= self._causes.window

    def _repeats(self, fact: Fact, life: Life) -> None:
        known = life.digest(fact.seq)
        if known is None:
            self._findings.unjudged[NO_BEGINNING] += 1
            return
        self._findings.repeats += 1
        self._judge(
            Check.EQUAL, fact, None if known == digest(fact).hex() else f"fact {fact.seq} has come with other content"
        )

    def _numbered(self, fact: Fact, life: Life) -> None:
        if life.seq == 0 and fact.seq > 1 and self._causes.begins > 0:
            self._findings.unjudged[NO_BEGINNING] += 1
            return
        wrong = fact.seq != life.seq + 1
        self._judge(Check.SEQ, fact, f"fact {fact.seq} came after {life.seq or 'none'}" if wrong else None)

    def _caused(self, fact: Fact, life: Life, cause: Cause | None) -> None:
        problem = None
        if fact.inbox_offset < self._causes.begins:
            self._findings.unjudged[NO_CAUSE] += 1
            return
        if fact.inbox_partition != self._partition:
            problem = f"it names inbox partition {fact.inbox_partition}"
        elif cause is None:
            problem = "it names a message that is none of which facts come"
        elif fact.job_id not in cause.jobs:
            problem = f"it names a {cause.kind} about {', '.join(cause.jobs)[:200]}"
        elif fact.inbox_offset < life.offset:
            problem = f"it comes of an earlier message than fact {life.seq}, which is of {life.offset}"
        self._judge(Check.CAUSED, fact, problem)

    def _refused(self, fact: Fact, life: Life, document: dict[str, Any]) -> None:
        """Judge a fact that records a refusal: it repeats the job's status, and nothing else comes of its message."""
        status, attempt = str(document.get("status") or ""), fact.attempt
        problem = None
        if life.seq > 0 and life.offset == fact.inbox_offset and fact.seq > 1:
            problem = "its message made another fact too"
        elif life.is_known and status != life.status and not _may_wait_unsaid(life, status):
            problem = f"the job was {life.status}, and is {status} with it"
        elif life.is_known and attempt not in {life.attempt, life.attempt + (not life.has_ended)}:
            problem = f"attempt {life.attempt} became {attempt} with it"
        elif "job" in document:
            problem = "it carries a whole document"
        self._judge(Check.REFUSED, fact, problem)
        life.refused_at = fact.inbox_offset

    def _goes_on(self, fact: Fact, life: Life, document: dict[str, Any], cause: Cause | None) -> None:
        """Judge a fact that changes the job's status, and take it over."""
        if life.refused_at == fact.inbox_offset:
            self._judge(Check.REFUSED, fact, f"its message was refused, and made it {fact.status}")
        holder = str(document.get("holder") or "")
        if life.is_known:
            check, problem = course_problem(fact, life, cause)
            self._judge(check, fact, problem)
            granted = self._grants.holder(fact.job_id, fact.attempt)
            problem = attempts_problem(fact, life, self._causes) or holder_problem(fact, life, cause, holder, granted)
            self._judge(Check.ONE_LEASE, fact, problem)
            if cause is not None and cause.is_retry and not cause.forced and fact.status == Status.QUEUED:
                self._alone(fact, cause, life.status)
        if fact.status != life.status or fact.attempt != life.attempt:
            life.holder = holder if fact.status == Status.STARTED else ""
        life.status, life.attempt, life.time = fact.status, fact.attempt, fact.time
        life.submission_id, life.changed = fact.submission_id, fact.inbox_offset

    def _enters(self, fact: Fact, document: dict[str, Any], cause: Cause | None) -> None:
        """Judge a job's first fact against the other jobs of its family."""
        if fact.status == Status.QUEUED and cause is not None and cause.dedup:
            self._alone(fact, cause)
        elif fact.status == Status.DEDUPED:
            self._duplicates(fact, str(document.get("dedup_job") or ""), cause)

    def _alone(self, fact: Fact, cause: Cause, before: str = "") -> None:
        others = [
            one
            for one in self._lives.occupants(fact.family)
            if (one.submission_id != fact.submission_id or asked_of(one.job_id) == asked_of(fact.job_id))
            and one.job_id != fact.job_id
            and not (one.status == Status.COMPLETED and cause.time - one.time >= self._causes.window)
        ]
        problem = f"{others[0].job_id} is {others[0].status}" if others else None
        if before == Status.COMPLETED:
            problem = "it had completed, and nobody forced it"
        self._judge(Check.DEDUP_ADMITS, fact, problem)

    def _duplicates(self, fact: Fact, original: str, cause: Cause | None) -> None:
        life = self._lives.of(original)
        problem = None
        if not life.is_known and self._causes.begins > 0:
            self._findings.unjudged[NO_ORIGINAL] += 1
            return
        if life.seq == 0:
            problem = f"it names {original or 'nothing'}, which is not known"
        elif life.status not in OCCUPYING:
            problem = f"{original} is {life.status}"
        elif life.submission_id == fact.submission_id:
            problem = f"{original} is of the same submission"
        elif original.partition("-")[0] != fact.family:
            problem = f"{original} is of another family"
        elif cause is not None and not cause.dedup:
            problem = "its submission asked for none"
        self._judge(Check.DEDUP_BLOCKS, fact, problem)

    def _judge(self, check: Check, fact: Fact, problem: str | None) -> None:
        self._findings.judged[check] += 1
        if problem is not None:
            self._violated(check, fact.job_id, fact.inbox_offset, f"fact {fact.seq}, {fact.status}: {problem}")

    def _violated(self, check: Check, job_id: str, offset: int, detail: str) -> None:
        self._findings.violation(Violation(check, job_id, self._partition, offset, detail))


def _document(fact: Fact) -> dict[str, Any]:
    try:
        document = orjson.loads(fact.document)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _may_wait_unsaid(life: Life, status: str) -> bool:
    """Say whether the job may have taken this status without a fact: one that waits for its next attempt is queued."""
    return life.status in BETWEEN_ATTEMPTS and status == Status.QUEUED
