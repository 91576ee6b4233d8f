"""Submissions that are sent again from the past: which of a range, under which new id."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from pipeline.codec import Codec, DecodeError
from pipeline.identity import type_of
from pipeline.messages.mark import HEADER, mark_of
from pipeline.messages.trace import TRACEPARENT, TRACESTATE
from pipeline.submission import headers as said
from pipeline.submission import request
from pipeline.submission.errors import UnacceptableError

#: Why one isn't sent again.
OTHER_TYPE, MARKED, UNREADABLE = "of another type", "a replay itself", "not acceptable"


class SkippedError(ValueError):
    """A record that is not sent again; the text says why."""


@dataclass(frozen=True, slots=True)
class Again:
    """A submission to be sent again; `original` is its old id, `value` its new record."""

    original: str
    submission_id: str
    job_type: str
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Resubmission:
    """What one replay does with each record: `types` are bare job types (none: all), `mark` names the replay.

    A record's new id follows from its old one and the mark: a replay that was broken off and is begun anew with the
    same mark makes the same jobs.
    """

    mark: str
    types: frozenset[str] = frozenset()
    dedup: bool = True

    def of(
        self,
        codec: Codec,
        place: tuple[str, int, int],
        value: bytes | None,
        headers: Sequence[tuple[str, Any]],
        key: bytes | None = None,
    ) -> Again:
        """Return the submission at a place (topic, partition, offset) as it is sent again.

        Raises SkippedError for one that isn't, OSError where a schema registry is needed and away.
        """
        if mark_of(headers):
            raise SkippedError(MARKED)
        try:
            fields = said.completed(codec.decode("submission", value), key, value, headers)
            submission = request.parse(fields, value or b"")
        except (DecodeError, UnacceptableError) as error:
            raise SkippedError(UNREADABLE) from error
        if self.types and submission.type not in self.types:
            raise SkippedError(OTHER_TYPE)
        original = submission.submission_id or "-".join(map(str, place))
        fields["submission_id"] = new = new_id(original, self.mark)
        if not self.dedup:
            fields["enable_dedup"] = False
        for name in (TRACEPARENT, TRACESTATE):
            # what happened then is no part of what is done now
            fields.pop(name, None)
        return Again(
            original, new, submission.type, _encoded(codec, value or b"", fields), ((HEADER, self.mark.encode()),)
        )


def bare_types(types: Iterable[str]) -> frozenset[str]:
    """Return job types without their `job:`."""
    return frozenset(type_of(one) for one in types)


def new_id(original: str, mark: str) -> str:
    """Return the id of a submission that is sent again.

    >>> new_id("s-1", "june")
    's-1~june'
    """
    text = f"{original}~{mark}"
    if request.is_id(text):
        return text
    return f"{sha256(original.encode()).hexdigest()}~{mark}"


def _encoded(codec: Codec, value: bytes, fields: dict[str, Any]) -> bytes:
    """Return the fields in the encoding that the record came in: JSON may have fields that the schema doesn't."""
    if value[:1] in (b"\x00", b"\xc3"):
        return codec.encode("submission", fields)
    return orjson.dumps(fields)
