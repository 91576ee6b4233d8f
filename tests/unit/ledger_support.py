"""A ledger in memory: feeds messages to `decide` and keeps what it decided, as a shell would."""

import json
from dataclasses import dataclass, field

from pipeline.identity import family_of_hash, family_of_job, job_id
from pipeline.ledger.decide import decide
from pipeline.ledger.decision import At, Decision
from pipeline.ledger.document import Document
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Family
from pipeline.messages.command import Command
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Body, Claim, Control, Due, Inbox, NewJob, Rejected, Report, Source, Submitted
from pipeline.messages.needs import Needs
from pipeline.messages.run import Run

HOLDER, OTHER = "w1:1000:aa", "w2:1000:bb"
QUEUE = "q"
START = 1_764_000_000_000


@dataclass
class Ledger:
    """One partition's families and documents; each message gets the next offset and a later time."""

    policy: Policy = field(default_factory=Policy)
    families: dict[str, Family] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    waiting: dict[str, Run] = field(default_factory=dict)
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    offset: int = 0
    now: int = START

    def send(self, family: str, body: Body, source: Source | None = None, time: int = 0) -> Decision:
        message = Inbox(family, body, source, time)
        self.offset += 1
        self.now += 10
        at = At(0, self.offset, self.now)
        before = self.families.get(family, Family(family))
        decision = decide(before, message, at, self.policy, self.documents.get)
        assert decision == decide(before, message, at, self.policy, self.documents.get), "not deterministic"
        self._keep(decision)
        return decision

    def _keep(self, decision: Decision) -> None:
        family = decision.family
        assert Family.load(family.dump()) == family
        self.families[family.id] = family
        for name, document in decision.documents.items():
            if document is None:
                self.documents.pop(name, None)
            else:
                assert Document.load(document.dump()) == document
                self.documents[name] = document
        self.facts += decision.facts
        self.commands += decision.commands
        for dispatch in decision.dispatches:
            if dispatch.run is None:
                self.waiting.pop(dispatch.key, None)
                self.answers[dispatch.key] = dict(dispatch.headers)
            else:
                self.waiting[dispatch.key] = dispatch.run

    def submit(self, hash_: str = "h", submission: str = "s1", source: Source | None = None, **new: object) -> str:
        dedup = bool(new.pop("dedup", True))
        family = family_of_hash(hash_)
        job = job_id(family, submission, hash_, "c", QUEUE)
        body = new.pop("body", None) or {"type": "t", "params": {"hash": hash_}, "job_info": {"id": job}}
        fields = {"priority": 0, "needs": Needs(), "body": json.dumps(body)} | new
        made = NewJob(job, QUEUE, "c", **fields)
        self.send(family, Submitted(submission, hash_, dedup, (made,)), source)
        return job

    def reject(self, job: str, error: str) -> None:
        self.send(family_of_job(job), Rejected(job, "bad", "h", error, "{}"))

    def claim(self, job: str, attempt: int = 1, holder: str = HOLDER, claim_id: str = "c1") -> Decision:
        return self.send(family_of_job(job), Claim(job, attempt, QUEUE, holder, claim_id))

    def report(
        self,
        kind: str,
        job: str,
        attempt: int = 1,
        holder: str = HOLDER,
        source: Source | None = None,
        **result: object,
    ) -> Decision:
        return self.send(family_of_job(job), Report(kind, job, attempt, holder, json.dumps(result)), source)

    def due(self, kind: str, job: str, attempt: int = 1) -> Decision:
        return self.send(family_of_job(job), Due(kind, job, attempt, self.offset))

    def control(self, action: str, job: str, **arguments: object) -> Decision:
        return self.send(family_of_job(job), Control(action, job, "me", "because", json.dumps(arguments)))

    def started(self, hash_: str = "h", **new: object) -> str:
        job = self.submit(hash_, **new)
        self.claim(job)
        self.report("started", job, job_info={"pid": 7, "job_dir": "/w"})
        return job

    def of(self, job: str) -> list[Fact]:
        return [fact for fact in self.facts if fact.job_id == job]

    def statuses(self, job: str) -> list[str]:
        assert [fact.seq for fact in self.of(job)] == list(range(1, len(self.of(job)) + 1)), "seq has gaps"
        return [fact.status for fact in self.of(job)]

    def document_of(self, job: str) -> dict:
        return json.loads(self.of(job)[-1].document)

    def stops(self) -> list[tuple[str, int, str]]:
        return [(c.job_id, c.attempt, c.holder) for c in self.commands if c.kind == "stop"]
