"""Names that follow from content: payload hash, family, job id, attempt token.

Everything here is a pure function, so that a redelivered submission asks for the same jobs and an old
owner's repeat shows the same token (design §2, §4).
"""

import base64
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

#: Top-level payload keys that don't count for the payload hash (spec §1.3).
UNHASHED_KEYS = ("_disk_usage", "_sciflo_job_num", "_sciflo_wuid")

FAMILY_LENGTH = 20
_ASKED_LENGTH = 12
_LIFE_LENGTH = 6
_TYPE_PREFIX = re.compile(r"^\w+?:")
#: What registered job types are called (spec §2.1).
_REGISTRABLE = re.compile(r"job-[^:]+:.+", re.DOTALL)
#: When a holder was started (ms).
_START = re.compile(r"[0-9]{1,15}")
#: 32 bytes in URL-safe base64.
_KEY = re.compile(r"[A-Za-z0-9_-]{43}")
_ATTEMPTS = uuid.UUID("6f1f9c5e-0f1b-5f57-9f52-0a8a6a1f7a11")


def payload_hash(payload: Mapping[str, Any]) -> str:
    """Return the md5 hex of the payload's JSON with sorted keys and ASCII escapes (spec §1.3).

    >>> payload_hash({"b": 1, "a": [1, "é"]})
    'a5c6e3de35db52b1e562903d8e73a580'
    """
    counted = {key: value for key, value in payload.items() if key not in UNHASHED_KEYS}
    text = json.dumps(counted, sort_keys=True, ensure_ascii=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def family_of_hash(hash_: str, principal: str | None = None) -> str:
    """Return the family id of a payload hash; a principal has families of its own, which nobody else can block."""
    return hashlib.sha256(f"{principal or ''}\0{hash_}".encode()).hexdigest()[:FAMILY_LENGTH]


def family_of_payload(hash_: str, job_type: str, principal: str | None = None) -> str:
    """Return the family id of a computed payload hash; `job_type` is bare (`type_of`).

    Registered types (`job-NAME:VERSION`) have families of their own: their payloads hold parameters alone, and two
    types that take the same ones don't do the same. What such a name is follows from the submission itself, never from
    what is registered at the time: a redelivered submission is in the same family.
    """
    return family_of_hash(f"{hash_}\0{job_type}" if is_registrable(job_type) else hash_, principal)


def is_registrable(job_type: str) -> bool:
    """Say whether a bare job type is named as registered ones are.

    >>> is_registrable("job-hello:v1.0"), is_registrable("hello")
    (True, False)
    """
    return _REGISTRABLE.fullmatch(job_type) is not None


def job_id(family: str, submission_id: str, hash_: str, creator: str, queue: str, life: str = "") -> str:
    """Return the id of the job that a creator makes for a queue from a submission (design §2).

    `life` (`life_of`) tells it from the job that the same submission made before, which was forgotten since. All else
    that the id is made of says what was asked for (`asked_of`).
    """
    parts = "\0".join((submission_id, hash_, creator, queue))
    return f"{family}-{hashlib.sha256(parts.encode()).hexdigest()[:_ASKED_LENGTH]}{life}"


def life_of(topic: str, partition: int, offset: int, time: int) -> str:
    """Return the end of the ids of the jobs that a record of `topic` makes, which has this `time` (ms) there.

    The same for that record however often it is read, and another for any other record.
    """
    return hashlib.sha256(f"{topic}\0{partition}\0{offset}\0{time}".encode()).hexdigest()[:_LIFE_LENGTH]


def asked_of(job: str) -> str:
    """Return the part of a job id that is the same however often the job's submission is sent.

    >>> first = job_id("0" * 20, "s", "h", "c", "q", life_of("jobs.submit", 0, 7, 1000))
    >>> again = job_id("0" * 20, "s", "h", "c", "q", life_of("jobs.submit", 0, 9, 2000))
    >>> first == again, asked_of(first) == asked_of(again)
    (False, True)
    """
    return job[: FAMILY_LENGTH + 1 + _ASKED_LENGTH]


def family_of_job(job: str) -> str:
    """Return the family a job id names; any text gives some family, so that a bad id still has a partition."""
    return job.partition("-")[0]


def task_id(job: str, attempt: int) -> str:
    """Return the UUID of one attempt: what HySDS calls `task_id` and `uuid` (spec §0)."""
    return str(uuid.uuid5(_ATTEMPTS, f"{job}/{attempt}"))


def attempt_key(job: str, attempt: int) -> str:
    """Return the key of an attempt's run record."""
    return f"{job}/{attempt}"


def type_of(job_type: str) -> str:
    """Strip a word-characters-only prefix up to the first `:` (spec §1.1).

    >>> type_of("job:job-foo:v1"), type_of("job-foo:v1")
    ('job-foo:v1', 'job-foo:v1')
    """
    return _TYPE_PREFIX.sub("", job_type, count=1)


def token(key: bytes, job: str, attempt: int, holder: str) -> str:
    """Return what a report on this attempt by this holder must show (design §4)."""
    return hmac.new(key, f"{job}\0{attempt}\0{holder}".encode(), hashlib.sha256).hexdigest()[:32]


def tick_token(key: bytes, partition: int, previous: int, resumed: bool, owner: str) -> str:
    """Return what a tick must show: workers may write where ticks come by, and time isn't theirs to make."""
    # no job is called so
    return token(key, f"tick/{partition}/{int(resumed)}", previous, owner)


def tick_is_valid(key: bytes, partition: int, previous: int, resumed: bool, owner: str, shown: str) -> bool:
    """Say whether the shown token is that of the tick, in constant time."""
    return hmac.compare_digest(
        tick_token(key, partition, previous, resumed, owner).encode(), shown.encode("utf-8", "replace")
    )


def token_is_valid(key: bytes, job: str, attempt: int, holder: str, shown: str) -> bool:
    """Say whether the shown token is that of the attempt and holder, in constant time."""
    # as bytes: of texts it takes ASCII alone, and raises for what anybody may send
    return hmac.compare_digest(token(key, job, attempt, holder).encode(), shown.encode("utf-8", "replace"))


def worker_of(holder: str) -> str:
    """Return the worker id of a holder (`worker id:start in ms:random`, or its public key in the random's place)."""
    return holder.partition(":")[0]


def key_of(holder: str) -> bytes | None:
    """Return the public key (X25519) that a holder's name ends in, None of a holder that has none (decision 029).

    The key being the name, nobody can show another key for a holder, nor need anybody keep which key is whose.
    """
    _, start, last = [*holder.split(":"), "", "", ""][:3]
    if not _START.fullmatch(start) or not _KEY.fullmatch(last):
        return None
    return base64.urlsafe_b64decode(f"{last}=")


def key_text(key: bytes) -> str:
    """Return a public key as a holder's name has it.

    >>> key_of(f"w1:1:{key_text(bytes(32))}") == bytes(32), key_of("w1:1:0a1b2c3d")
    (True, None)
    """
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


def is_newer(holder: str, other: str) -> bool:
    """Say whether `holder` was started after `other`, a holder of the same worker id."""
    return _start_of(holder) > _start_of(other)


def _start_of(holder: str) -> tuple[int, str]:
    _, start, random = [*holder.split(":"), "", ""][:3]
    return (int(start) if _START.fullmatch(start) else 0, random)
