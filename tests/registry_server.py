"""A schema registry in this process: a server on loopback that speaks as much of the Confluent API as is needed."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Knows what was registered; ids from 90 on are special."""

    server: "Server"

    def do_GET(self) -> None:
        number = 90 if self.server.broken else int(self.path.rpartition("/")[2])
        self.server.calls.append(self.path)
        if number == 99:
            self.server.release.wait(20)
        special: dict[int, tuple[int, Any]] = {
            90: (500, {"message": "broken"}),
            91: (200, {"schemaType": "PROTOBUF", "schema": "syntax"}),
            92: (200, {"schema": "no JSON"}),
            93: (200, {"schema": '"string"'}),
            94: (403, {"message": "not for you"}),
            95: (200, "no object"),
            96: (422, {"message": "odd"}),
        }
        if number in special:
            self._answer(*special[number])
        elif number < len(self.server.schemas):
            self._answer(200, {"schema": self.server.schemas[number]})
        else:
            self._answer(404, {"error_code": 40403, "message": "Schema not found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.calls.append(self.path)
        self.server.authorization = self.headers.get("Authorization")
        if "incompatible" in self.path:
            self._answer(409, {"message": "incompatible"})
            return
        if body["schema"] not in self.server.schemas:
            self.server.schemas.append(body["schema"])
        self._answer(200, {"id": self.server.schemas.index(body["schema"])})

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_request(self, *_: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.schemas: list[str] = []
        self.calls: list[str] = []
        self.broken = False
        self.authorization: str | None = None
        self.release = threading.Event()

    def handle_error(self, *_: Any) -> None:
        """A client that went away is what these tests are about."""
