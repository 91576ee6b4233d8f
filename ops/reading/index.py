"""Job documents from Elasticsearch, over its HTTP interface alone: its client takes most of a second to import."""

from collections.abc import Mapping
from typing import Any

import orjson
import urllib3
from urllib3.util import Timeout, make_headers, parse_url

from pipeline.index.names import JOBS
from pipeline.settings import SinkSettings

#: s that a person waits for an answer
TIMEOUT = 5.0
#: Fields by which jobs are listed.
FIELDS = {"status": "status", "type": "type", "queue": "job.job_info.job_queue", "tag": "tags"}
#: Documents of one listing at most: Elasticsearch's own limit of a page.
MOST = 10_000
#: What of a document a listing needs.
_LISTED = ["job_id", "status", "type", "attempt", "seq", "tags", "@timestamp", "short_error", "submission_id", "job.*"]


class IndexUnavailableError(OSError):
    """Elasticsearch can't be reached, or doesn't answer as it should; the message says what to do."""


class Index:
    """Reads the alias of all job documents. Calls raise IndexUnavailableError."""

    def __init__(self, settings: SinkSettings) -> None:
        parts = parse_url(settings.elasticsearch)
        self._shown = parts._replace(auth=None).url.rstrip("/")
        self._alias = f"{settings.index_prefix}{JOBS}"
        headers = {"Content-Type": "application/json"} | (make_headers(basic_auth=parts.auth) if parts.auth else {})
        self._http = urllib3.PoolManager(headers=headers, timeout=Timeout(total=TIMEOUT), retries=False)

    def job(self, job_id: str) -> dict[str, Any] | None:
        """Return a job's document, None where the index has none."""
        found = self._search({"query": {"ids": {"values": [job_id]}}, "size": 1})
        return found[0] if found else None

    def jobs(self, wanted: Mapping[str, str], limit: int) -> list[dict[str, Any]]:
        """Return the newest documents whose `FIELDS` have these values, `limit` (MOST) at most; without large parts."""
        filters = [{"term": {FIELDS[name]: value}} for name, value in wanted.items()]
        return self._search(
            {
                "query": {"bool": {"filter": filters}},
                "size": min(limit, MOST),
                "sort": [{"job.job_info.time_queued": {"order": "desc", "unmapped_type": "date"}}],
                "_source": _LISTED,
            }
        )

    def _search(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        url = f"{self._shown}/{self._alias}/_search?ignore_unavailable=true&allow_no_indices=true"
        try:
            response = self._http.request("POST", url, body=orjson.dumps(body))
        except urllib3.exceptions.HTTPError as error:
            raise IndexUnavailableError(
                f"Elasticsearch at {self._shown} can't be reached: start it with `jobstream up`, or set "
                f"JOBSTREAM_SINK__ELASTICSEARCH ({type(error).__name__})"
            ) from error
        try:
            answer = orjson.loads(response.data)
            if response.status == 200:
                return [hit["_source"] for hit in answer["hits"]["hits"]]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            pass
        if response.status == 404:
            return []
        said = response.data[:300].decode(errors="replace")
        raise IndexUnavailableError(f"Elasticsearch at {self._shown} answers {response.status}: {said}")
