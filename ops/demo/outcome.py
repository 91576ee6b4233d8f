"""What became of the submissions, as Elasticsearch has it, and whether that is what had to become of them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

import orjson

from agents.index_reader import IndexReader, IndexUnavailableError
from ops.demo.errors import DemoError
from ops.demo.submissions import Planned
from pipeline.index.names import DATASETS
from pipeline.messages.fact import Fact
from pipeline.settings import SinkSettings
from pipeline.statuses import Status

#: Seconds until the sink must have written what was told.
INDEXED_TIMEOUT = 60.0
#: Seconds until what was written must be found: many refresh intervals.
FOUND_TIMEOUT = 20.0
_PAUSE = 0.2
_ASK_TIMEOUT = 10.0

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """The search that finds the products, ready to be sent by whoever reads it."""

    url: str
    body: str

    @classmethod
    def of(cls, sink: SinkSettings) -> "Query":
        """Return the search for all terrain products, the steepest first."""
        body = {
            "query": {"term": {"dataset": "TERRAIN"}},
            "sort": [{"metadata.slope_mean": "desc"}],
            "_source": ["id", "job_id", "urls", "metadata.slope_mean", "location"],
            "size": 100,
        }
        return cls(f"{sink.elasticsearch}/{sink.index_prefix}{DATASETS}/_search", orjson.dumps(body).decode())

    @property
    def command(self) -> str:
        """The search as a line for a shell."""
        return f"curl -s -H 'Content-Type: application/json' '{self.url}?pretty' -d '{self.body}'"

    def found(self, wanted: int) -> list[Document]:
        """Return what it finds: as soon as `wanted` products are there, else what there is after FOUND_TIMEOUT.

        What the sink wrote is found only after the index's next refresh, and an index that was only just made may not
        answer at all. Raises DemoError.
        """
        deadline = time.monotonic() + FOUND_TIMEOUT
        while True:
            over = time.monotonic() > deadline
            try:
                hits = self.hits()
            except DemoError:
                if over:
                    raise
            else:
                if over or len(hits) >= wanted:
                    return hits
            time.sleep(_PAUSE)

    def hits(self) -> list[Document]:
        """Send it once and return the products' documents; raises DemoError."""
        request = Request(self.url, self.body.encode(), {"Content-Type": "application/json"})  # noqa: S310
        try:
            with urlopen(request, timeout=_ASK_TIMEOUT) as answer:  # noqa: S310
                return [hit["_source"] for hit in orjson.loads(answer.read())["hits"]["hits"]]
        except (OSError, KeyError, ValueError) as error:
            raise DemoError(f"Elasticsearch did not answer {self.command}: {error}") from error


def await_indexed(reader: IndexReader, facts: Mapping[str, Fact]) -> dict[str, Document]:
    """Return each submission's job document from Elasticsearch, once all are those of the last facts.

    Raises DemoError after INDEXED_TIMEOUT, IndexUnavailableError where Elasticsearch doesn't answer even then: an index
    that was only just made, by the first of the documents, answers once its shards have started.
    """
    deadline = time.monotonic() + INDEXED_TIMEOUT
    while True:
        over = time.monotonic() > deadline
        try:
            found = {str(one.get("submission_id")): one for one in reader.find(limit=1000, fresh=True)}
        except IndexUnavailableError:
            if over:
                raise
        else:
            late = [id_ for id_, fact in facts.items() if found.get(id_, {}).get("seq", 0) < fact.seq]
            if not late:
                return {id_: found[id_] for id_ in facts}
            if over:
                raise DemoError(f"the sink did not index within {INDEXED_TIMEOUT:.0f} s: {', '.join(late)}")
        time.sleep(_PAUSE)


def error_of(document: Document) -> str:
    """Return why a job failed, in one line: for a program that failed, with the last thing it said."""
    error = " ".join(str(document.get("error") or "").split())
    info = (document.get("job") or {}).get("job_info") or {}
    said = [line for line in str(info.get("stderr") or "").splitlines() if line and not line.startswith("[jobstream]")]
    return f"{error}: {said[-1]}" if said else error


def deviations(
    planned: Sequence[Planned], documents: Mapping[str, Document], products: Sequence[Document]
) -> list[str]:
    """Return what is not as it had to be, a line each; nothing where all is."""
    jobs = {one.label: documents[one.id]["job_id"] for one in planned if one.id in documents}
    wrong = [line for one in planned for line in _deviations(one, documents.get(one.id), jobs)]
    made = sorted(str(document.get("job_id")) for document in products)
    wanted = sorted(jobs.get(one.label, "") for one in planned if one.expected is Status.COMPLETED)
    if made != wanted:
        wrong.append(f"the query finds products of {len(made)} jobs, not of the {len(wanted)} that completed")
    return wrong


def _deviations(planned: Planned, document: Document | None, jobs: Mapping[str, str]) -> list[str]:
    if document is None:
        return [f"{planned.label}: Elasticsearch has no job of it"]
    if document.get("status") != planned.expected:
        return [
            f"{planned.label}: {document.get('status')} instead of {planned.expected} {error_of(document)}".rstrip()
        ]
    if planned.reason not in error_of(document):
        return [f"{planned.label}: it failed, but with: {error_of(document)}"]
    if planned.original is not None and document.get("dedup_job") != jobs.get(planned.original):
        return [f"{planned.label}: the duplicate names {document.get('dedup_job')} as its original"]
    return []
