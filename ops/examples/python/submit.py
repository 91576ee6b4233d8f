"""Submits one job as Avro, with confluent-kafka and fastavro alone.

python submit.py BOOTSTRAP TOPIC SUBMISSION_ID JOB_TYPE PAYLOAD [SCHEMA]

PAYLOAD is a JSON object, SCHEMA the path of submission.avsc. Exit code 0: Kafka has stored the submission.
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import Producer
from fastavro.schema import fingerprint, to_parsing_canonical_form

SCHEMA = Path(__file__).resolve().parents[3] / "schemas" / "submission.avsc"


def encoded(schema: dict[str, Any], record: dict[str, Any]) -> bytes:
    """Return Avro's single-object encoding: a marker, the schema's fingerprint in little-endian, the record."""
    checksum = int(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"), 16)
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), record)
    return b"\xc3\x01" + checksum.to_bytes(8, "big") + body.getvalue()


def main(bootstrap: str, topic: str, submission_id: str, job_type: str, payload: str, schema: str = str(SCHEMA)) -> str:
    """Submit, and return where it is stored: topic-partition-offset."""
    json.loads(payload)  # Avro carries the payload as text: this one is not even sent where it is no JSON
    record = {"job_type": job_type, "payload": payload, "submission_id": submission_id}
    value = encoded(json.loads(Path(schema).read_text()), record)
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "message.timeout.ms": 15_000})
    outcome: list[tuple[Any, Any]] = []
    producer.produce(topic, value, submission_id, on_delivery=lambda *told: outcome.append(told))
    producer.flush(20)
    if not outcome:
        sys.exit("submit: Kafka did not answer; the same submission id makes no second job: try again")
    error, message = outcome[0]
    if error is not None:
        sys.exit(f"submit: {error.str()}")
    return f"{message.topic()}-{message.partition()}-{message.offset()}"


if __name__ == "__main__":
    if len(sys.argv) not in (6, 7):
        sys.exit(__doc__)
    print(main(*sys.argv[1:]))
