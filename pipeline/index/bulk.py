"""Bulk requests and their answers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from pipeline.index.documents import Action

#: bytes of one request: far below Elasticsearch's 100 MB, and little enough to send again
CHUNK_BYTES = 8 * 1024 * 1024
#: bytes of a reason, which goes into a record's header
REASON_LIMIT = 1000


#: An index and one of its aliases.
Pair = tuple[str, str]


class Verdict(Enum):
    """What the answer to one write means."""

    #: Written, or something as new was there already.
    DONE = auto()
    #: This document will never be taken.
    REFUSED = auto()
    #: Not taken now, through no fault of the document.
    LATER = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """The verdict on one write, and what Elasticsearch said."""

    verdict: Verdict
    reason: str = ""


def chunks(actions: Sequence[Action], limit: int = CHUNK_BYTES) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of runs of writes that fit into `limit` bytes each; one that alone is larger goes alone."""
    start = size = 0
    for number, action in enumerate(actions):
        length = len(action.body) + len(action.id) + len(action.index) + 100
        if number > start and size + length > limit:
            yield start, number
            start, size = number, 0
        size += length
    if start < len(actions):
        yield start, len(actions)


def alias_actions(pairs: Iterable[Pair]) -> list[dict[str, dict[str, str]]]:
    """Return the actions of a request that gives indices these aliases."""
    return [{"add": {"index": index, "alias": alias}} for index, alias in pairs]


def answer_of(item: Mapping[str, Any]) -> Answer:
    """Return what one item of a bulk answer says about its write.

    409 is success: the index holds this version or a newer one. 400 is the document's fault, unless it is the
    cluster that has no room for another index.
    """
    ((_, result),) = item.items()
    status = int(result.get("status", 500))
    error = result.get("error") or {}
    if status < 300 or status == 409:
        return Answer(Verdict.DONE)
    reason = reason_of(error)
    if status in (400, 413) and not _is_full(error):
        return Answer(Verdict.REFUSED, reason)
    return Answer(Verdict.LATER, f"{status} {reason}")


def reason_of(error: object) -> str:
    """Return an error object of Elasticsearch as one line, with its causes."""
    parts: list[str] = []
    while isinstance(error, Mapping) and len(parts) < 4:
        parts.append(f"{error.get('type')}: {error.get('reason')}")
        error = error.get("caused_by")
    return " <- ".join(parts or [str(error)])[:REASON_LIMIT]


def _is_full(error: object) -> bool:
    return isinstance(error, Mapping) and (
        error.get("type") == "validation_exception" or "this action would add" in str(error.get("reason"))
    )
