"""From what an attempt prints to chunks, within bounds of size, rate and memory."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.messages.log import BROKER, LIMIT, RATE, LogChunk

#: Bytes of a chunk's data at most.
CHUNK = 64 * 1024
#: Seconds that bytes may wait for more to come, so that a line printed in pieces is one chunk.
LINGER = 0.1
#: Seconds without a chunk after which one says that the attempt runs.
HEARTBEAT = 30.0
#: Bytes below which a chunk isn't cut off by the rate: better one later than many small ones.
_LEAST = 4 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one attempt: bytes sent while it runs, bytes a second, and bytes of each stream that wait to be sent.

    What waits at the end is sent beyond the limit, so that the last words are always among what is sent.
    """

    limit: int
    rate: int
    waiting: int = 512 * 1024


@dataclass(slots=True)
class _Waiting:
    """One stream: the bytes that wait, the first of which is number `offset` of the stream."""

    data: bytearray = field(default_factory=bytearray)
    offset: int = 0
    missing: int = 0
    why: str = ""
    since: float = math.inf
    over: bool = False


class Chunker:
    """Cuts the output of one attempt into chunks; times are seconds of any one clock that only grows.

    Where more comes than may be sent, the oldest bytes that wait give way, and the stream's next chunk says so.
    Not safe for several threads.
    """

    def __init__(self, job_id: str, attempt: int, bounds: Bounds, now: float, worker: str = "") -> None:
        self._job_id = job_id
        self._attempt = attempt
        self._worker = worker
        self._bounds = bounds
        self._left = bounds.limit
        self._allowance = float(bounds.rate)
        self._counted = now
        self._said = now
        self._seq = 0
        self._ended = False
        self._blocked = False
        self._streams = {"stdout": _Waiting(), "stderr": _Waiting()}

    @property
    def done(self) -> bool:
        """Whether all has been said."""
        return all(stream.over for stream in self._streams.values())

    def feed(self, name: str, data: bytes, now: float) -> bool:
        """Take bytes of a stream; return whether none waited before, or enough for a chunk do now.

        Bytes after the end are dropped.
        """
        stream = self._streams[name]
        if self._ended or not data:
            return False
        before = len(stream.data)
        stream.since = min(stream.since, now)
        kept = data[-self._bounds.waiting :]
        stream.data += kept
        excess = max(0, len(stream.data) - self._bounds.waiting)
        self._drop(stream, excess, len(data) - len(kept))
        return not before or before < CHUNK <= len(stream.data)

    def end(self) -> None:
        """Say that nothing more comes: what waits is due at once, whatever the bounds."""
        self._ended = True

    def block(self, blocked: bool) -> None:
        """Say whether chunks wait for the broker: what gives way meanwhile is then said to be lost to it."""
        self._blocked = blocked

    def lost(self, chunk: LogChunk) -> None:
        """Say that a chunk that was taken didn't arrive."""
        stream = self._streams[chunk.stream]
        stream.missing += chunk.missing + len(chunk.data)
        stream.why = BROKER

    def take(self, now: float) -> LogChunk | None:
        """Return the next chunk that is due, None where none is."""
        self._earn(now)
        for name, stream in self._in_order():
            size = self._due(stream, now)
            if size or (self._ended and not stream.over):
                return self._cut(name, stream, size, now)
        if not self._ended and now - self._said >= HEARTBEAT:
            return self._cut("stdout", self._streams["stdout"], 0, now)
        return None

    def next(self, now: float) -> float:
        """Return in how many seconds `take` may have something, if nothing comes before; inf once all is said."""
        if self.done:
            return math.inf
        if self._ended:
            return 0.0
        times = [self._said + HEARTBEAT]
        for stream in self._streams.values():
            if stream.data and self._left > 0:
                short = min(len(stream.data), _LEAST) - self._allowance
                times.append(max(stream.since + LINGER, self._counted + short / self._bounds.rate))
        return max(0.0, min(times) - now)

    def _in_order(self) -> Sequence[tuple[str, _Waiting]]:
        return sorted(self._streams.items(), key=lambda item: item[1].since)

    def _earn(self, now: float) -> None:
        earned = (now - self._counted) * self._bounds.rate
        self._allowance = min(self._allowance + earned, max(self._bounds.rate, _LEAST))
        self._counted = now

    def _due(self, stream: _Waiting, now: float) -> int:
        """Return how many bytes of a stream are due."""
        waiting = min(len(stream.data), CHUNK)
        if self._ended:
            return waiting
        if waiting < CHUNK and now < stream.since + LINGER:
            return 0
        size = min(waiting, int(self._allowance), self._left)
        return size if size >= min(waiting, _LEAST, self._left) else 0

    def _cut(self, name: str, stream: _Waiting, size: int, now: float) -> LogChunk:
        data = bytes(stream.data[:size])
        del stream.data[:size]
        self._seq += 1
        last = self._ended and not stream.data
        chunk = LogChunk(
            self._job_id,
            self._attempt,
            name,
            self._seq,
            stream.offset,
            data,
            stream.missing,
            stream.why,
            last,
            self._worker,
        )
        stream.offset += size
        stream.missing, stream.why, stream.over = 0, "", last
        stream.since = now if stream.data else math.inf
        self._allowance -= size
        self._left = max(0, self._left - size)
        self._said = now
        return chunk

    def _drop(self, stream: _Waiting, waiting: int, coming: int) -> None:
        """Let the first bytes that wait give way, besides those that never waited."""
        del stream.data[:waiting]
        if gone := waiting + coming:
            stream.offset += gone
            stream.missing += gone
            stream.why = BROKER if self._blocked else RATE if self._left else LIMIT
