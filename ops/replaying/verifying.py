"""Today's code over a recorded inbox, against the facts that were recorded: one partition at a time, as a stream."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Message

from agents.orchestrator.policy import policy_of
from agents.registry import codec
from ops.reading.log import Log
from ops.replaying.decided import decided as decided_of
from ops.replaying.reading import Tell, records, silent
from ops.replaying.recorded_facts import RecordedFacts, Span, span
from ops.replaying.rows import DiskRows
from ops.replaying.store import disk_store
from pipeline.codec import Codec
from pipeline.ledger.policy import Policy
from pipeline.messages.fact import Fact
from pipeline.replay.comparison import Comparison, Divergence
from pipeline.replay.fold import Fold
from pipeline.replay.history import History
from pipeline.replay.recorded import Recorded
from pipeline.settings import Settings

#: Inbox records that are folded before the facts are read up to them.
_AT_ONCE = 5000
#: Facts at the end of which the ledger's position is seen where it isn't kept: an old owner's repeats are fewer.
_NEWEST = 2000
#: Jobs that differ after which a partition is given up: there is nothing more to learn.
MOST_DIVERGENCES = 1000


@dataclass(slots=True)
class Verdict:
    """What came of one partition; `buried` are records that were no message, or couldn't be applied."""

    partition: int
    messages: int = 0
    buried: int = 0
    equal: int = 0
    repeated: int = 0
    unjudged: dict[str, int] = field(default_factory=dict)
    divergences: list[Divergence] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "partition": self.partition,
            "messages": self.messages,
            "buried": self.buried,
            "equal": self.equal,
            "repeated": self.repeated,
            "not_judged": self.unjudged,
            "divergences": [one.record() for one in self.divergences],
            "notes": self.notes,
        }

    def conclude(self, comparison: Comparison) -> "Verdict":
        """Take over what was compared."""
        self.equal, self.repeated = comparison.equal, comparison.repeated
        self.unjudged = {why: count for why, count in comparison.unjudged.items() if count}
        self.divergences = sorted(comparison.divergences.values(), key=lambda one: one.offset)
        return self


def verify_history(history: History) -> Verdict:
    """Judge the facts of a history's job; needs no server."""
    verdict, fold = Verdict(history.partition), Fold(history.partition)
    oldest = history.facts[0] if history.facts else None
    lost = oldest.inbox_offset if oldest is not None and oldest.seq > 1 else 0
    comparison = Comparison(history.begins, lost_before=lost)
    facts = deque(history.facts)
    while facts and facts[0].inbox_offset < history.begins:
        comparison.recorded(facts.popleft())
    for record in history.records:
        while facts and facts[0].inbox_offset <= record.offset:
            comparison.recorded(facts.popleft())
        step = fold.apply(record)
        verdict.messages += 1
        verdict.buried += bool(step.refused)
        for made in step.facts:
            if made.job_id == history.job_id:
                comparison.made(made)
    for fact in facts:
        comparison.recorded(fact)
    # exported while the ledger may have been at work: its last messages may have no facts yet
    last = max((fact.inbox_offset for fact in history.facts), default=-1)
    comparison.end(last + 1)
    if not history.is_whole:
        verdict.notes.append(f"the inbox began at offset {history.begins}: what came before is not known")
    return verdict.conclude(comparison)


def verify(
    settings: Settings,
    partitions: Sequence[int] | None = None,
    since: int | None = None,
    until: int | None = None,
    tell: Tell = silent,
) -> Iterator[Verdict]:
    """Yield the verdict on each partition (by default all); `since` and `until` (ms) bound whose facts are compared.

    The fold always begins where the inbox does: a state follows from all that came before. Raises BrokerError where
    Kafka can't be reached.
    """
    topology = settings.topology
    for number in range(topology.inbox_partitions) if partitions is None else partitions:
        yield _Verification(settings, number, since, until, tell).run()


class _Verification:
    """One partition's two streams, read in turn: the inbox, and the facts up to where the inbox was read."""

    def __init__(self, settings: Settings, number: int, since: int | None, until: int | None, tell: Tell) -> None:
        self._settings = settings
        self._number = number
        self._since, self._until = since, until
        self._tell = tell
        self._codec: Codec = codec(settings)
        self._recorded: RecordedFacts

    def run(self) -> Verdict:
        topology, number = self._settings.topology, self._number
        with (
            Log(self._settings, follows=False) as inbox,
            Log(self._settings, follows=False) as events,
            disk_store() as store,
        ):
            rows = DiskRows(store)
            begins, ends = inbox.bounds(topology.inbox, number)
            committed = decided_of(self._settings, [number]).get(number)
            first = begins if self._since is None else inbox.since(topology.inbox, [number], self._since)[number]
            # after the ledger's position: of what it has decided, the facts are there
            where = span(self._settings, events, number)
            self._recorded = RecordedFacts(self._settings, events, number)
            decided = self._last(where) if committed is None else committed
            verdict = Verdict(number)
            if decided < ends:
                verdict.notes.append(f"{ends - decided} messages were not decided when the reading began")
            ends = min(ends, decided)
            if self._until is not None:
                ends = min(ends, inbox.since(topology.inbox, [number], self._until)[number])
            facts = self._recorded.read(where.partition, where.first, where.end)
            ahead = next(facts, None)
            lost = ahead.inbox_offset if ahead is not None and not where.is_whole else 0
            comparison = Comparison(begins, first, lost, rows)
            ahead = self._take(comparison, facts, ahead, begins - 1)
            fold = Fold(number, rows, self._policy(begins, verdict))
            for count, message in enumerate(records(inbox, topology.inbox, number, begins, ends, self._tell), 1):
                self._fold(fold, comparison, message, verdict)
                if count % _AT_ONCE == 0:
                    ahead = self._take(comparison, facts, ahead, message.offset())
                    comparison.settle(message.offset())
                    if len(comparison.divergences) > MOST_DIVERGENCES:
                        verdict.notes.append(f"given up at offset {message.offset()}: too many jobs differ")
                        return self._conclude(verdict, comparison)
            self._take(comparison, facts, ahead, ends - 1)
            comparison.end(ends)
            return self._conclude(verdict, comparison)

    def _last(self, where: Span) -> int:
        """Return the last inbox offset that the newest facts are of: all before it is decided."""
        newest = self._recorded.read(where.partition, max(where.first, where.end - _NEWEST), where.end)
        return max((fact.inbox_offset for fact in newest), default=0)

    def _conclude(self, verdict: Verdict, comparison: Comparison) -> Verdict:
        if self._recorded.undecoded:
            verdict.notes.append(f"{self._recorded.undecoded} records of jobs.events are no facts")
        return verdict.conclude(comparison)

    def _fold(self, fold: Fold, comparison: Comparison, message: Message, verdict: Verdict) -> None:
        place = (message.offset(), message.timestamp()[1], message.key())
        step = fold.apply(Recorded.read(self._codec, *place, message.value()))
        verdict.messages += 1
        verdict.buried += bool(step.refused)
        for fact in step.facts:
            comparison.made(fact)

    def _take(self, comparison: Comparison, facts: Iterator[Fact], ahead: Fact | None, offset: int) -> Fact | None:
        """Compare recorded facts up to those of an inbox offset; return the first beyond, None where there is none."""
        while ahead is not None and ahead.inbox_offset <= offset:
            comparison.recorded(ahead)
            ahead = next(facts, None)
        return ahead

    def _policy(self, begins: int, verdict: Verdict) -> Policy:
        """Return the policy that the fold begins with: its message may have fallen to retention."""
        if begins == 0:
            return Policy()
        verdict.notes.append(
            f"the inbox begins at offset {begins}: the policy of the settings is taken until it has one"
        )
        return policy_of(self._settings)
