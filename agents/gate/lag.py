"""How far the ledger is behind on the inbox: the reason for submissions to wait (design §3)."""

import threading
import time

import structlog

from agents import offsets
from agents.bus import consumer
from agents.gate.pace import Pace
from pipeline.settings import Settings

#: Seconds between two looks while there is nothing to see.
_IDLE = 1.0

log = structlog.stdlib.get_logger(__name__)


class Lag:
    """How many submissions may go on, by the inbox's lag.

    A thread of its own looks every `lag_check_ms`, and less often while nothing is forwarded.
    Between two looks `count` takes off what was forwarded. Nothing is allowed before the first look; where the broker
    doesn't answer, what it said last counts.
    """

    def __init__(self, settings: Settings) -> None:
        self._every = settings.gate.lag_check_ms / 1000
        self._pace = Pace(settings.gate.lag_limit, settings.gate.lag_ms / 1000)
        name = settings.topology.name
        # asks in the name of the ledger's group, and is never a member
        self._client = consumer(settings, name("jobstream-gate-lag"), name(settings.topology.ledger_id))
        self._topic = settings.topology.inbox.name
        self._partitions = range(settings.topology.inbox.partitions)
        self._lock = threading.Lock()
        self._forwarded = 0
        self._unknown = False
        self._some = threading.Event()

    @property
    def allowance(self) -> int:
        """How many submissions may go on now; 0: they must wait."""
        with self._lock:
            return self._pace.allowance(self._forwarded)

    def count(self, forwarded: int) -> None:
        """Say that so many messages were forwarded."""
        with self._lock:
            self._forwarded += forwarded
        self._some.set()

    def watch(self, stop: threading.Event) -> None:
        """Look again and again until `stop` is set."""
        try:
            while not stop.is_set():
                self.look()
                if self._pace.idle and not self._forwarded:
                    self._some.wait(_IDLE)
                self._some.clear()
                stop.wait(self._every)
        finally:
            self._client.close()

    def look(self) -> None:
        """Ask the broker once."""
        with self._lock:
            before = self._forwarded
        try:
            committed, ends = self._offsets()
        except OSError as error:
            if not self._unknown:
                log.warning("the inbox's lag is not known; what it was last counts", error=str(error))
            self._unknown = True
            return
        self._unknown = False
        with self._lock:
            self._pace.look(time.monotonic(), committed, ends)
            # what was forwarded while the broker was asked may not be in its answer
            self._forwarded -= before

    def _offsets(self) -> tuple[dict[int, int], dict[int, int]]:
        committed = offsets.committed(self._client, self._topic, self._partitions)
        ends = offsets.ends(self._client, self._topic, self._partitions)
        if len(committed) < len(ends):
            # nothing was ever committed there: the ledger will start at the log's own start
            committed = offsets.starts(self._client, self._topic, self._partitions) | committed
        return committed, ends
