"""A dataset was published: what rules, sinks of others and users read on datasets.published."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import orjson

from pipeline.index.names import dataset_index
from pipeline.messages.plain import plain


@dataclass(frozen=True, slots=True)
class DatasetPublished:
    """One product that an attempt made visible.

    `event_id` is the same however often the event is sent; of one dataset id the highest attempt of a job counts.
    `job_type` is `dataset:<ipath>`, as HySDS's orchestrator takes it; `index` is without the installation's prefix;
    `document` is the indexed document as JSON, empty where it was too large for a record.
    """

    event_id: str
    dataset_id: str
    dataset: str
    job_type: str
    version: str
    index: str
    job_id: str
    attempt: int
    payload_hash: str
    document: str

    def record(self) -> dict[str, Any]:
        """Return the record that the codec encodes."""
        return plain(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Build it from a decoded record."""
        return cls(**record)

    def without_document(self) -> Self:
        """Return it for a broker that refused it as it was."""
        return replace(self, document="")


def dataset_published(document: Mapping[str, Any], job_id: str, attempt: int, payload_hash: str) -> DatasetPublished:
    """Return the event of a dataset's document, as `pipeline.datasets.documents` makes it."""
    return DatasetPublished(
        event_id=f"{job_id}/{attempt}/{document['id']}",
        dataset_id=document["id"],
        dataset=document["dataset"],
        job_type=f"dataset:{document['ipath']}",
        version=str(document["system_version"]),
        index=dataset_index(document),
        job_id=job_id,
        attempt=attempt,
        payload_hash=payload_hash,
        document=orjson.dumps(document).decode(),
    )
