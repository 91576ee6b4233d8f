"""Good records to begin with: each kind that the gate takes, in each of its encodings."""

import json
from dataclasses import dataclass
from typing import Any

from pipeline.codec import Codec
from pipeline.identity import family_of_hash, job_id, tick_token, token
from pipeline.messages.control import ControlRequest
from pipeline.messages.report import FINAL, HEARTBEAT, OF_ATTEMPTS, TICK, Shown, WorkerReport

KEY = b"a key for tests"
HOLDER = "w1:1000:aa"
JOB = job_id(family_of_hash("h"), "s1", "h", "c", "q")


@dataclass(frozen=True)
class Seed:
    """A record, its value, and the kind of topic that it belongs on: submission, report or control."""

    kind: str
    value: bytes
    record: dict[str, Any]


def seeds(codecs: list[Codec]) -> list[Seed]:
    """Return all good records, as JSON and by each of the codecs."""
    records = [("submission", one) for one in _submissions()]
    records += [("report", one.record()) for one in _reports()]
    records += [("control", one.record()) for one in _controls()]
    found = [Seed(kind, codec.encode(kind, record), record) for kind, record in records for codec in codecs]
    records += [("submission", one) for one in _json_submissions()]
    return found + [Seed(kind, json.dumps(record).encode(), record) for kind, record in records]


def _submissions() -> list[dict[str, Any]]:
    return [
        {"job_type": "job:x", "payload": '{"a": 1}'},
        {"job_type": "job-registered:v1", "payload": '{"scene": "s3://b/k", "count": 3, "names": ["a", "b"]}'},
        {
            "job_type": "x",
            "payload": json.dumps(
                {"localize_urls": [{"url": "s3://b/k"}], "_disk_usage": "3GB", "deep": [[[{"k": 1}]]]}
            ),
            "submission_id": "row-1@7",
            "job_queue": "q",
            "job_name": "n",
            "payload_hash": "h",
            "enable_dedup": True,
            "priority": 9,
            "tag": "t",
            "tags": ["a", "b"],
            "username": "u",
            "time_limit": 60,
            "soft_time_limit": 30,
            "container_image_name": "i:1",
            "container_image_url": "s3://b/i.tar.gz",
            "container_mappings": '{"/a": ["/b", "ro"]}',
            "runtime_options": '{"cpus": 1}',
            "context": '{"user": {"x": "y"}}',
            "needs": '{"memory_mib": 10, "cpus": 0.5, "labels": {"zone": "a"}, "gpus": 1}',
            "disk_usage": "10MB",
            "max_wait": 1000,
            "publish_overwrite_ok": True,
            "retry": '{"worker_lost": {"max_attempts": 2, "backoff_ms": 100}}',
        },
    ]


def _json_submissions() -> list[dict[str, Any]]:
    """What JSON may have and Avro may not: objects as themselves, and whatever else comes to a sender's mind."""
    return [
        {"job_type": "x", "payload": {"a": {"b": [1, 2.5, None, True, "é😀"]}}, "retry": False, "unknown": 1},
        {"job_type": "x", "payload": {}, "needs": {"disk_mib": 5}, "container_image_urls": {"docker": "a"}},
        {"job_type": "job-registered:v1", "payload": {"scene": "x", "count": -1}, "tags": None},
    ]


def _reports() -> list[WorkerReport]:
    shown = token(KEY, JOB, 1, HOLDER)
    result = json.dumps({"job_info": {"pid": 7}, "error": "e", "exit_code": 1, "products": [{"id": "d"}]})
    of_attempts = [WorkerReport(kind, HOLDER, JOB, 1, shown, result) for kind in sorted(OF_ATTEMPTS | FINAL)]
    beat = WorkerReport(HEARTBEAT, HOLDER, attempts=(Shown(JOB, 1, shown),))
    return [
        *of_attempts,
        beat,
        WorkerReport(TICK, HOLDER, token=tick_token(KEY, 0, 7, True, HOLDER), previous=7, resumed=True),
    ]


def _controls() -> list[ControlRequest]:
    return [
        ControlRequest("revoke", JOB, "me", "because"),
        ControlRequest("retry", JOB, "me", "", '{"force": true, "queue": "other", "attempt": 1}'),
        ControlRequest("reprioritise", JOB, "me", "", '{"priority": 9}'),
        ControlRequest("republish", JOB),
    ]
