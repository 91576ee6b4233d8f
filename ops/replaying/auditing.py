"""The audit over the log: which topics are read, in which order, and up to where what is missing is missing."""

from collections.abc import Mapping
from dataclasses import replace

from confluent_kafka import Message

from agents.generations import generations
from agents.registry import codec
from ops.reading.log import Log
from ops.replaying.decided import decided, gate_group, positions
from ops.replaying.reading import Tell, records, silent
from ops.replaying.store import DiskStore, disk_store
from pipeline.audit.audit import Audit, Grants
from pipeline.audit.causes import Causes
from pipeline.audit.finding import Findings
from pipeline.audit.taken import Taken
from pipeline.codec import DecodeError
from pipeline.messages.command import GRANT, Command
from pipeline.messages.fact import Fact
from pipeline.replay.recorded import Recorded
from pipeline.settings import Settings
from pipeline.topic import Topic


def audit(settings: Settings, since: int | None = None, until: int | None = None, tell: Tell = silent) -> Findings:
    """Return what an audit of the whole log finds; `since` and `until` (ms) bound what is read.

    Raises BrokerError where Kafka can't be reached.
    """
    with Log(settings, follows=False) as log, disk_store() as store:
        return _Auditing(settings, log, store, (since, until), tell).run()


#: By what offsets of an earlier generation of the inbox are made to lie before those of the next: more than any has.
_GENERATION = 1 << 48


class _Auditing:
    """One audit: commands and dead letters, then each partition's inbox and facts, then the submissions."""

    def __init__(
        self, settings: Settings, log: Log, store: DiskStore, span: tuple[int | None, int | None], tell: Tell
    ) -> None:
        self._settings = settings
        self._topology = settings.topology
        self._log = log
        self._store = store
        self._since, self._until = span
        self._tell = tell
        self._codec = codec(settings)
        self._findings = Findings()
        self._grants = Grants(store, self._findings)
        self._taken = Taken(store, self._findings)
        self._buried: dict[int, list[int]] = {}
        self._generations = generations(settings)
        self._own = self._generations.get(self._topology.inbox_generation)
        self._following = self._generations.get(self._topology.inbox_generation + 1)

    def run(self) -> Findings:
        """Read all, and judge."""
        # before the inbox is read: what was taken, and decided, by now must be found further on
        taken = [
            (topic, positions(self._settings, gate_group(principal), topic, range(topic.partitions)))
            for principal in (None, *self._topology.principals)
            for topic in (self._topology.submit_of(principal),)
        ]
        done = decided(self._settings, range(self._topology.inbox_partitions))
        self._read_commands()
        self._read_dead_letters()
        for number in range(self._topology.inbox_partitions):
            self._partition(number, done.get(number))
        if self._until is not None:
            self._findings.unjudged["whether submissions were taken: --to cuts off where they would be"] += 1
            return self._findings
        for topic, ends in taken:
            self._judge_taken(topic, ends)
        return self._findings

    def _judge_taken(self, topic: Topic, ends: Mapping[int, int]) -> None:
        principal = self._topology.principal_of(topic.name)
        if principal is not None and (self._own or self._following):
            # where a generation began is known of the common topic alone
            self._findings.unjudged["whether submissions of a principal's own topic were taken"] += 1
            return
        for number, end in ends.items():
            begins, last = self._bounds(topic, number)
            # those of before are in the inbox's generation before, those of after in the one after
            begins = max(begins, self._own.taken[number]) if self._own else begins
            last = min(last, self._following.taken[number]) if self._following else last
            for message in records(self._log, topic, number, begins, min(last, end), self._tell):
                self._taken.judge(number, message.offset(), principal)

    def _partition(self, number: int, decided_to: int | None) -> None:
        inbox, events = self._topology.inbox, self._topology.events
        begins, ends = self._bounds(inbox, number)
        # a generation begins with a policy, before which jobs have a past all the same
        first = max(begins, 1) if self._own else begins
        causes = Causes(number, self._store, first, self._settings.ledger.window_ms)
        for message in records(self._log, inbox, number, begins, ends, self._tell):
            self._findings.messages += 1
            place = (message.offset(), message.timestamp()[1])
            record = Recorded.read(self._codec, *place, message.key(), message.value())
            causes.add(*place, record.message)
        where = self._topology.fact_partition(number)
        oldest, newest = self._bounds(events, where, until=False)
        newest = min(newest, self._following.facts[where]) if self._following else newest
        audit = Audit(number, self._store, causes, self._grants, self._findings, all_facts=oldest == 0)
        for offset in self._buried.get(number, ()):
            audit.buried(offset)
        last = 0
        for message in records(self._log, events, where, oldest, newest, self._tell):
            fact = self._fact(message, where)
            if fact is not None and self._topology.inbox_partition(fact.family) == number and fact.inbox_offset < ends:
                audit.add(fact)
                last = max(last, fact.inbox_offset)
        # where nobody keeps how far the ledger is, its last fact tells
        audit.end(last if decided_to is None else min(ends, decided_to))

    def _bounds(self, topic: Topic, number: int, *, until: bool = True) -> tuple[int, int]:
        begins, ends = self._log.bounds(topic, number)
        if self._since is not None:
            begins = self._log.since(topic, [number], self._since)[number]
        if self._until is not None and until:
            ends = min(ends, self._log.since(topic, [number], self._until)[number])
        return begins, ends

    def _fact(self, message: Message, where: int) -> Fact | None:
        """Return a fact; of an earlier generation, before the inbox's first offset and in the same order."""
        try:
            fact = Fact.of(self._codec.decode("fact", message.value()))
        except (DecodeError, KeyError, TypeError, ValueError):
            self._findings.unjudged["records of jobs.events that are no facts"] += 1
            return None
        wanted = self._topology.inbox_generation
        earlier = sum(
            one.number <= wanted and message.offset() < one.facts[where] for one in self._generations.values()
        )
        return replace(fact, inbox_offset=fact.inbox_offset - earlier * _GENERATION) if earlier else fact

    def _read_commands(self) -> None:
        topic = self._topology.commands
        for number in range(topic.partitions):
            for message in records(self._log, topic, number, *self._log.bounds(topic, number), self._tell):
                try:
                    command = Command.of(self._codec.decode("command", message.value()))
                except (DecodeError, KeyError, TypeError, ValueError):
                    continue
                if command.kind == GRANT:
                    partition = self._topology.job_partition(command.job_id)
                    self._grants.add(partition, command.job_id, command.attempt, command.holder)

    def _read_dead_letters(self) -> None:
        topic = self._topology.dead
        for number in range(topic.partitions):
            for message in records(self._log, topic, number, *self._log.bounds(topic, number), self._tell):
                headers = dict(message.headers() or ())
                try:
                    name = headers["topic"].decode()
                    partition, offset = int(headers["partition"]), int(headers["offset"])
                except (KeyError, ValueError, AttributeError):
                    continue
                if name in {one.name for one in self._topology.submits()}:
                    self._taken.buried(partition, offset, self._topology.principal_of(name))
                elif name == self._topology.inbox.name:
                    self._buried.setdefault(partition, []).append(offset)
