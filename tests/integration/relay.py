"""A relay between clients and a real server: an outage that costs no restart, and a network as slow as one likes."""

import contextlib
import select
import socket
import threading
import time
from collections import deque

#: s between two looks of a connection that stands still.
_LOOK = 0.05


class Relay:
    """Forwards bytes from a port of its own to `target`; `cut` refuses connections, `swallow` loses the answers.

    `latency` (s) is what each way takes. `freeze` leaves connections open, takes new ones, and moves no byte: a peer
    that vanished without a word.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener: socket.socket | None = None
        self._pairs: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.swallowing = False
        self.frozen = False
        self.latency = 0.0
        #: requests' bytes that were forwarded
        self.forwarded = 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.mend()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def mend(self) -> None:
        """Take connections again, and pass on what comes."""
        self.swallowing = self.frozen = False
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def swallow(self) -> None:
        """Forward what clients say and lose what the server answers."""
        self.swallowing = True

    def freeze(self) -> None:
        """Pass nothing on, either way, until it is mended or cut; nobody is told."""
        self.frozen = True

    def cut(self) -> None:
        """End all connections and refuse new ones."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            # close alone leaves a blocked accept, and with it the port, open
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            for one in self._pairs:
                _end(one)
            self._pairs.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                _end(client)
                continue
            with self._lock:
                if self._listener is not listener:
                    # cut since the client was accepted
                    _end(client)
                    _end(server)
                    return
                self._pairs |= {client, server}
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        under_way: deque[tuple[float, socket.socket, bytes]] = deque()
        try:
            while True:
                if self.frozen:
                    time.sleep(_LOOK)
                    if client.fileno() < 0:
                        return
                    continue
                due = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
                for one in select.select([client, server], [], [], due)[0]:
                    data = one.recv(65_536)
                    if not data:
                        return
                    if one is client:
                        self.forwarded += len(data)
                    if one is client or not self.swallowing:
                        other = server if one is client else client
                        under_way.append((time.monotonic() + self.latency, other, data))
                while under_way and under_way[0][0] <= time.monotonic():
                    _, other, data = under_way.popleft()
                    other.sendall(data)
        except (OSError, ValueError):
            return
        finally:
            _end(client)
            _end(server)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
