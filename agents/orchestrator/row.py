"""What a row of the ledger's tables looks like, in a store and on its changelog: pure, for all who read or write one.

Every value begins with the inbox offset that it includes, and a tombstone has it in a header: of two records of one
row that which includes more counts, in whatever order they came (design §4).
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import orjson

from pipeline.ledger.policy import Policy
from pipeline.topic import KIB

OFFSET_BYTES = 8
#: Header of a tombstone: the inbox offset of the message that deleted the row.
OFFSET_HEADER = "offset"

#: Keys in the table of families that are no family's; no family id looks like them. A partition's policy and inbox,
#: up to where families without a row are gone and not new, what the tables stand on, and which documents
#: the messages of the last batch that deleted any delete.
POLICY_KEY, FORGOTTEN_KEY, BACKING_KEY, DELETIONS_KEY = b"!policy", b"!forgotten", b"!tables", b"!deletions"
OWN_KEYS = (POLICY_KEY, FORGOTTEN_KEY, BACKING_KEY, DELETIONS_KEY)
#: Bytes of what is said of deletions.
DELETIONS_LIMIT = 900 * KIB


def pack(offset: int, body: bytes) -> bytes:
    """Return the stored value: the inbox offset that it includes, then the body."""
    return offset.to_bytes(OFFSET_BYTES, "big", signed=True) + body


def offset_of(value: bytes | None) -> int:
    """Return the inbox offset that a stored value includes; -2 where there is none, below any real one."""
    return -2 if value is None else int.from_bytes(value[:OFFSET_BYTES], "big", signed=True)


def body_of(value: bytes) -> bytes:
    """Return the body of a stored value."""
    return value[OFFSET_BYTES:]


def includes(value: bytes | None, headers: Any) -> int:
    """Return the inbox offset that a changelog record includes; a tombstone without one was not written here, and is
    believed.
    """
    if value is not None:
        return offset_of(value)
    pairs = headers.items() if hasattr(headers, "items") else headers or ()
    for name, offset in pairs:
        if name == OFFSET_HEADER:
            return int(offset)
    return 1 << 62


def takes_over(stored: bytes | None, value: bytes | None, headers: Any) -> bool:
    """Say whether a changelog record takes the place of what is stored."""
    return stored is None or includes(value, headers) >= offset_of(stored)


def policy_value(inbox_id: str, policy: Policy, offset: int) -> bytes:
    """Return the value of a partition's policy."""
    return pack(offset, orjson.dumps([inbox_id, policy.json()]))


def policy_in(value: bytes) -> tuple[str, Policy]:
    """Return the inbox's topic id and the policy; raises ValueError or TypeError for anything else."""
    inbox_id, policy = orjson.loads(body_of(value))
    return inbox_id, Policy.of(policy)


def deletions_value(deleted: Mapping[int, Sequence[str]], offset: int) -> tuple[bytes, int]:
    """Return the value that says which documents messages delete (job ids by inbox offset), and how many it leaves out.

    It always fits a record. Two batches of 100 messages do whole, each of which deletes the 257 documents of a family;
    a message may delete more (submissions to a full family), and of what is too much the oldest is left out.
    """
    every = [(message, job_id) for message in sorted(deleted) for job_id in deleted[message]]
    left_out = 0
    while len(value := _deletions_value(every[left_out:], offset)) > DELETIONS_LIMIT:
        kept = len(every) - left_out
        # a little more than by its share, so that a few rounds do
        left_out += kept - kept * DELETIONS_LIMIT * 19 // (len(value) * 20)
    return value, left_out


def _deletions_value(deleted: Sequence[tuple[int, str]], offset: int) -> bytes:
    by_message: dict[int, list[str]] = {}
    for message, job_id in deleted:
        by_message.setdefault(message, []).append(job_id)
    return pack(offset, zlib.compress(orjson.dumps(by_message, option=orjson.OPT_NON_STR_KEYS)))


def deletions_in(value: bytes) -> dict[int, list[str]]:
    """Return what the value says."""
    return {int(message): job_ids for message, job_ids in orjson.loads(zlib.decompress(body_of(value))).items()}


@dataclass(frozen=True, slots=True)
class Backing:
    """What a partition's tables stand on: the topic ids of their changelogs, by table.

    `whole` is False while a rebuild writes them. The row includes no offset: whatever comes later counts.
    """

    changelogs: dict[str, str]
    whole: bool = True

    def value(self) -> bytes:
        """Return the row's value."""
        return pack(-1, orjson.dumps({"changelogs": self.changelogs, "whole": self.whole}))

    @classmethod
    def of(cls, value: bytes) -> Self:
        """Read the row's value."""
        known = orjson.loads(body_of(value))
        return cls(dict(known["changelogs"]), bool(known["whole"]))
