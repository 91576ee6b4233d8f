"""Up to where the ledger has decided each partition of the inbox."""

from agents.registry import codec
from ops.reading.log import Log
from ops.replaying.decided import decided as committed_of
from ops.replaying.reading import records
from pipeline.codec import DecodeError
from pipeline.messages.fact import Fact
from pipeline.settings import Settings

#: Facts at the end of which the ledger's position is seen where it isn't kept: an old owner's repeats are fewer.
_NEWEST = 2000


def decided_to(settings: Settings, log: Log, number: int) -> tuple[int, bool]:
    """Return the inbox offset below which all is decided, and whether it is committed; else the newest facts tell it.

    Raises BrokerError where Kafka can't be reached.
    """
    committed = committed_of(settings, [number]).get(number)
    if committed is not None:
        return committed, True
    events, made = settings.topology.events, codec(settings)
    oldest, newest = log.bounds(events, number)
    last = 0
    for message in records(log, events, number, max(oldest, newest - _NEWEST), newest):
        try:
            last = max(last, Fact.of(made.decode("fact", message.value())).inbox_offset)
        except (DecodeError, KeyError, TypeError, ValueError):
            continue
    return last, False
