"""What a command prints, on its way to two files: bounded in size, and seen by an observer as it comes."""

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol

from pipeline.secrets import Mask, Masking

Stream = Literal["stdout", "stderr"]
STREAMS: tuple[Stream, Stream] = ("stdout", "stderr")
#: Bytes of the end that are kept where a stream's middle is cut.
KEPT_END = 1 << 16


class Observer(Protocol):
    """Sees a command's output beside the files; `told` is called in a thread of the engine, one call at a time.

    Neither may wait, since the command waits for them, or raise. An engine drops what `told` raises all the same, and
    calls it no more.
    """

    def told(self, stream: Stream, data: bytes) -> None:
        """Take bytes that the command printed: any, cut anywhere."""

    def ended(self) -> None:
        """Take notice that nothing more comes, said by who runs the engine; may be called twice."""


class Output:
    """One stream's file: all of it up to `limit` bytes, else its beginning, a line that says what was cut, its end.

    Not safe for several threads. Errors of the file are not raised: the rest is dropped, and `note` says so.
    """

    def __init__(self, path: Path, limit: int | None = None) -> None:
        """Make the file anew; raises OSError. No limit is below twice `KEPT_END`; None is none."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW
        self._file: int | None = os.open(path, flags, 0o644)
        self._name = path.name
        self._head = None if limit is None else max(limit - KEPT_END, KEPT_END)
        self._written = 0
        self._end = bytearray()
        self._cut = 0
        self.note: str | None = None

    def write(self, data: bytes) -> None:
        """Take what comes next; dropped after an error and after `close`."""
        if self._file is None:
            return
        room = len(data) if self._head is None else self._head - self._written
        self._append(data[:room] if room < len(data) else data)
        if room < len(data):
            self._keep(data[room:])

    def close(self) -> None:
        """Add the end, after a line on what was cut before it; more calls do nothing."""
        if self._file is None:
            return
        if self._cut:
            said = f"{self._cut} bytes cut here: more than the {self._written + KEPT_END} that are kept"
            self._append(f"\n[jobstream] {said}\n".encode())
            self.note = self.note or f"{self._name}: {said}"
        self._append(bytes(self._end))
        file, self._file = self._file, None
        with suppress(OSError):
            if file is not None:
                os.close(file)

    def _keep(self, data: bytes) -> None:
        self._end += data[-KEPT_END:]
        excess = max(0, len(self._end) - KEPT_END)
        self._cut += excess + max(0, len(data) - KEPT_END)
        del self._end[:excess]

    def _append(self, data: bytes) -> None:
        if self._file is None:
            return
        try:
            view = memoryview(data)
            while view:
                done = os.write(self._file, view)
                self._written += done
                view = view[done:]
        except OSError as error:
            self.note = f"output was cut: {error.strerror}"
            with suppress(OSError):
                os.close(self._file)
            self._file = None


class Outputs:
    """Both streams; may be written to and closed from several threads."""

    def __init__(
        self,
        stdout: Path,
        stderr: Path,
        limit: int | None = None,
        observer: Observer | None = None,
        mask: Mask | None = None,
    ) -> None:
        """Make both files anew; raises OSError, leaving none open. Neither they nor the observer see what is masked."""
        self._observer = observer
        hidden = mask or Mask()
        self._masking: dict[Stream, Masking] = {stream: hidden.stream() for stream in STREAMS}
        #: Held while a file is written or closed: a closed descriptor may at once be another file's.
        self._lock = threading.Lock()
        out = Output(stdout, limit)
        try:
            self._files: dict[Stream, Output] = {"stdout": out, "stderr": Output(stderr, limit)}
        except OSError:
            out.close()
            raise

    @property
    def notes(self) -> list[str]:
        """What went amiss, or was cut."""
        return [file.note for file in self._files.values() if file.note]

    def write(self, stream: Stream, data: bytes) -> None:
        """Take what comes next in a stream."""
        with self._lock:
            data = self._masking[stream].feed(data)
            self._files[stream].write(data)
        self._tell(stream, data)

    def _tell(self, stream: Stream, data: bytes) -> None:
        if self._observer is None or not data:
            return
        try:
            self._observer.told(stream, data)
        except Exception:
            self._observer = None

    def close(self) -> None:
        """Close the files; what comes later is dropped."""
        with self._lock:
            left = {stream: masking.end() for stream, masking in self._masking.items()}
            for stream, file in self._files.items():
                file.write(left[stream])
                file.close()
        for stream, data in left.items():
            self._tell(stream, data)
