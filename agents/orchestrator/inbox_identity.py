"""The inbox's identity: a ledger's tables belong to one inbox topic, and to no other (design §4)."""

from confluent_kafka import TopicCollection

from agents.admin_client import admin_client
from agents.bus import CALL_TIMEOUT, client_config, consumer, end_offsets
from pipeline.settings import Settings


class WrongInboxError(Exception):
    """The tables were built from another inbox, or the inbox lost records; the text says what to do."""


def inbox_id(settings: Settings) -> str:
    """Return the inbox's topic id; raises KafkaException where it can't be had."""
    name = settings.topology.inbox.name
    client = admin_client(client_config(settings, "jobstream-orchestrator-admin"))
    described = client.describe_topics(TopicCollection([name]), request_timeout=CALL_TIMEOUT)
    return str(described[name].result(CALL_TIMEOUT).topic_id)


def inbox_ends(settings: Settings) -> dict[int, int]:
    """Return the end offset of each partition of the inbox; raises KafkaException where they can't be had."""
    client = consumer(settings, "jobstream-orchestrator-ends")
    try:
        return end_offsets(client, settings.topology.inbox.name, range(settings.topology.inbox_partitions))
    finally:
        client.close()


def check(partition: int, stored_id: str | None, actual_id: str, highest: int, end: int) -> None:
    """Raise WrongInboxError where the tables were not built from this inbox."""
    cure = (
        "bring back the inbox that the tables were built from, or start a new installation: "
        "another topic prefix (JOBSTREAM_TOPICS__PREFIX) and an empty home"
    )
    if stored_id is not None and stored_id != actual_id:
        raise WrongInboxError(
            f"partition {partition}: the ledger was built from inbox {stored_id}, this one is {actual_id}; {cure}"
        )
    if end <= highest:
        raise WrongInboxError(
            f"partition {partition}: the ledger includes inbox offset {highest}, but the inbox ends at {end}; {cure}"
        )
