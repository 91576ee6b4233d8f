"""Long reads of a partition: in slices, so that each is bounded in time and the progress can be told."""

from collections.abc import Callable, Iterator

from confluent_kafka import Message

from ops.reading.log import Log
from pipeline.topic import Topic

#: Told what is read, how many records of it are behind, and how many there are.
Tell = Callable[[str, int, int], None]

#: Records of a slice, and s that one may take.
_SLICE, _TIMEOUT = 50_000, 120.0
#: Records after which the progress is told.
_TOLD = 1000


def silent(_what: str, _done: int, _all: int) -> None:
    """Tell nobody."""


def records(log: Log, topic: Topic, partition: int, start: int, end: int, tell: Tell = silent) -> Iterator[Message]:
    """Yield a partition's records from offset `start` up to `end`, in order.

    Raises BrokerError where a slice is not read in time: a long log may take hours, a broker that is silent may not.
    """
    what, total = f"{topic.name}/{partition}", max(0, end - start)
    if total == 0:
        return
    for first in range(start, end, _SLICE):
        for message in log.read(topic, partition, first, min(end, first + _SLICE), _TIMEOUT):
            done = message.offset() - start
            if done % _TOLD == 0:
                tell(what, done, total)
            yield message
    tell(what, total, total)
