"""The mark of what is sent again from the past: a header of submissions and run records, a field of a job's body."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

#: The header; its value says which replay it was.
HEADER = "jobstream-replay"
#: Where a job's body, and so each of its documents, has it. Nothing that a sender puts into a submission gets there.
FIELD = "replay"
#: What a mark looks like.
MARK = re.compile(r"[A-Za-z0-9._-]{1,80}")
_UNREADABLE = "unnamed"


def mark_of(headers: Iterable[tuple[str, Any]]) -> str:
    """Return the mark in a record's headers, "" where there is none; one that can't be read is a mark all the same."""
    for name, value in headers:
        if name == HEADER:
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
            return text if MARK.fullmatch(text) else _UNREADABLE
    return ""


def mark_in(job: Mapping[str, Any]) -> str:
    """Return the mark of a job's body, "" where it has none."""
    return str(job.get(FIELD) or "")
