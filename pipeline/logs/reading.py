"""From chunks to what an attempt printed: in order, each byte once, with what is missing said."""

from dataclasses import dataclass, field

from pipeline.messages.log import BROKER, LIMIT, RATE, LogChunk

_WHY = {
    RATE: "it was printed faster than logs are sent",
    LIMIT: "it was more than is sent of an attempt's output",
    BROKER: "no broker took it",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """What a chunk adds to a stream: bytes, after a remark on what is missing before them where something is."""

    stream: str
    data: bytes
    remark: str = ""


@dataclass(slots=True)
class Assembler:
    """Puts the chunks of one attempt together; they come in order, perhaps more than once, perhaps not all."""

    _ends: dict[str, int] = field(default_factory=dict)
    _over: set[str] = field(default_factory=set)

    @property
    def begun(self) -> bool:
        """Whether there was any chunk."""
        return bool(self._ends)

    @property
    def ended(self) -> bool:
        """Whether both streams came to their end."""
        return len(self._over) >= 2

    def add(self, chunk: LogChunk) -> Piece:
        """Return what is new in a chunk."""
        known = self._ends.get(chunk.stream, 0)
        if chunk.last:
            self._over.add(chunk.stream)
        fresh = chunk.data[max(0, known - chunk.offset) :]
        self._ends[chunk.stream] = max(known, chunk.offset + len(chunk.data))
        gap = chunk.offset - known
        if gap <= 0:
            return Piece(chunk.stream, fresh)
        why = _WHY.get(chunk.why, "") if chunk.missing else ""
        return Piece(chunk.stream, fresh, f"{gap} bytes of {chunk.stream} are missing here{': ' if why else ''}{why}")
