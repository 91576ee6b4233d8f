"""A job's current document: from the index, and from the log where the index is behind, empty or away."""

from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from agents.bus import consumer
from agents.index_reader import IndexReader, IndexUnavailableError
from ops.reading.facts import FactReader, document_of, is_whole
from ops.reading.log import REACH_TIMEOUT, BrokerError
from pipeline.identity import family_of_job
from pipeline.messages.fact import Fact
from pipeline.settings import Settings

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
    place = TopicPartition(topology.events.name, topology.inbox_partition(family_of_job(job_id)))
    client = consumer(settings, topology.name("jobstream-reader"), topology.name(settings.sink.group))
    try:
        (committed,) = client.committed([place], timeout=REACH_TIMEOUT)
    except KafkaException:
        return 0
    finally:
        client.close()
    return max(0, int(committed.offset))
