"""The registry's client against a server on loopback that speaks the Confluent API, and against none."""

import base64
import threading
from collections.abc import Iterator

import pytest

from agents.registry import ConfluentRegistry, RegistryError
from pipeline.codec import Codec, DecodeError
from tests.registry_server import Server

SUBMISSION = {"job_type": "x", "payload": "{}"}


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
