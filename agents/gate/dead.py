"""Dead letters: what could not be handled, with its bytes and headers as they came, and why (design §3)."""

from agents.gate.record import Incoming, Outgoing
from pipeline.crash_points import here
from pipeline.topic import Topic

TOPIC, PARTITION, OFFSET, TIMESTAMP, REASON = "topic", "partition", "offset", "timestamp", "reason"
#: Before the name of a header that the record itself carried.
ORIGINAL = "original."
_MAX_REASON = 1000


class DeadLetterError(ValueError):
    """A record can't be handled, and no repetition cures it; the text says why."""


def dead_letter(topic: Topic, record: Incoming, reason: str) -> Outgoing:
    """Return the dead letter of a record."""
    here("gate.dead-letter")
    headers = [
        (TOPIC, record.topic.encode()),
        (PARTITION, str(record.partition).encode()),
        (OFFSET, str(record.offset).encode()),
        (TIMESTAMP, str(record.time).encode()),
        (REASON, reason[:_MAX_REASON].encode("utf-8", "replace")),
        *((ORIGINAL + name, value) for name, value in record.headers),
    ]
    return Outgoing(topic, 0, record.key or b"", record.value, headers)
