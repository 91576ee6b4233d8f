"""Which queues are declared: jobs.settings, followed, and written where a new job type's first job comes."""

import threading
import time
from collections.abc import Callable

import orjson
import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from agents import admin as topics
from agents import offsets
from agents.bus import CALL_TIMEOUT, Publisher, consumer
from pipeline.crash_points import here
from pipeline.settings import Settings
from pipeline.submission.errors import UnacceptableError

log = structlog.stdlib.get_logger(__name__)

_PREFIX = topics.queue_key("")
#: Seconds that a look at jobs.settings waits for records.
_POLL = 0.2


class Queues:
    """The declared queues; `follow` runs in a thread of its own, the rest may be called from any."""

    #: Called with the key and value of each record that is about something else; to be set before `follow`.
    heard: Callable[[str, bytes | None], None]

    def __init__(self, settings: Settings, admin: AdminClient, publisher: Publisher) -> None:
        self.heard = lambda *_: None
        self._settings = settings
        self._admin = admin
        self._publisher = publisher
        self._topic = settings.topology.settings.name
        self._client = consumer(settings, settings.topology.name("jobstream-gate-settings"))
        # a question through the client that another thread polls was seen to wait without end
        self._asker = consumer(settings, settings.topology.name("jobstream-gate-settings-end"))
        self._declared: set[str] = set()
        self._read = 0
        self._moved = threading.Condition()

    def require(self, name: str) -> None:
        """Return once the queue is declared: at once for a known one, else declaring it where the settings allow that.

        Raises UnacceptableError where it isn't declared and may not be, OSError where the broker can't be reached.
        """
        if name in self._declared:
            return
        # an operator may have declared it, paused, a moment ago
        self.catch_up()
        if name in self._declared:
            return
        gate = self._settings.gate
        if not gate.auto_declare:
            raise UnacceptableError(f"queue {name} is not declared: jobstream queues declare {name}")
        if len(self._declared) >= gate.max_queues:
            raise UnacceptableError(
                f"queue {name} is not declared, and with {gate.max_queues} queues none is declared on the way: "
                f"jobstream queues declare {name}"
            )
        try:
            self.declare(name)
        except topics.TopicError as error:
            raise UnacceptableError(f"queue {name} can't be declared: {error}") from error

    def declare(self, name: str) -> None:
        """Declare a queue that isn't yet; raises TopicError where the broker refuses, OSError where it isn't there."""
        if name in self._declared:
            return
        here("gate.queue-missing")
        topics.declare_queue(self._settings, name, admin=self._admin, publisher=self._publisher)
        here("gate.queue-declared")
        with self._moved:
            self._declared.add(name)
        log.info("queue declared", queue=name)

    def follow(self, stopping: Callable[[], bool]) -> None:
        """Read jobs.settings from its start for as long as `stopping` says no."""
        self._client.assign([TopicPartition(self._topic, 0, OFFSET_BEGINNING)])
        try:
            while not stopping():
                self._take()
        finally:
            self._client.close()
            self._asker.close()

    def _take(self) -> None:
        message = self._client.poll(_POLL)
        if message is None:
            return
        if message.error() is not None:
            if message.error().fatal():
                raise KafkaException(message.error())
            return
        with self._moved:
            self.fold(message.key(), message.value())
            self._read = message.offset() + 1
            self._moved.notify_all()

    def fold(self, key: bytes | None, value: bytes | None) -> None:
        """Take in one record of jobs.settings; one that is none changes nothing."""
        name = (key or b"").decode("utf-8", "replace")
        if not name.startswith(_PREFIX):
            self.heard(name, value)
            return
        try:
            setting = orjson.loads(value) if value else {}
        except orjson.JSONDecodeError:
            log.warning("not JSON on jobs.settings", key=name)
            return
        declared = isinstance(setting, dict) and setting.get("declared") is True
        (self._declared.add if declared else self._declared.discard)(name[len(_PREFIX) :])

    def catch_up(self) -> None:
        """Wait until jobs.settings is read to its end of now; OSError where that takes too long."""
        end = offsets.ends(self._asker, self._topic, [0])[0]
        deadline = time.monotonic() + CALL_TIMEOUT
        with self._moved:
            while self._read < end:
                if not self._moved.wait(max(0.0, deadline - time.monotonic())):
                    raise OSError(f"jobs.settings was not read to its end in {CALL_TIMEOUT} s")
