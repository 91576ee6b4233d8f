"""A relay between a client and a real server that can be cut and mended: an outage that costs no restart."""

import contextlib
import select
import socket
import threading


class Relay:
    """Forwards bytes from a port of its own to `target`; `cut` refuses connections, `swallow` loses the answers."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener: socket.socket | None = None
        self._pairs: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.swallowing = False
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
        """Take connections again, and pass on answers."""
        self.swallowing = False
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def swallow(self) -> None:
        """Forward what clients say and lose what the server answers."""
        self.swallowing = True

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
        try:
            while True:
                for one in select.select([client, server], [], [])[0]:
                    data = one.recv(65_536)
                    if not data:
                        return
                    if one is client:
                        self.forwarded += len(data)
                        server.sendall(data)
                    elif not self.swallowing:
                        client.sendall(data)
        except (OSError, ValueError):
            return
        finally:
            _end(client)
            _end(server)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
