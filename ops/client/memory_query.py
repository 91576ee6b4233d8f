"""What a query of the index finds, of documents in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

from agents.index_reader import JobQuery


def fits(document: Mapping[str, Any], query: JobQuery) -> bool:
    """Say whether a document has all that is asked for but its time."""
    wanted = {
        ("status",): query.status,
        ("type",): query.type,
        ("job", "tag"): query.tag,
        ("job", "job_info", "job_queue"): query.queue,
        ("submission_id",): query.submission_id,
        ("payload_hash",): query.payload_hash,
        ("category",): query.category,
    }
    return all(value is None or _at(document, path) == value for path, value in wanted.items())


def _at(document: Any, path: Sequence[str]) -> Any:
    for name in path:
        document = document.get(name) if isinstance(document, Mapping) else None
    return document
