"""A record as the gate reads it, and the one that it writes in its place."""

from dataclasses import dataclass
from typing import Any, Self

from agents.bus import Headers
from pipeline.codec import Codec
from pipeline.messages.inbox import Inbox
from pipeline.topic import RECORD_LIMIT, Topic

#: Bytes of an inbox value: the rest of the limit is for key, headers and the batch around it.
INBOX_VALUE_LIMIT = RECORD_LIMIT - 4096


class TooLargeError(ValueError):
    """An inbox message would not fit in a record."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record that was consumed; `time` is the broker's, in ms."""

    topic: str
    partition: int
    offset: int
    time: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    #: the broker's id of the topic, "" while it isn't known
    topic_id: str = ""

    @classmethod
    def of(cls, message: Any) -> Self:
        """Copy a client's message."""
        _, time = message.timestamp()
        headers = tuple(message.headers() or ())
        return cls(
            message.topic(), message.partition(), message.offset(), time, message.key(), message.value(), headers
        )

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The one record that takes an incoming one's place."""

    topic: Topic
    partition: int
    key: bytes
    value: bytes | None
    headers: Headers = ()


def inbox_record(codec: Codec, topic: Topic, partition: int, message: Inbox) -> Outgoing:
    """Encode a message for the inbox; raises TooLargeError where the broker would refuse it."""
    value = codec.encode("inbox", message.record())
    if len(value) > INBOX_VALUE_LIMIT:
        raise TooLargeError(f"the message for the inbox has {len(value)} bytes, the limit is {INBOX_VALUE_LIMIT}")
    return Outgoing(topic, partition, message.family.encode(), value)
