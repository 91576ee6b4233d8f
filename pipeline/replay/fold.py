"""The fold: what the orchestrator makes of its inbox, message by message, without the orchestrator."""

from dataclasses import dataclass, field

from pipeline.codec import Codec
from pipeline.ledger.decide import decide
from pipeline.ledger.decision import At, Decision, Dispatch
from pipeline.ledger.document import Document
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Family
from pipeline.messages.command import Command
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Heartbeat, Inbox, PolicySet, Tick
from pipeline.replay.reasons import why
from pipeline.replay.recorded import Recorded
from pipeline.replay.rows import MemoryRows, Rows


@dataclass(frozen=True, slots=True)
class Step:
    """One message and what it did.

    `before` and `after` are the family's state, None for messages that concern no family. `refused` says why a record
    went to the dead letters, `why` why a message did nothing or got a refusal.
    """

    record: Recorded
    before: Family | None = None
    after: Family | None = None
    facts: tuple[Fact, ...] = ()
    dispatches: tuple[Dispatch, ...] = ()
    commands: tuple[Command, ...] = ()
    documents: dict[str, Document | None] = field(default_factory=dict)
    policy: Policy | None = None
    refused: str = ""
    why: str = ""


class Fold:
    """One inbox partition, from where its log begins; facts follow from families and policy alone (decision 002).

    Ticks and heartbeats change no family: what falls due by them comes back as a `Due` message, and is decided as that.
    So the clock, which begins anew with each owner, need not be played, and a family's messages with the policies
    among them give the same facts as the whole partition.
    """

    def __init__(self, partition: int, rows: Rows | None = None, policy: Policy | None = None) -> None:
        self.partition = partition
        self.policy = policy or Policy()
        self.rows: Rows = MemoryRows() if rows is None else rows
        self._codec = Codec()

    def apply(self, record: Recorded) -> Step:
        """Apply the partition's next record; never raises for what is in it."""
        if record.message is None:
            return Step(record, refused=record.problem)
        match record.message.body:
            case PolicySet() as policy:
                return self._set_policy(record, policy)
            case Tick() | Heartbeat():
                return Step(record)
        try:
            return self._decide(record, record.message)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return Step(record, refused=f"not applied: {type(error).__name__}: {error}")

    def _decide(self, record: Recorded, message: Inbox) -> Step:
        before = self.rows.family(message.family) or Family(message.family)
        at = At(self.partition, record.offset, record.timestamp)
        decision = decide(before, message, at, self.policy, self.rows.document)
        self._check(decision)
        for job_id, document in decision.documents.items():
            self.rows.keep_document(job_id, document)
        self.rows.keep_family(decision.family)
        return Step(
            record,
            before,
            decision.family,
            tuple(decision.facts),
            tuple(decision.dispatches),
            tuple(decision.commands),
            decision.documents,
            why=why(before, message, decision),
        )

    def _check(self, decision: Decision) -> None:
        """Raise what the orchestrator would: a decision that can't be encoded is not taken over."""
        for fact in decision.facts:
            self._codec.encode("fact", fact.record())
        for dispatch in decision.dispatches:
            if dispatch.run is not None:
                self._codec.encode("run", dispatch.run.record())
        for command in decision.commands:
            self._codec.encode("command", command.record())

    def _set_policy(self, record: Recorded, message: PolicySet) -> Step:
        try:
            self.policy = Policy.of(message.policy)
        except (ValueError, TypeError, AttributeError) as error:
            return Step(record, why=f"the policy can't be read, the one before stays: {error}")
        return Step(record, policy=self.policy)
