"""A record of the inbox as it was read: the message in it, or what is wrong with it."""

from dataclasses import dataclass
from typing import Self

from pipeline.codec import Codec, DecodeError
from pipeline.messages.inbox import Inbox


@dataclass(frozen=True, slots=True)
class Recorded:
    """One inbox record; `timestamp` is its LogAppendTime in ms.

    `message` is None where the bytes are no message: `problem` then says why, and `value` holds them.
    """

    offset: int
    timestamp: int
    key: bytes | None
    message: Inbox | None
    problem: str = ""
    value: bytes | None = None

    @classmethod
    def read(cls, codec: Codec, offset: int, timestamp: int, key: bytes | None, value: bytes | None) -> Self:
        """Decode a record as the orchestrator does: what it can't read is a record without a message, no error."""
        try:
            message = Inbox.of(codec.decode("inbox", value))
        except (DecodeError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            return cls(offset, timestamp, key, None, f"{type(error).__name__}: {error}", value)
        return cls(offset, timestamp, key, message)
