"""Reads the index: what became of a job, which jobs there are, which datasets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from elasticsearch import ApiError, Elasticsearch, NotFoundError, TransportError

from agents.elastic import client_options
from pipeline.index.bulk import reason_of
from pipeline.index.names import DATASETS, EVENTS, JOBS
from pipeline.settings import Settings
from pipeline.statuses import TERMINAL, Status

#: Statuses that another one follows by itself.
UNFINISHED = (frozenset(Status) - TERMINAL) | {Status.OFFLINE}
#: documents of one answer at most: Elasticsearch gives no more of one search
MOST = 10_000

Document = dict[str, Any]


class IndexUnavailableError(Exception):
    """Elasticsearch can't be reached or refuses to answer; the text says which URL and what it said."""


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which jobs; what is None doesn't count. `since` is a time of the last change, seconds since the epoch."""

    status: str | None = None
    type: str | None = None
    tag: str | None = None
    queue: str | None = None
    submission_id: str | None = None
    payload_hash: str | None = None
    category: str | None = None
    since: float | None = None
    user: str | None = None
    worker: str | None = None
    #: labels that the job asks its worker for
    labels: Mapping[str, str] = field(default_factory=dict)
    #: only jobs that go on
    unfinished: bool = False

    def clauses(self) -> list[Document]:
        """Return the filter clauses of a search."""
        terms = {
            "status": self.status,
            "type": self.type,
            "job.job_info.job_queue": self.queue,
            "submission_id": self.submission_id,
            "payload_hash": self.payload_hash,
            "category": self.category,
            "job.username": self.user,
            "celery_hostname": self.worker,
            **{f"job.needs.labels.{name}": value for name, value in self.labels.items()},
        }
        going_on = [{"terms": {"status": sorted(UNFINISHED)}}] if self.unfinished else []
        return [*_terms(terms), *_tagged(self.tag), *_since(self.since), *going_on]


class IndexReader:
    """A client of the index; close it, or use it as a context manager.

    Every method raises IndexUnavailableError. An index that isn't there yet holds nothing. The index follows the
    log: what was written is found after the refresh interval (1 s by default), and `fresh` makes it found at once at
    the price of a refresh. What decides about jobs is the ledger, never this.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = settings.sink.elasticsearch
        self._prefix = settings.sink.index_prefix
        self._client = Elasticsearch(**client_options(settings.sink))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, job_id: str, *, fresh: bool = False) -> Document | None:
        """Return the job's newest document, None where the index has none.

        The search finds its day's index; the document itself is then read as it is, not as it was refreshed.
        """
        found = self._hits(JOBS, [{"ids": {"values": [job_id]}}], [], 1, fresh=fresh)
        if not found:
            return None
        try:
            return dict(self._client.get(index=found[0]["_index"], id=job_id).body["_source"])
        except NotFoundError:
            return None
        except (ApiError, TransportError) as error:
            raise self._unavailable(error) from error

    def find(self, query: JobQuery | None = None, limit: int = 100, *, fresh: bool = False) -> list[Document]:
        """Return the documents of the jobs that fit, the last changed first; `limit` is at most MOST."""
        clauses = (query or JobQuery()).clauses()
        return _sources(self._hits(JOBS, clauses, [{"@timestamp": "desc"}, {"job_id": "asc"}], limit, fresh=fresh))

    def history(self, job_id: str, limit: int = MOST, *, fresh: bool = False) -> list[Document]:
        """Return the job's facts in their order."""
        clauses = list(_terms({"job_id": job_id}))
        return _sources(self._hits(EVENTS, clauses, [{"seq": "asc"}], limit, fresh=fresh))

    def datasets(
        self,
        dataset: str | None = None,
        product_id: str | None = None,
        job_id: str | None = None,
        since: float | None = None,
        limit: int = 100,
        *,
        fresh: bool = False,
    ) -> list[Document]:
        """Return the documents of the datasets that fit, the last published first."""
        terms = {"dataset": dataset, "id": product_id, "job_id": job_id}
        clauses = [*_terms(terms), *_since(since)]
        return _sources(self._hits(DATASETS, clauses, [{"@timestamp": "desc"}, {"id": "asc"}], limit, fresh=fresh))

    def counts(self, *, fresh: bool = False) -> dict[str, int]:
        """Return how many jobs there are of each status."""
        body = self._search(JOBS, [], [], 0, fresh=fresh, aggs={"status": {"terms": {"field": "status", "size": 100}}})
        buckets = body.get("aggregations", {}).get("status", {}).get("buckets", [])
        return {str(one["key"]): int(one["doc_count"]) for one in buckets}

    def _hits(self, alias: str, clauses: list[Document], sort: list[Document], limit: int, *, fresh: bool) -> list[Any]:
        return list(self._search(alias, clauses, sort, min(limit, MOST), fresh=fresh)["hits"]["hits"])

    def _search(
        self,
        alias: str,
        clauses: list[Document],
        sort: list[Document],
        size: int,
        *,
        fresh: bool,
        aggs: Document | None = None,
    ) -> Mapping[str, Any]:
        index = f"{self._prefix}{alias}"
        try:
            if fresh:
                self._client.indices.refresh(index=index, ignore_unavailable=True)
            answer = self._client.search(
                index=index,
                query={"bool": {"filter": clauses}},
                # an index of that day may have no document, and so no such field, yet
                sort=[
                    {name: {"order": order, "unmapped_type": "keyword"}} for one in sort for name, order in one.items()
                ],
                size=size,
                aggs=aggs,
                ignore_unavailable=True,
            )
        except (ApiError, TransportError) as error:
            raise self._unavailable(error) from error
        return dict(answer.body)

    def _unavailable(self, error: ApiError | TransportError) -> IndexUnavailableError:
        address = self._url.rpartition("@")[2] if "@" in self._url else self._url
        if isinstance(error, ApiError):
            said = reason_of(error.body.get("error") if isinstance(error.body, dict) else error.body)
            return IndexUnavailableError(f"Elasticsearch at {address} refuses: {error.meta.status} {said}")
        return IndexUnavailableError(f"Elasticsearch at {address} can't be reached: {error.message}")


def _terms(wanted: Mapping[str, str | None]) -> list[Document]:
    return [{"term": {name: value}} for name, value in wanted.items() if value is not None]


def _tagged(tag: str | None) -> list[Document]:
    either = [{"term": {name: tag}} for name in ("job.tag", "tags")]
    return [] if tag is None else [{"bool": {"should": either, "minimum_should_match": 1}}]


def _since(since: float | None) -> list[Document]:
    if since is None:
        return []
    return [{"range": {"@timestamp": {"gte": datetime.fromtimestamp(since, UTC).isoformat()}}}]


def _sources(hits: list[Any]) -> list[Document]:
    return [dict(hit["_source"]) for hit in hits]
