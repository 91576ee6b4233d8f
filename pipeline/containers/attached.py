"""A container's output, from a socket that is attached to it."""

import select
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from docker.utils import socket as docker_socket

from pipeline.containers.frames import STDERR, STDOUT, Demultiplexer
from pipeline.containers.output import Stream
from pipeline.containers.pump import Source

_CHUNK = 1 << 16
_POLL_MS = 1000
_STREAMS: dict[int, Stream] = {STDOUT: "stdout", STDERR: "stderr"}


def attached(socket: Any) -> Source:
    """Return the source that reads a socket, attached before the container started, and closes it in the end."""

    def parts(abandoned: threading.Event) -> Iterator[tuple[Stream, bytes]]:
        frames = Demultiplexer()
        try:
            while data := _read(socket, abandoned):
                for number, part in frames.feed(data):
                    if number in _STREAMS:
                        yield _STREAMS[number], part
        finally:
            with suppress(Exception):
                socket.close()

    return parts


def _read(socket: Any, abandoned: threading.Event) -> bytes:
    ready = select.poll()
    ready.register(socket, select.POLLIN | select.POLLPRI)
    while not abandoned.is_set():
        if ready.poll(_POLL_MS):
            return docker_socket.read(socket, _CHUNK) or b""
    return b""
