"""The registry's client against a server on loopback that speaks the Confluent API, and against none."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from agents.registry import ConfluentRegistry, RegistryError
from pipeline.codec import Codec, DecodeError

SUBMISSION = {"job_type": "x", "payload": "{}"}


class Handler(BaseHTTPRequestHandler):
    """Knows what was registered; ids from 90 on are special."""

    server: "Server"

    def do_GET(self) -> None:
        number = int(self.path.rpartition("/")[2])
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
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.schemas: list[str] = []
        self.calls: list[str] = []
        self.authorization: str | None = None
        self.release = threading.Event()

    def handle_error(self, *_: Any) -> None:
        """A client that went away is what these tests are about."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as one:
        thread = threading.Thread(target=one.serve_forever)
        thread.start()
        yield one
        one.release.set()
        one.shutdown()
        thread.join()


@pytest.fixture
def registry(server: Server) -> Iterator[ConfluentRegistry]:
    one = ConfluentRegistry(f"http://user:pa%20ss@127.0.0.1:{server.server_port}/", timeout=1.0)
    yield one
    one.close()


def test_a_record_crosses_two_codecs_and_asks_once_each(server: Server, registry: ConfluentRegistry) -> None:
    writer, reader = Codec(registry), Codec(registry)
    for _ in range(3):
        data = writer.encode("submission", SUBMISSION, "jobs.submit-value")
        assert reader.decode("submission", data)["job_type"] == "x"
    assert server.calls == ["/subjects/jobs.submit-value/versions", "/schemas/ids/0"]
    assert server.authorization == "Basic " + base64.b64encode(b"user:pa ss").decode()


def test_an_unknown_id_is_asked_for_once_in_a_while(server: Server, registry: ConfluentRegistry) -> None:
    assert [registry.schema_of(50) for _ in range(5)] == [None] * 5
    assert len(server.calls) == 1


@pytest.mark.parametrize("number", [91, 92, 93, 96])
def test_a_schema_that_is_no_avro_record_is_a_decode_error(registry: ConfluentRegistry, number: int) -> None:
    with pytest.raises(DecodeError, match=str(number)):
        registry.schema_of(number)


@pytest.mark.parametrize("number", [90, 94])
def test_what_waiting_or_the_operator_cures_is_an_os_error(registry: ConfluentRegistry, number: int) -> None:
    with pytest.raises(OSError, match="registry answers"):
        registry.schema_of(number)


def test_a_registry_that_does_not_answer_is_an_os_error(registry: ConfluentRegistry) -> None:
    with pytest.raises(OSError, match="can't be reached"):
        registry.schema_of(99)


def test_no_registry_is_an_os_error() -> None:
    with pytest.raises(OSError, match="can't be reached"):
        ConfluentRegistry("http://127.0.0.1:1", timeout=1.0).schema_of(1)


def test_a_refused_schema_is_told(registry: ConfluentRegistry) -> None:
    with pytest.raises(RegistryError, match="incompatible"):
        registry.id_of("incompatible", {"type": "string"})
