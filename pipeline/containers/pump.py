"""A thread that carries a container's output to two files, to the last byte, holding one chunk at a time."""

import os
import select
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docker.utils import socket as docker_socket

from pipeline.containers.frames import STDERR, STDOUT, Demultiplexer

_CHUNK = 1 << 16
_POLL_MS = 1000


class Pump:
    """Reads an attached socket until its end.

    If a file can't be written (disk full), the rest of that stream is dropped and `error` says so: a container whose
    output isn't read stands still.
    """

    def __init__(self, stdout: Path, stderr: Path) -> None:
        """Make the two files anew; raises OSError."""
        self.error: str | None = None
        #: Held while a file is written or closed: a closed descriptor may at once be another file's.
        self._lock = threading.Lock()
        self._broken: set[int] = set()
        self._files = {STDOUT: _create(stdout)}
        try:
            self._files[STDERR] = _create(stderr)
        except OSError:
            self.close()
            raise
        self._moved = threading.Event()
        self._abandoned = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, socket: Any) -> None:
        """Begin to read a socket that was attached before the container started."""
        self._thread = threading.Thread(target=self._carry, args=(socket,), name="container output", daemon=True)
        self._thread.start()

    def join(self, patience: float) -> bool:
        """Wait for the end of the output; False once nothing came for `patience` seconds, and the rest is given up."""
        if self._thread is None:
            return True
        while True:
            self._moved.clear()
            self._thread.join(patience)
            if not self._thread.is_alive():
                return True
            if not self._moved.is_set():
                self._abandoned.set()
                return False

    def close(self) -> None:
        """Close the files; what comes later is dropped."""
        with self._lock:
            for file in self._files.values():
                os.close(file)
            self._files = {}

    def _carry(self, socket: Any) -> None:
        frames = Demultiplexer()
        try:
            while data := self._read(socket):
                self._moved.set()
                for stream, part in frames.feed(data):
                    self._write(stream, part)
        except Exception as error:
            self.error = f"output was cut: {type(error).__name__}: {error}"
        finally:
            _quietly(socket.close)

    def _read(self, socket: Any) -> bytes:
        ready = select.poll()
        ready.register(socket, select.POLLIN | select.POLLPRI)
        while not self._abandoned.is_set():
            if ready.poll(_POLL_MS):
                return docker_socket.read(socket, _CHUNK) or b""
        return b""

    def _write(self, stream: int, data: bytes) -> None:
        with self._lock:
            file = self._files.get(stream)
            if file is None or stream in self._broken:
                return
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(file, view) :]
            except OSError as error:
                self._broken.add(stream)
                self.error = f"output was cut: {error.strerror}"


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)


def _quietly(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception:
        return
