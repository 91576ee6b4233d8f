"""A thread that carries a command's output from where it comes out to its files, holding one part at a time."""

import math
import threading
import time
from collections.abc import Callable, Iterator

from pipeline.containers.output import Outputs, Stream

#: Parts of the streams as they come, until both have ended or the event is set; looks at it once a second at least.
Source = Callable[[threading.Event], Iterator[tuple[Stream, bytes]]]


class Pump:
    """Reads a source to its end.

    If a file can't be written (disk full), the rest of that stream is dropped, and the notes say so: a command whose
    output isn't read stands still.
    """

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self._error: str | None = None
        self._moved = threading.Event()
        self._abandoned = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def notes(self) -> list[str]:
        """What went amiss, or was cut."""
        return [*([self._error] if self._error else []), *self._outputs.notes]

    def start(self, source: Source) -> None:
        """Begin to read."""
        self._thread = threading.Thread(target=self._carry, args=(source,), name="command output", daemon=True)
        self._thread.start()

    def join(self, patience: float, longest: float = math.inf) -> bool:
        """Wait for the end of the output.

        False once nothing came for `patience` seconds, or `longest` are over: then the rest is given up.
        """
        if self._thread is None:
            return True
        deadline = time.monotonic() + longest
        while True:
            self._moved.clear()
            self._thread.join(patience)
            if not self._thread.is_alive():
                return True
            if not self._moved.is_set() or time.monotonic() > deadline:
                self._abandoned.set()
                return False

    def has_ended(self, timeout: float) -> bool:
        """Wait at most so many seconds for the end of the output, giving nothing up; say whether it came."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def close(self) -> None:
        """Close the files; what comes later is dropped."""
        self._abandoned.set()
        self._outputs.close()

    def _carry(self, source: Source) -> None:
        try:
            for stream, data in source(self._abandoned):
                self._moved.set()
                self._outputs.write(stream, data)
        except Exception as error:
            self._error = f"output was cut: {type(error).__name__}: {error}"
