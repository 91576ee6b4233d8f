"""How far the ledger is behind on the inbox: the reason for submissions to wait (design §3)."""

import threading

import structlog
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from agents.admin import TopicError, result, translated
from agents.bus import consumer
from pipeline.settings import Settings
from pipeline.topology import ORCHESTRATOR_ID

log = structlog.stdlib.get_logger(__name__)

#: Seconds that a look may take: a young broker may leave a question unanswered, and submissions wait for the first.
_TIMEOUT = 3.0


class Lag:
    """The worst lag of any inbox partition, looked at every `lag_check_ms` in a thread of its own.

    Between two looks `count` adds what was forwarded, so that one look allows `lag_limit` messages at most. Nothing is
    allowed before the first look; where the broker doesn't answer, what it said last counts.
    """

    def __init__(self, settings: Settings, admin: AdminClient) -> None:
        self._limit = settings.gate.lag_limit
        self._every = settings.gate.lag_check_ms / 1000
        # in the name of the ledger's group, never a member. The admin client's question for a group's offsets ended the
        # process (confluent-kafka 2.16.1) where a young broker did not know the group's coordinator yet
        group = settings.topology.name(ORCHESTRATOR_ID)
        self._ledger = consumer(settings, settings.topology.name("jobstream-gate-lag"), group)
        topic = settings.topology.inbox
        self._partitions = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
        self._admin = admin
        self._lock = threading.Lock()
        self._worst = self._limit + 1
        self._forwarded = 0
        self._unknown = False

    @property
    def too_far(self) -> bool:
        """Submissions must wait."""
        return self._worst > self._limit or self._forwarded >= self._limit

    def count(self, forwarded: int) -> None:
        """Say that so many messages were forwarded."""
        with self._lock:
            self._forwarded += forwarded

    def watch(self, stop: threading.Event) -> None:
        """Look again and again until `stop` is set."""
        while not stop.is_set():
            self.look()
            stop.wait(self._every)
        self._ledger.close()

    def look(self) -> None:
        """Ask the broker once."""
        with self._lock:
            before = self._forwarded
        try:
            worst = self._measured()
        except (OSError, TopicError) as error:
            if not self._unknown:
                log.warning("the inbox's lag is not known; what it was last counts", error=str(error))
            self._unknown = True
            return
        self._unknown = False
        with self._lock:
            self._worst = worst
            # what was forwarded while the broker was asked may not be in its answer
            self._forwarded -= before

    def _measured(self) -> int:
        try:
            answers = self._ledger.committed(self._partitions, timeout=_TIMEOUT)
        except KafkaException as error:
            raise translated(error) from error
        ends = self._offsets(OffsetSpec.latest())
        committed = {int(one.partition): int(one.offset) for one in answers}
        if any(offset < 0 for offset in committed.values()) or len(committed) < len(ends):
            # nothing was ever committed there: the ledger will start at the log's own start
            starts = self._offsets(OffsetSpec.earliest())
            committed = {one: committed[one] if committed.get(one, -1) >= 0 else starts[one] for one in ends}
        return max(end - committed[number] for number, end in ends.items())

    def _offsets(self, spec: OffsetSpec) -> dict[int, int]:
        answers = self._admin.list_offsets(dict.fromkeys(self._partitions, spec), request_timeout=_TIMEOUT)
        return {partition.partition: int(result(future).offset) for partition, future in answers.items()}
