"""Live logs: what attempts print, sent to jobs.logs beside everything else.

Nobody waits for it. A producer of its own, a bounded number of bytes under way and bounded buffers keep a job that
prints much, or a broker that is away, from delaying jobs and reports; what is dropped is said in the chunks.
"""

import logging
import math
import threading
import time
from collections import deque

from agents.bus import DeliveryError, Outcome, Publisher
from agents.registry import codec
from pipeline.containers.output import Observer, Stream
from pipeline.identity import attempt_key
from pipeline.logs.chunker import Bounds, Chunker
from pipeline.messages.log import LogChunk
from pipeline.settings import Settings
from pipeline.topic import KIB
from pipeline.topology import LOG_LIMIT

log = logging.getLogger(__name__)

#: Bytes that may be under way to the broker; beyond, chunks wait, and old bytes give way to new ones.
UNDER_WAY = 4 * KIB * KIB
#: Bytes that a chunk is counted for besides its data.
_OVERHEAD = 1024
#: ms after which a chunk that no broker took counts as lost.
_TIMEOUT_MS = 60_000
#: Attempts that ended, and whose last chunks still wait, that are kept.
_ENDED_KEPT = 100
#: Seconds that the last chunks get when the worker ends.
FAREWELL = 1.5
_PRODUCER = {
    "message.timeout.ms": _TIMEOUT_MS,
    "linger.ms": 20,
    # a batch must be smaller than the topic's largest
    "batch.size": LOG_LIMIT // 4 * 3,
    "queue.buffering.max.messages": 10_000,
}


class AttemptLog:
    """An attempt's observer (`pipeline.containers.output.Observer`)."""

    def __init__(self, shipper: "LogShipper", chunker: Chunker, key: str, partition: int) -> None:
        self.key = key
        self.partition = partition
        self.chunker = chunker
        self.over = False
        self._shipper = shipper

    def told(self, stream: Stream, data: bytes) -> None:
        """See Observer."""
        self._shipper.feed(self, stream, data)

    def ended(self) -> None:
        """See Observer."""
        self._shipper.end(self)


class Ignored:
    """The observer where no logs are wanted."""

    def told(self, stream: Stream, data: bytes) -> None:
        """Do nothing."""

    def ended(self) -> None:
        """Do nothing."""


class LogShipper:
    """Sends the logs of a worker's attempts from a thread of its own, which begins with the first attempt."""

    def __init__(self, settings: Settings) -> None:
        """Needs no broker."""
        worker = settings.worker
        self._settings = settings
        self._bounds = Bounds(worker.log_mib << 20, worker.log_rate_kib << 10)
        self._codec = codec(settings)
        self._moved = threading.Condition()
        self._logs: deque[AttemptLog] = deque()
        self._under_way = 0
        self._closing = False
        self._complained = False
        self._thread: threading.Thread | None = None

    def of(self, job_id: str, attempt: int) -> Observer:
        """Return the observer of an attempt; its `ended` must be called."""
        if not self._bounds.limit:
            return Ignored()
        chunker = Chunker(job_id, attempt, self._bounds, time.monotonic(), self._settings.worker.id)
        topology = self._settings.topology
        partition = topology.fact_partition(topology.job_partition(job_id))
        made = AttemptLog(self, chunker, attempt_key(job_id, attempt), partition)
        with self._moved:
            self._logs.append(made)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
                self._thread.start()
            self._moved.notify()
        return made

    def feed(self, one: AttemptLog, stream: Stream, data: bytes) -> None:
        """Take what an attempt printed; never waits."""
        with self._moved:
            if one.chunker.feed(stream, data, time.monotonic()):
                self._moved.notify()

    def end(self, one: AttemptLog) -> None:
        """Take notice that an attempt prints nothing more; never waits."""
        with self._moved:
            one.over = True
            one.chunker.end()
            waiting = [log for log in self._logs if log.over]
            for oldest in waiting[: max(0, len(waiting) - _ENDED_KEPT)]:
                self._logs.remove(oldest)
            self._moved.notify()

    def close(self, timeout: float = FAREWELL) -> None:
        """Send what waits, within about `timeout` seconds; blocks."""
        with self._moved:
            self._closing = True
            for one in self._logs:
                one.over = True
                one.chunker.end()
            self._moved.notify()
        if self._thread is not None:
            self._thread.join(timeout)
            with self._moved:
                self._logs.clear()
                self._moved.notify()
            self._thread.join(timeout)

    def _run(self) -> None:
        # made here, since only a worker that runs commands needs it
        publisher = Publisher(self._settings, f"worker-{self._settings.worker.id}-logs", **_PRODUCER)
        try:
            while (taken := self._next()) is not None:
                self._send(publisher, *taken)
        except Exception:
            log.exception("logs are not sent any more")
        finally:
            publisher.close(FAREWELL)

    def _next(self) -> tuple[AttemptLog, LogChunk] | None:
        """Wait for a chunk that is due; None once all was sent and no more is to come."""
        with self._moved:
            while self._logs or not self._closing:
                full = self._under_way >= UNDER_WAY
                for one in self._logs:
                    one.chunker.block(full)
                if not full and (taken := self._take()) is not None:
                    self._under_way += len(taken[1].data) + _OVERHEAD
                    return taken
                self._moved.wait(None if full else self._pause())
            return None

    def _take(self) -> tuple[AttemptLog, LogChunk] | None:
        """Take a chunk of the attempt whose turn it is; forget those that are done."""
        now = time.monotonic()
        for _ in range(len(self._logs)):
            one = self._logs[0]
            chunk = one.chunker.take(now)
            if one.chunker.done:
                self._logs.popleft()
            else:
                self._logs.rotate(-1)
            if chunk is not None:
                return one, chunk
        return None

    def _pause(self) -> float | None:
        now = time.monotonic()
        pause = min((one.chunker.next(now) for one in self._logs), default=math.inf)
        return None if pause == math.inf else pause

    def _send(self, publisher: Publisher, one: AttemptLog, chunk: LogChunk) -> None:
        def settle(outcome: Outcome) -> None:
            self._settled(one, chunk, outcome if isinstance(outcome, DeliveryError) else None)

        try:
            value = self._codec.encode("log", chunk.record())
        except (OSError, ValueError) as error:
            self._settled(one, chunk, error)
            return
        publisher.produce(self._settings.topology.logs, one.key, value, one.partition, settle)

    def _settled(self, one: AttemptLog, chunk: LogChunk, error: Exception | None) -> None:
        with self._moved:
            self._under_way -= len(chunk.data) + _OVERHEAD
            if error is not None:
                one.chunker.lost(chunk)
            self._moved.notify()
        if error is not None and not self._complained:
            log.warning("logs of job %s, attempt %d are not delivered: %s", chunk.job_id, chunk.attempt, error)
        self._complained = error is not None
