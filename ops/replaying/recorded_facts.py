"""The recorded facts of one inbox partition: jobs.events may hold those of others, and of other generations, too."""

from collections.abc import Iterator
from dataclasses import dataclass

from agents.generations import Generation, generations
from agents.registry import codec
from ops.reading.log import Log
from ops.replaying.reading import Tell, records, silent
from pipeline.codec import DecodeError
from pipeline.messages.fact import Fact
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Span:
    """Where in jobs.events the facts of the settings' generation lie; `is_whole`: none of them is lost."""

    partition: int
    first: int
    end: int
    is_whole: bool


def span(settings: Settings, log: Log, number: int, known: dict[int, Generation] | None = None) -> Span:
    """Return the span of an inbox partition's facts; raises OSError where Kafka can't be reached."""
    topology = settings.topology
    known = generations(settings) if known is None else known
    partition = topology.fact_partition(number)
    low, high = log.bounds(topology.events, partition)
    own, following = known.get(topology.inbox_generation), known.get(topology.inbox_generation + 1)
    begins = 0 if own is None else own.facts[partition]
    ends = high if following is None else min(high, following.facts[partition])
    return Span(partition, max(low, begins), ends, low <= begins)


class RecordedFacts:
    """Facts of one inbox partition in the order of the log; `undecoded` counts records that are none."""

    def __init__(self, settings: Settings, log: Log, number: int) -> None:
        self._topic = settings.topology.events
        self._log = log
        self._number = number
        #: where each partition of the inbox has one of facts, all in it are its own
        self._is_alone = settings.topology.facts == settings.topology.inbox_partitions
        self._codec = codec(settings)
        self.undecoded = 0

    def read(self, partition: int, first: int, end: int, tell: Tell = silent) -> Iterator[Fact]:
        """Yield those between two offsets of jobs.events."""
        for message in records(self._log, self._topic, partition, first, end, tell):
            try:
                fact = Fact.of(self._codec.decode("fact", message.value()))
            except (DecodeError, KeyError, TypeError, ValueError):
                self.undecoded += 1
                continue
            if self._is_alone or fact.inbox_partition == self._number:
                yield fact
