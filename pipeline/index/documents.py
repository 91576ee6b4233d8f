"""A fact as what is written to the index: the job's document, the fact itself, the datasets it published."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from pipeline.index.names import ID_LIMIT, dataset_aliases, dataset_index, events_index, is_job_index
from pipeline.messages.fact import Fact
from pipeline.statuses import ATTEMPT_FAILED, REFUSALS, Status

#: A fact's place among all facts of one millisecond, in the version of a dataset's document.
_VERSIONS_A_MS = 1000
#: Records of datasets.published that are read for one fact: others' events may lie between an attempt's.
_READ_MOST = 1_000_000
#: Fields of a fact that its own document repeats; the job's whole document is in the job's index.
_FACT_FIELDS = (
    "job_id",
    "family",
    "submission_id",
    "payload_hash",
    "seq",
    "status",
    "attempt",
    "reason",
    "error",
    "short_error",
    "inbox_partition",
    "inbox_offset",
    "index",
    "code_version",
)


@dataclass(frozen=True, slots=True)
class Action:
    """One write to the index: a document that replaces older ones, or (version None) one that is only created."""

    index: str
    id: str
    body: bytes
    version: int | None = None
    #: Further names that the index is to have.
    aliases: tuple[str, ...] = ()

    def lines(self) -> tuple[bytes, bytes]:
        """Return its two lines of a bulk request."""
        target: dict[str, Any] = {"_index": self.index, "_id": self.id}
        if self.version is None:
            return orjson.dumps({"create": target}), self.body
        return orjson.dumps({"index": {**target, "version": self.version, "version_type": "external_gte"}}), self.body


@dataclass(frozen=True, slots=True)
class Plan:
    """What a fact leads to: writes, and the reasons for which parts of it can't be written."""

    actions: tuple[Action, ...]
    refused: tuple[str, ...] = ()


#: Documents of an attempt's datasets, by job id, attempt and offsets by partition of datasets.published.
Announced = Callable[[str, int, Mapping[int, tuple[int, int]]], list[Any]]


def plan(fact: Fact, prefix: str = "", announced: Announced | None = None) -> Plan:
    """Return the writes that a fact leads to; what can't be indexed is said in `refused`.

    `announced` is asked for datasets' documents that did not fit into the fact, and nothing else raises.

    - the job's document: index of its day of submission, id the job's, version `seq`: any order, any repetition;
    - the fact: created once in the index of its own day, id `job_id-seq`;
    - a refusal changed nothing of the job and carries no whole document: it is the fact alone;
    - for a completed job, each dataset's document: version by the fact's time, so that the last publication stays.
    """
    try:
        if fact.status in REFUSALS:
            return Plan((_fact_action(fact, prefix, _checked(fact)),))
        document = _document(fact)
        actions = [
            Action(f"{prefix}{document['job']['job_info']['index']}", fact.job_id, _body(fact, document), fact.seq),
            _fact_action(fact, prefix, document),
        ]
    except ValueError as error:
        return Plan((), (str(error),))
    refused = []
    try:
        products = _products(fact, document, announced)
    except ValueError as error:
        products = []
        refused.append(f"datasets: {error}")
    for product in products:
        try:
            actions.append(dataset_action(product, fact.job_id, fact.attempt, fact.time, fact.seq, prefix))
        except ValueError as error:
            refused.append(f"dataset: {error}")
    return Plan(tuple(actions), tuple(refused))


def _fact_action(fact: Fact, prefix: str, document: Mapping[str, Any]) -> Action:
    return Action(f"{prefix}{events_index(fact.time)}", f"{fact.job_id}-{fact.seq}", _event(fact, document))


def _checked(fact: Fact) -> dict[str, Any]:
    """Return the fact's document as far as every fact has one; raises ValueError where the fact can't be indexed."""
    try:
        document = orjson.loads(fact.document)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the fact's document is no JSON: {error}") from error
    # an id of a job, a hyphen and a seq must fit
    if not fact.job_id or len(fact.job_id.encode()) > ID_LIMIT - 20:
        raise ValueError("the fact's job id is empty or too long for an id")
    if fact.seq < 0:
        raise ValueError(f"the fact's seq is {fact.seq}")
    return dict(document) if isinstance(document, dict) else {}


def _document(fact: Fact) -> dict[str, Any]:
    document = _checked(fact)
    job = document.get("job")
    info = job.get("job_info") if isinstance(job, dict) else None
    if not isinstance(info, dict) or not is_job_index(info.get("index")):
        raise ValueError("the fact's document names no index in job.job_info.index")
    return document


def _body(fact: Fact, document: Mapping[str, Any]) -> bytes:
    """Return the document's own text where a bulk request can take it: a line break would end it there."""
    return orjson.dumps(document) if "\n" in fact.document else fact.document.encode()


def _event(fact: Fact, document: Mapping[str, Any]) -> bytes:
    event = {name: getattr(fact, name) for name in _FACT_FIELDS}
    event |= {
        "@timestamp": iso(fact.time),
        "resource": "fact",
        "type": document.get("type"),
        "holder": document.get("holder"),
        "job_queue": document["job"]["job_info"].get("job_queue") if "job" in document else None,
    }
    return orjson.dumps({name: value for name, value in event.items() if value is not None})


def _products(fact: Fact, document: Mapping[str, Any], announced: Announced | None) -> list[Any]:
    if fact.status in (Status.FAILED, ATTEMPT_FAILED):
        # what a failed attempt published is nobody's, but for what is kept of the failure
        kept = document.get("triaged")
        return kept if isinstance(kept, list) else []
    if fact.status != Status.COMPLETED:
        return []
    products, reference = document.get("products"), document.get("products_at")
    if isinstance(reference, dict) and announced is not None:
        count, places = _places(reference)
        found = announced(fact.job_id, fact.attempt, places)
        if len(found) != count:
            raise ValueError(f"datasets.published has {len(found)} of {count} events of the attempt")
        return found
    return products if isinstance(products, list) else []


def _places(reference: Mapping[str, Any]) -> tuple[int, dict[int, tuple[int, int]]]:
    try:
        places = {int(name): (int(first), int(last)) for name, (first, last) in reference["places"].items()}
        count = int(reference["count"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError("products_at says no places") from error
    if sum(last - first for first, last in places.values()) > _READ_MOST:
        raise ValueError(f"products_at names more than {_READ_MOST} records")
    return count, places


def dataset_action(product: Any, job_id: str, attempt: int, time_ms: int, number: int, prefix: str = "") -> Action:
    """Return the write of a dataset's document, over what was published before `time_ms`.

    `number` orders those of one millisecond. Raises ValueError for one that can't be indexed.
    """
    if not isinstance(product, Mapping):
        raise ValueError(f"a {type(product).__name__} is no dataset's document")
    name = product.get("id")
    if not isinstance(name, str) or not name or len(name.encode()) > ID_LIMIT:
        raise ValueError(f"its id is missing or longer than {ID_LIMIT} bytes")
    index = dataset_index(product, prefix)
    body = {"@timestamp": iso(time_ms), **product, "job_id": job_id, "attempt": attempt}
    version = time_ms * _VERSIONS_A_MS + min(number, _VERSIONS_A_MS - 1)
    return Action(index, name, orjson.dumps(body), version, dataset_aliases(product, prefix))


def iso(time_ms: int) -> str:
    """Return a time (ms since the epoch) as the index has it."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
