"""Records that could not be handled: their original bytes on jobs.dead, and why in the headers.

And what such a record is called by when it is sent again, so that however often that is done it makes its jobs once.
"""

from concurrent.futures import Future

from agents.bus import Delivered, Publisher
from pipeline.crash_points import here
from pipeline.topology import Topology

#: bytes of a reason in a header
REASON_LIMIT = 4096
#: On a record that is a dead letter sent again: the letter's id, the first of them where it came back.
LETTER_HEADER = "jobstream.dead-letter"
#: Beside it: what the submission is called where it brings no id of its own, as it would have been at its first time.
SUBMISSION_HEADER = "jobstream.submission-id"


class DeadLetters:
    """Writes to jobs.dead. Nothing is dropped: a record counts as handled only once its letter is delivered."""

    def __init__(self, publisher: Publisher, topology: Topology) -> None:
        self._publisher = publisher
        self._topic = topology.dead

    def send(
        self,
        topic: str,
        partition: int,
        offset: int,
        timestamp: int,
        key: bytes | None,
        value: bytes | None,
        reason: str,
    ) -> "Future[Delivered]":
        """Queue the letter of the record at that place (timestamp in ms); the future ends like `Publisher.send`'s."""
        headers = [
            ("topic", topic.encode()),
            ("partition", str(partition).encode()),
            ("offset", str(offset).encode()),
            ("timestamp", str(timestamp).encode()),
            ("reason", reason.encode()[:REASON_LIMIT]),
        ]
        sent = self._publisher.send(self._topic, key or b"", value, 0, headers)
        here("sink.letter-sent")
        return sent
