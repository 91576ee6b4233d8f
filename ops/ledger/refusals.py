"""What must hold before the ledger's topics are written by anybody but the ledger: checks that refuse, and say why."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import TopicPartition

from agents.admin import TopicState, describe
from agents.bus import consumer
from ops.cluster import groups
from ops.ledger.decided import decided_to
from ops.reading.log import Log
from pipeline.settings import Settings
from pipeline.topic import Topic

#: s that a question about a group may take, and between two looks at one
_ASK, _PAUSE = 10.0, 0.5
#: s beyond the session's time-out that a process that was stopped may still be in its group
_MARGIN = 3.0


class UnsafeError(Exception):
    """What was asked for would be wrong, and nothing was changed; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Reach:
    """An inbox partition: its first offset, its end, and up to where it is decided; `committed`: the group says so."""

    first: int
    end: int
    decided: int
    committed: bool


def nobody_in(settings: Settings, names: Sequence[str], wait: float, tell: Callable[[str], object]) -> None:
    """Raise UnsafeError where somebody stays in one of the groups for `wait` seconds and a margin.

    A process that was stopped is in its group until its session has run out: that is waited for.
    """
    deadline = time.monotonic() + wait + _MARGIN
    told = False
    for name in names:
        group = settings.topology.name(name)
        while inside := groups.clients(settings, group, _ASK):
            if time.monotonic() > deadline:
                raise UnsafeError(f"{group} has {len(inside)} members: {', '.join(inside)}; stop them first")
            if not told:
                told = True
                tell(f"waiting for {group} to be left by {', '.join(inside)}")
            time.sleep(_PAUSE)


def no_orchestrator(settings: Settings, tell: Callable[[str], object]) -> None:
    """Raise UnsafeError where an orchestrator runs."""
    nobody_in(settings, [settings.topology.ledger_id], settings.ledger.session_ms / 1000, tell)


def topics_fit(settings: Settings, missing: Iterable[Topic] = ()) -> Mapping[str, TopicState]:
    """Return the topics' states by name; those of `missing` may be missing.

    Raises UnsafeError where one isn't there, or has another number of partitions.
    """
    states = {one.topic.name: one for one in describe(settings)}
    topology = settings.topology
    may_miss = {topic.name for topic in missing}
    for topic in (topology.inbox, topology.events, *topology.changelogs()):
        state = states[topic.name]
        if state.misfit:
            raise UnsafeError(
                f"{topic.name} has {state.partitions} partitions, the settings say {topic.partitions}: rows would go "
                "to partitions where nobody looks for them; set JOBSTREAM_TOPICS__* to what the inbox has"
            )
        if state.partitions is None and topic.name not in may_miss:
            raise UnsafeError(f"{topic.name} is not there: nothing can be read from it")
    return states


def reaches(settings: Settings, log: Log, *, lose_past: bool = False) -> dict[int, Reach]:
    """Return how far each inbox partition is decided.

    Raises UnsafeError where an inbox has lost what was decided, or (but for `lose_past`) what was not decided yet.
    """
    found = {}
    for number in range(settings.topology.inbox_partitions):
        decided, committed = decided_to(settings, log, number)
        first, end = log.bounds(settings.topology.inbox, number)
        if decided > end:
            raise UnsafeError(
                f"partition {number}: the ledger has decided up to offset {decided}, but the inbox ends at {end}: it "
                "lost records or is another one, and the tables can't be made from it"
            )
        if committed and decided < first and not lose_past:
            raise UnsafeError(
                f"partition {number}: offsets {decided} to {first - 1} were not decided yet, and retention has taken "
                "them; --lose-past goes on without them"
            )
        found[number] = Reach(first, end, max(first, decided), committed and decided >= first)
    return found


def commit(settings: Settings, positions: Mapping[int, int]) -> None:
    """Have the ledger's group go on at these offsets of the inbox; nobody may be in it. Raises KafkaException."""
    name = settings.topology.name
    client = consumer(settings, name("jobstream-ledger-position"), name(settings.topology.ledger_id))
    try:
        topic = settings.topology.inbox.name
        asked = [TopicPartition(topic, number, offset) for number, offset in positions.items()]
        client.commit(offsets=asked, asynchronous=False)
    finally:
        client.close()
