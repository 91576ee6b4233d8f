"""Bytes to records and back: Confluent wire format, Avro single-object encoding, JSON (design §3).

The first byte tells them apart: 0x00 Confluent, 0xC3 single-object, `{` or white space JSON.
"""

import io
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any, Protocol

import fastavro
import orjson
from fastavro.schema import fingerprint, to_parsing_canonical_form
from fastavro.validation import ValidationError, validate

from pipeline.foreign_schema import usable

CONFLUENT_MAGIC = b"\x00"
SINGLE_OBJECT_MAGIC = b"\xc3\x01"
_HEADER_BYTES = 10
#: Records of the public API: JSON may say them in more ways than Avro, and who reads them checks each field.
_OWN_CHECKS = frozenset({"submission", "task"})

Record = dict[str, Any]


class DecodeError(ValueError):
    """The bytes are not a record of the schema that was asked for; the text says what is wrong."""


class Registry(Protocol):
    """A schema registry, as far as the codec needs one. Calls may raise OSError when it can't be reached."""

    def schema_of(self, schema_id: int) -> dict[str, Any] | None:
        """Return the schema with this id, None where the registry knows none."""

    def id_of(self, subject: str, schema: dict[str, Any]) -> int:
        """Return the schema's id under the subject, registering it where that is new."""


class Schema:
    """One Avro schema of `schemas/`, its fingerprint, and the earlier versions that are still readable."""

    def __init__(self, name: str) -> None:
        root = resources.files("schemas")
        self.name = name
        self.raw: dict[str, Any] = json.loads((root / f"{name}.avsc").read_text())
        self.parsed = fastavro.parse_schema(self.raw)
        self.header = SINGLE_OBJECT_MAGIC + fingerprint_of(self.raw)
        self.writers: dict[bytes, Any] = {self.header[2:]: self.parsed}
        #: The fingerprint of each published version.
        self.versions: dict[int, bytes] = {}
        for version in (root / "published" / name).iterdir():
            raw = json.loads(version.read_text())
            known = self.versions[int(version.name.removesuffix(".avsc"))] = fingerprint_of(raw)
            self.writers.setdefault(known, fastavro.parse_schema(raw))


def fingerprint_of(schema: dict[str, Any]) -> bytes:
    """Return the CRC-64-AVRO fingerprint in the byte order of single-object encoding (little-endian)."""
    text = fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")
    return bytes.fromhex(text)


class Codec:
    """Encodes and decodes records by schema name ("submission", "inbox", "fact", …).

    With a registry records are written in the Confluent wire format, without one in single-object
    encoding; both are read either way. Unions of records appear as `(record name, record)`. `subjects` are the
    registry's by schema name; `<name>-value` where one isn't named.
    """

    def __init__(self, registry: Registry | None = None, subjects: Mapping[str, str] | None = None) -> None:
        self._registry = registry
        self._subjects = subjects or {}
        self._schemas: dict[str, Schema] = {}
        self._foreign: dict[int, Any] = {}
        self._ids: dict[str, int] = {}

    def schema(self, name: str) -> Schema:
        """Return the schema of that name, read once."""
        if name not in self._schemas:
            self._schemas[name] = Schema(name)
        return self._schemas[name]

    def encode(
        self, name: str, record: Mapping[str, Any], subject: str | None = None, version: int | None = None
    ) -> bytes:
        """Return the record as bytes; `subject` is the registry's where it isn't the codec's own for that schema.

        `version` is the published one to write it in, for readers who know no later one; with a registry they find
        any, and it is written in the newest.

        Raises ValueError where the record does not fit its schema, OSError where the registry is needed
        and can't be reached.
        """
        schema = self.schema(name)
        out, parsed = io.BytesIO(), schema.parsed
        if self._registry is None and version is not None:
            out.write(SINGLE_OBJECT_MAGIC + schema.versions[version])
            parsed = schema.writers[schema.versions[version]]
        else:
            out.write(self._header(schema, subject or self._subjects.get(name, f"{name}-value")))
        try:
            fastavro.schemaless_writer(out, parsed, record)
        except (TypeError, KeyError, AttributeError, IndexError) as error:
            raise ValueError(f"not a {name} record: {error}") from error
        return out.getvalue()

    def decode(self, name: str, data: bytes | None) -> Record:
        """Return the record in the bytes, as the current schema reads it; of a submission or task in JSON, as it is.

        Raises DecodeError for bytes that are none, OSError where an unknown schema id must be looked up
        in a registry that can't be reached.
        """
        if not data:
            raise DecodeError("the record has no value")
        if data.startswith(SINGLE_OBJECT_MAGIC):
            writer = self.schema(name).writers.get(data[2:_HEADER_BYTES])
            if writer is None:
                raise DecodeError(f"unknown schema fingerprint {data[2:_HEADER_BYTES].hex()}")
            return self._read(name, data, _HEADER_BYTES, writer)
        if data.startswith(CONFLUENT_MAGIC):
            return self._read(name, data, 5, self._writer_of(int.from_bytes(data[1:5], "big")))
        record = decode_json(data)
        return record if name in _OWN_CHECKS else self._checked(name, record)

    def _checked(self, name: str, record: Record) -> Record:
        """Return the fields that the schema names, defaults filled in; Avro promises their types, JSON does not."""
        schema = self.schema(name)
        filled = {one["name"]: record.get(one["name"], one.get("default")) for one in schema.raw["fields"]}
        try:
            validate(filled, schema.parsed)
        except (ValidationError, TypeError, ValueError) as error:
            raise DecodeError(f"not a {name} record: {error}"[:500]) from error
        return filled

    def _header(self, schema: Schema, subject: str) -> bytes:
        if self._registry is None:
            return schema.header
        if subject not in self._ids:
            self._ids[subject] = self._registry.id_of(subject, schema.raw)
        return CONFLUENT_MAGIC + self._ids[subject].to_bytes(4, "big")

    def _writer_of(self, schema_id: int) -> Any:
        if schema_id not in self._foreign:
            if self._registry is None:
                raise DecodeError(f"schema id {schema_id} needs a schema registry, and none is configured")
            raw = self._registry.schema_of(schema_id)
            if raw is None:
                raise DecodeError(f"unknown schema id {schema_id}")
            try:
                self._foreign[schema_id] = usable(raw)
            except Exception as error:  # fastavro raises whatever the schema leads it to
                raise DecodeError(f"schema id {schema_id} is no usable Avro schema: {error}"[:500]) from error
        return self._foreign[schema_id]

    def _read(self, name: str, data: bytes, start: int, writer: Any) -> Record:
        body = io.BytesIO(data)
        body.seek(start)
        reader = self.schema(name).parsed
        try:
            record = fastavro.schemaless_reader(
                body,
                writer,
                None if writer is reader else reader,
                return_record_name=True,
                return_record_name_override=True,
            )
        except Exception as error:  # fastavro raises whatever the bytes lead it to
            raise DecodeError(f"not a {name} record: {type(error).__name__}: {error}"[:500]) from error
        if body.tell() != len(data):
            raise DecodeError(f"not a {name} record: {len(data) - body.tell()} bytes follow it")
        if not isinstance(record, dict):
            raise DecodeError(f"not a {name} record but a {type(record).__name__}")
        return record


def decode_json(data: bytes) -> Record:
    """Return the JSON object in the bytes; raises DecodeError for anything else."""
    try:
        value = orjson.loads(data)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise DecodeError(f"neither Avro nor JSON: {error}"[:500]) from error
    if not isinstance(value, dict):
        raise DecodeError(f"a JSON object is needed, not a {type(value).__name__}")
    return value
