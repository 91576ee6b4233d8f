"""Which topics are still the ones that are read.

A consumer goes on at its offset when a topic is deleted and another is created under its name: only the topic's
id tells them apart.
"""

import time
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from agents.admin import result

#: Seconds between two looks.
LOOK_EVERY = 3.0
#: Seconds that an answer may take: less than a session.
ANSWER_TIMEOUT = 4.0

_MISSING = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_TOPIC_ID, KafkaError._UNKNOWN_TOPIC})


class TopicIds:
    """The ids of the topics that are read; looks after them now and then, without waiting for the answer."""

    def __init__(self, admin: AdminClient) -> None:
        self._admin = admin
        self._ids: dict[str, str] = {}
        self._asked: dict[str, Future[Any]] = {}
        self._look_at = 0.0

    def find(self, topics: Iterable[str]) -> set[str]:
        """Return which of the topics exist, and watch those; OSError where the brokers don't answer."""
        found = {}
        for topic, future in self._ask(topics).items():
            try:
                found[topic] = str(future.result(2 * ANSWER_TIMEOUT).topic_id)
            except KafkaException as error:
                if error.args[0].code() not in _MISSING:
                    result(future)
        self._ids |= found
        return set(found)

    def forget(self, topic: str) -> None:
        """Watch a topic no longer."""
        self._ids.pop(topic, None)

    def gone(self) -> set[str]:
        """Return the topics that the last look found missing or replaced by others."""
        if self._asked and all(future.done() for future in self._asked.values()):
            asked, self._asked = self._asked, {}
            return {topic for topic, future in asked.items() if topic in self._ids and self._is_gone(topic, future)}
        if not self._asked and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_EVERY
            self._asked = self._ask(self._ids)
        return set()

    def _is_gone(self, topic: str, future: "Future[Any]") -> bool:
        error = future.exception()
        if error is None:
            return str(future.result().topic_id) != self._ids[topic]
        # no answer says nothing about the topic
        return isinstance(error, KafkaException) and error.args[0].code() in _MISSING

    def _ask(self, topics: Iterable[str]) -> "dict[str, Future[Any]]":
        names = sorted(topics)
        if not names:
            return {}
        asked: dict[str, Future[Any]] = self._admin.describe_topics(
            TopicCollection(names), request_timeout=ANSWER_TIMEOUT
        )
        return asked
