"""The log folded once, in order, by nobody who crashes: what every owner must agree with."""

from collections import defaultdict
from dataclasses import dataclass, field

from pipeline.codec import Codec
from pipeline.ledger.decide import decide
from pipeline.ledger.decision import At, Decision
from pipeline.ledger.document import Document
from pipeline.ledger.policy import Policy
from pipeline.ledger.state import Family
from pipeline.messages.inbox import Heartbeat, Inbox, PolicySet, Tick
from tests.simulation.bus import Entry
from tests.simulation.oracle import Oracle


@dataclass(slots=True)
class Folded:
    """One message as it was folded."""

    message: Inbox
    after: Family | None = None
    decision: Decision | None = None
    policy: Policy | None = None


@dataclass
class Reference:
    """One inbox partition: the families of now, and what each message did."""

    partition: int
    codec: Codec
    oracle: Oracle
    policy: Policy = field(default_factory=Policy)
    families: dict[str, Family] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)
    every_document: dict[str, Document] = field(default_factory=dict)
    #: by job: each offset at which its document was made or deleted, ascending, and whether it is there since
    kept: dict[str, list[tuple[int, bool]]] = field(default_factory=lambda: defaultdict(list))
    log: list[Folded] = field(default_factory=list)
    #: by family: each offset that concerned it, ascending, and the state since
    history: dict[str, list[tuple[int, Family]]] = field(default_factory=lambda: defaultdict(list))

    def fold(self, entry: Entry) -> Folded:
        """Fold a message of the inbox and check what it does."""
        message = Inbox.of(self.codec.decode("inbox", entry.value))
        folded = Folded(message)
        self.log.append(folded)
        match message.body:
            case PolicySet() as policy:
                self.policy = folded.policy = Policy.of(policy.policy)
            case Heartbeat() as beat:
                self.oracle.heartbeat(self, beat, entry)
            case Tick():
                pass
            case _:
                self._decide(folded, message, At(self.partition, entry.offset, entry.time))
        return folded

    def _decide(self, folded: Folded, message: Inbox, at: At) -> None:
        before = self.families.get(message.family) or Family(message.family)
        decision = decide(before, message, at, self.policy, self.documents.get)
        after = decision.family
        folded.after, folded.decision = after, decision
        self.oracle.transition(self, before, message, at, decision)
        for job_id, document in decision.documents.items():
            self.kept[job_id].append((at.offset, document is not None))
            if document is None:
                self.documents.pop(job_id, None)
            else:
                self.documents[job_id] = self.every_document[job_id] = document
        if after.is_empty:
            # it has no row, and nothing of it is remembered
            self.families.pop(after.id, None)
        else:
            self.families[after.id] = after
        self.history[after.id].append((at.offset, after))

    def at(self, family: str, offset: int) -> Family | None:
        """Return the state that the message at this offset made, None where it was another family's."""
        for known, state in reversed(self.history.get(family, ())):
            if known == offset:
                return state
            if known < offset:
                break
        return None

    def keeps(self, job_id: str, offset: int) -> bool:
        """Say whether there is a document of the job once all up to this offset is applied."""
        return next((kept for known, kept in reversed(self.kept.get(job_id, ())) if known <= offset), False)

    def as_of(self, family: str, offset: int) -> Family | None:
        """Return the state that includes everything up to this offset."""
        for known, state in reversed(self.history.get(family, ())):
            if known <= offset:
                return state
        return None
