"""A job's current document: from the index, and from the log where the index is behind, empty or away."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from agents.bus import consumer
from agents.index_reader import IndexReader, IndexUnavailableError
from ops.reading.facts import FactReader, document_of, is_whole
from ops.reading.log import REACH_TIMEOUT, BrokerError
from pipeline.identity import worker_of
from pipeline.ledger.document import iso
from pipeline.messages.fact import Fact
from pipeline.settings import Settings
from pipeline.statuses import REFUSALS

#: s that a person waits for an answer of the index
INDEX_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Found:
    """A job's document, and where it is from; `note` says why not from the index, or what could not be checked."""

    document: dict[str, Any]
    source: str
    note: str = ""


def current(settings: Settings, job_id: str) -> Found | None:
    """Return the job's newest document, None where neither the index nor the log knows the job.

    What the sink has not yet acknowledged is read from the log, so that an index that is behind is noticed. Raises
    BrokerError where Kafka can't be reached and the index doesn't have the job.
    """
    problem = ""
    try:
        with IndexReader(patient(settings)) as index:
            indexed = index.get(job_id)
    except IndexUnavailableError as error:
        indexed, problem = None, str(error)
    try:
        with FactReader(settings) as reader:
            start = 0 if indexed is None else _acknowledged(settings, job_id)
            latest = _latest(reader.of_job(job_id, start))
    except BrokerError as error:
        if indexed is None:
            raise
        return Found(indexed, "elasticsearch", f"whether it is the newest could not be checked: {error}")
    if indexed is not None and (latest is None or latest.seq <= int(indexed.get("seq") or 0)):
        return Found(indexed, "elasticsearch")
    if latest is None:
        return None
    return Found(document_of(latest), "log", problem or "Elasticsearch is behind")


@dataclass(frozen=True, slots=True)
class Attempt:
    """How far an attempt came: its last fact's status, time (ISO 8601) and reason, and who held it."""

    number: int
    status: str
    time: str
    worker: str
    reason: str

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "Attempt":
        """Build it from a fact as the index has it."""
        text = {
            name: str(event.get(name) or "") for name in ("status", "@timestamp", "holder", "reason", "short_error")
        }
        reason = text["reason"] or text["short_error"]
        number = int(event.get("attempt") or 0)
        return cls(number, text["status"], text["@timestamp"], worker_of(text["holder"]), reason)


def attempts(settings: Settings, found: Found) -> list[Attempt]:
    """Return the job's attempts in their order, none where it has had one only. Raises like `current`."""
    job_id = str(found.document.get("job_id") or "")
    if int(found.document.get("attempt") or 0) < 2 and not (found.document.get("retry") or {}).get("follows"):
        return []
    if found.source == "log":
        with FactReader(settings) as reader:
            events = [_event(fact) for fact in reader.of_job(job_id)]
    else:
        with IndexReader(patient(settings)) as index:
            events = index.history(job_id)
    last = {event.get("attempt"): event for event in events if event.get("status") not in REFUSALS}
    return [Attempt.of(event) for event in last.values()]


def _event(fact: Fact) -> dict[str, Any]:
    said = {name: getattr(fact, name) for name in ("status", "attempt", "reason", "short_error")}
    return {**said, "@timestamp": iso(fact.time), "holder": document_of(fact).get("holder")}


def patient(settings: Settings) -> Settings:
    """Return settings whose requests to the index end while a person still waits."""
    timeout = min(settings.sink.timeout, INDEX_TIMEOUT)
    return settings.model_copy(update={"sink": settings.sink.model_copy(update={"timeout": timeout})})


def _latest(facts: list[Fact]) -> Fact | None:
    """Return the newest fact that carries the whole document."""
    return next((fact for fact in reversed(facts) if is_whole(fact)), None)


def _acknowledged(settings: Settings, job_id: str) -> int:
    """Return the offset up to which the sink has indexed the family's partition; 0 where that isn't known."""
    topology = settings.topology
    place = TopicPartition(topology.events.name, topology.fact_partition(topology.job_partition(job_id)))
    client = consumer(settings, topology.name("jobstream-reader"), topology.name(settings.sink.group))
    try:
        (committed,) = client.committed([place], timeout=REACH_TIMEOUT)
    except KafkaException:
        return 0
    finally:
        client.close()
    return max(0, int(committed.offset))
