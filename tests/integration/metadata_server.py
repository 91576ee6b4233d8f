"""A metadata service on loopback, as strict as EC2's: no value without a token, and no token without its time."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN_PATH, VALUES = "/latest/api/token", "/latest/meta-data/"
EC2 = {
    "instance-id": "i-0123456789abcdef0",
    "instance-type": "c7g.2xlarge",
    "placement/availability-zone": "us-west-2b",
    "public-hostname": "ec2-54-70-1-2.us-west-2.compute.amazonaws.com",
    "public-ipv4": "54.70.1.2",
    "instance-life-cycle": "spot",
    # as every machine with a role has; nobody may ask
    "iam/security-credentials/": "a-role",
}
#: Answers a request in its own way and returns True; False leaves it to the server.
Trick = Callable[["Handler"], bool]


class MetadataServer(ThreadingHTTPServer):
    """`asked` are (method, path, headers) of all requests; `tokens` those that are good, none of them for ever."""

    daemon_threads = True

    def __init__(self, trick: Trick) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.trick = trick
        self.values = dict(EC2)
        self.tokens: set[str] = set()
        self.given = 0
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def paths(self, method: str = "GET") -> list[str]:
        return [path for how, path, _ in self.asked if how == method]

    def handle_error(self, *_: object) -> None:
        """Clients that leave are none of our business."""


class Handler(BaseHTTPRequestHandler):
    server: MetadataServer

    def do_GET(self) -> None:
        self._note()
        if self.server.trick(self):
            return
        if self.headers.get("X-aws-ec2-metadata-token") not in self.server.tokens:
            self.say(401)
        elif (name := self.path.removeprefix(VALUES)) in self.server.values:
            self.say(200, self.server.values[name].encode())
        else:
            self.say(404, b"<html>not found</html>")

    def do_PUT(self) -> None:
        self._note()
        if self.server.trick(self):
            return
        if self.path != TOKEN_PATH or not self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "").isdigit():
            self.say(400)
            return
        self.server.given += 1
        token = f"token-{self.server.given}=="
        self.server.tokens.add(token)
        self.say(200, token.encode())

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def drip(self) -> None:
        """Answer for ever, a little at a time."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.server.closing.wait(0.02):
            self.wfile.write(b"X: y\r\n")

    def hang(self) -> None:
        """Answer nothing."""
        self.server.closing.wait()

    def log_message(self, *_: object) -> None:
        pass

    def _note(self) -> None:
        self.server.asked.append((self.command, self.path, {key.lower(): value for key, value in self.headers.items()}))


def honest(_: Handler) -> bool:
    return False


@contextmanager
def metadata_server(trick: Trick = honest) -> Iterator[MetadataServer]:
    server = MetadataServer(trick)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()


def seconds_of(action: Callable[[], object]) -> float:
    """Return how long something takes."""
    start = time.monotonic()
    action()
    return time.monotonic() - start
