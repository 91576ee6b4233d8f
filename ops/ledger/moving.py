"""The next generation of the inbox, with more partitions: all that the ledger knows becomes messages of the new inbox.

The new inbox begins with a policy and what every family was, so that its tables are folded from it as from any
other. Nobody takes it for whole before its record is on jobs.settings, which is written last: a move that was broken
off begins again, and until it is whole everything goes on as before with the old settings.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agents import admin, generations
from agents.bus import CALL_TIMEOUT, Publisher
from agents.generations import Generation
from agents.orchestrator.backing import changelog_ids
from agents.orchestrator.row import Backing, body_of, policy_in
from agents.registry import codec
from ops.ledger import changelogs
from ops.ledger.refusals import UnsafeError, nobody_in, reaches, topics_fit
from ops.ledger.rows import DOCUMENTS, FAMILIES, LedgerRows
from ops.ledger.writing import Writer
from ops.reading.log import Log
from ops.replaying.decided import gate_group, positions
from ops.replaying.reading import Tell, records, silent
from ops.replaying.store import DiskStore, disk_store
from pipeline.codec import DecodeError
from pipeline.identity import family_of_job
from pipeline.ledger.carrying import parts
from pipeline.ledger.state import Family
from pipeline.messages.inbox import Body, Carried, Inbox, PolicySet
from pipeline.messages.report import HEARTBEAT, TICK, WorkerReport
from pipeline.settings import Settings, TopicSettings
from pipeline.topic import Topic

#: The group of the gate for reports and requests.
GATE_REPORTS_ID = "jobstream-gate-reports"


@dataclass(slots=True)
class Moved:
    """The new generation, and how much was carried over; `before`: an earlier call had done it all."""

    generation: Generation
    families: int = 0
    documents: int = 0
    before: bool = False
    notes: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "generation": self.generation.number,
            "partitions": self.generation.partitions,
            "families": self.families,
            "documents": self.documents,
            "moved_before": self.before,
            "settings": dict(one.split("=", 1) for one in generations.variables(self.generation)),
        }


def move(
    settings: Settings,
    partitions: int,
    *,
    tell: Tell = silent,
    say: Callable[[str], object] = lambda _text: None,
) -> Moved:
    """Make the next generation of the inbox; `settings` are those of the present one.

    Raises UnsafeError, before anything is changed, where somebody still runs, where something is not decided or not
    forwarded yet, where the tables are not whole, and for a number of partitions that can't be.
    """
    with Log(settings, follows=False) as log, disk_store() as store:
        return _Moving(settings, partitions, log, store, tell, say).run()


class _Moving:
    def __init__(
        self,
        settings: Settings,
        partitions: int,
        log: Log,
        store: DiskStore,
        tell: Tell,
        say: Callable[[str], object],
    ) -> None:
        self._settings = settings
        self._topology = settings.topology
        self._partitions = partitions
        self._log = log
        self._store = store
        self._tell = tell
        self._say = say

    def run(self) -> Moved:
        """Check, read the tables, write the new inbox, grow what leads to it, and say that it is whole."""
        done = self._done_before()
        if done is not None:
            return Moved(done, before=True)
        new = self._new_settings()
        topics_fit(self._settings)
        # what can be told at once is told before anybody's session is waited for
        self._refuse_what_is_under_way()
        submits = [gate_group(principal) for principal in (None, *self._topology.principals)]
        groups = [*submits, GATE_REPORTS_ID, "jobstream-scheduler", self._topology.ledger_id]
        longest = max(self._settings.ledger.session_ms, self._settings.scheduler.session_ms) / 1000
        nobody_in(self._settings, groups, longest, self._say)
        self._refuse_what_is_under_way()
        for number in range(self._topology.inbox_partitions):
            changelogs.merge(self._log, self._topology, number, self._rows(number), tell=self._tell)
        self._refuse_tables_that_are_not_whole()
        # a new inbox that is there is of a move that was broken off: nobody has taken it for whole
        inbox_id = admin.remake(new, [new.topology.inbox])[new.topology.inbox.name]
        moved = Moved(self._generation(new, inbox_id))
        self._carry(new, inbox_id, moved)
        admin.grow(new, [new.topology.reports, new.topology.control])
        admin.apply(new)
        self._say_that_it_is_whole(moved.generation)
        return moved

    def _done_before(self) -> Generation | None:
        known = generations.generations(self._settings)
        following = known.get(self._topology.inbox_generation + 1)
        if following is None or following.partitions == self._partitions:
            return following
        raise UnsafeError(
            f"the inbox is in generation {following.number} already, with {following.partitions} partitions: set "
            f"{', '.join(generations.variables(following))}"
        )

    def _new_settings(self) -> Settings:
        topology = self._topology
        if self._partitions <= topology.inbox_partitions:
            raise UnsafeError(f"the inbox has {topology.inbox_partitions} partitions: it can only get more")
        if self._partitions % topology.facts:
            raise UnsafeError(
                f"{self._partitions} is no multiple of {topology.facts}, the partitions of {topology.events.name}: "
                "a family's facts must stay in one"
            )
        fields = {
            "inbox_partitions": self._partitions,
            "inbox_generation": topology.inbox_generation + 1,
            "fact_partitions": topology.facts,
        }
        topics = TopicSettings.model_validate({**self._settings.topics.model_dump(), **fields})
        return self._settings.model_copy(update={"topics": topics})

    def _refuse_what_is_under_way(self) -> None:
        left = sum(one.end - one.decided for one in reaches(self._settings, self._log).values())
        if left:
            raise UnsafeError(
                f"{left} messages of the inbox are not decided yet: let an orchestrator run until it has, without a "
                "gate and a scheduler, and stop it"
            )
        topology = self._topology
        for topic in (topology.reports, topology.control):
            taken = positions(self._settings, GATE_REPORTS_ID, topic, range(topic.partitions))
            waiting = sum(
                self._count_waiting(topic, number, taken.get(number, 0)) for number in range(topic.partitions)
            )
            if waiting:
                raise UnsafeError(
                    f"{waiting} records of {topic.name} are not forwarded yet: start gate and orchestrator again, stop "
                    "workers and scheduler, then the gate, then the orchestrator"
                )

    def _count_waiting(self, topic: Topic, number: int, taken: int) -> int:
        """Count what the gate has not forwarded, but for what tells only that time passes or that somebody lives."""
        first, end = self._log.bounds(topic, number)
        made = codec(self._settings)
        count = 0
        for message in records(self._log, topic, number, max(first, taken), end, self._tell):
            if topic == self._topology.reports:
                try:
                    report = WorkerReport.of(made.decode("report", message.value()))
                except (DecodeError, KeyError, TypeError, ValueError):
                    # the gate buries it, now or later
                    continue
                count += report.kind not in (TICK, HEARTBEAT)
            else:
                count += 1
        return count

    def _refuse_tables_that_are_not_whole(self) -> None:
        ids = changelog_ids(self._settings)
        for number in range(self._topology.inbox_partitions):
            value = self._rows(number).backing
            backing = None if value is None else Backing.of(value)
            _, end = self._log.bounds(self._topology.inbox, number)
            if end and (backing is None or not backing.whole or backing.changelogs != ids):
                raise UnsafeError(
                    f"partition {number}: the tables are not whole, or an orchestrator of this version never ran: "
                    "`jobstream ledger verify` says more, `jobstream ledger rebuild` writes them anew"
                )

    def _carry(self, new: Settings, inbox_id: str, moved: Moved) -> None:
        with Writer(new) as writer:
            send = _Sender(new, writer)
            policy = self._policy()
            if policy is not None:
                for number in range(self._partitions):
                    send.to(number, "", PolicySet(inbox_id, policy))
            for number in range(self._topology.inbox_partitions):
                rows = self._rows(number)
                for key, value in rows.rows(DOCUMENTS):
                    # what a crash left of a job that no family knows is not worth carrying
                    if rows.get(FAMILIES, family_of_job(key.decode()).encode()) is not None:
                        send.of(family_of_job(key.decode()), Carried(document=body_of(value).decode()))
                        moved.documents += 1
                for key, value in rows.rows(FAMILIES):
                    for part in parts(Family.load(body_of(value))):
                        send.of(key.decode(), part)
                    moved.families += 1
                    self._tell("families", moved.families, moved.families)

    def _policy(self) -> str | None:
        """Return the policy that the ledger goes by, None where it has decided nothing yet."""
        known = [self._rows(number).policy for number in range(self._topology.inbox_partitions)]
        return next((policy_in(value)[1].json() for value in known if value is not None), None)

    def _generation(self, new: Settings, inbox_id: str) -> Generation:
        topology = self._topology
        ends = self._log.ends(topology.events, range(topology.facts))
        taken = positions(self._settings, gate_group(None), topology.submit, range(topology.submit.partitions))
        return Generation(
            new.topology.inbox_generation,
            self._partitions,
            topology.facts,
            inbox_id,
            tuple(ends[number] for number in range(topology.facts)),
            tuple(taken.get(number, 0) for number in range(topology.submit.partitions)),
        )

    def _say_that_it_is_whole(self, generation: Generation) -> None:
        publisher = Publisher(self._settings, self._topology.name("jobstream-ledger"))
        try:
            publisher.send(self._topology.settings, generation.key, generation.dump(), 0).result(CALL_TIMEOUT)
        finally:
            publisher.close()

    def _rows(self, number: int) -> LedgerRows:
        return LedgerRows(self._store, f"tables/{number}")


class _Sender:
    """Sends messages to the new inbox."""

    def __init__(self, settings: Settings, writer: Writer) -> None:
        self._topology = settings.topology
        self._codec = codec(settings)
        self._writer = writer

    def of(self, family: str, body: Body) -> None:
        """Send a message to a family's partition."""
        self.to(self._topology.inbox_partition(family), family, body)

    def to(self, partition: int, family: str, body: Body) -> None:
        """Send a message to a partition."""
        value = self._codec.encode("inbox", Inbox(family, body).record())
        self._writer.send(self._topology.inbox, family, value, partition)
