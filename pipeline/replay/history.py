"""A job's history as a document: everything that concerns one job, to be replayed without any server."""

import base64
from dataclasses import dataclass
from typing import Any, Self

import orjson

from pipeline.identity import family_of_job
from pipeline.messages.fact import Fact
from pipeline.messages.inbox import Inbox
from pipeline.replay.recorded import Recorded

#: The version of the document that this code writes, and the only one that it reads.
VERSION = 1


class HistoryError(ValueError):
    """The bytes are no history that can be read; the text says what to do."""


@dataclass(frozen=True, slots=True)
class History:
    """The inbox records that concern one job, in order, and its recorded facts.

    The records are all of its family, all policies, the ticks by which something of the job fell due, and of the
    heartbeats that list it each attempt's first and last. `begins` is the first offset that the inbox still had,
    `ends` the offset up to which it was read; `code_version` wrote the document.
    """

    job_id: str
    partition: int
    records: tuple[Recorded, ...]
    facts: tuple[Fact, ...]
    begins: int
    ends: int
    code_version: str

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the family's past was missing: retention may have taken the inbox's beginning."""
        return self.begins == 0

    def dump(self) -> bytes:
        """Return the document."""
        value = {
            "jobstream_history": VERSION,
            "job_id": self.job_id,
            "family": family_of_job(self.job_id),
            "inbox": {"partition": self.partition, "begins": self.begins, "ends": self.ends},
            "code_version": self.code_version,
            "messages": [_record_of(one) for one in self.records],
            "facts": [fact.record() for fact in self.facts],
        }
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Read a document; raises HistoryError for anything else, and for one of another version."""
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise HistoryError(f"no history, but no JSON either: {error}") from error
        version = value.get("jobstream_history") if isinstance(value, dict) else None
        if version is None:
            raise HistoryError("no history: `jobstream replay export JOB_ID` writes one")
        if version != VERSION:
            raise HistoryError(
                f"a history of version {version}, this is for {VERSION}: use the jobstream that wrote it"
            )
        try:
            inbox = value["inbox"]
            return cls(
                str(value["job_id"]),
                int(inbox["partition"]),
                tuple(_record(one) for one in value["messages"]),
                tuple(Fact.of(one) for one in value["facts"]),
                int(inbox["begins"]),
                int(inbox["ends"]),
                str(value["code_version"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise HistoryError(f"a history that can't be read: {type(error).__name__}: {error}") from error


def _record_of(record: Recorded) -> dict[str, Any]:
    value: dict[str, Any] = {"offset": record.offset, "timestamp": record.timestamp, "key": _text_of(record.key)}
    if record.message is not None:
        return {**value, "message": record.message.record()}
    return {**value, "value": _text_of(record.value), "problem": record.problem}


def _record(value: dict[str, Any]) -> Recorded:
    place = (int(value["offset"]), int(value["timestamp"]), _bytes(value["key"]))
    if "message" in value:
        return Recorded(*place, Inbox.of(value["message"]))
    return Recorded(*place, None, str(value["problem"]), _bytes(value["value"]))


def _text_of(data: bytes | None) -> Any:
    """Return bytes as text where they are, else as base64, told apart by being an object."""
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _bytes(value: Any) -> bytes | None:
    if value is None:
        return None
    return str(value).encode() if not isinstance(value, dict) else base64.b64decode(value["base64"], validate=True)
