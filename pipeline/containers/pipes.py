"""A process's output, from two pipes."""

import fcntl
import os
import select
import threading
from collections.abc import Iterator
from contextlib import suppress

from pipeline.containers.output import STREAMS, Stream

#: Bytes that a pipe holds, where the system allows that many, and that are read at a time.
_SIZE = 1 << 18
_POLL_MS = 1000


class Pipes:
    """The two pipes of one command; the ends to write to are the command's, and closed here once it has them."""

    def __init__(self, owner: tuple[int, int] | None = None) -> None:
        """Make them; `owner` (uid, gid) is who may open `/dev/stdout` again. Raises OSError, leaving none open."""
        self._reading: dict[Stream, int] = {}
        self.writing: dict[Stream, int] = {}
        try:
            for stream in STREAMS:
                self._reading[stream], self.writing[stream] = os.pipe2(os.O_CLOEXEC)
                if owner is not None:
                    os.fchown(self.writing[stream], *owner)
                with suppress(OSError):
                    fcntl.fcntl(self.writing[stream], fcntl.F_SETPIPE_SZ, _SIZE)
        except OSError:
            self.close()
            raise

    def close_writing(self) -> None:
        """Leave the command the only one that writes."""
        _close(self.writing)

    def close(self) -> None:
        """Close all ends."""
        _close(self.writing)
        _close(self._reading)

    def parts(self, abandoned: threading.Event) -> Iterator[tuple[Stream, bytes]]:
        """Yield what comes, until nobody can write any more; a Source. Closes the ends that it reads."""
        ready = select.poll()
        streams = {number: stream for stream, number in self._reading.items()}
        for number in streams:
            ready.register(number, select.POLLIN)
        try:
            while streams and not abandoned.is_set():
                for number, _ in ready.poll(_POLL_MS):
                    if data := os.read(number, _SIZE):
                        yield streams[number], data
                    else:
                        ready.unregister(number)
                        del streams[number]
        finally:
            _close(self._reading)


def _close(ends: dict[Stream, int]) -> None:
    while ends:
        _, number = ends.popitem()
        os.close(number)
