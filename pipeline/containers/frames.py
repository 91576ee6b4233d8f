"""Docker's multiplexed output: frames of a stream number, three zero bytes, a length, and that many bytes."""

import struct
from collections.abc import Iterator

STDOUT, STDERR = 1, 2
_HEADER = struct.Struct(">BxxxL")


class Demultiplexer:
    """Takes the bytes as they come, cut anywhere; holds back less than one header, never a frame."""

    def __init__(self) -> None:
        self._pending = b""
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield (stream, bytes) for all that these bytes complete."""
        data = self._pending + data
        while data:
            if self._left == 0:
                if len(data) < _HEADER.size:
                    break
                self._stream, self._left = _HEADER.unpack_from(data)
                data = data[_HEADER.size :]
                continue
            part, data = data[: self._left], data[self._left :]
            self._left -= len(part)
            yield self._stream, part
        self._pending = data
