"""Up to where the ledger has decided each partition of the inbox."""

from ops.reading.log import Log
from ops.replaying.decided import decided as committed_of
from ops.replaying.recorded_facts import RecordedFacts, span
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
    where = span(settings, log, number)
    newest = RecordedFacts(settings, log, number).read(
        where.partition, max(where.first, where.end - _NEWEST), where.end
    )
    return max((fact.inbox_offset for fact in newest), default=0), False
