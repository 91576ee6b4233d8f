"""What must hold of each message that the ledger folds, said from the design and not from its code (design §4)."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipeline.ledger.decision import At, Decision
from pipeline.ledger.state import Family, Job, Phase
from pipeline.messages.command import GRANT, PERMIT
from pipeline.messages.inbox import Claim, Control, Due, Heartbeat, Inbox, OutputRefused, Rejected, Report, Submitted
from pipeline.messages.run import GRANTED
from tests.simulation.bus import Entry

if TYPE_CHECKING:
    from tests.simulation.reference import Reference

DONE = {"job-completed", "job-failed", "job-deduped", "job-revoked"}
BLOCKS = {"job-queued", "job-started", "job-completed", "job-offline"}
REFUSALS = {"report-refused", "control-refused"}


class ViolationError(AssertionError):
    """An invariant does not hold."""


@dataclass(slots=True)
class Known:
    """What the facts have said of a job so far."""

    submission: str
    seq: int = 0
    status: str = ""
    attempt: int = 0
    time: int = 0
    completions: int = 0
    retries: int = 0
    permitted: int = 0


@dataclass
class Oracle:
    """One for all partitions. `well` says whether a holder was there, and had an attempt, for all of a lease."""

    well: Callable[[str, int, str, int], bool]
    known: dict[str, Known] = field(default_factory=dict)
    families: dict[str, dict[str, None]] = field(default_factory=dict)
    sources: dict[str, dict[tuple[str, int, str], int]] = field(default_factory=dict)
    holders: dict[tuple[str, int], str] = field(default_factory=dict)
    stops: list[tuple[int, int, int, str, str, int]] = field(default_factory=list)
    folded: int = 0
    checks: int = 0

    def heartbeat(self, reference: "Reference", beat: Heartbeat, entry: Entry) -> None:
        """Note whom a heartbeat must have stopped: whoever lists what he doesn't hold."""
        for held in beat.attempts:
            job = self._job(reference, held.job_id)
            if job is None or (job.phase, job.attempt, job.holder) != (Phase.LEASED, held.attempt, beat.holder):
                place = (reference.partition, entry.offset, self.folded)
                self.stops.append((*place, beat.holder, held.job_id, held.attempt))

    def transition(self, reference: "Reference", before: Family, message: Inbox, at: At, decision: Decision) -> None:
        """Check one decision against the state that it began with and all facts before it."""
        self.checks += 1
        after = decision.family
        self._facts(decision, at)
        if self._is_repeat(reference, before, message):
            self._require(not decision.facts and not decision.dispatches and not decision.commands
                          and replace(after, offset=0) == replace(before, offset=0),
                          "a record that was forwarded twice was applied twice", message, at)  # fmt: skip
            return
        body = message.body
        for job_id in {**before.jobs, **before.done, **after.jobs, **after.done}:
            self._job_changes(before, after, job_id, body, at, reference)
        for command in decision.commands:
            self._command(after, command, at)
        match body:
            case Claim():
                self._claimed(before, body, decision, at)
            case Submitted():
                self._submitted(before, body, after, at, reference)
            case Report():
                self._reported(before, body, after, decision, at)
            case Rejected():
                pass
        for fact in decision.facts:
            self._learn(fact)

    def stopped_rightly(self, reference: "Reference", holder: str, job_id: str, attempt: int) -> None:
        """A stop must never meet who holds the attempt."""
        job = self._job(reference, job_id)
        if job is not None and (job.phase, job.attempt, job.holder) == (Phase.LEASED, attempt, holder):
            raise ViolationError(f"the holder of a lease was told to stop: {job_id}/{attempt} {holder}")

    def _job(self, reference: "Reference", job_id: str) -> Job | None:
        family = reference.families.get(job_id.partition("-")[0])
        return None if family is None else family.jobs.get(job_id)

    def _facts(self, decision: Decision, at: At) -> None:
        seqs: dict[str, int] = {}
        for index, fact in enumerate(decision.facts):
            known = self.known.get(fact.job_id)
            last = seqs.get(fact.job_id, known.seq if known else 0)
            if fact.seq != last + 1:
                raise ViolationError(f"seq {fact.seq} of {fact.job_id} follows {last} (inbox {at})")
            if (fact.inbox_partition, fact.inbox_offset, fact.index) != (at.partition, at.offset, index):
                raise ViolationError(f"a fact says the wrong place of origin: {fact}")
            seqs[fact.job_id] = fact.seq

    def _learn(self, fact: Any) -> None:
        known = self.known.setdefault(fact.job_id, Known(fact.submission_id))
        self.families.setdefault(fact.family, {})[fact.job_id] = None
        known.seq = fact.seq
        if fact.status in REFUSALS:
            return
        known.status, known.attempt, known.time = fact.status, fact.attempt, fact.time
        known.completions += fact.status == "job-completed"

    def _is_repeat(self, reference: "Reference", before: Family, message: Inbox) -> bool:
        source = message.source
        if source is None:
            return False
        if before.is_empty:
            # a family that is forgotten, or never was, remembers nothing
            self.sources.pop(message.family, None)
        seen = self.sources.setdefault(message.family, {})
        place = (source.topic, source.partition, source.topic_id)
        last = seen.get(place, -1)
        seen[place] = max(last, source.offset)
        return source.offset <= last

    def _job_changes(
        self, before: Family, after: Family, job_id: str, body: Any, at: At, reference: "Reference"
    ) -> None:
        was, now = before.jobs.get(job_id), after.jobs.get(job_id)
        old, new = before.done.get(job_id), after.done.get(job_id)
        if old is not None and now is not None:
            self._require(isinstance(body, Control) and body.action == "retry" and body.job_id == job_id,
                          "a job that had ended goes on without a retry", job_id, at)  # fmt: skip
            self._require(now.attempt == old.attempt + 1, "a retry is no new attempt", job_id, at)
            self.known[job_id].retries += 1
        if old is not None and new is not None and new is not old:
            self._require((old.status, old.attempt, old.holder, old.time) == (new.status, new.attempt, new.holder,
                          new.time), "what had ended has changed", job_id, at)  # fmt: skip
        if was is None:
            return
        if now is None:
            self._require(new is not None or job_id in self._dropped(before, after),
                          "an unfinished job is gone", job_id, at)  # fmt: skip
        if was.phase is Phase.LEASED and (now is None or (now.phase, now.attempt, now.holder) != (
                Phase.LEASED, was.attempt, was.holder)):  # fmt: skip
            self._lease_ends(was, job_id, body, at, reference)
        if now is not None and now.phase is Phase.LEASED and now is not was:
            if was.phase is Phase.LEASED:
                self._require((was.attempt, was.holder) == (now.attempt, now.holder), "a lease changed hands", job_id,
                              at)  # fmt: skip
            else:
                self._require(isinstance(body, Claim) and was.phase is Phase.WAITING
                              and (body.job_id, body.attempt, body.holder) == (job_id, was.attempt, now.holder)
                              and now.attempt == was.attempt, "a lease that nobody claimed", job_id, at)  # fmt: skip
        if now is not None and was.phase is not Phase.WAITING and now.phase is Phase.WAITING:
            self._require(now.attempt > was.attempt or was.phase is Phase.BACKOFF, "an attempt waits twice", job_id, at)
        if now is not None and now.attempt != was.attempt:
            self._require(now.attempt == was.attempt + 1, "attempts have gaps", job_id, at)

    @staticmethod
    def _dropped(before: Family, after: Family) -> set[str]:
        return {job_id for job_id in before.done if job_id not in after.done}

    def _lease_ends(self, was: Job, job_id: str, body: Any, at: At, reference: "Reference") -> None:
        match body:
            case Report():
                right = (body.job_id, body.attempt, body.holder) == (job_id, was.attempt, was.holder)
                right = right and body.kind in ("completed", "failed", "release")
            case Due():
                right = (body.job_id, body.attempt) == (job_id, was.attempt) and body.kind in ("lease", "limit")
                if right and body.kind == "lease" and self.well(job_id, was.attempt, was.holder, at.timestamp):
                    raise ViolationError(f"a lease expired whose worker was there all the time: {job_id}/{was.attempt} "
                                    f"of {was.holder} at {at}")  # fmt: skip
            case Control():
                right = body.job_id == job_id and body.action == "revoke"
                self._require(not (right and was.permitted), "revoked while its products are published", job_id, at)
            case OutputRefused():
                right = body.job_id == job_id
            case _:
                right = False
        self._require(right, f"a lease ended by {type(body).__name__}", job_id, at)

    def _command(self, after: Family, command: Any, at: At) -> None:
        if command.kind not in (GRANT, PERMIT):
            return
        job = after.jobs.get(command.job_id)
        self._require(job is not None and (job.phase, job.attempt, job.holder) == (Phase.LEASED, command.attempt,
                      command.holder), f"a {command.kind} without a lease", command, at)  # fmt: skip
        if command.kind == GRANT:
            first = self.holders.setdefault((command.job_id, command.attempt), command.holder)
            self._require(first == command.holder, "one attempt was granted to two holders", command, at)

    def _claimed(self, before: Family, claim: Claim, decision: Decision, at: At) -> None:
        job = before.jobs.get(claim.job_id)
        answers = [dict(one.headers) for one in decision.dispatches
                   if one.run is None and one.key == f"{claim.job_id}/{claim.attempt}"]  # fmt: skip
        mine = [one for one in answers if (one.get("claim_id"), one.get("holder")) == (claim.claim_id, claim.holder)]
        self._require(len(mine) == 1, "a claim has no answer", claim, at)
        granted = mine[0]["result"] == GRANTED
        waits = job is not None and job.phase is Phase.WAITING and job.attempt == claim.attempt
        again = job is not None and job.phase is Phase.LEASED and job.status == "job-queued" and (
            job.attempt, job.holder, job.claim_id) == (claim.attempt, claim.holder, claim.claim_id)  # fmt: skip
        self._require(granted == (waits or again), "a claim got the wrong answer", (claim, job, mine), at)
        grants = [one for one in decision.commands if one.kind == GRANT]
        self._require(len(grants) == granted, "a grant that is none, or none that is one", claim, at)

    def _submitted(self, before: Family, body: Submitted, after: Family, at: At, reference: "Reference") -> None:
        siblings = self.families.get(before.id, {})
        horizon = at.timestamp - reference.policy.window_ms
        blocking = [
            job_id
            for job_id in siblings
            if (known := self.known[job_id]).submission != body.submission_id
            and known.status in BLOCKS
            and (known.status != "job-completed" or known.time > horizon + 60_000)
        ]
        maybe = any(
            self.known[job_id].submission != body.submission_id and self.known[job_id].status == "job-completed"
            for job_id in siblings
        )
        for new in body.jobs:
            if before.knows(new.job_id):
                self._require(after.jobs.get(new.job_id) == before.jobs.get(new.job_id), "redelivery counts", new, at)
                continue
            stub = after.done.get(new.job_id)
            deduped = stub is not None and stub.status == "job-deduped"
            known = self.known.get(new.job_id)
            if known is not None and known.time > horizon + 60_000:
                raise ViolationError(f"a submission that was delivered again made its job again: {new.job_id} at {at}")
            if body.dedup and blocking:
                self._require(deduped, f"a duplicate of {blocking[0]} was admitted", new.job_id, at)
            elif not (body.dedup and maybe):
                self._require(not deduped, "dedup blocked for no reason", new.job_id, at)

    def _reported(self, before: Family, report: Report, after: Family, decision: Decision, at: At) -> None:
        job = before.jobs.get(report.job_id)
        rightful = job is not None and (job.phase, job.attempt, job.holder) == (
            Phase.LEASED, report.attempt, report.holder)  # fmt: skip
        if rightful:
            return
        now = after.jobs.get(report.job_id)
        if job is not None:
            self._require(now is not None and replace(now, seq=job.seq) == job, "a refused report changed a job",
                          report, at)  # fmt: skip
        accepted = [fact for fact in decision.facts if fact.status not in REFUSALS]
        self._require(not accepted and not decision.dispatches, "a refused report was a fact", report, at)

    def _require(self, holds: bool, what: str, of: object, at: At) -> None:
        if not holds:
            raise ViolationError(f"{what}: {of} at {at}")
