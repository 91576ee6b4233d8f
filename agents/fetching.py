"""Finds out that a consumer has stopped fetching though its logs go on.

librdkafka's consumers do so now and then after their broker was away for a minute (librdkafka issue 5153; seen here
after three of seven such outages, with 2.16.0): assigned, in their group, and deaf. Only a new consumer helps.
"""

import time
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

from agents import offsets

#: Seconds between two looks: a partition that is behind and at the same place in both is not fetched.
PATIENCE = 10.0

_Place = tuple[str, int]


class Fetching:
    """Looks at one consumer, in the thread that polls it."""

    def __init__(
        self,
        client: Consumer,
        patience: float | None = None,
        places: Callable[[], Sequence[TopicPartition]] | None = None,
        asker: Consumer | None = None,
    ) -> None:
        """`places` says for what partitions to look, and up to where each is read; by default the consumer does.

        It must for a consumer without a group, and for compacted logs, whose last offsets may hold nothing. `asker` is
        a client, of the consumer's group where `places` is left out, that fetches nothing: a consumer's own questions
        wait behind its fetch, half a second for each partition, where nothing comes. Only one or two are worth none.
        """
        self._places = places or self._assigned
        self._client = client
        self._asker = asker or client
        self._patience = PATIENCE if patience is None else patience
        self._look_at = time.monotonic() + self._patience
        self._behind: dict[_Place, int] = {}

    def has_stopped(self) -> bool:
        """Say so; to be asked after a poll that brought nothing, and not while the consumer is paused.

        Asks the broker every `patience` seconds at most, and then blocks for 3 s at most where it doesn't answer: that
        is no news, and False.
        """
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + self._patience
        before, self._behind = self._behind, self._found_behind()
        return any(before.get(place) == position for place, position in self._behind.items())

    def look_anew(self) -> None:
        """Forget what was seen: the consumer was paused meanwhile."""
        self._behind = {}
        self._look_at = time.monotonic() + self._patience

    def _found_behind(self) -> dict[_Place, int]:
        """Return the positions of the partitions whose logs go on behind them; none where the broker doesn't answer."""
        behind: dict[_Place, int] = {}
        try:
            for one in self._places():
                end = offsets.ends(self._asker, one.topic, [one.partition])[one.partition]
                if one.offset < end:
                    behind[one.topic, one.partition] = one.offset
        except (OSError, KafkaException):
            return {}
        return behind

    def _assigned(self) -> list[TopicPartition]:
        return [TopicPartition(one.topic, one.partition, self._position(one)) for one in self._client.assignment()]

    def _position(self, one: TopicPartition) -> int:
        (read,) = self._client.position([TopicPartition(one.topic, one.partition)])
        if read.offset >= 0:
            return int(read.offset)
        committed = offsets.committed(self._asker, one.topic, [one.partition])
        if one.partition in committed:
            return committed[one.partition]
        return offsets.starts(self._asker, one.topic, [one.partition])[one.partition]
