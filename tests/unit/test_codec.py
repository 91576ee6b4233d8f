"""Bytes to records and back: three encodings, and everything that is none of them."""

import contextlib
import io
import json
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec import Codec, DecodeError, Registry
from pipeline.messages.inbox import Inbox, NewJob, Source, Submitted
from pipeline.messages.needs import Needs
from pipeline.messages.report import Shown, WorkerReport

SUBMISSION = {"job_type": "job:x", "payload": '{"a": 1}'}


class ShelfRegistry(Registry):
    """A registry in memory; `reachable` False makes it one that can't be reached."""

    def __init__(self) -> None:
        self.schemas: list[dict[str, Any]] = []
        self.reachable = True

    def schema_of(self, schema_id: int) -> dict[str, Any] | None:
        if not self.reachable:
            raise OSError("not reachable")
        return self.schemas[schema_id] if schema_id < len(self.schemas) else None

    def id_of(self, subject: str, schema: dict[str, Any]) -> int:
        if not self.reachable:
            raise OSError("not reachable")
        if schema not in self.schemas:
            self.schemas.append(schema)
        return self.schemas.index(schema)


def test_a_record_comes_back_from_single_object_encoding() -> None:
    codec = Codec()
    data = codec.encode("submission", SUBMISSION)
    assert data.startswith(b"\xc3\x01")
    assert codec.decode("submission", data)["payload"] == '{"a": 1}'


def test_a_record_comes_back_from_the_confluent_wire_format() -> None:
    codec = Codec(ShelfRegistry())
    data = codec.encode("submission", SUBMISSION)
    assert data[:5] == b"\x00\x00\x00\x00\x00"
    assert codec.decode("submission", data)["job_type"] == "job:x"


def test_with_a_registry_both_encodings_are_read() -> None:
    data = Codec().encode("submission", SUBMISSION)
    assert Codec(ShelfRegistry()).decode("submission", data)["job_type"] == "job:x"


def test_json_is_told_by_its_first_byte() -> None:
    assert Codec().decode("submission", b' {"job_type": "x"}') == {"job_type": "x"}


def test_json_has_the_types_of_its_schema_and_its_defaults_or_is_no_record() -> None:
    needs = {"memory_mib": 1, "disk_mib": 1, "gpus": 0, "labels": {}, "engine": None, "avoid": []}
    run = {"job_id": "f-1", "attempt": 1, "seq": 1, "queue": "q", "priority": 0, "since": 5, "job_type": "t"}
    read = Codec().decode("run", json.dumps({**run, "needs": needs, "unknown": 1}).encode())
    assert read == {**run, "needs": needs, "max_wait": None}
    for wrong in ({"priority": "high"}, {"needs": []}, {"job_id": None}, {"since": 2**70}):
        with pytest.raises(DecodeError, match="not a run record"):
            Codec().decode("run", json.dumps({**run, "needs": needs, **wrong}).encode())


def test_a_nested_message_comes_back_equal() -> None:
    job = NewJob("f-1", "q", "c", 3, Needs(10, 20, 1, {"zone": "a"}, "docker", ("w1",)), "{}", 60, 30, 5)
    message = Inbox("f", Submitted("id", "hash", True, (job,)), Source("submit", 1, 7), 1234)
    codec = Codec()
    assert Inbox.of(codec.decode("inbox", codec.encode("inbox", message.record()))) == message


def test_a_report_comes_back_equal() -> None:
    report = WorkerReport("heartbeat", "w:1:a", attempts=(Shown("f-1", 2, "t"),))
    codec = Codec()
    assert WorkerReport.of(codec.decode("report", codec.encode("report", report.record()))) == report


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"\x00",
        b"\x00\x00\x00\x00\x63rest",
        b"\xc3\x01",
        b"\xc3\x01unknown!rest",
        b"\xff\xfe\x00",
        b"nonsense",
        b"[1]",
        b'"text"',
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("registry", [None, ShelfRegistry()])
def test_bytes_that_are_no_record_are_said_to_be_none(data: bytes | None, registry: Registry | None) -> None:
    with pytest.raises(DecodeError):
        Codec(registry).decode("submission", data)


@given(body=st.binary(max_size=200), confluent=st.booleans())
def test_any_bytes_after_a_good_header_give_a_record_or_a_decode_error(body: bytes, confluent: bool) -> None:
    codec = Codec(ShelfRegistry())
    header = codec.encode("report", WorkerReport("tick", "o").record())[:5]
    start = header if confluent else codec.schema("report").header
    with contextlib.suppress(DecodeError):
        assert isinstance(codec.decode("report", start + body), dict)


def test_bytes_that_follow_a_record_are_an_error() -> None:
    codec = Codec()
    with pytest.raises(DecodeError, match="3 bytes follow"):
        codec.decode("submission", codec.encode("submission", SUBMISSION) + b"abc")


def test_a_record_that_does_not_fit_its_schema_is_a_value_error() -> None:
    for record in ({"job_type": "x"}, {"job_type": 1, "payload": "{}"}, {"job_type": "x", "payload": None}):
        with pytest.raises(ValueError, match=r"job_type|payload|string|null"):
            Codec().encode("submission", record)


def test_an_unknown_schema_id_is_named() -> None:
    with pytest.raises(DecodeError, match="unknown schema id 99"):
        Codec(ShelfRegistry()).decode("submission", b"\x00\x00\x00\x00\x63data")


def test_an_unreachable_registry_is_no_fault_of_the_record() -> None:
    registry = ShelfRegistry()
    data = Codec(registry).encode("submission", SUBMISSION)
    registry.reachable = False
    with pytest.raises(OSError, match="reachable"):
        Codec(registry).decode("submission", data)
    with pytest.raises(OSError, match="reachable"):
        Codec(registry).encode("submission", SUBMISSION)


def test_a_known_schema_id_needs_the_registry_once() -> None:
    registry = ShelfRegistry()
    codec = Codec(registry)
    data = codec.encode("submission", SUBMISSION)
    codec.decode("submission", data)
    registry.reachable = False
    assert codec.decode("submission", data)["job_type"] == "job:x"


@pytest.mark.parametrize("schema", [{"type": "string"}, {"type": "nonsense"}, {"type": "record", "name": "x"}, {}])
def test_an_unusable_schema_in_the_registry_is_one_bad_record(schema: dict[str, Any]) -> None:
    registry = ShelfRegistry()
    registry.schemas.append(schema)
    with pytest.raises(DecodeError):
        Codec(registry).decode("submission", b"\x00\x00\x00\x00\x00\x06abc")


def test_an_earlier_writer_with_fewer_fields_is_read_with_the_defaults() -> None:
    old = {
        "type": "record",
        "name": "Submission",
        "namespace": "jobstream",
        "fields": [{"name": "job_type", "type": "string"}, {"name": "payload", "type": "string"}],
    }
    registry = ShelfRegistry()
    registry.schemas.append(old)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, old, SUBMISSION)
    record = Codec(registry).decode("submission", b"\x00\x00\x00\x00\x00" + out.getvalue())
    assert record["enable_dedup"] is True
    assert record["priority"] is None
