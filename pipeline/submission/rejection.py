"""A submission that can't be accepted, named as far as it can be, so that its sender finds out (design §3)."""

from collections.abc import Mapping
from typing import Any

import orjson

from pipeline.identity import family_of_hash, family_of_payload, job_id, payload_hash, type_of
from pipeline.messages import mark, trace
from pipeline.messages.inbox import Inbox, Rejected
from pipeline.submission.jobs import Origin, submitter
from pipeline.submission.request import is_id

#: Characters of a name, such as its payload hash, that a rejection carries.
NAMED = 512
#: The same of an error, and (as JSON) of a payload.
_MAX_ERROR = 4000
_MAX_PARAMS = 64 * 1024


def rejected(record: Mapping[str, Any], error: str, origin: Origin) -> Inbox:
    """Return the inbox message for a submission that can't be accepted; never fails, whatever the record is.

    Its family is that of the payload where that can be read, else one of its own, made from the submission's id.
    """
    own_id = _text(record, "submission_id")
    submission_id = own_id if is_id(own_id) else origin.submission_id
    payload = _payload(record)
    own = _text(record, "payload_hash")
    hash_ = own or _hash(payload)
    job_type = _text(record, "job_type")
    family = (
        family_of_hash(own, origin.principal)
        if own
        else family_of_payload(hash_, type_of(job_type), origin.principal)
        if hash_
        else family_of_hash(submission_id, origin.principal)
    )
    identity = job_id(family, submission_id, hash_, "", "", origin.life)
    job: dict[str, Any] = {
        "type": type_of(job_type) or "unknown",
        "name": (_text(record, "job_name") or job_type).replace(":", "__") or identity,
        "job_id": identity,
        "priority": 0,
        "params": payload if payload is not None and _length(payload) <= _MAX_PARAMS else {},
        "localize_urls": [],
        "submitter": submitter(origin.principal, _text(record, "username")),
        "job_info": {
            "id": identity,
            "job_queue": _text(record, "job_queue") or "unknown",
            "payload_hash": hash_,
            "dedup": record.get("enable_dedup") is not False,
            "job_payload": {"job_type": job_type, "payload_task_id": submission_id},
        },
    }
    optional: dict[str, Any] = {key: _text(record, key) for key in ("tag", "username")}
    optional |= {mark.FIELD: origin.replay, trace.FIELD: origin.trace.record()}
    body = orjson.dumps(job | {key: value for key, value in optional.items() if value}).decode()
    message = Rejected(identity, submission_id, hash_, error[:_MAX_ERROR], body)
    return Inbox(family, message, origin.source, origin.time, origin.principal)


def _text(record: Mapping[str, Any], field: str) -> str:
    value = record.get(field)
    # texts that UTF-8 can't write would stop the rejection itself
    return value[:NAMED].encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _payload(record: Mapping[str, Any]) -> dict[str, Any] | None:
    value = record.get("payload")
    try:
        value = orjson.loads(value) if isinstance(value, str) else value
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _hash(payload: dict[str, Any] | None) -> str:
    try:
        return "" if payload is None else payload_hash(payload)
    except (TypeError, ValueError, RecursionError):
        return ""


def _length(payload: dict[str, Any]) -> int:
    try:
        return len(orjson.dumps(payload))
    except (TypeError, orjson.JSONEncodeError):
        return _MAX_PARAMS + 1
