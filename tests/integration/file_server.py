"""A web server of files on loopback, as strict as real ones: entity tags, conditions, ranges, and faults on demand."""

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = 64 * 1024


@dataclass
class Remote:
    """One file as the server has it."""

    data: bytes
    etag: str | None = None
    mtime: float | None = 1_700_000_000.0
    ranges: bool = True
    length: bool = True

    def __post_init__(self) -> None:
        if self.etag is None:
            self.etag = f'"{hashlib.md5(self.data).hexdigest()}"'


@dataclass
class Seen:
    """What was asked for."""

    requests: list[tuple[str, dict[str, str], int]] = field(default_factory=list)
    bodies: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)

    def statuses(self, path: str) -> list[int]:
        return [status for seen, _, status in self.requests if seen.partition("?")[0] == path]


class Cut(Exception):  # noqa: N818
    """The connection is closed without another word."""


class FileServer(ThreadingHTTPServer):
    """`fault(path, number of the request, bytes sent)` may return a status, or raise Cut, at each piece."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, Remote] = {}
        self.redirects: dict[str, str] = {}
        self.seen = Seen()
        self.lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.fault: Callable[[str, int, int], int | None] = lambda *_: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """Clients that leave are none of our business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        with self.server.lock:
            self.server.counts[path] += 1
            number = self.server.counts[path]
        try:
            self._answer(path, number)
        except Cut:
            self.close_connection = True

    def _answer(self, path: str, number: int) -> None:
        status = self.server.fault(path, number, 0)
        if status is not None:
            self._send(status, {"Content-Length": "0", **({"Retry-After": "0"} if status == 503 else {})})
            return
        if path in self.server.redirects:
            self._send(302, {"Location": self.server.redirects[path], "Content-Length": "0"})
            return
        file = self.server.files.get(path)
        if file is None:
            self._send(404, {"Content-Length": "0"})
            return
        shown = {"ETag": file.etag or "", "Last-Modified": formatdate(file.mtime, usegmt=True) if file.mtime else ""}
        headers = {name: value for name, value in shown.items() if value}
        if self._unchanged(headers):
            self._send(304, headers)
            return
        self._body(path, number, file, headers)

    def _unchanged(self, shown: dict[str, str]) -> bool:
        if asked := self.headers.get("If-None-Match"):
            return asked == shown.get("ETag")
        asked = self.headers.get("If-Modified-Since")
        return asked is not None and asked == shown.get("Last-Modified")

    def _body(self, path: str, number: int, file: Remote, headers: dict[str, str]) -> None:
        start, size, status = 0, len(file.data), 200
        asked = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        if asked and file.ranges and condition in (None, headers.get("ETag"), headers.get("Last-Modified")):
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            if start >= size:
                self._send(416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"})
                return
            status, headers["Content-Range"] = 206, f"bytes {start}-{size - 1}/{size}"
        if file.length:
            headers["Content-Length"] = str(size - start)
        else:
            self.close_connection = True
            headers["Connection"] = "close"
        self._send(status, headers)
        with self.server.lock:
            self.server.seen.bodies[path] += 1
        for begin in range(start, size, PIECE):
            piece = file.data[begin : begin + PIECE]
            self.server.fault(path, number, begin)
            self.wfile.write(piece)
            with self.server.lock:
                self.server.seen.sent[path] += len(piece)

    def _send(self, status: int, headers: dict[str, str]) -> None:
        with self.server.lock:
            self.server.seen.requests.append((self.path, dict(self.headers.items()), status))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[FileServer]:
    """A server that runs."""
    server = FileServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
