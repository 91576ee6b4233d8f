"""What a job printed."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from ops.client.bus import Bus
from ops.client.errors import UnknownJobError
from ops.reading.logs import began, newest_attempt
from ops.submitting import is_final
from pipeline.identity import family_of_job
from pipeline.logs.reading import Assembler

_STREAMS = ("stdout", "stderr")
#: s that one wait for a chunk takes, and that the last chunks of a job that has ended may be late
_EVERY, _LATE = 0.25, 2.0


@dataclass(frozen=True, slots=True)
class Output:
    """The next bytes of `stdout` or `stderr`; `remark` says what is missing before them, mostly nothing."""

    stream: str
    data: bytes
    remark: str = ""

    @property
    def text(self) -> str:
        """The bytes as text, whatever they are; a character may be cut in two."""
        return self.data.decode(errors="replace")


def output_of(bus: Bus, job_id: str, stream: str | None, attempt: int | None, *, follow: bool) -> Iterator[Output]:
    """Yield an attempt's output; with `follow` until the attempt has ended. Raises UnknownJobError, ValueError."""
    if stream not in (None, *_STREAMS):
        raise ValueError(f"stream: {stream!r} is not one of {', '.join(_STREAMS)}")
    news = bus.follow([family_of_job(job_id)])
    try:
        facts = bus.of_job(job_id)
        if not facts:
            raise UnknownJobError(job_id)
        wanted = attempt or newest_attempt(facts)
        assembler = Assembler()
        with bus.chunks(job_id, began(facts, wanted)) as chunks:
            end, late = (None, 0.0) if follow else (chunks.end(), 0.0)
            while not assembler.ended and (end is None or not chunks.reached(end) or time.monotonic() < late):
                while (fact := news.next(0.0)) is not None:
                    facts.append(fact)
                mine = [fact for fact in facts if fact.job_id == job_id]
                if end is None and (is_final(mine[-1]) or mine[-1].attempt > wanted):
                    end, late = chunks.end(), time.monotonic() + _LATE
                chunk = chunks.next(_EVERY)
                if chunk is None or chunk.attempt != wanted or chunk.stream not in _STREAMS:
                    continue
                piece = assembler.add(chunk)
                if stream in (None, piece.stream) and (piece.data or piece.remark):
                    yield Output(piece.stream, piece.data, piece.remark)
    finally:
        news.close()
