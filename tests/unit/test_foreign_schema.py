"""Schemas that others wrote: which may steer the decoder, and which may not."""

import io
from typing import Any

import fastavro
import pytest

from pipeline.codec import Codec, DecodeError, Registry
from pipeline.foreign_schema import MAX_DEPTH, UnsafeSchemaError, usable


def record(*types: Any, name: str = "Other") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": f"f{i}", "type": one} for i, one in enumerate(types)]}


def nested(depth: int) -> Any:
    kind: Any = "string"
    for _ in range(depth):
        kind = {"type": "array", "items": kind}
    return kind


EMPTY = {"type": "record", "name": "Empty", "fields": []}
DOUBLING = [
    {"type": "record", "name": f"R{i}", "fields": [{"name": "a", "type": inner}, {"name": "b", "type": inner}]}
    for i, inner in enumerate(["string", *(f"R{i}" for i in range(20))])
]


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        pytest.param(record({"type": "array", "items": "null"}), "no bytes", id="an array of nulls"),
        pytest.param(record({"type": "array", "items": EMPTY}), "no bytes", id="an array of empty records"),
        pytest.param(record("null"), "no bytes", id="a null"),
        pytest.param(record({"type": "null"}), "no bytes", id="a null, spelled at length"),
        pytest.param(record(EMPTY | {"type": "error"}), "no bytes", id="an empty error"),
        pytest.param(record({"type": "fixed", "name": "F", "size": 0}), "no bytes", id="no fixed bytes"),
        pytest.param(record(["null", "Other"]), "its own type", id="a list of itself"),
        pytest.param(record(record(["null", "Other"], name="In")), "its own type", id="itself, through another"),
        pytest.param(record(nested(MAX_DEPTH)), "deeper", id="a deep one"),
    ],
)
def test_a_schema_that_could_take_stack_memory_or_time_is_refused(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(UnsafeSchemaError, match=why):
        usable(schema)


def test_a_schema_that_doubles_with_each_type_is_refused() -> None:
    whole = record("string", *[{**one, "name": one["name"]} for one in DOUBLING])
    with pytest.raises(UnsafeSchemaError, match="more than"):
        usable(whole)


def test_what_connectors_write_is_taken() -> None:
    twice = record({"type": "record", "name": "Row", "fields": [{"name": "id", "type": "long"}]}, ["null", "Row"])
    taken = usable(record(*(one["type"] for one in twice["fields"]), {"type": "map", "values": ["null", "string"]}))
    out = io.BytesIO()
    fastavro.schemaless_writer(out, taken, {"f0": {"id": 1}, "f1": {"id": 2}, "f2": {"a": None}})
    out.seek(0)
    assert fastavro.schemaless_reader(out, taken, None)["f1"] == {"id": 2}


def test_logical_types_are_left_out_and_values_come_as_they_are_written() -> None:
    taken = usable({**record({"type": "long", "logicalType": "timestamp-millis"}), "doc": "d"})
    out = io.BytesIO()
    fastavro.schemaless_writer(out, taken, {"f0": 10**15})
    out.seek(0)
    assert fastavro.schemaless_reader(out, taken, None) == {"f0": 10**15}


def test_a_record_of_a_refused_schema_is_no_record_and_names_the_id() -> None:
    class Shelf(Registry):
        def schema_of(self, schema_id: int) -> dict[str, Any] | None:
            return record(["null", "Other"])

        def id_of(self, subject: str, schema: dict[str, Any]) -> int:
            return 1

    # a million levels of a schema of itself overflowed the decoder's stack, and the process ended by a signal
    with pytest.raises(DecodeError, match="schema id 9 is no usable Avro schema: type Other"):
        Codec(Shelf()).decode("submission", b"\0\0\0\0\x09" + b"\x02" * 1_000_000 + b"\0")
